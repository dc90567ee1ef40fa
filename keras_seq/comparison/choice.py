"""Results of a grid: the best learning rate of an architecture, the runs that converge, quality by length."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_seq.comparison.cells import Cell, CellRecord

Runs = Mapping[Cell, CellRecord]


@dataclasses.dataclass(frozen=True)
class Best:
    """The learning rate with the best mean score over the seeds.

    Args:
        learning_rate: the learning rate.
        scores: score of each seed.
        mean: mean of the scores.
        spread: standard deviation of the scores, with n - 1 as divisor. 0 for one seed.
    """

    learning_rate: float
    scores: tuple[float, ...]
    mean: float
    spread: float


def best_of(runs: Runs, mode: str) -> Best | None:
    """The best learning rate of the runs of one architecture, by the mean score over the seeds.

    A run that diverged or failed has no score. A learning rate with fewer scores than another is not chosen, since a
    mean over the lucky seeds alone would be too good. The smaller one of two equal learning rates is chosen.

    Args:
        runs: runs of one architecture.
        mode: "max" if a larger score is better, "min" if a smaller one is.
    Returns:
        None if no run has a score.
    """
    scores: dict[float, list[float]] = {}
    for cell, record in sorted(runs.items(), key=lambda run: (run[0].learning_rate, run[0].seed)):
        if record.status == "done":
            scores.setdefault(cell.learning_rate, []).append(record.score)
    if not scores:
        return None
    sign = 1 if mode == "max" else -1
    rate = max(scores, key=lambda rate: (len(scores[rate]), sign * statistics.fmean(scores[rate])))
    chosen = scores[rate]
    spread = statistics.stdev(chosen) if len(chosen) > 1 else 0.0
    return Best(rate, tuple(chosen), statistics.fmean(chosen), spread)


@dataclasses.dataclass(frozen=True)
class Convergence:
    """The rule by which a run has converged: its score is at least as good as a bound.

    Args:
        at: the bound.
        rule: the rule in words.
        mode: "max" or "min".
    """

    at: float
    rule: str
    mode: str

    def converged(self, record: CellRecord) -> bool:
        if record.status != "done":
            return False
        return record.score >= self.at if self.mode == "max" else record.score <= self.at


def convergence(records: Iterable[CellRecord], mode: str, chance: float | None = None) -> Convergence | None:
    """The rule for a grid: half way from chance to the best score of any run.

    Args:
        records: records of all runs, of all architectures.
        mode: "max" or "min".
        chance: score of the best answer that ignores the input. None: the worst score that any run that did not
            diverge had after its first round.
    Returns:
        None if no run has a score.
    """
    done = [record for record in records if record.status == "done"]
    if not done:
        return None
    better, worse = (max, min) if mode == "max" else (min, max)
    best, start = better(record.score for record in done), f"chance ({chance:.4g})" if chance is not None else ""
    if chance is None:
        chance = worse(record.curve[0][1] if record.curve else record.score for record in done)
        start = f"the worst score after a first round ({chance:.4g})"
    return Convergence((chance + best) / 2, f"half way from {start} to the best score of any run ({best:.4g})", mode)


def by_length(records: Sequence[CellRecord], bins: int = 5, most: int = 8) -> list[dict[str, Any]]:
    """The mean score of the examples in each range of lengths.

    Args:
        records: runs whose scores are averaged, with the same examples each.
        bins: greatest number of ranges if there are more than `most` in the records. They are then joined to ranges of
            about equally many examples.
    Returns:
        `[{"from": 1, "to": 10, "rows": 210, "score": 0.77}, ...]`, where `rows` counts the examples of one run.
    """
    totals: dict[tuple[int, int], list[float]] = {}
    for record in records:
        for low, high, rows, score in record.by_length:
            total = totals.setdefault((low, high), [0, 0.0])
            total[0] += rows
            total[1] += rows * score
    every, seen, ranges = sum(rows for rows, _ in totals.values()), 0, []
    for number, ((low, high), (rows, score)) in enumerate(sorted(totals.items())):
        # A length belongs to the range that the middle of its examples falls into.
        place = number if len(totals) <= most else min(bins - 1, int(bins * (seen + rows / 2) / every))
        if not ranges or ranges[-1]["place"] != place:
            ranges.append({"place": place, "from": low, "to": high, "rows": 0, "score": 0.0})
        ranges[-1]["to"] = high
        ranges[-1]["rows"] += rows
        ranges[-1]["score"] += score
        seen += rows
    return [
        {
            "from": each["from"],
            "to": each["to"],
            "rows": each["rows"] // len(records),
            "score": each["score"] / each["rows"],
        }
        for each in ranges
    ]
