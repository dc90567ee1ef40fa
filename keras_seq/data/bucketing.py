"""Padded batches of sequences of similar length."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.autotune import without_autotune
from keras_seq.data.batch_plan import count_batches, shapes_and_rows
from keras_seq.data.bucket_fitting import fit_buckets
from keras_seq.data.lengths import SequenceAxes, padding_value

_MOST_SHAPES = 40
_BATCHES_A_SHAPE = 5
_SMALL_BUDGET, _SHORT = 129, 8  # tokens: the largest number that looks like one of rows; a short sentence
_log = logging.getLogger(__name__)


def bucketed(
    tokens_per_batch: int | None = 4096,
    *,
    examples_per_batch: int | None = None,
    buckets: Sequence[int] | Sequence[tuple[int, ...]] | None = None,
    boundaries: Sequence[int] | None = None,
    width: int | None = None,
    multiple_of: int = 1,
    pad_to_bucket_boundary: bool = False,
    drop_remainder: bool = False,
    pad_id: int = 0,
    axes=None,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step: examples of any lengths to padded batches of like lengths.

    An example is any nest of tensors: ids `(T,)` become `(B, T)`, features `(T, D)` become `(B, T, D)`, a label `()`
    becomes `(B,)`; `(source, target)` has two lengths, `(ids, label)` one. Integers are padded with `pad_id`, floats
    with 0, bools with False, strings with "".

    Each example goes to the first bucket that it fits into, in order of rising cost (the positions of all its sides).
    What fits into none, or is longer than the budget, travels alone. Nothing is dropped: at the end of the data come
    the partial batches, one of each bucket. `plan_batches` says beforehand how many of each there will be.

    So many small batches in a row, one shape after the other, spoil what an epoch has taught, up to 8 BLEU for a small
    Transformer on Multi30k. Shuffle the batches too: `.apply(shuffled(seed, buffer_size=1_000))`.

    An empty sequence would make a row of nothing but padding, which means a loss of 0 / 0 in many a model: it is an
    error. `longer_than(0)` drops such examples; a component that may be empty gets None in `axes`.

    Args:
        tokens_per_batch: the budget, in positions of the longest side (of a waveform: samples); see `batch_sizes`.
        examples_per_batch: rows per batch, in place of the budget.
        buckets: maxima, inclusive, as `fit_buckets` finds them: numbers for one length, (source, target) for two, and
            so on.
        boundaries: exclusive boundaries on the longest side, in place of `buckets`.
        width: even boundaries on the longest side, up to the budget; 4 where none of the three is given.
        multiple_of: rows are a multiple of this number, save where the budget holds fewer, in the partial batches at
            the end and for lone examples.
        pad_to_bucket_boundary: pads to the bucket's own shape, which makes shapes few (for XLA), and not to the longest
            example of the batch.
        drop_remainder: drops the partial batches.
        pad_id: fills the batches of integers.
        axes: which components count and which share a length, see `SequenceAxes`: `("T", "T")` for words and tags.
            By default each component of rank 1 or more has a length of its own. What does not count is padded to the
            longest of its batch.

    Raises:
        ValueError: if a number is not positive, more than one of `buckets`, `boundaries`, `width` is given, or buckets
            and elements have not equally many lengths.
        tf.errors.InvalidArgumentError: while iterating, at an empty sequence or at unequal lengths of one axis.
    """
    options = (tokens_per_batch, examples_per_batch, buckets, boundaries, width, multiple_of)
    shapes_and_rows(None, *options)  # refuses bad arguments here, and not only where the step is applied
    if examples_per_batch is None and tokens_per_batch < _SMALL_BUDGET:
        _log.warning(
            "%d `tokens_per_batch` are rows times their padded length: %d rows of %d tokens. For batches of %d rows "
            "give examples_per_batch=%d.",
            *(tokens_per_batch, max(1, tokens_per_batch // _SHORT), _SHORT, tokens_per_batch, tokens_per_batch),
        )

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        sequences = SequenceAxes(dataset.element_spec, axes)
        shapes, rows = shapes_and_rows(sequences.count, *options)
        maxima = tf.constant(shapes, tf.int32)  # (buckets, L)
        fillers = tf.nest.map_structure(lambda spec: padding_value(spec.dtype, pad_id), dataset.element_spec)

        def bucket_of(lengths):
            fits = tf.reduce_all(lengths <= maxima, axis=1)
            return tf.reduce_min(tf.where(fits, tf.range(len(shapes)), len(shapes)))

        def pad_to_bucket(*batch):
            # The longest sides of a batch fit into its own bucket, and into no cheaper one: that would be the bucket
            # of every single example.
            lengths = sequences.lengths(batch, axis=1)
            bucket = bucket_of(lengths)
            wanted = tf.cond(bucket < len(shapes), lambda: maxima[bucket], lambda: lengths)
            components = zip(tf.nest.flatten(batch), sequences.numbers, tf.nest.flatten(fillers), strict=True)
            padded = [
                component if number is None else _padded(component, wanted[number], filler)
                for component, number, filler in components
            ]
            return tf.nest.pack_sequence_as(dataset.element_spec, padded)

        batches = dataset.bucket_by_sequence_length(
            # The number of the bucket is the "length": so many lengths decide, and bucket i lies below boundary i + 1.
            element_length_func=lambda *example: bucket_of(sequences.checked_lengths(example)),
            bucket_boundaries=list(range(1, len(shapes) + 1)),
            bucket_batch_sizes=rows,
            padding_values=fillers,
            drop_remainder=drop_remainder,
        )
        if pad_to_bucket_boundary:
            batches = batches.map(pad_to_bucket, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return batches.apply(without_autotune)

    return step


def _padded(component: tf.Tensor, length: tf.Tensor, filler: tf.Tensor) -> tf.Tensor:
    """`(B, T, ...)` to `(B, length, ...)`."""
    missing = [[0, 0], [0, length - tf.shape(component)[1]], *[[0, 0]] * (component.shape.rank - 2)]
    return tf.pad(component, missing, constant_values=filler)


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
