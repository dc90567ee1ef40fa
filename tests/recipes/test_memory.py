"""The recipe as its users run it: gated cells hold what a simple RNN forgets, and every architecture gets its row."""

import dataclasses
import functools
import json
import shutil

import keras
import numpy as np
import pytest

import keras_seq
from keras_seq import cli, export
from keras_seq.layers import ARCHITECTURES
from keras_seq.tasks.loading import load_run
from recipes import memory
from recipes.synthetic import copy_and_addition
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import FAR, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = memory.Options(lengths=(2, 4), examples=40, test_examples=20, epochs=1, units=8, num_heads=2, average=1)
run_in = runner(memory, TINY)


def shares_of(run):
    """(task, architecture, metric) -> value."""
    entries = json.loads((run / "metrics.json").read_text())
    return {(entry["task"], entry["architecture"], entry["metric"]): entry["value"] for entry in entries}


LEARNED = memory.Options(tasks=("addition",), architectures=("rnn", "gru"), lengths=(5, 24), num_layers=1, epochs=5)
LEARNED = dataclasses.replace(LEARNED, examples=2_500, test_examples=200, tokens_per_batch=1024, learning_rate=1e-2)


ONE = {"tasks": ("copy",), "architectures": ("rnn",), "num_layers": 1}


@pytest.fixture(scope="module")
def begun(made_once):
    """An epoch of a simple RNN that copies, exported."""
    return made_once("memory-begun", functools.partial(run_in, **ONE))


@pytest.fixture(scope="module")
def learned(made_once):
    """A simple RNN and a GRU that have learnt to add, the better one exported."""
    return made_once("memory", functools.partial(run_in, options=LEARNED))


@pytest.mark.long
def test_the_gru_holds_what_the_rnn_forgets(learned):
    run = learned / "run"
    found = shares_of(run)
    gru, rnn = ([found["addition", name, f"accuracy, length {n}"] for n in (5, 24, 48)] for name in ("gru", "rnn"))
    assert min(gru[:2]) > 0.9 and gru[2] > 0.75, gru  # 48: twice the longest in training; guessing: 0.1
    assert rnn[1] < 0.75, rnn
    assert (run / "plots" / "addition.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "addition-rnn" / "history.csv").exists() and (learned / "export" / "saved_model.pb").exists()


def test_what_is_trained_is_not_trained_again(begun, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)  # once is enough
    shutil.copytree(begun / "run", tmp_path / "run")
    assert shares_of(run_in(tmp_path, **ONE)) == shares_of(begun / "run")
    told = capsys.readouterr().out
    assert "Epoch" not in told
    assert "copy, length" in told and "8 (not trained)" in told and "solved to" in told


def test_the_config_gives_the_same_options(begun):
    for run in (begun / "run", begun / "run" / "copy-rnn"):
        check_config(memory, run, dataclasses.replace(TINY, **ONE))


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    task = keras_seq.load(begun / "run" / "copy-rnn" if place == "run" else begun / "export")
    found = shares_of(begun / "run")
    for length in (2, 4, 8):
        examples = memory.drawn("copy", length, 20, 1, "test")
        tags = task([copy_and_addition.written("copy", row).split() for row in examples.tokens])
        right = np.array(tags) == np.array(copy_and_addition.SYMBOLS)[examples.answers]
        share = right[examples.asked > 0].mean()
        assert share == pytest.approx(found["copy", "rnn", f"accuracy, length {length}"], abs=1e-4)


@FAR
def test_every_architecture_gets_its_row(begun, tmp_path, monkeypatch, to_the_end):
    names, tasks, run = ("rnn",), ("copy",), begun / "run"
    if to_the_end:
        monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)  # takes a fresh process
        names, tasks = ARCHITECTURES, ("copy", "addition")
        run = run_in(tmp_path, architectures=names, num_layers=2)
    found = shares_of(run)
    for task in tasks:
        opened = load_run(run / f"{task}-{names[0]}", "export")
        assert opened.tags == list(copy_and_addition.ANSWERS[task])
        ids = range(copy_and_addition.vocabulary(task).size)
        assert opened.vocabulary.pieces(ids) == copy_and_addition.vocabulary(task).pieces(ids)
        for name in names:
            assert all(0 <= found[task, name, f"accuracy, length {n}"] <= 1 for n in (2, 4, 8))
            assert found[task, name, "longest length solved"] in (0, 2, 4, 8)


def test_a_length_is_solved_if_all_shorter_ones_are():
    assert memory.solved_to((5, 10, 20), [1.0, 0.99, 0.5]) == 10
    assert memory.solved_to((5, 10, 20), [1.0, 0.98, 1.0]) == 5
    assert memory.solved_to((5, 10, 20), [0.98, 1.0, 1.0]) == 0
    assert memory.solved_to((5, 10, 20), [1.0, 1.0, 1.0]) == 20


def test_parts_are_drawn_by_themselves():
    rows = [memory.drawn("copy", 4, 5, 1, part).tokens.tolist() for part in ("train", "valid", "test", "test")]
    assert rows[2] == rows[3] and rows[0] != rows[1] != rows[2] != rows[0]
    assert memory.drawn("copy", 4, 5, 2, "test").tokens.tolist() != rows[2]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--lengths", "1", "4"], "Received: (1, 4)"),
        (["--lengths", "4", "4"], "each larger than the last"),
        (["--architectures", "elman"], "elman"),
        (["--examples", "0"], "--examples"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys, argv, told):
    with pytest.raises(SystemExit) as ended:
        cli.run(memory.main, memory.Options, [*argv, "--run", str(tmp_path / "run")])
    assert ended.value.code == 2 and told in capsys.readouterr().err.splitlines()[-1]


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    def smaller(options):
        first = {"tasks": options.tasks[:1], "architectures": options.architectures[:1]}
        return {"examples": 20, "test_examples": 10, "units": 8, "lengths": (2, 4), **first}

    assert len(run_page(memory, tmp_path, monkeypatch, to_the_end, smaller)) >= 3
