"""The amount of training: epochs, or a budget of target tokens or seconds, cut into rounds."""

import math
import time
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_seq import data


class TrainingData:
    """Training batches and the amount of training: a number of epochs, or a budget in rounds.

        train = training.TrainingData(batches, [order], tokens=2_000_000, rounds=10)
        resume = training.Resume(run, epoch_aware=train.epoch_aware, callbacks=train.stateful())
        model.fit(train.batches, epochs=train.epochs, callbacks=[*train.callbacks(), resume])

    A budget makes models comparable that are trained on batches of different sizes. Each round is an epoch of `fit`,
    with a validation at its end. A budget of tokens is exceeded by less than a batch. A budget of seconds is the time
    of the training steps, without validation, and ends with the step in which it is used up.

    Args:
        batches: batches of an epoch of the data, with a finite cardinality, whose order is a function of the epoch.
        epoch_aware: steps of the dataset that depend on the epoch, such as `data.shuffled` and noise.
        epochs: number of epochs, without a budget.
        tokens: budget of target tokens, as `data.Rounds` counts them.
        seconds: budget of seconds.
        rounds: number of rounds of a budget.
    Attributes:
        batches: batches of an epoch of `fit`: an epoch of the data, or a round.
        epoch_aware: steps for `training.Resume` that depend on the number of that epoch.
        epochs: number of epochs of `fit`.
        updates: number of updates in all. None for a budget of seconds.
        rounds: `data.Rounds` of a budget, or None.
        seconds: budget of seconds, or None.
    Raises:
        ValueError: unless exactly one amount is given, or if it is not positive or smaller than a batch.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        epoch_aware: Iterable[Any] = (),
        *,
        epochs: int | None = None,
        tokens: float | None = None,
        seconds: float | None = None,
        rounds: int = 10,
    ):
        if [epochs, tokens, seconds].count(None) != 2:
            raise ValueError(f"Give one of `epochs`, `tokens`, `seconds`. Received: {epochs}, {tokens}, {seconds}")
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"`seconds` must be above 0. Received: {seconds}")
        self.batches, self.epoch_aware, self.epochs = batches, list(epoch_aware), rounds if epochs is None else epochs
        self.rounds, self.seconds = None, seconds
        if epochs is not None:
            self.updates = epochs * int(batches.cardinality())
            return
        self.rounds = data.Rounds(batches, epoch_aware, tokens=tokens, rounds=rounds)
        self.batches = self.rounds.dataset()
        # A budget of seconds places its rounds by itself.
        self.epoch_aware = [self.rounds] if seconds is None else []
        self.updates = self.rounds.updates if seconds is None else None

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Callbacks for `fit` that count a budget, to stand before `Resume`. Empty without a budget."""
        if self.rounds is None:
            return []
        if not hasattr(self, "_callback"):
            self._callback = _TokenBudget(self) if self.seconds is None else _SecondsBudget(self)
        return [self._callback]

    def stateful(self) -> list[keras.callbacks.Callback]:
        """Those of the callbacks whose state `Resume` must save."""
        return [callback for callback in self.callbacks() if isinstance(callback, _SecondsBudget)]

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:,.0f} seconds in {self.epochs} rounds"
        if self.rounds is None:
            return f"{int(self.batches.cardinality())} batches an epoch"
        return f"{self.rounds.tokens[-1]:,} {self.rounds.unit}, {self.updates:,} batches in {self.epochs} rounds"


class _TokenBudget(keras.callbacks.Callback):
    """Adds `trained_tokens` (or `trained_examples`) to the logs: the target tokens up to the end of the round."""

    def __init__(self, train: TrainingData):
        super().__init__()
        self._train = train

    def on_epoch_end(self, epoch, logs=None):
        logs[f"trained_{self._train.rounds.unit}"] = self._train.rounds.tokens[epoch]


class _SecondsBudget(keras.callbacks.Callback):
    """Ends each round after its share of the seconds, at the end of a step, and moves the learning rate schedule.

    Adds `trained_tokens` and `trained_seconds` to the logs. Validation does not count.

    Attributes:
        elapsed: seconds of training so far.
    """

    def __init__(self, train: TrainingData):
        super().__init__()
        self._train = train
        self.elapsed = 0.0

    def set_params(self, params):
        params["steps"] = None  # Keras's progress bar, the last callback, would show the endless data as its goal
        super().set_params(params)

    def on_epoch_begin(self, epoch, logs=None):
        self._train.rounds.start_at(self._step())
        self._before, self._begun = self.elapsed, time.perf_counter()
        self._end = (epoch + 1) * self._train.seconds / self._train.epochs

    def on_train_batch_begin(self, batch, logs=None):
        self.elapsed = self._before + time.perf_counter() - self._begun
        progress = getattr(self.model.optimizer._learning_rate, "progress", None)
        if progress is not None:
            progress.assign(min(1.0, self.elapsed / self._train.seconds))
        if batch and self.elapsed >= self._end:
            raise StopIteration  # ends the epoch, as the end of the data does

    def on_epoch_end(self, epoch, logs=None):
        logs[f"trained_{self._train.rounds.unit}"] = self._train.rounds.tokens_until(self._step())
        logs["trained_seconds"] = round(self.elapsed, 2)

    def _step(self) -> int:
        return int(self.model.optimizer.iterations)
