"""Fits buckets to the lengths of a corpus: few shapes with the least padding."""

from typing import NamedTuple

import numpy as np

from keras_seq.data.arguments import check_positive

_MAX_VALUES_1D = 2048  # distinct lengths up to which one length is fitted exactly: time grows with the square
_MAX_VALUES_2D = 56  # distinct lengths of each of two sides: time and memory grow with the fourth power
_MAX_SWAPS = 100  # a bound on the time; Multi30k needs about 3


class Bucket(NamedTuple):
    """The longest source and the longest target of a batch, both inclusive."""

    source_length: int
    target_length: int


def fit_boundaries(lengths, max_shapes: int) -> list[int]:
    """Exclusive boundaries for `bucketed(boundaries=...)` with the least padding of the longest side of each example.

    Args:
        lengths: ints `(N,)` or `(N, L)`.
        max_shapes: largest number of shapes.

    Raises: those of `fit_buckets`.
    """
    lengths = np.asarray(lengths, np.int64)
    longest = lengths.max(axis=1) if lengths.ndim == 2 else lengths
    return [maximum + 1 for maximum in fit_buckets(longest, max_shapes)]


def fit_buckets(lengths, max_shapes: int) -> list:
    """The shapes, at most `max_shapes`, that pad a corpus with the fewest positions.

    One length is fitted exactly by dynamic programming, in O(max_shapes x V^2) for V distinct values: milliseconds for
    sentences, a second and 100 MB at worst for 24 shapes.

    Two lengths, whose positions are counted together, are a k-median problem: every pair belongs to the cheapest shape
    that it fits into, as in `bucketed`. Shapes are chosen greedily and then exchanged one at a time, always with the
    best of all exchanges, until none saves anything. The result is good but not always optimal. Each step is O(V^4) for
    V distinct values per side: half a second for Multi30k and 40 shapes, about fifteen seconds and 1 GB at worst.

    If there are more than 2,048 distinct values of one length, or 56 of each of two, lengths are rounded up to that
    number of values.

    Args:
        lengths: ints `(N, 2)`, of source and target, or `(N,)`.
        max_shapes: largest number of shapes.

    Returns:
        A list of `Bucket` in order of rising cost, or for one length the inclusive maxima, rising.

    Raises:
        ValueError: if `lengths` is empty, of another shape or not positive, or `max_shapes` is not positive.

    Source: the exchange is that of Schubert and Rousseeuw 2019 (FastPAM1), arXiv:1810.05691.
    """
    lengths = np.asarray(lengths, np.int64)
    check_positive(max_shapes=max_shapes)
    if not lengths.size or lengths.ndim > 2 or (lengths.ndim == 2 and lengths.shape[1] != 2):
        raise ValueError(
            "`lengths` must have shape (N,) or (N, 2), and N > 0. For more lengths, `fit_boundaries` fits the longest. "
            f"Received: shape {lengths.shape}"
        )
    if lengths.min() < 1:
        raise ValueError(
            f"`lengths` must be 1 or more. Drop empty examples with `longer_than(0)`. Received: {lengths.min()}"
        )
    return _fit_one(lengths, max_shapes) if lengths.ndim == 1 else _fit_two(lengths, max_shapes)


def distinct_rows(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct rows of `(N, L)` in order, the number of each example's row `(N,)`, and the count of each row.

    The same as `np.unique(axis=0)`, ten times as fast on millions: each row is one number if that fits an integer.
    """
    sizes = lengths.max(axis=0, initial=0) + 1
    if float(np.prod(sizes, dtype=float)) >= 2**63:
        rows, inverse, counts = np.unique(lengths, axis=0, return_inverse=True, return_counts=True)
        return rows, inverse.reshape(-1), counts
    keys = np.ravel_multi_index(tuple(lengths.T), tuple(sizes))
    keys, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.stack(np.unravel_index(keys, tuple(sizes)), axis=1), inverse, counts


def _rounded_up(lengths: np.ndarray, limit: int) -> np.ndarray:
    """Each length rounded up to one of at most `limit` values, at even steps of the number of examples."""
    values, counts = np.unique(lengths, return_counts=True)
    if len(values) > limit:
        shares = np.cumsum(counts) / counts.sum()
        steps = np.searchsorted(shares, np.arange(1, limit) / limit)
        values = values[np.unique([*steps, len(values) - 1])]
    return values[np.searchsorted(values, lengths)]


def _fit_one(lengths: np.ndarray, max_shapes: int) -> list[int]:
    values, counts = np.unique(_rounded_up(lengths, _MAX_VALUES_1D), return_counts=True)
    V = len(values)
    upto = np.concatenate([[0], np.cumsum(counts)])  # upto[i]: examples of the first i values
    cost = (upto - upto[:, None]) * np.concatenate([[0.0], values])  # cost[i, j]: values i..j-1 in one bucket
    cost[np.tril_indices(V + 1)] = np.inf
    best = np.full(V + 1, np.inf)  # best[j]: the minimum cost of the first j values, with the shapes so far
    best[0] = 0
    cuts = []
    for _ in range(min(max_shapes, V)):  # up to one shape per value, one more shape never increases the cost
        totals = best[:, None] + cost
        cuts.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
    maxima, j = [], V
    for cut in reversed(cuts):
        maxima.append(int(values[j - 1]))
        j = cut[j]
    return maxima[::-1]


def _fit_two(lengths: np.ndarray, max_shapes: int) -> list[Bucket]:
    sides = [_rounded_up(lengths[:, side], _MAX_VALUES_2D) for side in (0, 1)]
    cells, _, counts = distinct_rows(np.stack(sides, axis=1))  # (C, 2), (C,)
    shapes = _tight_shapes(cells)  # (P, 2)
    shares = counts / counts.sum()
    # cost[p, c]: positions for a pair of cell c in shape p; if it does not fit, more than all shapes could save.
    fits = (cells[None] <= shapes[:, None]).all(axis=2)
    forbidden = 2.0 * shapes.sum(axis=1).max() * len(lengths)
    cost = np.where(fits, shapes.sum(axis=1, keepdims=True), forbidden)  # (P, C)

    chosen = [len(shapes) - 1]  # the shape that every pair fits into
    nearest = cost[chosen[0]]  # (C,)
    while len(chosen) < min(max_shapes, len(shapes)):
        saved = np.maximum(nearest - cost, 0) @ shares
        if saved.max() <= 0:
            break
        chosen.append(int(saved.argmax()))
        nearest = np.minimum(nearest, cost[chosen[-1]])
    if len(chosen) > 1:
        chosen = _exchange(chosen, cost, shares)
    used = {chosen[k] for k in cost[chosen].argmin(axis=0)}
    return sorted((Bucket(*map(int, shapes[p])) for p in used), key=lambda bucket: (sum(bucket), bucket))


def _tight_shapes(cells: np.ndarray) -> np.ndarray:
    """The candidate shapes: those that lose a pair when either side shrinks. The largest one comes last."""
    (first, i), (second, j) = (np.unique(cells[:, side], return_inverse=True) for side in (0, 1))
    there = np.zeros((len(first), len(second)), bool)
    there[i, j] = True
    tight = np.logical_or.accumulate(there, axis=0) & np.logical_or.accumulate(there, axis=1)
    tight[-1, -1] = True
    i, j = np.nonzero(tight)
    return np.stack([first[i], second[j]], axis=1)


def _exchange(chosen: list[int], cost: np.ndarray, shares: np.ndarray) -> list[int]:
    """Exchanges one chosen shape for another, the best exchange first, as long as that saves positions."""
    chosen, cells = list(chosen), np.arange(cost.shape[1])
    for _ in range(_MAX_SWAPS):
        ranks = np.argsort(cost[chosen], axis=0, kind="stable")  # (K, C)
        owner = ranks[0]
        first, second = cost[chosen][owner, cells], cost[chosen][ranks[1], cells]  # (C,)
        new = np.minimum(cost, first)  # (P, C) once p is added
        owned = np.zeros((len(cells), len(chosen)))
        owned[cells, owner] = 1
        # Without k, the cells that k owned fall back to p or to the second nearest shape.
        lost = ((np.minimum(cost, second) - new) * shares) @ owned  # (P, K)
        change = lost - ((first - new) @ shares)[:, None]
        p, k = np.unravel_index(change.argmin(), change.shape)
        if change[p, k] > -1e-9 * shares @ first:
            break
        chosen[k] = int(p)
    return chosen
