"""Batches of like lengths: the shapes, how many rows each takes, and the dataset step that fills them."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_seq.data.bucket_fitting import Bucket

_DEFAULT_WIDTH = 4
_DEFAULT_LONGEST = 1024  # where no budget of tokens says how long an example can be


def even_boundaries(width: int, longest: int) -> list[int]:
    """Exclusive boundaries at equal distances, so that lengths up to `longest` at least fall below the last one."""
    if width < 1 or longest < 1:
        raise ValueError(f"`width` and `longest` must be positive. Received: {width=}, {longest=}")
    return list(range(width + 1, longest + width + 2, width))


def batch_sizes(
    buckets: Sequence[int] | Sequence[tuple[int, int]],
    tokens_per_batch: int | None = None,
    *,
    examples_per_batch: int | None = None,
    multiple_of: int = 1,
) -> list[int]:
    """The number of rows for each bucket, and 1 for what fits into none: such an example travels alone.

    A budget of tokens is shared out as fairseq does: rows x the longer of the two padded sides.

    Args:
        buckets: exclusive boundaries, or (source, target) maxima.
        tokens_per_batch: budget of tokens.
        examples_per_batch: number of rows, in place of a budget.
        multiple_of: rows are rounded down to a multiple of this number (of replicas, say), and are at least that many.
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
    for bucket in _as_buckets(buckets):
        rows = examples_per_batch if tokens_per_batch is None else tokens_per_batch // max(1, *bucket)
        sizes.append(max(rows // multiple_of * multiple_of, multiple_of))
    return [*sizes, 1]


def bucketed(
    tokens_per_batch: int | None = 4096,
    *,
    examples_per_batch: int | None = None,
    buckets: Sequence[tuple[int, int]] | None = None,
    boundaries: Sequence[int] | None = None,
    width: int | None = None,
    multiple_of: int = 1,
    pad_to_bucket_boundary: bool = False,
    drop_remainder: bool = False,
    pad_id: int = 0,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step: `(source, target)` int vectors to padded batches `(B, S)`, `(B, T)` of like lengths.

    Each pair goes to the first bucket that it fits into, in order of rising cost (source + target positions). A pair
    that fits into none, or is longer than the budget, travels alone. Nothing is dropped: at the end of the data
    come the partial batches.

    Args:
        tokens_per_batch: the budget; see `batch_sizes`.
        examples_per_batch: rows per batch, in place of the budget.
        buckets: (source, target) maxima, inclusive, as `fit_buckets` finds them.
        boundaries: exclusive boundaries on the longer side, in place of `buckets`.
        width: even boundaries on the longer side, up to the budget; 4 where none of the three is given.
        multiple_of: rows are a multiple of this number, save in the partial batches at the end and for lone pairs.
        pad_to_bucket_boundary: pads to the bucket's own shape, which makes shapes few (for XLA), and not to the longest
            pair of the batch.
        drop_remainder: drops the partial batches.
        pad_id: fills the batches.

    Raises:
        ValueError: if a number is not positive, or more than one of `buckets`, `boundaries`, `width` is given.
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
    shapes = _in_order(boundaries if buckets is None else buckets)
    sizes = batch_sizes(shapes, tokens_per_batch, examples_per_batch=examples_per_batch, multiple_of=multiple_of)
    maxima = tf.constant(shapes, tf.int32)  # (buckets, 2)

    def bucket_of(source_length, target_length):
        fits = (source_length <= maxima[:, 0]) & (target_length <= maxima[:, 1])
        return tf.reduce_min(tf.where(fits, tf.range(len(shapes)), len(shapes)))

    def pad_to_bucket(source, target):
        # The longest source and target of a batch fit into its own bucket, and into no cheaper one: that would be the
        # bucket of every single pair.
        shape = tf.stack([tf.shape(source)[1], tf.shape(target)[1]])
        bucket = bucket_of(shape[0], shape[1])
        wanted = tf.cond(bucket < len(shapes), lambda: maxima[bucket], lambda: shape)
        return tuple(
            tf.pad(side, [[0, 0], [0, wanted[i] - shape[i]]], constant_values=tf.cast(pad_id, side.dtype))
            for i, side in enumerate((source, target))
        )

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        padding_values = tuple(tf.constant(pad_id, spec.dtype) for spec in dataset.element_spec)
        batches = dataset.bucket_by_sequence_length(
            # The number of the bucket is the "length": so two lengths decide, and bucket i lies below boundary i + 1.
            element_length_func=lambda source, target: bucket_of(tf.size(source), tf.size(target)),
            bucket_boundaries=list(range(1, len(shapes) + 1)),
            bucket_batch_sizes=sizes,
            padded_shapes=([None], [None]),
            padding_values=padding_values,
            drop_remainder=drop_remainder,
        )
        if not pad_to_bucket_boundary:
            return batches
        return batches.map(pad_to_bucket, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return step


def count_batches(
    lengths: np.ndarray,
    buckets: Sequence[tuple[int, int]],
    tokens_per_batch: int | None = None,
    *,
    examples_per_batch: int | None = None,
    multiple_of: int = 1,
) -> int:
    """How many batches `bucketed` makes of an epoch, the partial ones counted: the steps that a schedule and a progress
    bar ask for.

    Args:
        lengths: int (N, 2), as `data.lengths` returns them.
        buckets, tokens_per_batch, examples_per_batch, multiple_of: those of `bucketed`.
    """
    shapes = _in_order(buckets)
    sizes = batch_sizes(shapes, tokens_per_batch, examples_per_batch=examples_per_batch, multiple_of=multiple_of)
    fits = (np.asarray(lengths)[:, None, :] <= np.asarray(shapes)[None]).all(-1)  # (N, buckets)
    chosen = np.where(fits.any(1), fits.argmax(1), len(shapes))
    counts = np.bincount(chosen, minlength=len(sizes))
    return int(sum(-(-int(count) // rows) for count, rows in zip(counts, sizes, strict=True)))


def _in_order(buckets: Sequence[int] | Sequence[tuple[int, int]]) -> list[Bucket]:
    """The buckets in order of rising cost: a pair goes to the first one that it fits into."""
    return sorted(_as_buckets(buckets), key=lambda bucket: (sum(bucket), bucket))


def _as_buckets(buckets: Sequence[int] | Sequence[tuple[int, int]]) -> list[Bucket]:
    """(source, target) maxima; an exclusive boundary b on the longer side is the bucket (b - 1, b - 1)."""
    shapes = [Bucket(*b) if isinstance(b, tuple | list) else Bucket(int(b) - 1, int(b) - 1) for b in buckets]
    if not shapes or min(map(min, shapes)) < 0:
        raise ValueError(f"Buckets must be one or more positive lengths. Received: {buckets}")
    return shapes
