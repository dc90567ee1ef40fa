"""Groups the numbers of examples into the batches that `bucket_by_sequence_length` makes of the examples."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.lengths import EMPTY_SEQUENCE

_NUMBERS_AT_A_TIME = 100_000


def batched_numbers(
    numbers: tf.data.Dataset, bucket_of: np.ndarray, rows: Sequence[int], drop_remainder: bool = False
) -> tf.data.Dataset:
    """Batches of numbers of one bucket, int64 `(B,)`, of many examples at a time.

    A batch comes when its last number comes. The partial ones come at the end, in order of their buckets.

    Args:
        numbers: dataset of int64 scalars, which may be endless.
        bucket_of: the bucket of each example `(N,)`, or -1 if it may not be used.
        rows: rows of a batch of each bucket.
        drop_remainder: whether to drop the partial batches.
    """
    if numbers.element_spec != tf.TensorSpec([], tf.int64):
        raise ValueError(
            "With `examples`, the dataset must hold numbers of examples: start with `examples.numbers()`. "
            f"Received: {numbers.element_spec}"
        )
    with tf.device("CPU:0"):  # dataset functions run there
        bucket_of, rows_of = tf.constant(bucket_of, tf.int32), tf.constant(rows, tf.int64)

    def grouped(pending, added):
        """Takes full batches from the numbers so far, and keeps the others in their order."""
        added, is_end = added
        numbers = tf.concat([pending, added], axis=0)
        buckets = tf.gather(bucket_of, numbers)
        usable = tf.debugging.Assert(tf.reduce_all(buckets >= 0), [EMPTY_SEQUENCE])
        with tf.control_dependencies([usable]):
            order = tf.cast(tf.argsort(buckets, stable=True), tf.int64)
        buckets = tf.gather(buckets, order)
        counts = tf.math.bincount(buckets, minlength=rows_of.shape[0], dtype=tf.int64)
        rows = tf.gather(rows_of, buckets)
        place = tf.range(tf.size(order, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), buckets)
        is_full = place < tf.gather(counts, buckets) // rows * rows
        is_taken = is_full | is_end

        taken = tf.boolean_mask(order, is_taken)
        starts = tf.where(tf.boolean_mask(place % rows == 0, is_taken))[:, 0]
        ends = tf.concat([starts[1:], [tf.size(taken, tf.int64)]], axis=0)[: tf.size(starts)]
        complete = tf.gather(tf.boolean_mask(is_full, is_taken), starts)
        came = tf.where(complete, tf.gather(taken, ends - 1), tf.size(order, tf.int64) + starts)
        batches = tf.RaggedTensor.from_row_limits(tf.gather(numbers, taken), ends, validate=False)
        return tf.gather(numbers, tf.sort(tf.boolean_mask(order, ~is_taken))), tf.gather(batches, tf.argsort(came))

    blocks = numbers.batch(_NUMBERS_AT_A_TIME).map(lambda block: (block, False))
    if not drop_remainder:
        blocks = blocks.concatenate(tf.data.Dataset.from_tensors((tf.zeros([0], tf.int64), True)))
    return blocks.scan(tf.zeros([0], tf.int64), grouped).unbatch()
