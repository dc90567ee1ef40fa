"""Makes inputs and labels of a decoder from pairs."""

from collections.abc import Callable

import tensorflow as tf


def teacher_forcing(start_id: int, pad_id: int = 0) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step on padded batches, for `model.fit`: the input of the decoder is the target, shifted by one.

    Args:
        start_id: first input token of the decoder.
        pad_id: padding of the batches.

    Returns:
        A step from `(source (B, S), target (B, T))` to `(inputs, labels, weights)`: inputs `{"source": source,
        "target": start + target[:, :-1]}`, labels the target, weights float32 `(B, T)`, 1 at its real tokens.
    Example:
        >>> batches = tf.data.Dataset.from_tensors(([[7, 8, 3]], [[9, 3, 0]]))  # 3 ends, 0 is padding
        >>> inputs, labels, weights = next(iter(batches.apply(data.teacher_forcing(start_id=2))))
        >>> inputs["target"].numpy().tolist(), labels.numpy().tolist(), weights.numpy().tolist()
        ([[2, 9, 3]], [[9, 3, 0]], [[1.0, 1.0, 0.0]])
    """

    def shift(source, target):
        start = tf.fill([tf.shape(target)[0], 1], tf.cast(start_id, target.dtype))
        inputs = {"source": source, "target": tf.concat([start, target[:, :-1]], axis=1)}
        return inputs, target, tf.cast(target != pad_id, tf.float32)

    return lambda dataset: dataset.map(shift, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
