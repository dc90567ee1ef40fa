"""Callbacks that make a run go on where it stopped."""

import math
import os
import warnings

import keras

from keras_seq.training.checkpoints import Checkpoints
from keras_seq.training.run import Run, read_history, replacing, write_history


class Resume(keras.callbacks.Callback):
    """Saves a checkpoint and a row of `history.csv` after each epoch; a new `fit` goes on after the last one.

    `fit` starts at the right epoch by itself. A data pipeline whose order depends on the epoch takes
    `first_epoch=resume.initial_epoch`, known before `fit`. Order of callbacks: what adds numbers to the logs
    (`callbacks.Throughput`, `callbacks.Evaluator`), then `Resume`, then `EarlyStopping`.

    Args:
        run: a `Run`, or the path of a run folder.
        keep: how many of the last checkpoints stay.
    """

    def __init__(self, run: Run | str | os.PathLike, keep: int = 5):
        super().__init__()
        self.run = run if isinstance(run, Run) else Run(run)
        self.checkpoints = Checkpoints(self.run.path, keep)

    @property
    def initial_epoch(self) -> int:
        """How many epochs the run has behind it."""
        checkpoint = self.checkpoints.latest()
        return checkpoint.epoch if checkpoint else 0

    def on_train_begin(self, logs=None):
        epoch = self.checkpoints.restore(self.model)
        rows = read_history(self.run.history)
        # A row may have been written just before a crash kept its checkpoint from being saved.
        if any(row["epoch"] > epoch for row in rows):
            write_history(self.run.history, [row for row in rows if row["epoch"] <= epoch])
        # `fit` reads this after the callbacks' `on_train_begin`; Keras's BackupAndRestore sets it too.
        self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.model._initial_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        logs = {**(logs or {}), "seconds": round(self.run.seconds, 1)}
        rows = [row for row in read_history(self.run.history) if row["epoch"] <= epoch]
        write_history(self.run.history, [*rows, {"epoch": epoch + 1, **logs}])
        self.checkpoints.save(self.model, epoch + 1, logs)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's `EarlyStopping` for a run: keeps the best model in `best.keras`, remembers the epochs before a restart.

    The state is rebuilt from `history.csv`, so it must stand after `Resume` in the list of callbacks. A run that had
    stopped early before stays stopped: no further epoch is trained. Epochs without the monitored number (an
    `Evaluator` with `every=2`) do not count against the patience.

    Args:
        run: a `Run`, or the path of a run folder.
        monitor: name in the logs.
        mode: "min" or "max".
        patience: how many numbers in a row may bring no improvement.
        min_delta: the least change that counts as one.
    """

    def __init__(
        self,
        run: Run | str | os.PathLike,
        monitor: str = "val_loss",
        mode: str = "min",
        patience: int = 5,
        min_delta: float = 0.0,
    ):
        if mode not in ("min", "max"):
            raise ValueError(f'`mode` must be "min" or "max". Received: {mode!r}')
        super().__init__(monitor=monitor, mode=mode, patience=patience, min_delta=min_delta)
        self.run = run if isinstance(run, Run) else Run(run)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._seen = False
        rows = read_history(self.run.history)
        for row in rows:
            self._count(row["epoch"] - 1, row)
        # Only the last epoch's verdict counts: the run may have been continued with more patience.
        self.model.stop_training = False
        self.stopped_epoch = rows[-1]["epoch"] - 1 if rows and 0 < self.patience <= self.wait else 0
        # The best model is saved after the epoch's checkpoint: a crash in between is made good here.
        if rows and self.best is not None and self.best_epoch == rows[-1]["epoch"] - 1:
            self._save_best()
        if self.stopped_epoch:
            self.model._initial_epoch = self.params["epochs"]

    def on_epoch_end(self, epoch, logs=None):
        if self._count(epoch, logs or {}):
            self._save_best()

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        self.model._initial_epoch = None
        if not self._seen:
            warnings.warn(f"No epoch had `{self.monitor}` in its logs, which was to be monitored.", stacklevel=2)

    def _count(self, epoch: int, logs) -> bool:
        """Takes one epoch's numbers into account; says whether they are the best so far."""
        if self.monitor not in logs:
            return False
        self._seen, before, value = True, self.best, float(logs[self.monitor])
        if math.isnan(value):  # no number is better than NaN, so it would stay the best for ever
            value = math.inf if self.mode == "min" else -math.inf
        super().on_epoch_end(epoch, {self.monitor: value})
        return before is None or self.best != before

    def _save_best(self) -> None:
        with replacing(self.run.best) as temporary:
            self.model.save(temporary)
