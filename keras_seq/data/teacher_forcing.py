"""What a decoder sees and what it must say."""

from collections.abc import Callable

import tensorflow as tf


def teacher_forcing(start_id: int, pad_id: int = 0) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step on padded batches, for `model.fit`: the decoder reads the target one place late.

    Args:
        start_id: the first token that the decoder reads.
        pad_id: fills the batches.

    Returns:
        A step from `(source (B, S), target (B, T))` to `(inputs, labels, weights)`: inputs `{"source": source,
        "target": start + target[:, :-1]}`, labels the target itself, weights float32 `(B, T)`, 1 at its real tokens.
    """

    def shift(source, target):
        start = tf.fill([tf.shape(target)[0], 1], tf.cast(start_id, target.dtype))
        inputs = {"source": source, "target": tf.concat([start, target[:, :-1]], axis=1)}
        return inputs, target, tf.cast(target != pad_id, tf.float32)

    return lambda dataset: dataset.map(shift, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
