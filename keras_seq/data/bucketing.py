"""Pads sequences of similar length into batches."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.autotune import without_autotune
from keras_seq.data.batch_plan import count_batches, first_fitting, shapes_and_rows
from keras_seq.data.bucket_fitting import fit_buckets
from keras_seq.data.in_memory import InMemory
from keras_seq.data.lengths import SequenceAxes, padding_value
from keras_seq.data.number_batches import batched_numbers

_MOST_SHAPES = 40
_BATCHES_A_SHAPE = 5
_SMALL_BUDGET, _SHORT = 129, 8  # tokens: smaller budgets are probably meant as rows; length of a short sentence
_LARGE_BUDGET = 50_000  # a budget of samples, most likely
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
    examples: InMemory | None = None,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that groups examples of any length into padded batches of similar lengths.

    An example is any nest of tensors: ids `(T,)` become `(B, T)`, features `(T, D)` become `(B, T, D)`, a label `()`
    becomes `(B,)`; `(source, target)` has two lengths, `(ids, label)` one. Integers are padded with `pad_id`, floats
    with 0, bools with False, strings with "".

    Each example goes to the smallest bucket that all of its sequences fit into.
    An example that fits no bucket, or exceeds the token budget, forms a batch by itself. Nothing is dropped: at the end
    of the data, each bucket's partial batch is emitted. `plan_batches` computes their numbers beforehand.

    These last small batches come one after the other, sorted by length, and degrade the model at the end of an epoch,
    by up to 8 BLEU for a small Transformer on Multi30k. Shuffle the batches too: `.apply(shuffled(seed,
    buffer_size=1_000))`.

    | argument | buckets | for |
    |---|---|---|
    | none, or `width` | every 4 or `width` positions | text, at first |
    | `buckets` | as fitted to the lengths: `fit_buckets(data.lengths(examples), 24)` | the least padding, few shapes |
    | `boundaries` | as of `tf.data`'s `bucket_by_sequence_length` | boundaries that exist already |

    An empty sequence is an error: it would become a row of padding only, for which many models have a loss of 0 / 0.
    Drop such examples with `longer_than(0)`, or set the `axes` entry of a component that may be empty to None.

    Args:
        tokens_per_batch: token budget, in positions of the longest side (of a waveform: samples), see `batch_sizes`.
        examples_per_batch: rows per batch, instead of the budget.
        buckets: inclusive maxima, as returned by `fit_buckets`: numbers for one length, (source, target) for two, and
            so on.
        boundaries: exclusive boundaries on the longest side, instead of `buckets`.
        width: distance of even boundaries on the longest side, up to the budget. 4 if none of the three is given.
        multiple_of: number that divides the rows of each batch. Exceptions are budgets that hold fewer rows, the
            partial batches at the end, and examples in a batch by themselves.
        pad_to_bucket_boundary: whether to pad to the shape of the bucket, which keeps the number of shapes small (for
            XLA), instead of to the longest example of the batch.
        drop_remainder: whether to drop the partial batches.
        pad_id: padding of integers.
        axes: names of the lengths of the components: those with one name have one length, `("T", "T")` for words and
            tags, and None does not count (`SequenceAxes`). By default each component of rank 1 or more has a separate
            length. Other components are padded to the longest of their batch.
        examples: examples in memory. The elements of the dataset are then their numbers, from `examples.numbers()`. The
            batches are those of the examples themselves, and take a twentieth of the time.

    Raises:
        ValueError: if a number is not positive, more than one of `buckets`, `boundaries`, `width` is given, or buckets
            and elements have different numbers of lengths. With `examples`, also for an empty sequence, for unequal
            lengths of one axis, or if the elements are not numbers.
        tf.errors.InvalidArgumentError: while iterating, at an empty sequence or at unequal lengths of one axis.
    Example:
        >>> rows = tf.data.Dataset.from_generator(
        ...     lambda: ([1] * length for length in (2, 5, 2, 5)), output_signature=tf.TensorSpec([None], tf.int32)
        ... )
        >>> [tuple(batch.shape) for batch in rows.apply(data.bucketed(10, boundaries=[3, 6]))]
        [(2, 5), (2, 2)]
    """
    options = (tokens_per_batch, examples_per_batch, buckets, boundaries, width, multiple_of)
    shapes_and_rows(None, *options)  # rejects bad arguments here, before the step is applied
    if examples_per_batch is None and tokens_per_batch < _SMALL_BUDGET:
        _log.warning(
            "tokens_per_batch=%d is the number of rows times their padded length: %d rows of %d tokens. For batches of "
            "%d rows, pass examples_per_batch=%d.",
            *(tokens_per_batch, max(1, tokens_per_batch // _SHORT), _SHORT, tokens_per_batch, tokens_per_batch),
        )
    if buckets is boundaries is width is None and (tokens_per_batch or 0) > _LARGE_BUDGET:
        _log.warning(
            "tokens_per_batch=%d with the default width=4 makes %d buckets. Few examples share one: most batches are "
            "small. Pass a larger width, such as width=%d, or buckets=fit_buckets(lengths, 40).",
            *(tokens_per_batch, tokens_per_batch // 4, tokens_per_batch // 40),
        )

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        element_spec = dataset.element_spec if examples is None else examples.element_spec
        sequences = SequenceAxes(element_spec, axes)
        shapes, rows = shapes_and_rows(sequences.count, *options)
        maxima = tf.constant(shapes, tf.int32)  # (buckets, L)
        fillers = tf.nest.map_structure(lambda spec: padding_value(spec.dtype, pad_id), element_spec)

        def bucket_of(lengths):
            fits = tf.reduce_all(lengths <= maxima, axis=1)
            return tf.reduce_min(tf.where(fits, tf.range(len(shapes)), len(shapes)))

        def pad_to_bucket(*batch):
            # The longest sides of a batch fit into the bucket of the batch, and into no cheaper one, since that would
            # be the bucket of every single example.
            lengths = sequences.lengths(batch, axis=1)
            bucket = bucket_of(lengths)
            wanted = tf.cond(bucket < len(shapes), lambda: maxima[bucket], lambda: lengths)
            components = zip(tf.nest.flatten(batch), sequences.numbers, tf.nest.flatten(fillers), strict=True)
            padded = [
                component if number is None else _padded(component, wanted[number], filler)
                for component, number, filler in components
            ]
            return tf.nest.pack_sequence_as(element_spec, padded)

        if examples is None:
            batches = dataset.bucket_by_sequence_length(
                # The "length" is the number of the bucket, since several lengths determine it. Bucket i is below
                # boundary i + 1.
                element_length_func=lambda *example: bucket_of(sequences.checked_lengths(example)),
                bucket_boundaries=list(range(1, len(shapes) + 1)),
                bucket_batch_sizes=rows,
                padding_values=fillers,
                drop_remainder=drop_remainder,
            )
        else:
            lengths = examples.lengths(axes).reshape(len(examples), sequences.count)
            buckets_of = np.where((lengths > 0).all(axis=1), first_fitting(lengths, np.array(shapes)), -1)
            batches = batched_numbers(dataset, buckets_of, rows, drop_remainder)
            batches = batches.map(
                lambda numbers: examples.gather(numbers, fillers),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
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
    """The bucket shapes with the least padding for a corpus, and batched datasets with a cardinality.

        buckets = data.Buckets(data.lengths(examples), tokens_per_batch=1024)
        train = examples.apply(order).apply(buckets.batched(data.lengths(examples))).apply(batches_order)
        valid = others.apply(buckets.batched(data.lengths(others)))

    Args:
        lengths: ints `(N,)` or `(N, 2)`, as returned by `data.lengths`.
        tokens_per_batch: the token budget, as for `bucketed`.
        shapes: maximum number of shapes. By default a fifth of an epoch's full batches, at most 40. Each shape ends the
            epoch with a partial batch, so with too many shapes most batches are small.
        multiple_of: number that divides the rows of each batch, such as the number of replicas.
    Attributes:
        shapes: the maxima, for `buckets` of `bucketed`.
    Raises:
        ValueError: as for `fit_buckets`.
    """

    def __init__(self, lengths: np.ndarray, tokens_per_batch: int, shapes: int | None = None, multiple_of: int = 1):
        lengths = np.asarray(lengths)
        longest = lengths.max(axis=1) if lengths.ndim == 2 and len(lengths) else lengths
        full_batches = int(longest.sum()) // tokens_per_batch
        shapes = shapes or min(_MOST_SHAPES, max(1, full_batches // _BATCHES_A_SHAPE))
        self.shapes = fit_buckets(lengths, shapes)
        self._options = {"tokens_per_batch": tokens_per_batch, "buckets": self.shapes, "multiple_of": multiple_of}

    def batched(
        self, lengths: np.ndarray, *, pad_id: int = 0, axes=None, examples: InMemory | None = None
    ) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """A dataset step: `bucketed`, with the number of batches as the cardinality of the dataset.

        Args:
            lengths: lengths of the examples of the dataset, in any order.
            pad_id, axes, examples: as for `bucketed`.
        """
        count = tf.data.experimental.assert_cardinality(count_batches(lengths, **self._options))
        step = bucketed(**self._options, pad_id=pad_id, axes=axes, examples=examples)
        return lambda dataset: dataset.apply(step).apply(count)
