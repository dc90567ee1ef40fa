"""The recipe as its users run it: gated cells hold what a simple RNN forgets, and each task has its score."""

import dataclasses
import functools
import json
import shutil
import types

import keras
import numpy as np
import pytest

import keras_seq
from keras_seq import cli, export, tuning
from keras_seq.experiment import RecipeHyperModel
from keras_seq.layers import ARCHITECTURES
from keras_seq.tasks.loading import load_run
from recipes import memory
from recipes.synthetic import copy_and_addition, published_memory
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import FAR, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TASKS = tuple(memory.METRICS)
TINY = memory.Options(lengths=(2, 4), examples=40, test_examples=20, epochs=1, units=8, num_layers=1, average=1)
TINY = dataclasses.replace(TINY, architecture="rnn", num_heads=2, tokens_per_batch=256)
LEARNED = memory.Options(task="addition", lengths=(5, 24), num_layers=1, epochs=5, examples=2_500, test_examples=200)
LEARNED = dataclasses.replace(LEARNED, tokens_per_batch=1024, learning_rate=1e-2)
run_in = runner(memory, TINY)


def scores_of(run):
    """(split, metric) -> value."""
    entries = json.loads((run / "metrics.json").read_text())
    return {(entry["split"], entry["metric"]): entry["value"] for entry in entries}


@pytest.fixture(scope="module")
def begun(made_once):
    """An epoch of a simple RNN that copies, exported."""
    return made_once("memory-begun", run_in)


@pytest.fixture(scope="module")
def learned(made_once):
    """A GRU that has learnt to add, exported."""
    return made_once("memory", functools.partial(run_in, options=LEARNED))


@pytest.mark.long
def test_the_gru_holds_what_the_rnn_forgets(learned, tmp_path):
    gru = scores_of(learned / "run")
    assert min(gru["test", f"accuracy, length {n}"] for n in (5, 24)) > 0.9, gru
    assert gru["long", "accuracy, length 48"] > 0.75, gru  # twice the longest in training; guessing: 0.1
    rnn = scores_of(run_in(tmp_path, options=LEARNED, architecture="rnn"))
    assert rnn["test", "accuracy, length 24"] < 0.75, rnn
    assert (learned / "run/plots/score_by_length.png").read_bytes().startswith(b"\x89PNG")
    assert (learned / "run/history.csv").exists() and (learned / "export/saved_model.pb").exists()


@pytest.mark.long
def test_the_adding_problem_is_solved_at_a_short_length(tmp_path):
    short = memory.Options(task="adding", lengths=(20,), units=32, epochs=6, examples=8_000, tokens_per_batch=640)
    found = scores_of(run_in(tmp_path, options=dataclasses.replace(short, learning_rate=5e-3, chrono_steps=20)))
    assert found["test", "MSE"] < 0.01 < published_memory.MEAN_ERROR


@pytest.mark.long
def test_what_is_trained_is_not_trained_again(begun, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)  # once is enough
    shutil.copytree(begun / "run", tmp_path / "run")
    assert scores_of(run_in(tmp_path)) == scores_of(begun / "run")
    told = capsys.readouterr().out
    assert "Epoch" not in told
    assert "rnn, copy, 20 test examples" in told and "guessing: 12.5%; not trained" in told and "solved" in told


def test_the_config_gives_the_same_options(begun):
    check_config(memory, begun / "run", TINY)


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    task = keras_seq.load(begun / place)
    found = scores_of(begun / "run")
    for split, length in (("test", 2), ("test", 4), ("long", 8)):
        examples = memory.drawn("copy", length, 20, 1, "test")
        tags = task([copy_and_addition.written("copy", row) for row in examples.tokens])
        right = np.array(tags) == np.array(copy_and_addition.SYMBOLS)[examples.answers]
        share = right[examples.asked > 0].mean()
        assert share == pytest.approx(found[split, f"accuracy, length {length}"], abs=1e-4)


@pytest.mark.parametrize("name", ["adding", pytest.param("copy_memory", marks=pytest.mark.long)])
def test_the_published_tasks_get_their_rows(name, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    run = run_in(tmp_path, task=name)
    entries = json.loads((run / "metrics.json").read_text())
    metric = memory.METRICS[name]
    assert {(e["split"], e["metric"]) for e in entries} >= {
        *[("test", f"{metric}, length 2"), ("test", metric), ("long", f"{metric}, length 8")]
    }
    assert {(e["data"], e["architecture"]) for e in entries} == {(name.removesuffix("_memory"), "rnn")}
    x, y = published_memory.drawn(name, 4, 20, 1, "test")
    (found,) = [e["value"] for e in entries if e["metric"] == metric]
    model = load_run(run, "export").model
    outputs = model.predict(x, verbose=0)
    if name == "adding":
        assert found == pytest.approx(np.square(outputs - y).mean(), rel=1e-4)
    else:
        exps = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        right = np.take_along_axis(exps / exps.sum(axis=-1, keepdims=True), y[..., None], axis=-1)
        assert found == pytest.approx(-np.log(right).mean(), rel=1e-4)
        rows = [line.split("\t") for line in (run / "test.txt").read_text().splitlines()]
        assert [row[0] for row in rows] == [" ".join(map(str, symbols)) for symbols in y[:, -10:]]
        share = np.mean([a == b for row in rows for a, b in zip(row[0].split(), row[1].split(), strict=True)])
        assert share == pytest.approx({e["metric"]: e["value"] for e in entries}["accuracy"])


def test_a_model_without_memory_has_the_score_of_guessing():
    options = memory.with_defaults(dataclasses.replace(TINY, task="adding"))
    x, sums = published_memory.drawn("adding", 4, 20_000, 3, "test")
    ones = memory.scores(options, lambda steps: [np.ones(1)] * len(steps), (x, sums))
    assert ones.shape == (20_000,)
    assert ones.mean() == pytest.approx(memory.guessing("adding", 4), rel=0.03)

    def without_memory(ids, **_):  # uniform over the symbols at the last ten steps, certain of the blank before
        logits = np.zeros((*ids.shape, published_memory.CLASSES), "float32")
        logits[:, :-10, 1:] = logits[:, -10:, :1] = -1e4
        return logits

    examples = published_memory.drawn("copy_memory", 30, 5, 3, "test")
    task = types.SimpleNamespace(model=types.SimpleNamespace(predict=without_memory))
    loss = memory.scores(dataclasses.replace(options, task="copy_memory"), task, examples)
    assert loss == pytest.approx(np.full(5, memory.guessing("copy_memory", 30)), rel=1e-5)


def test_scores_by_length_are_those_of_validation_and_of_twice_the_longest(begun):
    options = memory.with_defaults(TINY)
    task, parts = keras_seq.load(begun / "run"), memory.read(options)
    lengths, found = memory.scores_by_length(options, task, parts)
    assert lengths.tolist() == [2] * 20 + [4] * 20 + [8] * 20
    assert found[-20:].mean() == pytest.approx(scores_of(begun / "run")["long", "accuracy, length 8"])
    assert set(np.round(3 * found).astype(int)) <= {0, 1, 2, 3}  # of three letters
    again = [memory.scores(options, task, parts["valid"][length]) for length in (2, 4)]
    np.testing.assert_array_equal(found[:-20], np.concatenate(again))
    assert memory.chance(options, parts) == 1 / 8
    mixed = memory.with_defaults(dataclasses.replace(TINY, task="copy_memory"))
    expected = 10 * np.log(8) * (1 / 22 + 1 / 24) / 2
    assert memory.chance(mixed, memory.read(mixed)) == pytest.approx(expected)


@FAR
@pytest.mark.parametrize("name", TASKS)
def test_every_architecture_trains_on_every_task(name, tmp_path, monkeypatch, to_the_end):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    names = (*ARCHITECTURES, "cnn", "feedforward") if to_the_end else ()
    for architecture in names:
        run = run_in(tmp_path / architecture, architecture=architecture, task=name)
        assert all(np.isfinite(value) for value in scores_of(run).values())
    options = memory.with_defaults(memory.Options(task=name))
    assert options.lengths and options.units and options.patience
    assert set(memory.read(dataclasses.replace(options, lengths=(2, 3), test_examples=2))) == {
        *("train", "valid", "test", "long")
    }


@pytest.mark.long
def test_a_search_trains_it(tmp_path):
    hypermodel = RecipeHyperModel(memory, dataclasses.replace(TINY, task="adding", architecture="gru", run=tmp_path))
    assert (hypermodel.objective.name, hypermodel.objective.direction) == ("val_loss", "min")
    hypermodel.check(hypermodel.space)
    budget = tuning.Budget(tokens=2_000, rounds=2)  # of examples
    values = hypermodel.space.hyperparameters()
    hypermodel.train(values, tmp_path / "trial", budget, hypermodel.objective, [])
    epochs, *rows = (tmp_path / "trial/history.csv").read_text().splitlines()
    assert len(rows) == 2 and "val_loss" in epochs
    other = RecipeHyperModel(memory, dataclasses.replace(TINY, task="adding", seed=2, run=tmp_path))
    assert set(hypermodel.identity()["data"]) == {"train", "valid"}
    assert all(hypermodel.identity()["data"][name] != other.identity()["data"][name] for name in ("train", "valid"))


def test_a_length_is_solved_if_all_shorter_ones_are():
    assert memory.solved_to({5: 1.0, 10: 0.99, 20: 0.5}) == 10
    assert memory.solved_to({5: 1.0, 10: 0.98, 20: 1.0}) == 5
    assert memory.solved_to({5: 0.98, 10: 1.0, 20: 1.0}) == 0
    assert memory.solved_to({5: 1.0, 10: 1.0, 20: 1.0}) == 20


def test_parts_are_drawn_by_themselves():
    rows = [memory.drawn("copy", 4, 5, 1, part).tokens.tolist() for part in ("train", "valid", "test", "test")]
    assert rows[2] == rows[3] and rows[0] != rows[1] != rows[2] != rows[0]
    assert memory.drawn("copy", 4, 5, 2, "test").tokens.tolist() != rows[2]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--lengths", "1", "4"], "Received: (1, 4)"),
        (["--lengths", "4", "4"], "each larger than the last"),
        (["--architecture", "elman"], "elman"),
        (["--examples", "0"], "--examples"),
        (["--task", "adding", "--test-examples", "0"], "--test-examples"),
        (["--chrono-steps", "9", "--architecture", "rnn"], "Received: rnn"),
        (["--chrono-steps", "2"], "above 2"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys, argv, told):
    small = ("--examples", "4", "--test-examples", "2") if "--examples" not in argv else ()
    small = small if "--test-examples" not in argv else ()
    with pytest.raises(SystemExit) as ended:
        cli.run(memory.main, memory.Options, [*small, *argv, "--run", str(tmp_path / "run")])
    assert ended.value.code == 2 and told in capsys.readouterr().err.splitlines()[-1]


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    def smaller(options):
        chrono = {"chrono_steps": 4} if options.chrono_steps else {}
        small = {"budget_seconds": None, "tokens_per_batch": 256, **chrono}
        return {"examples": 20, "test_examples": 10, "units": 8, "lengths": (2, 4), **small}

    assert len(run_page(memory, tmp_path, monkeypatch, to_the_end, smaller)) >= 3
