"""Two published tasks of any length T that require only memory: the adding problem and copy memory.

    adding         0.3 0.9* 0.1 0.6* 0.8            the output after the last step is the sum of the two marked: 1.5
    copy_memory    3 7 1 . . . . . > > > >          the outputs at the last steps are the symbols of the first ones

Adding: a step has two numbers, a value, uniform in [0, 1), and a mark, 1 at two random steps and else 0. The loss is
the squared error. The sum has the variance 1/6, so always predicting its mean, 1.0, has an expected error of 0.1667.
(Many tables print 0.1767.)

Copy memory: ten symbols of 1 to 8, then T - 1 blanks, then eleven delimiters: T + 20 steps. The outputs are blank,
except at the last ten steps, where they are the symbols in their order. The loss is the cross-entropy averaged over all
steps, most of which are blank and easy. `guessing(T)` is the loss of a model without memory, which still counts
steps.

An example is a function of (seed, split, length, epoch, number), so training has fresh examples in each epoch.

Sources: Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5; Arjovsky et al. 2016, section 4,
arXiv:1511.06464; both as in Bai et al. 2018, section 5.1, arXiv:1803.01271, and their code, github.com/locuslab/TCN.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_seq.lazy import data, text, tf

TASKS = ("adding", "copy_memory")
COPIED, SYMBOLS = 10, 8  # number of symbols to copy, and number of different ones
ANSWERS = (".", *(str(symbol) for symbol in range(1, SYMBOLS + 1)))
WORDS = (*ANSWERS, ">")
BLANK, DELIMITER = WORDS.index("."), WORDS.index(">")
CLASSES = len(ANSWERS)
MEAN_ERROR = 1 / 6  # squared error of predicting 1.0: the variance of the sum of two uniform numbers


def guessing(length: int) -> float:
    """The loss of copy memory in nats without memory: uniform guesses of the symbols, and certainty at other steps."""
    return COPIED * math.log(SYMBOLS) / steps("copy_memory", length)


def steps(task: str, length: int) -> int:
    """The number of steps of an example of this length."""
    return length if task == "adding" else length + 2 * COPIED


def vocabulary() -> text.Words:
    """The words of copy memory."""
    return text.Words(list(WORDS))


def written(tokens: np.ndarray) -> str:
    """Formats the ids of an input of copy memory as text."""
    return " ".join(vocabulary().pieces(tokens))


def drawn(task: str, length: int, count: int, seed: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws the examples of a split: `batch(...)` as arrays."""
    return tuple(part.numpy() for part in batch(task, length, count, _key(seed, split, length), 0))


def batch(task: str, length, rows: int, key, number) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a batch, in a graph or outside.

    Args:
        task: a name of `TASKS`.
        length: length T, from 2, a whole number or tensor.
        rows: number of examples, B.
        key, number: two whole numbers that determine the examples.
    Returns:
        adding: the steps, float32 `(B, T, 2)`, values and marks, and the sums, float32 `(B, 1)`. copy_memory: ids of
        `vocabulary()`, int32 `(B, T + 20)`, and indices into `ANSWERS`, int32 `(B, T + 20)`.
    """
    seed = tf.stack([tf.cast(key, tf.int64), tf.cast(number, tf.int64)])
    return (_adding if task == "adding" else _copy_memory)(length, rows, seed)


def _adding(length, rows, seed):
    values = tf.random.stateless_uniform([rows, length], seed, alg="philox")  # the same on every machine
    first = tf.random.stateless_uniform([rows], _other(seed, 1), 0, length, tf.int32, alg="philox")
    distance = tf.random.stateless_uniform([rows], _other(seed, 2), 1, length, tf.int32, alg="philox")
    second = (first + distance) % length  # any other step, with equal chances
    marks = tf.one_hot(first, length) + tf.one_hot(second, length)
    return tf.stack([values, marks], axis=2), tf.reduce_sum(values * marks, axis=1, keepdims=True)


def _copy_memory(length, rows, seed):
    symbols = tf.random.stateless_uniform([rows, COPIED], seed, 1, SYMBOLS + 1, tf.int32, alg="philox")
    blanks, delimiters = tf.fill([rows, length - 1], BLANK), tf.fill([rows, COPIED + 1], DELIMITER)
    with tf.init_scope():
        ids = tf.cast(vocabulary().lookup(list(WORDS)), tf.int32).numpy()
    shown = tf.gather(ids, tf.concat([symbols, blanks, delimiters], axis=1))
    return shown, tf.concat([tf.fill([rows, length + COPIED], BLANK), symbols], axis=1)


def _other(seed, number):
    return seed + tf.constant([number, 0], tf.int64)


def _key(seed: int, split: str, length: int) -> int:
    """A number for each seed, split and length."""
    parts = [abs(seed), int(seed < 0), ("train", "valid", "test").index(split), length]
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 2)


@dataclasses.dataclass(frozen=True)
class Fresh:
    """Training examples, different in each epoch.

    Args:
        task: a name of `TASKS`.
        lengths: lengths T, in turn.
        examples: number of examples of each length in an epoch.
        seed: random seed.
    """

    task: str
    lengths: tuple[int, ...]
    examples: int
    seed: int

    def batches(self, rows: int) -> FreshBatches:
        """The batches of `rows` examples of one length, in a random order of the lengths."""
        return FreshBatches(self, rows)


class FreshBatches:
    """Batches of `Fresh` examples: a step with `start_epoch`, as `data.shuffled` is, and its dataset."""

    def __init__(self, fresh: Fresh, rows: int):
        self._fresh, self._rows = fresh, rows
        self._epochs = data.shuffling.Epochs()

    def start_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epochs.start(epoch)

    def dataset(self) -> tf.data.Dataset:
        """The batches of an epoch. Each iteration is the next epoch."""
        fresh = self._fresh
        turns = np.repeat(np.arange(len(fresh.lengths)), -(-fresh.examples // self._rows))
        turns = np.random.default_rng(fresh.seed).permutation(turns)
        keys = tf.constant([_key(fresh.seed, "train", length) for length in fresh.lengths], tf.int64)
        lengths = tf.constant(fresh.lengths, tf.int32)

        def epoch_of(epoch):
            numbered = tf.data.Dataset.from_tensor_slices(turns).enumerate(epoch * len(turns))
            return numbered.map(draw)

        def draw(number, turn):
            return batch(fresh.task, lengths[turn], self._rows, keys[turn], number)

        batches = self._epochs.dataset().flat_map(epoch_of)
        return batches.apply(tf.data.experimental.assert_cardinality(len(turns)))
