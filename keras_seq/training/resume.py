"""Callbacks that resume an interrupted run."""

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
    "the data must be able to start inside an epoch: apply `rest = data.from_step(0)` last, before `prefetch`, pass it "
    "as `Resume(..., epoch_aware=[rest])`, and set the length of the dataset (`data.count_batches`, "
    "`tf.data.experimental.assert_cardinality`)"
)


class Resume(keras.callbacks.Callback):
    """Resumes a run after its last epoch or, with `save_every`, inside an epoch.

    After each epoch it saves a checkpoint and a row of `history.csv`. A new `fit` with the same run restores the newest
    checkpoint and starts at the right epoch. Weights, optimizer, dropout and learning rate are those of the
    uninterrupted run. So is the data, if its order is a function of the epoch:

        order, rest = data.shuffled(seed), data.from_step(0)
        lengths = data.lengths(examples)
        buckets = data.Buckets(lengths, tokens_per_batch=4096)  # sets the length of the dataset, for `save_every`
        batches = examples.apply(order).apply(buckets.batched(lengths)).apply(rest)
        resume = training.Resume("runs/a", save_every=1000, epoch_aware=[order, rest])
        model.fit(batches, epochs=20, callbacks=[resume])

    The first epoch after a restart then has only its remaining steps. The progress bar and the callbacks receive no
    others, and Keras warns that the data ran out. The logs cover the whole epoch, since the metrics are restored.

    On a preemption signal, the current step is finished, a checkpoint is saved at that step (if the data can start
    there; otherwise the run will resume from the last one), and the process ends with exit code `PREEMPTED`: `fit`
    raises `SystemExit(143)`. Between two epochs, validation and the callbacks run to their end first.

    Order of callbacks: first those that add numbers to the logs (`callbacks.Throughput`, `callbacks.Evaluator`) and
    those whose state is saved, then `Resume`, then `EarlyStopping`.

    Args:
        run: a `Run`, or the path of a run folder. Workers share it. A `Run(chief=False)` reads it but does not write.
        keep: number of epochs whose checkpoints are kept.
        save_every: number of steps between checkpoints inside an epoch. Requires a `data.from_step` in `epoch_aware`.
        callbacks: callbacks whose state is saved, such as `keras.callbacks.ReduceLROnPlateau`. The state consists of
            the attributes that are numbers, strings, booleans or None, except those named like an argument of the
            constructor.
        epoch_aware: objects that receive the number of each epoch when it starts (`start_epoch`: `data.shuffled`,
            noise, mixtures, sampling), or its first step (`start_step`: `data.from_step`). Other iterations over the
            data, for example to build a model, then do not shift the order. More may be added to the attribute before
            `fit`.
        signals: signals that stop the run, such as `(signal.SIGTERM, signal.SIGUSR1)`, or `()` for none.
        agree: for several workers, a function from whether this worker received a signal to whether any did. All
            workers call it at the same steps: `distribution.scope(...).any_worker`.
        agree_every: number of steps between two such calls.
    Raises:
        ValueError: if `keep`, `save_every` or `agree_every` is not positive. In `fit`, if the checkpoint does not fit
            the model, or if the data cannot start inside an epoch where this is required.
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
        """The number of epochs that the run has completed."""
        return self._position()[0]

    @property
    def initial_step(self) -> int:
        """The number of steps of the next epoch that the run has completed."""
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
        # A crash may have come after a row was written and before its checkpoint was saved.
        if self.run.chief and any(row["epoch"] > self._epoch for row in rows):
            write_history(self.run.history, [row for row in rows if row["epoch"] <= self._epoch])
        # `fit` reads this after the callbacks' `on_train_begin`; Keras's BackupAndRestore sets it too.
        self.model._initial_epoch = self._epoch
        self._preemption = Preemption(self.signals).__enter__()

    def on_epoch_begin(self, epoch, logs=None):
        self.model._initial_epoch = None
        if epoch != self._epoch:
            self._epoch, self._first_step, self._last_asked, self._last_saved = epoch, 0, 0, 0
        # The callbacks after `Resume` have run their `on_epoch_end`, and the epoch's checkpoint is saved.
        self._stop_if_asked(now=True)
        for start in self.epoch_aware:
            if hasattr(start, "start_epoch"):
                start.start_epoch(epoch)
            if hasattr(start, "start_step"):
                start.start_step(self._first_step)
        if self._restored is not None:
            # Not earlier: callbacks reset themselves in `on_train_begin`, and `fit` resets the metrics.
            if self.callbacks or self._restored.callbacks:
                callback_state.restore(self.callbacks, self._restored.callbacks)
            if self._restored.step:
                self._restore_metrics(self._restored)
            self._restored = None

    def on_train_batch_begin(self, batch, logs=None):
        # Not at the end of the batch, since that hook would make `fit` wait for the device after every step.
        step = self._first_step + batch
        if self._first_step and step >= self._steps:
            # Keras does the same when the data runs out, but only after that step has drawn its dropout.
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
                f"{place}, which has {self._steps} steps now. The data or the batch options differ from those of that "
                "run. Restore them, or train in another folder."
            )

    def _restore_metrics(self, checkpoint: Checkpoint) -> None:
        if metrics_fit(self.model, checkpoint.path):
            load_metrics(self.model, checkpoint.path)
            return
        # Outside a strategy's scope Keras creates the metrics when it traces the first step, which is too late.
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
        """Ends the process if a signal came, and saves the state first. `now` overrides `agree_every`."""
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
            self.agree(True)  # no worker leaves before the chief has saved
        self._preemption.__exit__()
        if self.run.chief:
            epoch, step = self._position()
            place = f"after epoch {epoch}" + (f" and {step} steps of the next" if step else "")
            place = f"resumes {place}" if epoch or step else "starts over"
            asked = f"by {asked}" if asked else "by a signal to another worker"
            print(f"\nStopped {asked}. The same command {place}: {self.run.path}", file=sys.stderr)
        raise SystemExit(PREEMPTED)


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's `EarlyStopping` for a run. Keeps the best model in `best.keras`, and takes earlier epochs into account.

    The state is rebuilt from `history.csv`, so it must come after `Resume` in the list of callbacks. A run that had
    stopped early before stays stopped: no further epoch is trained. Epochs without the monitored number (an
    `Evaluator` with `every=2`) do not count towards the patience.

    Args:
        run: a `Run`, or the path of a run folder.
        monitor: name in the logs.
        mode: "min" or "max".
        patience: number of consecutive values without improvement before the run stops.
        min_delta: smallest change that counts as an improvement.
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
        # Only the last epoch counts, since the run may be continued with more patience.
        self.model.stop_training = False
        self.stopped_epoch = rows[-1]["epoch"] - 1 if rows and 0 < self.patience <= self.wait else 0
        # The best model is saved after the epoch's checkpoint. If a crash came in between, it is saved now. Inside the
        # next epoch it was saved already, and the weights have changed.
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
            warnings.warn(f"No epoch had `{self.monitor}`, the monitored value, in its logs.", stacklevel=2)

    def _count(self, epoch: int, logs) -> bool:
        """Takes one epoch's values into account. Returns whether they are the best so far."""
        if self.monitor not in logs:
            return False
        self._seen, before, value = True, self.best, float(logs[self.monitor])
        if math.isnan(value):  # no number compares as better than NaN, so it would stay the best forever
            value = math.inf if self.mode == "min" else -math.inf
        super().on_epoch_end(epoch, {self.monitor: value})
        return before is None or self.best != before

    def _save_best(self) -> None:
        written_by_chief(self.model, self.run.best, self.model.save, self.run.chief)
