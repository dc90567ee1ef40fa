"""Computes the shapes and rows of batches, and the batches of an epoch, from the lengths."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_seq.data.arguments import check_positive
from keras_seq.data.bucket_fitting import distinct_rows

_DEFAULT_WIDTH = 4
_DEFAULT_LONGEST = 1024  # longest example if there is no token budget


def even_boundaries(width: int, longest: int) -> list[int]:
    """Exclusive boundaries at equal distances, such that all lengths up to `longest` are below the last one."""
    check_positive(width=width, longest=longest)
    return list(range(width + 1, longest + width + 2, width))


def batch_sizes(
    buckets: Sequence[int] | Sequence[tuple[int, ...]],
    tokens_per_batch: int | None = None,
    *,
    examples_per_batch: int | None = None,
    multiple_of: int = 1,
) -> list[int]:
    """The number of rows for each bucket, followed by 1 for an example that fits no bucket and forms a batch by itself.

    A token budget is divided as in fairseq: rows x the longest of the padded sides.

    Args:
        buckets: exclusive boundaries, or tuples of maxima.
        tokens_per_batch: token budget.
        examples_per_batch: number of rows, instead of a budget.
        multiple_of: number, such as the number of replicas, of which rows are rounded down to a multiple. A budget that
            holds fewer rows is used fully. A bucket longer than the budget has one row.
    """
    if (tokens_per_batch is None) == (examples_per_batch is None):
        raise ValueError(
            "Give either `tokens_per_batch` or `examples_per_batch`. "
            f"Received: {tokens_per_batch=}, {examples_per_batch=}"
        )
    if tokens_per_batch is None:
        check_positive(examples_per_batch=examples_per_batch, multiple_of=multiple_of)
    else:
        check_positive(tokens_per_batch=tokens_per_batch, multiple_of=multiple_of)
    sizes = []
    for bucket in buckets:
        longest = max(bucket) if isinstance(bucket, tuple | list) else bucket - 1
        rows = examples_per_batch if tokens_per_batch is None else tokens_per_batch // max(1, longest)
        sizes.append(rows // multiple_of * multiple_of or max(1, rows))
    return [*sizes, 1]


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The result of `bucketed` for an epoch: N examples of L lengths, in B batches, in order of their buckets.

    Attributes:
        batch: number of each example's batch, int64 `(N,)`, or -1 if `drop_remainder` drops it.
        rows: rows of each batch, int64 `(B,)`.
        shapes: padded lengths of each batch, int64 `(B, L)`.
        tokens: real positions of each batch, over all lengths, int64 `(B,)`.
        oversized: number of examples that form a batch by themselves, since they fit no bucket or exceed the budget.
        partial: number of batches with fewer rows than their bucket allows.
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
        """The positions of all batches and all lengths, including padding."""
        return int(self.rows @ self.shapes.sum(axis=1))

    @property
    def padding(self) -> float:
        """The share of positions that are padding."""
        return 1 - int(self.tokens.sum()) / self.positions if self.batches else 0.0

    @property
    def distinct_shapes(self) -> int:
        """The number of different padded lengths, regardless of the number of rows."""
        return len(np.unique(self.shapes, axis=0))

    @property
    def traces(self) -> int:
        """The number of different shapes, including rows, that a compiler of static shapes must compile."""
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
    """Computes the batches that `bucketed` makes of an epoch, from the lengths alone.

    They are exactly those of examples in the order of `lengths`. Another order has the same number of batches with the
    same numbers of rows and, with `pad_to_bucket_boundary`, the same shapes.

    Args:
        lengths: ints `(N,)` or `(N, L)`, as returned by `data.lengths`.
        tokens_per_batch, ..., drop_remainder: those of `bucketed`.

    Raises:
        ValueError: as for `bucketed`, and if a length is 0.
    """
    lengths = np.asarray(lengths, np.int64)
    lengths = lengths[:, None] if lengths.ndim == 1 else lengths  # (N, L)
    if empty := int((lengths < 1).any(axis=1).sum()):
        raise ValueError(
            f"{empty} of {len(lengths)} examples have an empty sequence, which would become a row of padding only. "
            "Drop them with `longer_than(0)`."
        )
    shapes, rows_of = shapes_and_rows(
        lengths.shape[1], tokens_per_batch, examples_per_batch, buckets, boundaries, width, multiple_of
    )
    shapes, rows_of = np.array(shapes), np.array(rows_of)
    bucket = first_fitting(lengths, shapes)  # (N,)
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
    """The number of batches that `bucketed` makes of an epoch, including partial ones: the steps for a schedule or a
    progress bar.

    Args: those of `plan_batches`.
    """
    options = {"examples_per_batch": examples_per_batch, "multiple_of": multiple_of}
    return plan_batches(lengths, tokens_per_batch, buckets=buckets, **options).batches


def shapes_and_rows(
    num_lengths: int | None, tokens_per_batch, examples_per_batch, buckets, boundaries, width, multiple_of
) -> tuple[list[tuple[int, ...]], list[int]]:
    """The shapes, as maxima, in order of rising cost, and the rows of each, with 1 for examples that fit no shape. An
    example goes to the first shape that it fits into. `num_lengths` is None while it is unknown.
    """
    if examples_per_batch is not None:
        tokens_per_batch = None
    if sum(given is not None for given in (buckets, boundaries, width)) > 1:
        raise ValueError(
            f"Give at most one of `buckets`, `boundaries` and `width`. Received: {buckets=}, {boundaries=}, {width=}"
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


def first_fitting(lengths: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The number of each example's bucket `(N,)`, or `len(shapes)` if it fits into none.

    Args:
        lengths: ints `(N, L)`.
        shapes: maxima `(buckets, L)`, in order of rising cost.
    """
    distinct, inverse, _ = distinct_rows(lengths)
    found = np.full(len(distinct), len(shapes))
    for number in reversed(range(len(shapes))):
        found[(distinct <= shapes[number]).all(axis=1)] = number
    return found[inverse]
