"""Batches of like lengths: the shapes, the rows of each, the step that fills them, and what an epoch comes to."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.autotune import without_autotune
from keras_seq.data.bucket_fitting import distinct_rows
from keras_seq.data.lengths import SequenceAxes, padding_value

_DEFAULT_WIDTH = 4
_SMALL_BUDGET, _SHORT = 129, 8  # tokens: the largest number that looks like one of rows; a short sentence
_log = logging.getLogger(__name__)
_DEFAULT_LONGEST = 1024  # where no budget of tokens says how long an example can be


def even_boundaries(width: int, longest: int) -> list[int]:
    """Exclusive boundaries at equal distances, so that lengths up to `longest` at least fall below the last one."""
    if width < 1 or longest < 1:
        raise ValueError(f"`width` and `longest` must be positive. Received: {width=}, {longest=}")
    return list(range(width + 1, longest + width + 2, width))


def batch_sizes(
    buckets: Sequence[int] | Sequence[tuple[int, ...]],
    tokens_per_batch: int | None = None,
    *,
    examples_per_batch: int | None = None,
    multiple_of: int = 1,
) -> list[int]:
    """The number of rows for each bucket, and 1 for what fits into none: such an example travels alone.

    A budget of tokens is shared out as fairseq does: rows x the longest of the padded sides.

    Args:
        buckets: exclusive boundaries, or tuples of maxima.
        tokens_per_batch: budget of tokens.
        examples_per_batch: number of rows, in place of a budget.
        multiple_of: rows are rounded down to a multiple of this number (of replicas, say), where the budget holds that
            many; where not, as many as it holds. A bucket longer than the budget takes one row.
    """
    if (tokens_per_batch is None) == (examples_per_batch is None):
        raise ValueError(
            "Give either `tokens_per_batch` or `examples_per_batch`. "
            f"Received: {tokens_per_batch=}, {examples_per_batch=}"
        )
    for name, value in (("tokens_per_batch", tokens_per_batch), ("examples_per_batch", examples_per_batch)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be positive. Received: {value}")
    if multiple_of < 1:
        raise ValueError(f"`multiple_of` must be positive. Received: {multiple_of}")
    sizes = []
    for bucket in buckets:
        longest = max(bucket) if isinstance(bucket, tuple | list) else bucket - 1
        rows = examples_per_batch if tokens_per_batch is None else tokens_per_batch // max(1, longest)
        sizes.append(rows // multiple_of * multiple_of or max(1, rows))
    return [*sizes, 1]


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
    _shapes_and_rows(None, *options)  # refuses bad arguments here, and not only where the step is applied
    if examples_per_batch is None and tokens_per_batch < _SMALL_BUDGET:
        _log.warning(
            "%d `tokens_per_batch` are rows times their padded length: %d rows of %d tokens. For batches of %d rows "
            "give examples_per_batch=%d.",
            *(tokens_per_batch, max(1, tokens_per_batch // _SHORT), _SHORT, tokens_per_batch, tokens_per_batch),
        )

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        sequences = SequenceAxes(dataset.element_spec, axes)
        shapes, rows = _shapes_and_rows(sequences.count, *options)
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


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """What `bucketed` makes of an epoch: N examples of L lengths, in B batches, which stand in order of their buckets.

    Attributes:
        batch: the number of each example's batch, int64 `(N,)`; -1 where `drop_remainder` drops it.
        rows: of each batch, int64 `(B,)`.
        shapes: the padded lengths of each batch, int64 `(B, L)`.
        tokens: the real positions of each batch, of all lengths together, int64 `(B,)`.
        oversized: how many examples travel alone, since they fit no bucket or are longer than the budget.
        partial: how many batches have fewer rows than their bucket takes.
    """

    batch: np.ndarray
    rows: np.ndarray
    shapes: np.ndarray
    tokens: np.ndarray
    oversized: int
    partial: int

    @property
    def batches(self) -> int:
        return len(self.rows)

    @property
    def positions(self) -> int:
        """Those of all batches and all lengths, padding included."""
        return int(self.rows @ self.shapes.sum(axis=1))

    @property
    def padding(self) -> float:
        """The share of positions that are padding."""
        return 1 - int(self.tokens.sum()) / self.positions if self.batches else 0.0

    @property
    def distinct_shapes(self) -> int:
        """How many different padded lengths there are, whatever the number of rows."""
        return len(np.unique(self.shapes, axis=0))

    @property
    def traces(self) -> int:
        """How many different shapes there are, rows included: what a compiler of static shapes has to compile."""
        return len(np.unique(np.column_stack([self.rows, self.shapes]), axis=0))

    @property
    def dropped(self) -> int:
        return int((self.batch < 0).sum())


def plan_batches(
    lengths: np.ndarray,
    tokens_per_batch: int | None = 4096,
    *,
    examples_per_batch: int | None = None,
    buckets: Sequence[int] | Sequence[tuple[int, ...]] | None = None,
    boundaries: Sequence[int] | None = None,
    width: int | None = None,
    multiple_of: int = 1,
    pad_to_bucket_boundary: bool = False,
    drop_remainder: bool = False,
) -> BatchPlan:
    """The batches that `bucketed` makes of an epoch, from the lengths alone.

    They are exactly those of examples that come in the order of `lengths`. Another order has as many batches of as many
    rows; with `pad_to_bucket_boundary`, of the same shapes too.

    Args:
        lengths: ints `(N,)` or `(N, L)`, as `data.lengths` returns them.
        tokens_per_batch, ..., drop_remainder: those of `bucketed`.

    Raises:
        ValueError: as `bucketed` does, and if a length is 0.
    """
    lengths = np.asarray(lengths, np.int64)
    lengths = lengths[:, None] if lengths.ndim == 1 else lengths  # (N, L)
    if empty := int((lengths < 1).any(axis=1).sum()):
        raise ValueError(
            f"{empty} of {len(lengths)} examples have an empty sequence: it would make a row of nothing but padding. "
            "Drop them by `longer_than(0)`."
        )
    shapes, rows_of = _shapes_and_rows(
        lengths.shape[1], tokens_per_batch, examples_per_batch, buckets, boundaries, width, multiple_of
    )
    shapes, rows_of = np.array(shapes), np.array(rows_of)
    bucket = _first_fitting(lengths, shapes)  # (N,)
    counts = np.bincount(bucket, minlength=len(rows_of))
    order = np.argsort(bucket, kind="stable")
    place = np.empty_like(order)  # of an example within its bucket
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    batches = -(-counts // rows_of)  # (buckets + 1,)
    batch = (np.cumsum(batches) - batches)[bucket] + place // rows_of[bucket]  # (N,)

    bucket_of_batch = np.repeat(np.arange(len(rows_of)), batches)  # (B,)
    rows = np.bincount(batch, minlength=len(bucket_of_batch))
    tokens = np.bincount(batch, lengths.sum(axis=1), minlength=len(rows)).astype(np.int64)
    padded = np.zeros((len(rows), lengths.shape[1]), np.int64)
    np.maximum.at(padded, batch, lengths)
    if pad_to_bucket_boundary:
        in_bucket = bucket_of_batch < len(shapes)
        padded[in_bucket] = shapes[bucket_of_batch[in_bucket]]
    partial = rows < rows_of[bucket_of_batch]
    budget = tokens_per_batch if examples_per_batch is None else np.inf
    oversized = int(counts[:-1][shapes.max(axis=1) > budget].sum() + counts[-1])
    if drop_remainder:
        batch = np.where(partial, -1, np.cumsum(~partial) - 1)[batch]
        rows, padded, tokens, partial = (each[~partial] for each in (rows, padded, tokens, partial))
    return BatchPlan(batch, rows, padded, tokens, oversized, int(partial.sum()))


def count_batches(
    lengths: np.ndarray,
    buckets: Sequence[int] | Sequence[tuple[int, ...]],
    tokens_per_batch: int | None = None,
    *,
    examples_per_batch: int | None = None,
    multiple_of: int = 1,
) -> int:
    """How many batches `bucketed` makes of an epoch, the partial ones counted: the steps that a schedule and a progress
    bar ask for.

    Args: those of `plan_batches`.
    """
    options = {"examples_per_batch": examples_per_batch, "multiple_of": multiple_of}
    return plan_batches(lengths, tokens_per_batch, buckets=buckets, **options).batches


def _shapes_and_rows(
    num_lengths: int | None, tokens_per_batch, examples_per_batch, buckets, boundaries, width, multiple_of
) -> tuple[list[tuple[int, ...]], list[int]]:
    """The shapes, as maxima, in order of rising cost: an example goes to the first one that it fits into. And the rows
    of each, with 1 for what fits into none. `num_lengths` is None where it is not known yet.
    """
    if examples_per_batch is not None:
        tokens_per_batch = None
    if sum(given is not None for given in (buckets, boundaries, width)) > 1:
        raise ValueError(
            f"Give one of `buckets`, `boundaries` and `width` at most. Received: {buckets=}, {boundaries=}, {width=}"
        )
    if buckets is None and boundaries is None:
        width = _DEFAULT_WIDTH if width is None else width
        boundaries = even_boundaries(width, tokens_per_batch or _DEFAULT_LONGEST)
    if buckets is None:
        shapes = [(int(boundary) - 1,) * (num_lengths or 1) for boundary in boundaries]
    else:
        shapes = [tuple(map(int, np.ravel(bucket))) for bucket in buckets]
    if not shapes or min(map(min, shapes)) < 1:
        given = boundaries if buckets is None else buckets
        raise ValueError(f"Buckets must be one or more positive lengths. Received: {given}")
    if {len(shape) for shape in shapes} != {num_lengths or len(shapes[0])}:
        raise ValueError(
            f"Each bucket must have as many lengths as an example, {num_lengths or 'one or more'}. Received: {buckets}"
        )
    shapes = sorted(shapes, key=lambda shape: (sum(shape), shape))
    rows = batch_sizes(shapes, tokens_per_batch, examples_per_batch=examples_per_batch, multiple_of=multiple_of)
    return shapes, rows


def _padded(component: tf.Tensor, length: tf.Tensor, filler: tf.Tensor) -> tf.Tensor:
    """`(B, T, ...)` to `(B, length, ...)`."""
    missing = [[0, 0], [0, length - tf.shape(component)[1]], *[[0, 0]] * (component.shape.rank - 2)]
    return tf.pad(component, missing, constant_values=filler)


def _first_fitting(lengths: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The number of each example's bucket `(N,)`; `len(shapes)` where it fits into none."""
    distinct, inverse, _ = distinct_rows(lengths)
    found = np.full(len(distinct), len(shapes))
    for number in reversed(range(len(shapes))):
        found[(distinct <= shapes[number]).all(axis=1)] = number
    return found[inverse]
