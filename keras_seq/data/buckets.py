"""Batches in shapes that are fitted to a corpus once and then taken for all of its parts."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_seq.data.bucket_fitting import fit_buckets
from keras_seq.data.bucketing import bucketed, count_batches

_MOST_SHAPES = 40
_BATCHES_A_SHAPE = 5


class Buckets:
    """The shapes that pad a corpus least, and batches in them whose number is known.

        buckets = data.Buckets(data.lengths(examples), tokens_per_batch=1024)
        train = examples.apply(order).apply(buckets.batched(data.lengths(examples))).apply(batches_order)
        valid = others.apply(buckets.batched(data.lengths(others)))

    Args:
        lengths: ints `(N,)` or `(N, 2)`, as `data.lengths` returns them.
        tokens_per_batch: the budget, as for `bucketed`.
        shapes: how many, at most. By default a fifth of an epoch's full batches, at most 40: each shape ends the epoch
            with a batch that is not full, and with too many most batches are small.
        multiple_of: rows are a multiple of this number (of replicas, say).
    Attributes:
        shapes: the maxima, as `bucketed` takes them.
    Raises:
        ValueError: as `fit_buckets` does.
    """

    def __init__(self, lengths: np.ndarray, tokens_per_batch: int, shapes: int | None = None, multiple_of: int = 1):
        lengths = np.asarray(lengths)
        longest = lengths.max(axis=1) if lengths.ndim == 2 and len(lengths) else lengths
        full_batches = int(longest.sum()) // tokens_per_batch
        shapes = shapes or min(_MOST_SHAPES, max(1, full_batches // _BATCHES_A_SHAPE))
        self.shapes = fit_buckets(lengths, shapes)
        self._options = {"tokens_per_batch": tokens_per_batch, "buckets": self.shapes, "multiple_of": multiple_of}

    def batched(
        self, lengths: np.ndarray, *, pad_id: int = 0, axes=None
    ) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """A dataset step: `bucketed`, and the dataset knows how many batches it has.

        Args:
            lengths: of the examples that it is applied to, in any order.
            pad_id, axes: as for `bucketed`.
        """
        count = tf.data.experimental.assert_cardinality(count_batches(lengths, **self._options))
        return lambda dataset: dataset.apply(bucketed(**self._options, pad_id=pad_id, axes=axes)).apply(count)
