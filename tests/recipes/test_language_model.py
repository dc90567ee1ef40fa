"""The recipe as its users run it: it learns what is forty characters back, goes on, exports, and names bad input."""

import dataclasses
import functools
import io
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_seq
from keras_seq import __main__ as program
from keras_seq import data, decoding, experiment, export
from keras_seq.tasks.scoring import scoring
from recipes import language_model
from recipes.public import plain_text
from recipes.synthetic import counting_text
from tests.recipes.finished import check_config
from tests.recipes.pages import FAR, error_of, evaluated, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = language_model.Options(
    lines=60, epochs=1, units=8, num_layers=1, batch_size=4, block=16, average=1, sample_length=12, ngram=2
)
run_in = runner(language_model, TINY)


def metrics_of(run):
    """{(task, metric): value}."""
    entries = json.loads((run / "metrics.json").read_text())
    return {(entry["task"].removeprefix("language model, "), entry["metric"]): entry["value"] for entry in entries}


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("language_model-begun", functools.partial(run_in, architecture="rnn"))


@pytest.fixture(scope="module")
def learned(made_once):
    """A run on less than half of the demo's text, exported."""
    make = functools.partial(run_in, options=language_model.Options(), lines=2_000, prompt="two hens", sample_length=30)
    return made_once("language_model", make)


@pytest.mark.long
def test_it_learns_what_counts_cannot_tell(learned):
    found = metrics_of(learned / "run")
    nats = {task: value for (task, metric), value in found.items() if metric == "nats per token"}
    assert counting_text.entropy() * 0.95 < nats["state carried"] < 0.2  # untrained: 3.2
    assert nats["5-grams counted"] > 0.4
    assert nats["state carried"] < nats["blocks of 128"] < nats["blocks of 64"]  # the more context, the better
    assert found["state carried", "perplexity"] == pytest.approx(np.exp(nats["state carried"]))
    bits = nats["state carried"] / np.log(2)  # a token is a character
    assert found["state carried", "bits per character"] == pytest.approx(bits)


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "parameters.txt", "best.keras", "vocabulary/joint.characters"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "loss_by_position.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name


def test_evaluate_gives_the_scores_of_the_recipe(begun, capsys, tmp_path):
    (tmp_path / "test.txt").write_text(counting_text.text(20, "test 1"))
    record, expected = evaluated(capsys, begun / "run", tmp_path / "test.txt"), metrics_of(begun / "run")
    for context in ("state carried", "blocks of 16"):
        for metric in ("nats per token", "perplexity", "bits per character"):
            value = record[context][metric.replace(" ", "_")]
            assert value == pytest.approx(expected[context, metric], rel=1e-4), (context, metric)


def test_the_config_gives_the_same_options(begun):
    check_config(language_model, begun / "run", dataclasses.replace(TINY, architecture="rnn"))


@pytest.mark.long
def test_the_task_gives_the_measured_figures_and_the_samples(tmp_path, capsys):
    run = run_in(tmp_path, architecture="rnn", prompt="two", top_k=3)
    task, served = keras_seq.load(run), keras_seq.load(tmp_path / "export")
    sample = task("two", max_length=12)
    assert f"\n{sample}\n\nRun folder" in capsys.readouterr().out and served("two", max_length=12) == sample
    text = counting_text.text(20, "test 1")
    ids = data.token_ids([text], task.vocabulary, end_last=False)
    cut = data.blocks(ids, 128, length=16, start_id=task.vocabulary.start_id)
    loss = np.nanmean(decoding.TokenLosses(task.model)(cut))
    assert loss == pytest.approx(metrics_of(run)["blocks of 16", "nats per token"], rel=1e-4)
    lines = text.splitlines()[:5]
    score = served.signatures_by_name["score"](text=tf.constant(lines))["log_prob"].numpy()
    np.testing.assert_allclose(score, [one.total for one in scoring(task)(lines)], rtol=1e-4)


@pytest.mark.long
def test_what_it_says_counts_on(learned):
    signatures = tf.saved_model.load(str(learned / "export")).signatures
    said = signatures["generate"](
        text=tf.constant(["four plums, five", "one key", "three boats, four boats, five boats"])
    )
    assert said["whole"].numpy()[0].startswith(b"four plums, five plums")
    assert {"generate", "generate_with_options", "score", "step"} <= set(signatures)


def test_the_commands_of_the_package_take_its_run_folder(begun, monkeypatch, capsys):
    lines = ["two hens,", "three pigs, four pigs."]
    for verb, argv in (("generate", ["--search", "sampling", "--max-length", "5"]), ("score", ["--json"])):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(f"{x}\n" for x in lines).encode())))
        program.main([verb, "--model", str(begun / "run"), *argv])
        printed = capsys.readouterr().out
        assert printed.strip(), verb
    scores = [json.loads(line) for line in printed.splitlines()]
    assert len(scores) == 2


@pytest.mark.long
def test_a_run_goes_on_with_the_state_that_it_carried(tmp_path, monkeypatch):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 5:
                raise KeyboardInterrupt

    def losses_of(run):
        header, *rows = ((run / "history.csv").read_text()).splitlines()
        rows = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
        return [[float(row[name]) for name in ("loss", "val_loss")] for row in rows]

    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    options = {"epochs": 2, "save_every": 3, "architecture": "gru"}
    whole, fit = losses_of(run_in(tmp_path / "whole", **options)), experiment.fit
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "fit", lambda *args, watching, **rest: fit(*args, watching=[Stop()], **rest))
        with pytest.raises(KeyboardInterrupt):
            run_in(tmp_path / "parts", **options)
    np.testing.assert_allclose(losses_of(run_in(tmp_path / "parts", **options)), whole, rtol=1e-4)


def write_text(path, lines=60):
    path.write_text("".join(f"the fox no {number % 7} met the hen .\n" for number in range(lines)), encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "rnn", "vocabulary": "words", "top_k": 3, "num_sampled": 4},
        {"architecture": "transformer", "num_heads": 2, "batches": 6},
        {"architecture": "gru", "vocabulary": "bytes", "num_layers": 2},
        {"architecture": "lstm", "vocabulary": "bpe", "vocabulary_size": 60},
        {"architecture": "mingru", "documents": "line"},
        {"architecture": "minlstm", "top_p": 0.9},
        {"architecture": "rglru", "vocabulary": "unigram", "vocabulary_size": 50},
        {"architecture": "transformer", "positions": "learned"},
        {"architecture": "transformer", "positions": "alibi"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_architecture_runs_to_the_end_on_files(tmp_path, changes, capsys):
    write_text(tmp_path / "input.txt")
    run = run_in(tmp_path, data_dir=tmp_path, **changes)
    found = metrics_of(run)
    assert json.loads((run / "metrics.json").read_text())[0]["split"] == "valid"
    assert all(np.isfinite(value) for value in found.values())
    tasks = {task for task, _ in found}
    assert ("state carried" in tasks) == (changes["architecture"] != "transformer")
    assert ("blocks of 32" in tasks) == (changes.get("positions") != "learned")
    assert (tmp_path / "export" / "saved_model.pb").exists()
    assert len(re.findall("(?m)^Run folder", capsys.readouterr().out)) == 1


def test_the_last_tenth_is_held_out_to_the_character(real_data):
    folder = real_data("tinyshakespeare")
    parts = language_model.read(language_model.Options(data_dir=folder, documents="file"))
    whole = (folder / "input.txt").read_text()
    assert [len("".join(part)) for part in parts.values()] == [1_003_854, 111_540]
    assert "".join(parts["train"] + parts["valid"]) == whole
    assert plain_text.held_out(["ab", "cdef", "ghij"]) == (["ab", "cdef", "ghi"], ["j"])


def test_every_token_is_a_label_once_and_some_rows_begin():
    ids = np.arange(10, 10 + 16 * 4 * 10)
    for architecture in ("gru", "transformer"):
        options = dataclasses.replace(TINY, architecture=architecture)
        batches = language_model.training_batches(options, ids, 2).batches
        seen, begun, rows = [], 0, 0
        for inputs, labels, weights in batches.as_numpy_iterator():
            tokens = inputs["tokens"] if architecture == "gru" else inputs
            seen += labels[weights > 0].tolist()
            starts = tokens[:, 0] == 2
            assert architecture != "gru" or (starts == inputs["starts"]).all()
            np.testing.assert_array_equal(tokens[:, 1:], labels[:, :-1])
            begun, rows = begun + starts.sum(), rows + len(tokens)
        assert sorted(seen) == ids.tolist() and 1 <= begun <= rows / 16 + 5


def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys):
    argv = ["--data-dir", str(tmp_path), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "nowhere" in error_of(language_model, capsys, "--data-dir", str(tmp_path / "nowhere"))
    assert ".txt" in error_of(language_model, capsys, *argv)
    assert "--download" in error_of(language_model, capsys, *argv, "--download")
    (tmp_path / "train.txt").write_bytes(b"good\nb\xffd\n")
    told = error_of(language_model, capsys, *argv)
    assert "train.txt" in told and "2" in told
    write_text(tmp_path / "train.txt", 2)
    assert "--batch-size 900" in error_of(language_model, capsys, *argv, "--batch-size", "900")
    assert "--block must be" in error_of(language_model, capsys, *argv, "--block", "0")
    assert "--batches" in error_of(language_model, capsys, *argv, "--batches", "3")
    assert "--vocabulary characters" in error_of(language_model, capsys, *argv, "--num-sampled", "9")
    (tmp_path / "valid.txt").write_text("x")
    assert "valid" in error_of(language_model, capsys, *argv)


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    write_text(tmp_path / "train.txt")
    small = {"lines": 60, "units": 8, "num_heads": 2, "num_layers": 1, "vocabulary_size": 60, "ngram": 2}
    small |= {"block": 16, "batch_size": 4, "batches": None, "sample_length": 6}
    assert len(run_page(language_model, tmp_path, monkeypatch, to_the_end, lambda options: small)) >= 5
