"""Trains the cells of a grid: one after the other, in as many processes as there are workers."""

import contextlib
import dataclasses
import gc
import math
import pathlib
import shutil
import time
import traceback
from collections.abc import Iterable

import keras

from keras_seq import training
from keras_seq.comparison.cells import Cell, CellRecord, read_cell
from keras_seq.comparison.contender import Contender, backbone, parameters_of
from keras_seq.data.file_lock import tried


class Diverged(Exception):
    """A loss or a score that is not finite."""


class CellWatch(keras.callbacks.Callback):
    """Keeps the record of the cell that runs, and ends it when it diverges. Must come last.

    All follows from the run's `history.csv`, so a cell that was interrupted ends as it would have.

    Attributes:
        record: the record so far.
    """

    def __init__(self, cell: Cell, folder: pathlib.Path, monitor: tuple[str, str], worker: str = ""):
        super().__init__()
        self._cell, self._folder, self._monitor = cell, folder, monitor
        self.record = CellRecord("running", worker=worker)

    def on_train_begin(self, logs=None):
        own = parameters_of(backbone(self.model, self._cell.architecture))
        self.record = dataclasses.replace(self.record, parameters=self.model.count_params(), backbone_parameters=own)
        self._read()

    def on_epoch_end(self, epoch, logs=None):
        if self._monitor[0] not in (logs or {}):
            raise ValueError(f"No round logs the score `{self._monitor[0]}`. The logs have: {', '.join(sorted(logs))}")
        self._read()

    def _read(self) -> None:
        name, rows = self._monitor[0], training.read_history(self._folder / "history.csv")
        unit = "examples" if rows and "trained_examples" in rows[0] else "tokens"
        curve = tuple((int(row.get(f"trained_{unit}", 0)), row.get(name, math.nan)) for row in rows)
        last = {"tokens": curve[-1][0], "seconds": rows[-1]["seconds"]} if rows else {}
        self.record = dataclasses.replace(self.record, curve=curve, **last)
        self.record.write(self._folder)
        for row in rows:
            for score in ("loss", name):
                if not math.isfinite(row.get(score, 0.0)):
                    raise Diverged(f"{score} is {row[score]} after round {row['epoch']}")

    def ended(self, status: str, reason: str = "", **values) -> CellRecord:
        """The record of the cell, which has a score if it is done."""
        score, better = None, max if self._monitor[1] == "max" else min
        if status == "done":
            score = better(score for _, score in self.record.curve if math.isfinite(score))
        return dataclasses.replace(self.record, status=status, reason=reason, score=score, **values)


def train_cell(contender: Contender, cell: Cell, root: pathlib.Path, worker: str = "") -> CellRecord:
    """Trains a cell, or resumes it, and writes its record, also if it diverges or fails.

    Args:
        contender: the task.
        cell: the cell.
        root: folder of the comparison.
        worker: name of the process.
    """
    folder = root / cell.folder
    folder.mkdir(parents=True, exist_ok=True)
    watch = CellWatch(cell, folder, contender.monitor, worker)
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(cell.seed)
    try:
        task = contender.train(cell.values, folder, [watch])
        scores = contender.scores_by_length(cell.values, task)
        ranges = [] if scores is None else [(row["from"], row["to"], row["rows"], row["score"]) for row in scores]
        record = watch.ended("done", by_length=tuple(ranges))
    except Diverged as error:
        record = watch.ended("diverged", str(error))
    except Exception as error:  # one cell must not end the comparison: memory, a bug for some value
        traceback.print_exc()
        record = watch.ended("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    record.write(folder)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return record


def lock_of(cell: Cell, root: pathlib.Path) -> pathlib.Path:
    """The file that a process locks while it trains a cell."""
    return root / "locks" / "-".join(cell.folder.parts)


def train_cells(
    contender: Contender, cells: Iterable[Cell], root: pathlib.Path, worker: str = "", wait: bool = True
) -> None:
    """Trains the cells that no other process trains or has trained, until all have ended.

    A process locks the file of a cell while it trains it. The system releases the lock when the process ends, for
    whatever reason, and the next one resumes the cell.

    Args:
        contender: the task.
        cells: the cells of the grid.
        root: folder of the comparison.
        worker: name of this process.
        wait: whether to wait for cells that other processes train, to take over those of a process that is killed.
    """
    left = list(cells)
    while left:
        busy = []
        for cell in left:
            with contextlib.ExitStack() as stack:
                if read_cell(root / cell.folder).ended:
                    continue
                if not stack.enter_context(tried(lock_of(cell, root))):
                    busy.append(cell)
                elif not read_cell(root / cell.folder).ended:
                    train_cell(contender, cell, root, worker)
        left = busy if wait else []
        if left:
            time.sleep(0.5)
