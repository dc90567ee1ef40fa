"""Cuts the batches of many epochs into rounds of equal numbers of target tokens, for training at a token budget."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_positive
from keras_seq.data.token_counts import count_tokens, token_unit

_ENDLESS = 10**9  # Keras would take its first round for the length of all, of a truly endless dataset


class Rounds:
    """Training on a budget of target tokens, in rounds of equal size, each of which `fit` sees as an epoch.

    Models that are trained on batches of different sizes, or for a different number of epochs, see equal amounts of
    data this way, and are validated after equal amounts.

        rounds = data.Rounds(batches, epoch_aware=[order], tokens=2_000_000, rounds=10)
        model.fit(rounds.dataset(), epochs=10, callbacks=[training.Resume(run, epoch_aware=[rounds])])

    The batches are those of the epochs 0, 1, 2, ..., one after the other. Round r of R ends with the first batch that
    completes r / R of the budget, so the whole exceeds the budget by less than a batch. The tokens are counted in a
    pass over the data of each epoch before training, as `Throughput` counts them.

    Args:
        batches: dataset of batches `(inputs, labels[, weights])` of one epoch, the same for equal epoch numbers.
        epoch_aware: steps of the dataset that depend on the epoch, such as `data.shuffled`.
        tokens: token budget. None: no budget, rounds that the caller ends.
        rounds: number of rounds.
        pad_id: id of the padding.
    Attributes:
        steps: number of batches of each round, ints `(R,)`.
        tokens: tokens up to the end of each round, ints `(R,)`.
        unit: "tokens", or "examples" for batches without ids.
        updates: number of batches in total.
    Raises:
        ValueError: if the budget or the number of rounds is not positive, an epoch has no token, or a round would have
            no batch.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        epoch_aware: Iterable[Any] = (),
        *,
        tokens: float | None,
        rounds: int = 10,
        pad_id: int = 0,
    ):
        check_positive(rounds=rounds)
        if tokens is not None and not (tokens > 0 and math.isfinite(tokens)):
            raise ValueError(f"`tokens` must be above 0. Received: {tokens}")
        self._batches = batches
        self._epoch_aware = list(epoch_aware)
        inputs, labels, *_ = batches.element_spec
        self.unit = token_unit(inputs, labels)
        self._counts = batches.map(
            lambda inputs, labels, *weights: count_tokens(inputs, labels, *weights, pad_id=pad_id)[0]
        )
        self._epochs: list[np.ndarray] = []  # the tokens of each batch of an epoch
        # Number of batches to leave out of the first epoch, and to take in all, of the next iteration.
        with tf.init_scope(), tf.device("CPU:0"):
            self._position = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)
        self.steps, self.tokens = self._plan(tokens, rounds) if tokens is not None else (None, None)
        self._starts = [0] if self.steps is None else [0, *np.cumsum(self.steps).tolist()]
        self.start_epoch(0)

    @property
    def updates(self) -> int:
        return self._starts[-1]

    def _plan(self, tokens: float, rounds: int) -> tuple[list[int], list[int]]:
        ends, total, used = [], 0, []
        counts = enumerate(self._token_counts(), 1)
        while len(ends) < rounds:
            step, count = next(counts)
            total += count
            while len(ends) < rounds and total >= tokens * (len(ends) + 1) / rounds - 1e-6:
                ends.append(step)
                used.append(total)
        steps = np.diff([0, *ends]).tolist()
        if min(steps) < 1:
            raise ValueError(
                f"{rounds} rounds of {tokens:,.0f} {self.unit} in all are smaller than a batch. Take a larger budget, "
                "fewer rounds, or smaller batches."
            )
        return steps, used

    def _token_counts(self) -> Iterator[int]:
        """The tokens of each batch of all epochs, without an end."""
        return itertools.chain.from_iterable(self._tokens_of(epoch).tolist() for epoch in itertools.count())

    def _tokens_of(self, epoch: int) -> np.ndarray:
        while len(self._epochs) <= epoch:
            self._start_parts(len(self._epochs))
            counts = np.array(list(self._counts.as_numpy_iterator()), np.int64)
            if not counts.sum():
                raise ValueError(f"The training data has no {self.unit}.")
            self._epochs.append(counts)
        return self._epochs[epoch]

    def tokens_until(self, step: int) -> int:
        """The tokens of the first `step` batches."""
        return sum(itertools.islice(self._token_counts(), step))

    def _start_parts(self, epoch: int) -> None:
        for part in self._epoch_aware:
            part.start_epoch(epoch)

    def start_epoch(self, epoch: int) -> None:
        """Makes the next iteration that of round `epoch`, from 0, as `training.Resume` calls it."""
        self._round = epoch
        self.start_step(0)

    def start_step(self, step: int) -> None:
        """Makes the next iteration begin after `step` batches of the round."""
        if self.steps is None:
            self.start_at(step)
            return
        begin, end = self._starts[min(self._round, len(self.steps) - 1) :][:2]
        self._start(begin + step, end - begin - step)

    def start_at(self, step: int) -> None:
        """Makes the next iteration begin after `step` batches of the whole training."""
        self._start(step, 0)

    def _start(self, step: int, count: int) -> None:
        epoch = 0
        while step >= len(self._tokens_of(epoch)):
            step -= len(self._epochs[epoch])
            epoch += 1
        self._start_parts(epoch)
        self._position.insert(tf.constant([0, 1], tf.int64), tf.constant([step, count], tf.int64))

    def dataset(self) -> tf.data.Dataset:
        """The batches of the round of `start_epoch`, or of the first one.

        With a budget, its cardinality is that of the longest round. Shorter rounds end before. Without one it has a
        billion batches.
        """
        key = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64))
        # Each iteration of the batches is an epoch: the rest of the first one, and complete ones.
        rest = key.flat_map(
            lambda key: self._batches.skip(self._position.lookup(key)).concatenate(self._batches.repeat())
        )
        if self.steps is None:
            return rest.apply(tf.data.experimental.assert_cardinality(_ENDLESS))
        # A choice among endless datasets counts as endless, but it ends with the choices: see `from_step`.
        choices = key.flat_map(lambda key: tf.data.Dataset.range(self._position.lookup(key + 1)).map(tf.zeros_like))
        return tf.data.Dataset.choose_from_datasets([rest.repeat()], choices).take(max(self.steps))
