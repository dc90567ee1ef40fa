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
from keras_seq.experiment.tagged_text import TaggedTextFlags

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
