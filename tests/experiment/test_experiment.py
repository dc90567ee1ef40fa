"""What recipes share: one small task, from its options to the table of its results."""

import dataclasses
import json
import pathlib
import re
import types

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_seq import cli, data, distribution, experiment, export, scores, text, training
from keras_seq.experiment import clips, labeled_text, parallel_text, series
from keras_seq.experiment import training as fitting
from keras_seq.experiment.tagged_text import TaggedTextFlags
from keras_seq.inspection import plots

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Says of ids whether their sum is high."""

    epochs: int | None = experiment.preset(7, "epochs at most", files=20, large_files=30)
    units: int | None = experiment.preset(32, "width", files=128)
    beams: int = 5


class Worker(distribution.scope):
    """One of several workers, of which the others are not there."""

    chief, workers = False, 2

    def any_worker(self, flag):
        self.asked = getattr(self, "asked", 0) + 1
        return flag


def options_in(folder, **changes):
    folders = {"run": folder / "run", "export": folder / "export"}
    return Options(**{"epochs": 3, "learning_rate": 0.05, "warmup_steps": 2, **folders, **changes})


def examples(count, seed):
    draw = np.random.default_rng(seed)
    rows = [draw.integers(1, 9, draw.integers(1, 7)) for _ in range(count)]
    rows = [(row, int(row.mean() > 4.5)) for row in rows]
    signature = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    count = tf.data.experimental.assert_cardinality(count)
    return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature).apply(count).cache()


def model_of(rate):
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4, mask_zero=True)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def trained(options, scope, **fitting):
    """The run and the model after `fit`."""
    run = experiment.run_folder(options, scope, {})
    parts = examples(64, seed=1), examples(32, seed=2)
    train, valid = experiment.batches(options, *parts, tokens_per_batch=32, max_length=7)
    with scope:
        model = model_of(experiment.learning_rate(options, train))
    fitting = {"monitor": "val_accuracy", "mode": "max", **fitting}
    experiment.fit(options, model, train, valid, run, scope, **fitting)
    return run, model


def test_folders_are_called_after_the_recipe():
    name = Options.__module__.rpartition(".")[2]
    assert Options().recipe == Options.__module__
    assert Options().run == pathlib.Path("runs") / name and Options().export == pathlib.Path("saved_models") / name
    assert dataclasses.replace(Options(), run=pathlib.Path("elsewhere")).run == pathlib.Path("elsewhere")


def test_what_is_of_the_run():
    identity = Options(seed=3, strategy="mirrored").identity()
    assert identity["seed"] == 3 and identity["epochs"] is None and identity["beams"] == 5
    assert not {"config", "run", "export", "overwrite", "save_every", "strategy", "data_service"} & set(identity)


def test_defaults_of_presets():
    options = Options(seed=9)
    for presets, epochs, units in (((), 7, 32), (("files",), 20, 128), (("files", "large_files"), 30, 128)):
        assert experiment.with_defaults(options, *presets) == dataclasses.replace(options, epochs=epochs, units=units)
    assert experiment.with_defaults(Options(units=0), "files").units == 0  # what is given stays
    page = " ".join(cli.flags(Options).format_help().split())
    assert "epochs at most (default: 7; files: 20; large files: 30)" in page
    assert "width (default: 32; files: 128)" in page


def test_a_test_option_may_change_when_a_run_is_resumed(tmp_path):
    options = options_in(tmp_path)
    scope = experiment.setup(options)
    experiment.run_folder(options, scope, {}, may_change=("beams",))
    again = experiment.run_folder(dataclasses.replace(options, beams=7), scope, {}, may_change=("beams",))
    assert again.config["beams"] == 7
    with pytest.raises(ValueError, match="`beams` was 7, is now 8"):
        experiment.run_folder(dataclasses.replace(options, beams=8), scope, {})


def test_vectors_of_a_vocabulary(tmp_path, capsys):
    words = text.Words(["a", "b"])
    assert experiment.word_vectors(text_options(None), words) is None
    (tmp_path / "v.txt").write_text("b 1 2\n")
    vectors = experiment.word_vectors(text_options(tmp_path / "v.txt"), words)
    assert vectors.shape == (words.size, 2) and vectors[words.pieces(range(words.size)).index("b")].tolist() == [1, 2]
    assert "v.txt: 1 of" in capsys.readouterr().out


def test_recurrent_dropout_is_for_architectures_that_have_it():
    def given(architecture, rate):
        return experiment.recurrent_dropout(types.SimpleNamespace(architecture=architecture, recurrent_dropout=rate))

    assert given("lstm", 0.3) == {"recurrent_dropout": 0.3} and given("transformer", 0.0) == {}
    with pytest.raises(ValueError, match="--recurrent-dropout is for rnn, gru, lstm: .* --architecture mingru"):
        given("mingru", 0.3)


def text_options(path):
    return types.SimpleNamespace(vectors=path, seed=1)


TIMES = {
    "h": (24, "same hour yesterday"),
    "15min": (96, "same time yesterday"),
    "D": (7, "same weekday last week"),
    "B": (5, "same weekday last week"),
    "MS": (12, "same month last year"),
    "QS": (4, "same quarter last year"),
    "W": (52, "same week last year"),
}


@pytest.mark.parametrize("frequency", list(TIMES))
def test_the_naive_forecast_is_named_after_the_calendar(frequency):
    times = pd.date_range("2024-01-01", periods=200, freq=frequency).to_numpy()
    series = data.Series(np.zeros((200, 1)), ("x",), times)
    assert experiment.find_season(series, 100) == TIMES[frequency]
    assert experiment.find_season(series, 3) == (3, "3 rows before")
    assert experiment.find_season(series, 100, 10) == (10, "10 rows before")
    with pytest.raises(ValueError, match="--season must be from 1 to --look-back 100. Received: 101"):
        experiment.find_season(series, 100, 101)


def test_numbered_rows_have_no_season():
    assert experiment.find_season(data.Series(np.zeros((20, 1)), ("x",)), 10) == (1, "last value")


def test_packages_that_the_end_of_a_run_needs_are_asked_for_at_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("jiwer", "sklearn") else object())
    with pytest.raises(ImportError, match=r'Recipes need jiwer, scikit-learn: pip install "keras-seq\[recipes\]"'):
        experiment.setup(options_in(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorboard" else object())
    with pytest.raises(ImportError, match=r'`tensorboard` needs the package: pip install "keras-seq\[tensorboard\]"'):
        experiment.setup(options_in(tmp_path, tensorboard=True))
    experiment.setup(options_in(tmp_path))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("linear", {0: 0.5, 1: 1.0, 5: 0.5, 9: 0.0}),
        ("cosine", {0: 0.5, 2: 1.0, 6: 0.5, 10: 0.0}),
        ("inverse_square_root", {0: 0.5, 1: 1.0, 7: 0.5}),
    ],
)
def test_learning_rates_of_ten_updates_two_of_them_warming_up(schedule, rates, capsys):
    def rate_of(steps, **others):
        options = Options(learning_rate=1.0, schedule=schedule, **others)
        return experiment.learning_rate(options, experiment.training_data(options, tf.data.Dataset.range(steps)))

    rate = rate_of(2, epochs=5, warmup_steps=2)
    np.testing.assert_allclose([float(rate(step)) for step in rates], list(rates.values()), atol=1e-6)
    assert not capsys.readouterr().out
    assert float(rate_of(1, epochs=1, warmup_steps=100)(0)) > 0
    rate_of(7, epochs=9, warmup_steps=100)  # 63 updates
    assert "Warm-up: 15 updates, a quarter of all 63, in place of 100." in capsys.readouterr().out


def test_batches_are_shuffled_and_counted_and_the_long_ones_dropped(capsys):
    parts = examples(40, seed=1), examples(30, seed=2)
    options = Options(epochs=1)
    train, valid = experiment.batches(options, *parts, tokens_per_batch=20, max_length=6, replicas=2)
    lengths = [data.lengths(part) for part in parts]
    told = capsys.readouterr().out
    assert f"{(lengths[0] < 6).sum()} examples" in told and f"{(lengths[0] >= 6).sum()} more" in told
    epochs = []
    for epoch in (0, 1, 0):
        for start in train.epoch_aware:
            start.start_epoch(epoch)
        epochs.append([ids.numpy().tolist() for ids, _ in train.batches])
        assert len(epochs[-1]) == int(train.batches.cardinality())
    assert epochs[0] == epochs[2] != epochs[1]
    rows = sorted(tuple(i for i in row if i) for batch in epochs[0] for row in batch)
    assert rows == sorted(tuple(ids.numpy().tolist()) for ids, _ in parts[0] if len(ids) < 6)
    assert sum(len(ids) for ids, _ in valid) == 30 and len(list(valid)) == int(valid.cardinality())
    assert experiment.batches(options, parts[0], None, tokens_per_batch=20, max_length=6)[1] is None
    with pytest.raises(ValueError, match="--max-length 1"):
        experiment.batches(options, *parts, tokens_per_batch=20, max_length=1)


def test_a_budget_takes_the_place_of_epochs(tmp_path, capsys):
    options = dataclasses.replace(options_in(tmp_path), budget_tokens=500, rounds=3, epochs=None)
    run, _ = trained(options, experiment.setup(options))
    used = [row["trained_tokens"] for row in training.read_history(run.history)]
    assert len(used) == 3 and all(500 * (n + 1) / 3 <= value < 500 * (n + 1) / 3 + 32 for n, value in enumerate(used))
    assert f"{used[-1]:.0f} tokens, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_tokens": 9.0, "budget_seconds": 9.0}, "`budget_tokens` and `budget_seconds` exclude each other"),
        ({"budget_tokens": 9.0, "data_service": "grpc://x"}, "`data_service` serves whole epochs"),
        ({"budget_seconds": -1.0}, "`seconds` must be above 0"),
    ],
)
def test_errors_of_budgets(changes, message):
    with pytest.raises(ValueError, match=message):
        experiment.training_data(Options(**changes), tf.data.Dataset.range(3))


def test_a_run_that_diverges_ends_with_a_diagnosis(tmp_path):
    options = dataclasses.replace(options_in(tmp_path), learning_rate=1e38)
    with pytest.raises(training.NotFiniteError) as raised:
        trained(options, experiment.setup(options))
    told, run = str(raised.value), options.run
    assert told.startswith("Training stopped ") and raised.value.diagnosis.origin is not None
    assert "lower the learning rate" in told
    assert (run / "gradients.csv").exists() or raised.value.path.parent == run
    assert not training.read_history(run / "history.csv") and not (run / "best.keras").exists()


def test_fit_leaves_its_files_and_the_better_weights_and_goes_on(tmp_path, capsys):
    options = options_in(tmp_path)
    scope = experiment.setup(options)
    run, model = trained(options, scope)
    for name in ("config.json", "parameters.txt", "best.keras", "plots/learning_curve.png"):
        assert (run.path / name).stat().st_size > 0, name
    rows = training.read_history(run.history)
    assert [row["epoch"] for row in rows] == [1, 2, 3] and "tokens/s" in rows[0]
    assert all(0 < row["gradient_norm"] <= row["largest_gradient_norm"] for row in rows)
    told = capsys.readouterr().out
    found = re.search(r"accuracy: (.+) with the weights of the best epoch, (.+) with the mean .* is kept", told)
    best, mean = map(float, found.groups())
    assert best == pytest.approx(max(row["val_accuracy"] for row in rows), abs=1e-3)
    valid = [(ids, labels.numpy()) for ids, labels in examples(32, seed=2).padded_batch(32)]
    right = np.mean([model(ids).numpy().argmax(axis=1) == labels for ids, labels in valid])
    assert right == pytest.approx(max(best, mean), abs=1e-3)
    np.testing.assert_array_equal(keras.models.load_model(run.best).get_weights()[0], model.get_weights()[0])

    again, _ = trained(dataclasses.replace(options, save_every=1, strategy="one_device"), scope)
    assert training.read_history(again.history) == rows
    assert f"Resuming {run.path} after epoch 3 of 3.\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="another run"):
        trained(dataclasses.replace(options, learning_rate=0.1), scope)


def test_events_for_tensorboard_are_in_the_run_folder(tmp_path, monkeypatch):
    folders = []

    class TensorBoard(keras.callbacks.Callback):
        def __init__(self, folder):
            super().__init__()
            folders.append(folder)

    monkeypatch.setattr(keras.callbacks, "TensorBoard", TensorBoard)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    options = options_in(tmp_path, epochs=1, tensorboard=True)
    run, _ = trained(options, experiment.setup(options))
    assert folders == [str(run.path / "tensorboard")]


def test_fit_stops_early_by_what_it_is_told_to_watch(tmp_path):
    scores = iter([3.0, 2.0, 1.0, 3.0, 2.0])
    options, saved = options_in(tmp_path, epochs=5, patience=1), []
    seen = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: saved.append(len(training.read_history(options.run / "history.csv")))
    )
    fitting = {"monitor": "val_x", "validate": lambda: {"val_x": next(scores)}, "watching": [seen]}
    run, _ = trained(options, experiment.setup(options), **fitting | {"mode": "max"})
    rows = training.read_history(run.history)
    assert [row["val_x"] for row in rows] == [3.0, 2.0]
    assert saved == [1, 2]  # a callback finds the epoch saved


@pytest.mark.long
def test_fit_without_validation_trains_all_epochs_and_takes_the_mean(tmp_path):
    options = options_in(tmp_path, average=2)
    run, model = trained(options, experiment.setup(options), monitor=None)
    assert len(training.read_history(run.history)) == 3
    kept = [weights.copy() for weights in model.get_weights()]
    training.average_checkpoints(model, training.Checkpoints(run.path).paths())
    for ours, theirs in zip(kept, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(keras.models.load_model(run.best).get_weights()[0], kept[0])


def test_another_worker_waits_and_leaves(tmp_path):
    options = options_in(tmp_path, epochs=1)
    chief = experiment.setup(options)
    experiment.run_folder(options, chief, {})
    worker = Worker("one_device")
    run, _ = trained(options, worker)
    assert worker.asked >= 2
    assert not run.best.exists() and not (run.path / "parameters.txt").exists()


@pytest.mark.parametrize("kind", ["words", "bpe", "unigram", "characters", "bytes"])
def test_a_vocabulary_is_learned_once(tmp_path, kind):
    options = options_in(tmp_path)
    scope = experiment.setup(options)
    run = experiment.run_folder(options, scope, {})
    lines = ["one two three", "two three four"] * 5
    first = experiment.vocabulary(run, scope, lines, kind, 300, name="source")
    ids = first.tokenize(["two four"]).numpy().tolist()
    second = experiment.vocabulary(run, scope, ["other text"], kind, 300, name="source")
    assert type(first) is type(second) is type(text.load(next(run.vocabulary.glob("source.*"))))
    assert second.tokenize(["two four"]).numpy().tolist() == ids


def test_the_folder_with_the_data(tmp_path, monkeypatch):
    assert experiment.data_folder(None, False, "ett") is None
    assert experiment.data_folder(str(tmp_path), False, "ett") == tmp_path
    with pytest.raises(ValueError, match="--data-dir, or --download"):
        experiment.data_folder(tmp_path, True, "ett")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        experiment.data_folder(tmp_path / "nowhere", False, "ett")
    monkeypatch.setattr(data, "fetch", lambda name: tmp_path / name)
    assert experiment.data_folder(None, True, "ett") == tmp_path / "ett"

    def offline(name):
        raise OSError("ETTh1.csv could not be downloaded from https://...")

    monkeypatch.setattr(data, "fetch", offline)
    with pytest.raises(OSError, match=r"could not be downloaded .* holds ETTh1.csv can also be named by --data-dir"):
        experiment.data_folder(None, True, "ett")


def test_results_are_printed_and_kept(tmp_path, capsys):
    options = options_in(tmp_path, seed=4)
    run = training.Run(options.run, {})
    results = [
        experiment.Result("accuracy", 0.98765, note="1,000 digits"),
        experiment.Result("MSE", 0.375, ".3f", architecture="repeat-last"),
        experiment.Result("perplexity", 12.3456, ",.1f", split="valid", task="other"),
    ]
    experiment.report(options, run, results, title="Test", task="digits", data="generated", architecture="gru")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["", "Test"]
    assert [line.split() for line in lines[2:]] == [
        ["digits", "gru", "test", "accuracy", "98.77%", "1,000", "digits"],
        ["digits", "repeat-last", "test", "MSE", "0.375"],
        ["other", "gru", "valid", "perplexity", "12.3"],
    ]
    assert lines[2].index("98.77%") + 6 == lines[3].index("0.375") + 5  # numbers end in one column
    kept = json.loads(run.metrics.read_text())
    assert [(entry["metric"], entry["value"], entry["architecture"]) for entry in kept] == [
        ("accuracy", 0.98765, "gru"),
        ("MSE", 0.375, "repeat-last"),
        ("perplexity", 12.3456, "gru"),
    ]
    assert {entry["recipe"] for entry in kept} == {Options.__module__} and {entry["seed"] for entry in kept} == {4}
    experiment.report(options, run, results[:1], title="Again", task="digits", data="generated", architecture="gru")
    assert "  accuracy  98.77%  1,000 digits" in capsys.readouterr().out  # what is the same for all is not said


def test_samples_are_put_one_below_the_other(capsys):
    experiment.samples({"source": ["a", "b", "c"], "of": [1, 2, 3]}, limit=2)
    assert capsys.readouterr().out == "\n  source a\n  of     1\n\n  source b\n  of     2\n\n"


def test_confusions_are_counted_printed_and_drawn(tmp_path, capsys):
    run = training.Run(tmp_path / "run", {})
    counts = experiment.confusions(run, [0, 0, 1, 2], [0, 1, 1, 0], ["bad", "$", "good"])
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    lines = capsys.readouterr().out.split("\n")
    assert lines[1].split()[-3:] == ["bad", "$", "good"] and lines[4].split() == ["good", "1", "0", "0"]
    assert (run.plots / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_kinds_are_printed_and_kept_with_their_scores(tmp_path, capsys):
    run = training.Run(tmp_path / "run", {})
    found = {
        kind: scores.span_f1([[(0, 1, "X"), (1, 2, "X")]], [[(0, 1, "X"), (1, 2, "Y")]], kind) for kind in ("X", "Y")
    }
    experiment.report_by_label(run, "tag", found)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert rows[0] == ["tag", "true", "found", "precision", "recall", "F1"]
    assert rows[1:] == [["X", "1", "2", "50.0%", "100.0%", "66.7%"], ["Y", "1", "0", "0.0%", "0.0%", "0.0%"]]
    assert [line.split("\t") for line in (run.path / "by_tag.tsv").read_text().splitlines()] == rows


def test_rows_keep_to_their_line(tmp_path):
    run = training.Run(tmp_path / "run", {})
    experiment.write_rows(run, "test.txt", {"label": ["good", "bad"], "text": ["a\tb\nc", "d"]})
    assert (run.path / "test.txt").read_text() == "good\ta b c\nbad\td\n"


def test_the_end_saves_exports_and_lets_the_others_go(tmp_path, capsys, monkeypatch):
    options, worker, seen = options_in(tmp_path), Worker("one_device"), []
    monkeypatch.setattr(export, "saved_model", lambda task, path, samples, run: seen.append((path, samples, run)))
    task = types.SimpleNamespace(save=lambda run: seen.append(run.path))
    experiment.finish(options, training.Run(options.run, {}), worker, task, samples=["a"])
    assert seen == [options.run, (options.export, ["a"], options.run)]
    assert str(options.run) in (told := capsys.readouterr().out) and str(options.export) in told
    assert worker.asked == 1


@dataclasses.dataclass(frozen=True)
class Folded(Options):
    folds: int = 3


@pytest.mark.parametrize("chief", [True, False])
def test_each_fold_is_scored_once_by_the_chief(chief, tmp_path, capsys):
    options, seen = Folded(run=tmp_path / "run", seed=5), []

    def score(options, train, test):
        seen.append((options.run.name, options.seed, train.tolist(), test.tolist()))
        return {"accuracy": len(seen) / 4} if chief else None

    scope = distribution.scope("one_device") if chief else Worker("one_device")
    found = experiment.cross_validate(options, [0, 1] * 6, scope, score)
    assert [row[:2] for row in seen] == [("fold-01", 5), ("fold-02", 6), ("fold-03", 7)]
    assert all(sorted(train + test) == list(range(12)) for *_, train, test in seen)
    assert sorted(row for *_, test in seen for row in test) == list(range(12))
    if not chief:
        assert found == [] and scope.asked == 1
        return
    assert [(one.metric, one.split) for one in found] == [
        ("accuracy, mean", "3 folds"),
        ("accuracy, standard deviation", "3 folds"),
    ]
    assert [one.value for one in found] == pytest.approx([0.5, 0.25]) and "25.00% to 75.00%" in found[0].note
    assert "Fold 2: accuracy 50.00%" in capsys.readouterr().out


def test_tags_that_are_none_are_named():
    options = TaggedTextFlags()
    for tags, told in (
        ([["X"] * 3] * 9, "All training words have the tag 'X': is the last column the tags"),
        ([[f"{i}-{j}" for j in range(5)] for i in range(20)], "100 different tags of 100 training words"),
        ([["X", "Y"]] * 2, "2 training sentences are too few. Give at least"),
    ):
        with pytest.raises(ValueError, match=told):
            options.check(data.TaggedText(tags, tags, None))


def test_a_run_to_begin_with_must_have_a_vocabulary(tmp_path):
    options = options_in(tmp_path, init_from=tmp_path)
    run = experiment.run_folder(options, experiment.setup(options), {})
    with pytest.raises(ValueError, match="has no vocabulary. Name a run folder."):
        experiment.initialize(options, model_of(0.1), run, {"": text.Words(["a"])})


def test_names_are_listed_before_they_are_loaded():
    assert set(experiment.__all__) <= set(dir(experiment)) and dir(experiment) == sorted(set(dir(experiment)))


def test_no_attention_is_drawn_of_a_model_without_any(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "attention_map", lambda *args: drawn.append(args))
    task = types.SimpleNamespace(model=types.SimpleNamespace(), attention=lambda sentence: (sentence, "weights"))
    experiment.draw_attention(task, "a b", tmp_path / "a.png")
    assert not drawn
    task.model.has_attention = True
    experiment.draw_attention(task, "a b", tmp_path / "a.png")
    assert drawn == [("a b", "weights", tmp_path / "a.png")]


def test_examples_in_memory_are_a_dataset_where_there_is_noise(monkeypatch, capsys):
    class Memory:
        def dataset(self):
            return tf.data.Dataset.from_tensor_slices([[1, 2], [3, 4], [5, 6]])

    class Buckets:
        def __init__(self, lengths, *options, **named):
            assert lengths.tolist() == [2, 2, 2]

        def batched(self, lengths, axes, examples):
            assert examples is None
            return lambda dataset: dataset.batch(3)

    monkeypatch.setattr(data, "InMemory", Memory)
    monkeypatch.setattr(data, "Buckets", Buckets)
    monkeypatch.setattr(data, "shuffled", lambda *seed: lambda dataset: dataset)
    monkeypatch.setattr(data, "lengths", lambda dataset, axes: np.array([2, 2, 2]))
    noise = [lambda dataset: dataset.map(lambda ids: ids + 10)]
    amount, valid = experiment.batches(
        Options(epochs=2), Memory(), None, tokens_per_batch=9, max_length=5, noise=iter(noise)
    )
    assert valid is None and capsys.readouterr().out == "3 examples for training, 0 for validation.\n"
    (batch,) = amount.batches.as_numpy_iterator()
    assert batch.tolist() == [[11, 12], [13, 14], [15, 16]] and amount.epoch_aware[1:2] == noise


def test_a_budget_of_seconds_has_a_schedule_of_its_progress():
    options = Options(learning_rate=1.0, schedule="linear", warmup_steps=7)
    rate = experiment.learning_rate(options, types.SimpleNamespace(updates=None))
    found = []
    for share in (0.0, 0.025, 0.05, 0.525, 1.0):  # of the seconds; the first twentieth is the warm-up
        rate.progress.assign(share)
        found.append(float(rate(10**6)))
    np.testing.assert_allclose(found, [0.02, 0.52, 1.0, 0.5, 0.0], atol=2e-3)


class Clips:
    def __init__(self, numbers):
        self.numbers = list(numbers)

    def __len__(self):
        return len(self.numbers)

    def select(self, places):
        return [self.numbers[place] for place in places]


def test_every_tenth_clip_is_held_out():
    parts = clips._divided(Clips(range(21)), pathlib.Path("a"))
    assert parts["valid"] == [9, 19] and parts["train"] == [n for n in range(21) if n not in (9, 19)]
    with pytest.raises(ValueError, match="a/train has 9 clips, too few to hold out some. Add a/valid."):
        clips._divided(Clips(range(9)), pathlib.Path("a"))


def labeled(*rows, names=("bad", "good")):
    labels, texts = zip(*rows, strict=True)
    return data.LabeledText(list(texts), list(labels), names, None)


def test_splits_of_one_label_and_texts_of_the_training_are_told(capsys):
    train = labeled(*((number % 2, f"text {number}") for number in range(20)))
    parts = {"train": train, "valid": labeled((1, "text 0"), (1, "new")), "test": labeled((0, "a"), (1, "b"))}
    labeled_text._check(parts)
    assert capsys.readouterr().out.splitlines() == [
        "All texts of the split valid have one label: its accuracy is of little use.",
        "1 of the 2 texts of the split valid are training texts too.",
    ]
    labeled_text._check({"train": dataclasses.replace(train, label_names=("-1", "+2"))})
    assert capsys.readouterr().out == "The labels are numbers: -1, +2. Give them names with --label-names.\n"


def test_a_folder_with_neither_two_files_nor_a_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="train"):
        parallel_text._files_of(tmp_path, "en", "de")
    for part in ("train", "valid"):
        (tmp_path / f"{part}.tsv").write_text("one\teins\n")
    files = parallel_text._files_of(tmp_path, "en", "de")
    assert files == {part: (tmp_path / f"{part}.tsv", None) for part in ("train", "valid")}


def test_pairs_are_read_or_streamed(tmp_path):
    for name, content in (("a.en", "one\n"), ("a.de", "eins\n"), ("a.tsv", "one\teins\n")):
        (tmp_path / name).write_text(content)
    sides, table = (tmp_path / "a.en", tmp_path / "a.de"), tmp_path / "a.tsv"
    streamed = parallel_text._read(*sides, "error", stream=True)
    assert isinstance(streamed, data.ParallelFiles) and streamed.files == [sides]
    assert parallel_text._told(streamed) == "1 pairs of lines, read in each epoch"
    for pair in (sides, (table, None)):
        read = parallel_text._read(*pair, "error", stream=False)
        assert (list(read.sources), list(read.targets)) == (["one"], ["eins"])
    with pytest.raises(ValueError, match="a.tsv has both sides. To stream, give a file for each side."):
        parallel_text._read(table, None, "error", stream=True)


@pytest.mark.parametrize("deterministic", [True, False])
def test_operations_are_deterministic_if_they_are_to_be(deterministic, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    experiment.setup(options_in(tmp_path, deterministic=deterministic))
    assert asked == [True] * deterministic


def test_a_file_is_the_data_of_some_recipes_only(tmp_path):
    (tmp_path / "a.txt").touch()
    assert experiment.data_folder(tmp_path / "a.txt", False, "ett", file_too=True) == tmp_path / "a.txt"
    with pytest.raises(FileNotFoundError, match="--data-dir .*a.txt is a file. Name the folder that it is in."):
        experiment.data_folder(tmp_path / "a.txt", False, "ett")


SERIES = data.Series(np.arange(24.0).reshape(12, 2), ("a", "b"))
SCALER = data.Scaler([1.0, 2.0], [2.0, 4.0], ("a", "b"))


@pytest.mark.parametrize("quantiles", [(), (0.1, 0.9, 0.95)])
def test_forecasts_of_windows_are_scaled_by_column(quantiles):
    def forecast(pasts):
        last = np.stack(pasts)[:, -1:]  # (B, 1, C)
        rows.append(len(last))
        return [*(last[..., None] + np.arange(len(quantiles)) if quantiles else last)]

    rows = []
    task = type(
        "Task", (), {"__call__": lambda self, pasts: forecast(pasts), "look_back": 3, "target_scaler": SCALER}
    )()
    windows = data.windows(SERIES, 3, 1, split=(0.0, 0.0, 1.0), scaler=None).test
    found = experiment.forecast_windows(task, SERIES, windows, rows=4)
    assert rows == [4, 4, 1]
    last = SERIES.values[2:11]
    expected = np.stack([(last[:, 0] - 1) / 2, (last[:, 1] - 2) / 4], axis=1)[:, None]
    if quantiles:
        expected = expected[..., None] + np.arange(3) / np.array([[2], [4]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_bands_of_forecasts_are_drawn_in_the_units_of_the_series(tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(plots, "forecasts", lambda *args: drawn.append(args))
    splits = dataclasses.replace(data.windows(SERIES, 3, 1, split=(0.0, 0.0, 1.0), scaler=None), scaler=SCALER)
    forecasts = np.zeros((9, 1, 2))
    run, band = types.SimpleNamespace(plots=tmp_path), np.stack([forecasts - 1, forecasts + 1], axis=-1)
    experiment.draw_forecasts(run, SERIES, splits, forecasts, shown=2, count=2, band=band, band_label="80%")
    ((past, future, predicted, titles, path, limits, label, times),) = drawn
    assert titles == ["b from 3", "a from 11"] and (path, label, times) == (tmp_path / "forecasts.png", "80%", None)
    assert past.tolist() == [[3, 5], [18, 20]] and future.tolist() == [[7], [22]]
    assert predicted.tolist() == [[2], [1]] and limits.tolist() == [[[-2, 6]], [[-1, 3]]]
    assert "b from 3" in capsys.readouterr().out


def test_only_dates_have_a_clock():
    rows = np.array([[0, 2]])
    times = np.arange(12)
    assert series._clock(dataclasses.replace(SERIES, times=times), rows) is None
    dates = np.datetime64("2024-01-01", "us") + times * np.timedelta64(1, "D")
    found = series._clock(dataclasses.replace(SERIES, times=dates), rows)
    assert found.tolist() == [[dates[0].item(), dates[2].item()]]


@pytest.mark.parametrize(
    ("epoch", "step", "rounds", "told"),
    [
        (2, 0, None, "after epoch 2 of 7."),
        (0, 1200, None, "after epoch 0 of 7 and 1,200 steps."),
        (3, 4, "any", "after round 3 of 7 and 4 steps."),
    ],
)
def test_where_a_run_resumes_is_told(epoch, step, rounds, told):
    resume = types.SimpleNamespace(initial_epoch=epoch, initial_step=step)
    train = types.SimpleNamespace(epochs=7, rounds=rounds)
    assert fitting._resuming(train, types.SimpleNamespace(path="runs/a"), resume) == f"Resuming runs/a {told}"


def test_a_data_service_begins_at_the_epoch_of_the_run(monkeypatch):
    class Start:
        def start_epoch(self, epoch):
            self.epoch = epoch

    given, starts = [], [Start(), Start()]

    def service(address, scope, on_trainer):
        given.append((address, scope))
        return lambda dataset: dataset.apply(on_trainer)

    monkeypatch.setattr(distribution, "data_service", service, raising=False)
    train = types.SimpleNamespace(batches=tf.data.Dataset.range(3))
    resume = types.SimpleNamespace(epoch_aware=starts, initial_epoch=4)
    throughput = types.SimpleNamespace(counted=lambda: lambda dataset: dataset.take(2))
    found = fitting._fed(Options(data_service="grpc://x"), train, "scope", resume, throughput)
    assert list(found.as_numpy_iterator()) == [0, 1] and given == [("grpc://x", "scope")]
    assert [start.epoch for start in starts] == [4, 4] and resume.epoch_aware == starts


@pytest.mark.parametrize("workers", [1, 2])
def test_one_of_several_workers_validates_a_copy(workers, monkeypatch):
    class Model:
        def __init__(self, weights):
            self.weights = weights

        def get_weights(self):
            return self.weights

        def set_weights(self, weights):
            self.weights = weights

        def evaluate(self, valid, verbose, return_dict):
            evaluated.append(self)
            return {"loss": valid * self.weights}

    evaluated, model, saved = [], Model(3), Model(5)
    monkeypatch.setattr(keras.models, "load_model", lambda path: {"best.keras": saved}[path])
    run, scope = types.SimpleNamespace(best="best.keras"), types.SimpleNamespace(workers=workers)
    assert fitting._keras_validation(model, 2, run, scope) == {"val_loss": 6}
    assert evaluated == [model if workers == 1 else saved] and model.weights == 3


def test_fit_without_a_score_keeps_the_mean_and_tells_where_it_resumes(tmp_path, monkeypatch, capsys):
    options = options_in(tmp_path)
    scope = experiment.setup(options)
    run, model = experiment.run_folder(options, scope, {}), model_of(0.1)
    fits, averaged, curves = [], [], []
    monkeypatch.setattr(model, "fit", lambda batches, **options: fits.append((batches, options)))
    monkeypatch.setattr(fitting, "_fed", lambda *args: "batches")
    monkeypatch.setattr(training, "average_checkpoints", lambda model, paths: averaged.append(paths))
    monkeypatch.setattr(training.Resume, "initial_step", 2)
    monkeypatch.setattr(training.Checkpoints, "paths", lambda self: ["1", "2"])
    monkeypatch.setattr(plots, "learning_curve", lambda *paths: curves.append(paths))
    train = experiment.training_data(options, tf.data.Dataset.range(4))
    experiment.fit(options, model, train, None, run, scope, monitor=None)
    assert f"Resuming {run.path} after epoch 0 of 3 and 2 steps.\n" in capsys.readouterr().out
    ((batches, fit),) = fits
    assert batches == "batches" and fit["epochs"] == 3 and fit["validation_data"] is None
    assert not any(isinstance(each, training.EarlyStopping) for each in fit["callbacks"])
    assert averaged == [["1", "2"]] and curves == [(run.history, run.plots / "learning_curve.png")]
    kept = keras.models.load_model(run.best, compile=False)
    np.testing.assert_array_equal(kept.get_weights()[0], model.get_weights()[0])
