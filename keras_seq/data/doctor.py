"""Analyzes a corpus before training: its lengths, the effect of each way of batching, and a suggestion.

It computes numbers only. `keras-seq doctor` prints and plots them.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_positive
from keras_seq.data.batch_plan import plan_batches
from keras_seq.data.bucket_fitting import fit_buckets

_FITTED_SHAPES = (3, 6, 12, 24, 40)  # numbers of fitted shapes to try, together with `max_shapes`
_EVEN_WIDTH = 4  # the default of `bucketed`
_WORTH_MORE_SHAPES = 0.005  # a smaller gain in padding does not justify more shapes
_TOO_MANY_BATCHES = 1.25  # times the fewest: each shape ends in a partial batch, which matters for a small corpus
_HISTOGRAM_BINS = 60
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_TIMED_BATCHES = 50


@dataclass(frozen=True)
class SideLengths:
    """Lengths of one side of the examples. The quantiles are lengths that occur.

    `counts[i]` examples are from `first + i * width` up to `first + (i + 1) * width - 1` long. The last count includes
    all longer examples.
    """

    side: str
    tokens: int
    mean: float
    minimum: int
    maximum: int
    quantiles: dict[str, int]
    first: int
    width: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """Numbers of tokens: mean, minimum, maximum, and `spread`, the standard deviation divided by the mean."""

    mean: float
    minimum: int
    maximum: int
    spread: float


@dataclass(frozen=True)
class Imbalance:
    """Relative excess of the tokens of the fullest replica over the mean replica: 0.1 is a tenth more."""

    mean: float
    worst: float


@dataclass(frozen=True)
class BatchingPlan:
    """The effect of one way of batching on an epoch of the corpus.

    Args:
        name: description of the plan.
        code: line of code that batches `dataset` in this way.
        fitted: requested number of fitted shapes, 0 for other plans.
        buckets: inclusive maxima, of one length or of (source, target), without empty buckets.
        shapes: number of different padded lengths, including those of oversized examples.
        traces: number of different (rows, padded lengths), each of which XLA compiles.
        batches: number of batches in an epoch.
        partial_batches: batches with fewer rows than their bucket allows, at the end of the epoch.
        padding: share of positions without a token, over all sides.
        tokens_per_batch: tokens of all sides, without padding, in the order of the corpus.
        oversized: examples whose bucket is longer than the budget. Each forms a batch by itself.
    """

    name: str
    code: str
    fitted: int
    buckets: tuple
    shapes: int
    traces: int
    batches: int
    partial_batches: int
    padding: float
    tokens_per_batch: Spread
    oversized: int


@dataclass(frozen=True)
class Timing:
    """Speed of a pipeline by itself, without training: seconds per batch, and tokens per second."""

    first_batch: float
    median: float
    mean: float
    batches: int
    tokens_per_second: float


@dataclass(frozen=True)
class Report:
    """The result of `analyze_lengths`. `examples` and `dropped` together are all examples that were read.

    Args:
        examples: number of examples that are batched.
        tokens: number of tokens of all their sides.
        sides: lengths of each side.
        dropped: examples that are not batched, by reason.
        truncated: examples that were cut to the longest length allowed.
        unknown: tokens that are not in the vocabulary. None without a vocabulary.
        budget: `tokens_per_batch`.
        replicas: number of replicas that share a batch.
        plans: the compared ways of batching.
        suggestion: the recommended plan.
        code: lines of code for it.
        imbalance: imbalance of the replicas' shares of the suggestion's batches. None for one replica.
        timing: None if no pipeline was timed.
    """

    examples: int
    tokens: int
    sides: tuple[SideLengths, ...]
    dropped: dict[str, int]
    truncated: int
    unknown: int | None
    budget: int
    replicas: int
    plans: tuple[BatchingPlan, ...]
    suggestion: BatchingPlan
    code: str
    imbalance: Imbalance | None
    timing: Timing | None

    def as_dict(self) -> dict[str, Any]:
        """Numbers, lists and dicts for JSON, with the suggestion's figures at the top and `dropped` as one number."""
        found = asdict(self)
        suggestion = found.pop("suggestion")
        figures = {name: value for name, value in suggestion.items() if name not in ("name", "code", "fitted")}
        dropped = {"dropped": sum(self.dropped.values()), "dropped_by_reason": found.pop("dropped")}
        top = {"examples": found.pop("examples"), "tokens": found.pop("tokens")}
        return top | figures | dropped | {"suggestion": suggestion["name"]} | found


def analyze_lengths(
    lengths,
    batches: Iterable | None = None,
    *,
    tokens_per_batch: int = 4096,
    max_shapes: int = 40,
    max_length: int | None = None,
    truncate: bool = False,
    replicas: int = 1,
    dropped: Mapping[str, int] | None = None,
    unknown=None,
) -> Report:
    """Analyzes the lengths of a corpus and compares ways of batching it.

    All of them pad to the shape of the bucket (`pad_to_bucket_boundary=True`). Padding and shapes therefore do not
    depend on the order of the examples and are counted exactly, without tf.data.

    The suggestion is the plan with the fewest fitted shapes whose padding is within half a percentage point of the
    minimum. Plans with more than 1.25 times the fewest batches are excluded.

    Args:
        lengths: ints `(N,)`, or `(N, 2)` of source and target, as `data.lengths` counts them.
        batches: batches to time, see `time_batches`.
        tokens_per_batch: the budget of `bucketed`.
        max_shapes: largest number of fitted shapes.
        max_length: examples with a side of this many tokens or more are dropped, as by `shorter_than(max_length)`.
        truncate: whether to cut such examples to `max_length - 1` tokens per side and count them, instead of dropping.
        replicas: number of replicas. Rows are a multiple of it, and imbalance is computed for it.
        dropped: examples that a reader has already dropped, by reason.
        unknown: number of tokens of each example that are not in the vocabulary, ints `(N,)`.

    Raises:
        ValueError: if `lengths` has another shape or holds a 0, a number is not positive, or no example is left.
    """
    lengths = np.asarray(lengths)
    if lengths.ndim not in (1, 2) or (lengths.ndim == 2 and lengths.shape[1] != 2):
        raise ValueError(f"`lengths` must have shape (N,) or (N, 2). Received: shape {lengths.shape}")
    check_positive(max_shapes=max_shapes, replicas=replicas)
    if max_length is not None and max_length < 2:
        raise ValueError(f"`max_length` must be at least 2, since an end token alone has 1. Received: {max_length}")
    if truncate and max_length is None:
        raise ValueError("`truncate` needs a `max_length` to cut to.")

    dropped, truncated, preparation = dict(dropped or {}), 0, ""
    if max_length is not None:
        too_long = _too_long(lengths, max_length)
        lengths = shortened(lengths, max_length, truncate)
        if truncate:
            truncated = int(too_long.sum())
            cut = f"tokens: tokens[:{max_length - 1}]"
            if lengths.ndim == 2:
                cut = f"source, target: (source[:{max_length - 1}], target[:{max_length - 1}])"
            preparation = f"dataset = dataset.map(lambda {cut})\n"
        else:
            dropped["too_long"] = int(too_long.sum())
            unknown = None if unknown is None else np.asarray(unknown)[~too_long]
            preparation = f"dataset = dataset.apply(data.shorter_than({max_length}))\n"
    if not len(lengths):
        raise ValueError(f"No example is left to batch. Dropped: {dropped or 'none'}; {max_length=}")

    plans = _compare(lengths, tokens_per_batch, max_shapes, replicas)
    suggestion = _suggest([plan for plan in plans if plan.fitted])
    sides = {"tokens": lengths} if lengths.ndim == 1 else dict(zip(("source", "target"), lengths.T, strict=True))
    return Report(
        examples=len(lengths),
        tokens=int(lengths.sum(dtype=np.int64)),
        sides=tuple(_side(name, side) for name, side in sides.items()),
        dropped=dropped,
        truncated=truncated,
        unknown=None if unknown is None else int(np.sum(unknown)),
        budget=tokens_per_batch,
        replicas=replicas,
        plans=plans,
        suggestion=suggestion,
        code=preparation + suggestion.code,
        imbalance=_imbalance(lengths, suggestion.buckets, tokens_per_batch, replicas) if replicas > 1 else None,
        timing=None if batches is None else time_batches(batches),
    )


def shortened(lengths: np.ndarray, max_length: int | None, truncate: bool = False) -> np.ndarray:
    """The lengths that `analyze_lengths` batches: those below `max_length`, or all of them, truncated."""
    if max_length is None:
        return lengths
    return np.minimum(lengths, max_length - 1) if truncate else lengths[~_too_long(lengths, max_length)]


def _too_long(lengths: np.ndarray, max_length: int) -> np.ndarray:
    return (lengths >= max_length) if lengths.ndim == 1 else (lengths >= max_length).any(axis=1)  # (N,)


def _side(name: str, lengths: np.ndarray) -> SideLengths:
    values, counts = np.unique(lengths, return_counts=True)
    upto = np.cumsum(counts)
    quantiles = {f"{share:g}": int(values[np.searchsorted(upto, share * upto[-1])]) for share in _QUANTILES}
    first, last = int(values[0]), quantiles[f"{_QUANTILES[-1]:g}"]
    # One line of 10,000 words must not squeeze all others into the first column.
    width = -(-(last - first + 1) // _HISTOGRAM_BINS)
    column = np.minimum((values - first) // width, (last - first) // width + (values[-1] > last))
    return SideLengths(
        side=name,
        tokens=int(values @ counts),
        mean=float(values @ counts / upto[-1]),
        minimum=first,
        maximum=int(values[-1]),
        quantiles=quantiles,
        first=first,
        width=width,
        counts=tuple(map(int, np.bincount(column, counts))),
    )


def _compare(lengths: np.ndarray, tokens_per_batch: int, max_shapes: int, replicas: int) -> tuple[BatchingPlan, ...]:
    """One bucket, even widths, then fitted shapes, from few to many."""
    longest = lengths.max(axis=0)
    one = [int(longest)] if lengths.ndim == 1 else [tuple(map(int, longest))]
    widths = sorted({_EVEN_WIDTH, -(-min(int(longest.max()), tokens_per_batch) // max_shapes)}, reverse=True)
    ways = [("one bucket", 0, {"buckets": one}, f"buckets={one}")]
    ways += [(f"even widths of {width}", 0, {"width": width}, f"width={width}") for width in widths]
    for shapes in sorted({*(shapes for shapes in _FITTED_SHAPES if shapes < max_shapes), max_shapes}):
        buckets = fit_buckets(lengths, shapes)
        if len(ways) > 1 and len(buckets) <= len(ways[-1][2].get("buckets", ())):
            break  # the corpus cannot use more shapes
        code = f"buckets=data.fit_buckets(data.lengths(dataset), {shapes})"
        ways.append((f"{len(buckets)} fitted shape{'s' * (len(buckets) > 1)}", shapes, {"buckets": buckets}, code))

    plans = []
    for name, fitted, arguments, code in ways:
        found = plan_batches(lengths, tokens_per_batch, multiple_of=replicas, pad_to_bucket_boundary=True, **arguments)
        multiple = f", multiple_of={replicas}" if replicas > 1 else ""
        buckets = arguments.get("buckets", np.unique(found.shapes, axis=0).tolist())
        plans.append(
            BatchingPlan(
                name=name,
                code=f"batches = dataset.apply(data.bucketed({tokens_per_batch}, {code}{multiple}, "
                "pad_to_bucket_boundary=True))",
                fitted=fitted,
                buckets=tuple(tuple(map(int, b)) if np.size(b) > 1 else int(np.squeeze(b)) for b in buckets),
                shapes=found.distinct_shapes,
                traces=found.traces,
                batches=found.batches,
                partial_batches=found.partial,
                padding=found.padding,
                tokens_per_batch=_spread(found.tokens),
                oversized=found.oversized,
            )
        )
    return tuple(plans)


def _suggest(plans: Sequence[BatchingPlan]) -> BatchingPlan:
    fewest = min(plan.batches for plan in plans)
    possible = [plan for plan in plans if plan.batches <= _TOO_MANY_BATCHES * fewest]
    least = min(plan.padding for plan in possible)
    return next(plan for plan in possible if plan.padding <= least + _WORTH_MORE_SHAPES)


def _spread(tokens: np.ndarray) -> Spread:
    mean = float(tokens.mean())
    return Spread(mean, int(tokens.min()), int(tokens.max()), float(tokens.std()) / mean)


def _imbalance(lengths: np.ndarray, buckets: tuple, tokens_per_batch: int, replicas: int) -> Imbalance:
    found = plan_batches(lengths, tokens_per_batch, buckets=buckets, multiple_of=replicas, pad_to_bucket_boundary=True)
    tokens = lengths.reshape(len(lengths), -1).sum(axis=1)  # (N,)
    order = np.argsort(found.batch, kind="stable")
    place = np.arange(len(order)) - np.repeat(np.cumsum(found.rows) - found.rows, found.rows)
    # As tf.distribute does with batches of unknown size: shares of equally many rows, the last ones smaller.
    replica = place // -(-found.rows // replicas)[found.batch[order]]
    shares = np.bincount(found.batch[order] * replicas + replica, tokens[order], found.batches * replicas)
    shares = shares.reshape(found.batches, replicas)
    excess = shares.max(axis=1) / shares.mean(axis=1) - 1
    return Imbalance(float(excess.mean()), float(excess.max()))


def time_batches(batches: Iterable, pad_id: int = 0) -> Timing | None:
    """Takes about fifty batches from a pipeline without any other work, and times each.

    The first batch, which includes filling buffers and tracing functions, is timed separately. Returns None if there is
    no second batch. Batches that a pipeline prepares together arrive together, so the mean is the sustainable rate.

    Args:
        batches: batches of any nest.
        pad_id: id that does not count as a token. Tokens are counted in integers of rank 2.
    """
    seconds, tokens, started = [], 0, time.perf_counter()
    for batch in islice(batches, 1 + _TIMED_BATCHES):
        seconds.append(time.perf_counter() - started)
        if len(seconds) > 1:
            components = [np.asarray(component) for component in tf.nest.flatten(batch)]
            tokens += sum(np.count_nonzero(c != pad_id) for c in components if c.ndim == 2 and c.dtype.kind in "iu")
        started = time.perf_counter()
    if len(seconds) < 2:
        return None
    first, *others = seconds
    return Timing(first, float(np.median(others)), float(np.mean(others)), len(others), tokens / sum(others))
