"""Training of cells: what is recorded, what is not repeated, and what is resumed."""

import contextlib
import gc

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("comparisons run on TensorFlow", allow_module_level=True)

from keras_seq import training
from keras_seq.comparison import training_cells
from keras_seq.comparison.cells import Cell, CellRecord, Grid, read_cell
from keras_seq.comparison.contender import built_model
from keras_seq.comparison.training_cells import CellWatch, train_cells
from keras_seq.data.file_lock import tried
from tests.comparison.toy import ROUNDS, TOKENS, Toy


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """A collection takes half a second in a process that has run other tests."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def test_each_cell_is_trained_once_and_a_bad_one_ends_nothing(tmp_path):
    toy, cells = Toy(), list(Grid({"feedforward": 4, "broken": 4}, (0.1, 5.0), (1,)))
    train_cells(toy, cells, tmp_path, "me")
    records = {cell.folder.as_posix(): read_cell(tmp_path / cell.folder) for cell in cells}
    assert {name: record.status for name, record in records.items()} == {
        "feedforward/0.1-1": "done", "feedforward/5-1": "diverged", "broken/0.1-1": "failed", "broken/5-1": "failed"
    }  # fmt: skip
    assert records["broken/0.1-1"].reason == "RuntimeError: out of order"
    assert records["feedforward/5-1"].reason == "loss is nan after round 1"

    done = records["feedforward/0.1-1"]
    rows = training.read_history(tmp_path / "feedforward/0.1-1/history.csv")
    assert len(rows) == ROUNDS and done.score == max(row["val_accuracy"] for row in rows)
    assert done.curve == tuple((row["trained_tokens"], row["val_accuracy"]) for row in rows)
    assert TOKENS <= done.tokens < TOKENS + 80 and done.worker == "me"
    assert done.backbone_parameters == 2 * (4 * 4 + 4) and done.parameters == 20 * 4 + 40 + 4 * 2 + 2
    assert done.by_length == ((2, 2, 2, 0.5), (3, 3, 1, 1.0))
    assert not (tmp_path / "feedforward/0.1-1/checkpoints").exists()

    trained = list(toy.trained)
    train_cells(toy, cells, tmp_path)
    assert toy.trained == trained


class Killed(BaseException):
    pass


def test_a_cell_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    cell, ended = Cell("feedforward", 0.1, 1, 4), []
    write = CellWatch.on_epoch_end

    def after_a_round(self, epoch, logs=None):
        ended.append(epoch)
        write(self, epoch, logs)
        if len(ended) == 1:
            raise Killed

    monkeypatch.setattr(CellWatch, "on_epoch_end", after_a_round)
    with pytest.raises(Killed):
        train_cells(Toy(), [cell], tmp_path)
    assert read_cell(tmp_path / cell.folder).status == "running"
    assert len(read_cell(tmp_path / cell.folder).curve) == 1
    train_cells(Toy(), [cell], tmp_path)
    assert ended == [0, 1]  # no round twice

    train_cells(Toy(), [cell], tmp_path / "whole")
    one, whole = (read_cell(folder / cell.folder) for folder in (tmp_path, tmp_path / "whole"))
    assert one.curve == whole.curve and one.score == whole.score


def test_a_cell_of_another_process_is_left_alone(tmp_path):
    cells = [Cell("broken", 0.1, seed, 4) for seed in (1, 2)]
    with tried(tmp_path / "locks/broken-0.1-1") as mine, tried(tmp_path / "locks/broken-0.1-1") as again:
        assert mine and not again
        train_cells(Toy(), cells, tmp_path, wait=False)
    assert [read_cell(tmp_path / cell.folder).status for cell in cells] == ["waiting", "failed"]
    train_cells(Toy(), cells, tmp_path)
    assert read_cell(tmp_path / cells[0].folder).status == "failed"


def test_a_cell_of_another_process_is_waited_for(tmp_path, monkeypatch):
    cell, waits = Cell("broken", 0.1, 1, 4), []
    with contextlib.ExitStack() as theirs:
        assert theirs.enter_context(tried(training_cells.lock_of(cell, tmp_path)))

        def sleep(seconds):
            waits.append(seconds)
            if len(waits) == 3:
                theirs.close()

        monkeypatch.setattr(training_cells.time, "sleep", sleep)
        train_cells(Toy(), [cell], tmp_path)
    assert waits == [0.5] * 3 and read_cell(tmp_path / cell.folder).status == "failed"


def test_a_cell_that_ends_before_it_is_locked_is_not_trained_again(tmp_path, monkeypatch):
    cell = Cell("broken", 0.1, 1, 4)

    @contextlib.contextmanager
    def late(path):
        CellRecord("done", score=0.5).write(tmp_path / cell.folder)
        yield True

    monkeypatch.setattr(training_cells, "tried", late)
    train_cells(Toy(), [cell], tmp_path)
    assert read_cell(tmp_path / cell.folder) == CellRecord("done", score=0.5)


def test_a_score_that_no_round_logs_is_named(tmp_path):
    toy = Toy()
    toy.monitor = ("val_f1", "max")
    train_cells(toy, [Cell("feedforward", 0.1, 1, 4)], tmp_path)
    record = read_cell(tmp_path / "feedforward/0.1-1")
    assert record.status == "failed" and "No round logs the score `val_f1`. The logs have: accuracy, " in record.reason


def test_a_model_is_built_and_not_trained(tmp_path):
    values = Cell("feedforward", 0.1, 1, 4).values
    model = built_model(Toy(), values, tmp_path / "run")
    assert int(model.optimizer.iterations) == 0 and not (tmp_path / "run/history.csv").exists()
    assert np.shape(model.get_layer("feedforward_0").kernel) == (4, 4)
