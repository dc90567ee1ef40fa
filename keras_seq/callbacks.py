"""Callbacks for `model.fit`: training speed, and numbers that need decoding."""

import time
from collections.abc import Callable, Mapping
from typing import SupportsFloat

import keras

from keras_seq import data


class Throughput(keras.callbacks.Callback):
    """Shows `tokens/s` and `padding` (or `examples/s`) on the progress bar and leaves them in the epoch's logs.

    A callback does not see the batches, so the dataset counts them in its pipeline::

        throughput = callbacks.Throughput()
        model.fit(train.apply(throughput.counted()), callbacks=[throughput, ...])

    The counting is two sums in the input pipeline. It works for any model, compiled by XLA or not, under any
    distribution strategy (with many workers, each counts its input). Within an epoch the numbers run ahead by the few
    prefetched batches. At its end they are exact if the epoch uses up the dataset. `tokens/s` is the number of real
    target tokens since the start of the epoch divided by the seconds since then, without validation, with tracing in
    the first epoch. `padding` is the share of padded positions, source and target.

    Args:
        interval: seconds between two readings of the counts.
    """

    # Keras may call the batch hooks from a thread, so that the device need not wait for the progress bar.
    async_safe = True

    def __init__(self, interval: float = 0.5):
        super().__init__()
        self.interval = interval
        # Tokens, real positions, all positions, counted over all epochs.
        self._unit = "tokens"
        self._counts = [keras.Variable(0, dtype="int64", trainable=False, name=name) for name in ("t", "r", "p")]
        self._numbers = {}

    def counted(self, pad_id: int = 0) -> Callable:
        """A dataset step for batches `(inputs, labels)` or `(inputs, labels, weights)`, which pass unchanged.

        `data.count_tokens` defines the counts. Batches without ids are counted in examples.
        """

        def count(inputs, labels, *weights):
            self._unit = data.token_unit(inputs, labels)
            counts = data.count_tokens(inputs, labels, *weights, pad_id=pad_id)
            for variable, counted in zip(self._counts, counts, strict=True):
                variable.assign_add(counted)
            return (inputs, labels, *weights)

        return lambda dataset: dataset.map(count)

    def on_epoch_begin(self, epoch, logs=None):
        self._start = self._looked = self._batch_ended = time.perf_counter()
        self._before = self._read()
        self._numbers = {}

    def on_train_batch_end(self, batch, logs=None):
        self._batch_ended = time.perf_counter()
        if self._batch_ended - self._looked >= self.interval:
            self._looked = self._batch_ended
            self._numbers = self._measure()
        if logs is not None:
            logs.update(self._numbers)

    def on_epoch_end(self, epoch, logs=None):
        self._numbers = self._measure()
        if not self._numbers:
            raise ValueError(
                "`Throughput` counted no tokens in this epoch. Pass the dataset `train.apply(throughput.counted())` "
                "to `fit`, made with this same callback."
            )
        if logs is not None:
            logs.update(self._numbers)

    def _measure(self) -> dict[str, float]:
        tokens, real, positions = (now - before for now, before in zip(self._read(), self._before, strict=True))
        seconds = self._batch_ended - self._start
        if not (positions or tokens) or seconds <= 0:
            return {}
        rate = {f"{self._unit}/s": float(round(tokens / seconds))}
        return rate | {"padding": 1 - real / positions} if positions else rate

    def _read(self) -> list[int]:
        return [int(variable.numpy()) for variable in self._counts]


class Evaluator(keras.callbacks.Callback):
    """Adds the results of functions, such as scores of decoded text, to the epoch's logs.

    It must come before callbacks that read the logs: `training.Resume`, `training.EarlyStopping`.

    Args:
        functions: a function without arguments that returns `{name: number}`, or `{name: function}`, where each
            function returns a number. Begin the names with `val_`, as Keras does.
        every: number of epochs between two measurements. The last epoch is always measured.
    Raises:
        ValueError: if `every` is not positive, or a name is in the logs already.
    """

    def __init__(
        self,
        functions: Callable[[], Mapping[str, SupportsFloat]] | Mapping[str, Callable[[], SupportsFloat]],
        every: int = 1,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: {every}")
        self.every = every
        self._evaluate = functions if callable(functions) else lambda: {name: f() for name, f in functions.items()}

    def on_epoch_end(self, epoch, logs=None):
        last = self.params is not None and epoch + 1 == self.params.get("epochs")
        if (epoch + 1) % self.every and not last:
            return
        numbers = {name: float(value) for name, value in self._evaluate().items()}
        taken = sorted(set(numbers) & set(logs or {}))
        if taken:
            raise ValueError(f"The logs have {', '.join(taken)} already. Choose other names. They have: {sorted(logs)}")
        if logs is not None:
            logs.update(numbers)
