"""Callbacks that make a run go on where it stopped."""

import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from keras_seq.training import callback_state
from keras_seq.training.checkpoints import Checkpoint, Checkpoints, load_metrics, metrics_fit, written_by_chief
from keras_seq.training.preemption import PREEMPTED, Preemption
from keras_seq.training.run_folder import Run, read_history, remove_unfinished, write_history

_GOES_ON_INSIDE = (
    "the data must be able to begin inside an epoch: apply `rest = data.from_step(0)` last, before `prefetch`; give it "
    "to `Resume(..., epoch_aware=[rest])`; and let the dataset know its length (`data.count_batches`, "
    "`tf.data.experimental.assert_cardinality`)"
)


class Resume(keras.callbacks.Callback):
    """Makes a run go on where it stopped: after its last epoch or, with `save_every`, inside one.

    After each epoch it saves a checkpoint and a row of `history.csv`. A new `fit` with the same run restores the newest
    checkpoint and starts at the right epoch by itself; weights, optimizer, dropout and learning rate are those of the
    uninterrupted run. So is the data, if its order is a function of the epoch:

        order, rest = data.shuffled(seed), data.from_step(0)
        resume = training.Resume("runs/a", save_every=1000, epoch_aware=[order, rest])
        model.fit(examples.apply(order).apply(data.bucketed(...)).apply(rest), callbacks=[resume], ...)

    The first epoch after a restart then has its remaining steps only; progress bar and callbacks see no others, and
    Keras warns that the data ran out. Its logs are those of the whole epoch, since the metrics go on counting.

    When a signal says that the machine is wanted back, the step is finished, a checkpoint is saved at that place (if
    the data can begin there; if not, the run goes on from the last one), and the process ends with exit code
    `PREEMPTED`: `fit` raises `SystemExit(143)`. Between two epochs validation and the callbacks are waited for.

    Order of callbacks: what adds numbers to the logs (`callbacks.Throughput`, `callbacks.Evaluator`) and what has its
    state saved, then `Resume`, then `EarlyStopping`.

    Args:
        run: a `Run`, or the path of a run folder. Workers share it; `Run(chief=False)` makes one that reads and does
            not write.
        keep: how many epochs' checkpoints stay.
        save_every: save inside an epoch too, after so many steps; needs `starts` with a `data.from_step`.
        callbacks: those whose state is saved: `keras.callbacks.ReduceLROnPlateau`, say. Their attributes that are
            numbers, strings, truth values or None, save what is named as an argument of their constructor.
        epoch_aware: what is told, when an epoch begins, its number (`start_epoch`: `data.shuffled`, noise, mixtures,
            sampling) or where it begins (`start_step`: `data.from_step`). What else iterates over the data, building a
            model say, then shifts nothing. More may be added to the attribute before `fit`.
        signals: those that ask the run to stop; `(signal.SIGTERM, signal.SIGUSR1)`, say, or `()` for none.
        agree: for several workers: takes whether this one was asked to stop, and says whether any was. All workers
            call it at the same steps: `distribution.scope(...).agreed`.
        agree_every: steps between two such calls.
    Raises:
        ValueError: if `keep`, `save_every` or `agree_every` is not positive; in `fit`, if the checkpoint does not fit
            the model, or if the data cannot begin inside an epoch where that is needed.
    """

    def __init__(
        self,
        run: Run | str | os.PathLike,
        keep: int = 5,
        save_every: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        epoch_aware: Iterable[Any] = (),
        signals: Iterable[int] = (signal.SIGTERM,),
        agree: Callable[[bool], bool] | None = None,
        agree_every: int = 10,
    ):
        super().__init__()
        for name, value in (("save_every", save_every), ("agree_every", agree_every)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        self.run = run if isinstance(run, Run) else Run(run)
        self.checkpoints = Checkpoints(self.run.path, keep, self.run.chief)
        self.save_every = save_every
        self.callbacks = list(callbacks)
        self.epoch_aware = list(epoch_aware)
        self.signals = tuple(signals)
        self.agree = agree
        self.agree_every = agree_every

    @property
    def initial_epoch(self) -> int:
        """How many epochs the run has behind it."""
        return self._position()[0]

    @property
    def initial_step(self) -> int:
        """How many steps of the next epoch it has behind it."""
        return self._position()[1]

    def on_train_begin(self, logs=None):
        if self.run.chief:
            for folder in (self.run.path, self.run.checkpoints):
                remove_unfinished(folder)
        self._restored = self.checkpoints.restore(self.model)
        self._epoch, self._first_step = self._restored.position if self._restored else (0, 0)
        self._steps = self.params.get("steps")
        self._goes_on_inside = bool(self._steps) and any(hasattr(start, "start_step") for start in self.epoch_aware)
        self._check_data()
        self._last_asked = self._last_saved = self._first_step
        rows = read_history(self.run.history)
        # A row may have been written just before a crash kept its checkpoint from being saved.
        if self.run.chief and any(row["epoch"] > self._epoch for row in rows):
            write_history(self.run.history, [row for row in rows if row["epoch"] <= self._epoch])
        # `fit` reads this after the callbacks' `on_train_begin`; Keras's BackupAndRestore sets it too.
        self.model._initial_epoch = self._epoch
        self._preemption = Preemption(self.signals).__enter__()

    def on_epoch_begin(self, epoch, logs=None):
        self.model._initial_epoch = None
        if epoch != self._epoch:
            self._epoch, self._first_step, self._last_asked, self._last_saved = epoch, 0, 0, 0
        # What stands behind `Resume` has had its `on_epoch_end`; the epoch's checkpoint is there already.
        self._stop_if_asked(now=True)
        for start in self.epoch_aware:
            if hasattr(start, "start_epoch"):
                start.start_epoch(epoch)
            if hasattr(start, "start_step"):
                start.start_step(self._first_step)
        if self._restored is not None:
            # Now and not earlier: callbacks reset themselves in `on_train_begin`, and `fit` resets the metrics.
            if self.callbacks or self._restored.callbacks:
                callback_state.restore(self.callbacks, self._restored.callbacks)
            if self._restored.step:
                self._restore_metrics(self._restored)
            self._restored = None

    def on_train_batch_begin(self, batch, logs=None):
        # Here and not when the batch ends, since that hook would make `fit` wait for the device after every step.
        step = self._first_step + batch
        if self._first_step and step >= self._steps:
            # What Keras does itself when the data has run out; but the step that finds that out has drawn its dropout.
            raise StopIteration
        if not batch:
            return
        if self.save_every and step // self.save_every > self._last_saved // self.save_every:
            self._save_inside(step)
        self._stop_if_asked(step)

    def on_epoch_end(self, epoch, logs=None):
        logs = {**(logs or {}), "seconds": round(self.run.seconds, 1)}
        if self.run.chief:
            rows = [row for row in read_history(self.run.history) if row["epoch"] <= epoch]
            write_history(self.run.history, [*rows, {"epoch": epoch + 1, **logs}])
        self.checkpoints.save(self.model, epoch + 1, logs, callbacks=callback_state.states(self.callbacks))

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None
        self._stop_if_asked(now=True)
        self._preemption.__exit__()

    def _position(self) -> tuple[int, int]:
        checkpoint = self.checkpoints.latest()
        return checkpoint.position if checkpoint else (0, 0)

    def _check_data(self) -> None:
        if self.save_every and not self._goes_on_inside:
            raise ValueError(f"For `save_every` {_GOES_ON_INSIDE}.")
        if not self._first_step:
            return
        place = f"{self._restored.path} was saved after step {self._first_step} of an epoch"
        if not self._goes_on_inside:
            raise ValueError(f"{place}: {_GOES_ON_INSIDE}.")
        if self._first_step >= self._steps:
            raise ValueError(
                f"{place}, which has {self._steps} steps now: the data or the options of the batches are not those of "
                "that run. Put them back, or train in another folder."
            )

    def _restore_metrics(self, checkpoint: Checkpoint) -> None:
        if metrics_fit(self.model, checkpoint.path):
            load_metrics(self.model, checkpoint.path)
            return
        # Outside a strategy's scope Keras makes the metrics when the first step is traced, which is too late.
        train_function = self.model.train_function

        def with_metrics(iterator):
            self.model.train_function = train_function
            self.model._symbolic_build(data_batch=iterator.element_spec)
            load_metrics(self.model, checkpoint.path)
            return train_function(iterator)

        self.model.train_function = with_metrics

    def _save_inside(self, step: int) -> None:
        if step != self._last_saved:
            states = callback_state.states(self.callbacks)
            self.checkpoints.save(self.model, self._epoch, step=step, callbacks=states)
            self._last_saved = step

    def _stop_if_asked(self, step: int = 0, now: bool = False) -> None:
        """Ends the process if a signal asked for it, after saving what can be; `now`: whatever `agree_every` says."""
        asked = self._preemption.requested
        stop = bool(asked)
        if self.agree is not None:
            due = now or step // self.agree_every > self._last_asked // self.agree_every
            self._last_asked = step if due else self._last_asked
            stop = due and self.agree(stop)
        if not stop:
            return
        if step and self._goes_on_inside:
            self._save_inside(step)
        if self.agree is not None:
            self.agree(True)  # nobody leaves before the chief has saved
        self._preemption.__exit__()
        if self.run.chief:
            epoch, step = self._position()
            place = f"after epoch {epoch}" + (f" and {step} steps of the next" if step else "")
            place = f"goes on {place}" if epoch or step else "begins anew"
            asked = f"by {asked}" if asked else "by a signal to another worker"
            print(f"\nStopped {asked}. The same command {place}: {self.run.path}", file=sys.stderr)
        raise SystemExit(PREEMPTED)


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
        checkpoint = Checkpoints(self.run.path).latest()
        epoch, step = checkpoint.position if checkpoint else (0, 0)
        rows = [row for row in read_history(self.run.history) if row["epoch"] <= epoch]
        for row in rows:
            self._count(row["epoch"] - 1, row)
        # Only the last epoch's verdict counts: the run may have been continued with more patience.
        self.model.stop_training = False
        self.stopped_epoch = rows[-1]["epoch"] - 1 if rows and 0 < self.patience <= self.wait else 0
        # The best model is saved after the epoch's checkpoint: a crash in between is made good here. Inside the next
        # epoch it has been saved, and the weights are others.
        if not step and rows and self.best is not None and self.best_epoch == rows[-1]["epoch"] - 1:
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
        written_by_chief(self.model, self.run.best, self.model.save, self.run.chief)
