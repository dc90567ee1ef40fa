"""How long the examples are, and how much of their batches is padding."""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf


def lengths(dataset: tf.data.Dataset) -> np.ndarray:
    """The lengths of all encoded pairs, int64 `(N, 2)`: source, target. One pass."""
    sizes = dataset.map(lambda source, target: tf.stack([tf.size(source), tf.size(target)]))
    parts = list(sizes.batch(1024).as_numpy_iterator())
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros((0, 2), np.int64)


def shorter_than(max_length: int) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that keeps the encoded pairs whose sides both have fewer than `max_length` tokens, end included.

    How many it drops: `(lengths(dataset) >= max_length).any(axis=1).sum()`.
    """
    if max_length < 1:
        raise ValueError(f"`max_length` must be positive. Received: {max_length}")

    def is_shorter(source, target):
        return (tf.size(source) < max_length) & (tf.size(target) < max_length)

    return lambda dataset: dataset.filter(is_shorter)


def padding(batches: Iterable, pad_id: int = 0) -> float:
    """The share of padded positions in one pass over batches, both sides counted.

    Args:
        batches: of `(source, target)`, or what `teacher_forcing` makes of them.
        pad_id: fills the batches.
    """
    real = positions = 0
    for batch in batches:
        # After teacher forcing, the labels are the target.
        sides = (batch[0]["source"], batch[1]) if isinstance(batch[0], dict) else batch
        for tokens in map(np.asarray, sides):
            real += np.count_nonzero(tokens != pad_id)
            positions += tokens.size
    return 1 - real / positions if positions else 0.0
