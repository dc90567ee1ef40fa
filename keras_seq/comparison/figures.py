"""Figures of a comparison, read from its record: a number with its unit, its text, and the distance that is a tie.

A figure that the record lacks, or that is not a finite number, is None.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TIE = 0.1  # relative difference below which two figures are a tie
_POINT = 0.01  # the same for shares, as a difference
_LOSS_TIE = 0.02  # and for losses and perplexities, which differ by few percent
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


class Figure(NamedTuple):
    """A number in `unit`, as text, and the difference from another one that is still a tie."""

    value: float
    unit: str
    text: str
    slack: float = 0.0


def number(value: Any) -> float | None:
    """The value, if it is a finite number."""
    valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if valid else None


def architectures(record: Mapping) -> dict[str, Mapping]:
    """The architectures of a record by name, in its order."""
    return {entry["name"]: entry for entry in record.get("architectures", [])}


def labels(record: Mapping) -> dict[str, str]:
    """The displayed names of the architectures."""
    return {name: entry.get("label") or name for name, entry in architectures(record).items()}


def cost(record: Mapping, name: str, key: str) -> float | None:
    """The number `key` of the measured cost of an architecture."""
    return number((architectures(record).get(name, {}).get("cost") or {}).get(key))


def best_score(record: Mapping, name: str) -> Figure | None:
    """The mean score of an architecture at its best learning rate. The slack includes the spread over its seeds."""
    best = architectures(record).get(name, {}).get("best") or {}
    mean = number(best.get("mean"))
    return None if mean is None else score_figure(record, mean, number(best.get("spread")))


def score_figure(record: Mapping, value: float, spread: float | None = None) -> Figure:
    """A score with its spread. Ties: see `score_slack`."""
    unit = record.get("score", {}).get("unit", "")
    text = score_text(record, value)
    if spread:
        text += f" ± {spread:.1%}" if is_share(record) else f" ± {spread:.2g}"
    shown = unit if unit and not is_share(record) and unit not in text else ""
    return Figure(value, unit, f"{text} {shown}".strip(), max(spread or 0.0, score_slack(record, value)))


def score_slack(record: Mapping, value: float) -> float:
    """The difference of scores that is a tie: 10% of the share of errors, but at least one point, or 2% of a loss."""
    return max(_POINT, TIE * (1 - value)) if is_share(record) else _LOSS_TIE * abs(value)


def is_share(record: Mapping) -> bool:
    """Whether the scores are fractions, such as accuracies."""
    return record.get("score", {}).get("unit") == "fraction"


def sign(record: Mapping) -> int:
    """1 if larger scores are better, else -1."""
    return -1 if record.get("score", {}).get("mode") == "min" else 1


def score_text(record: Mapping, value: Any) -> str:
    value = number(value)
    if value is None:
        return "-"
    return f"{value:.1%}" if is_share(record) else f"{value:.4g}"


def in_order(a: Figure, b: Figure) -> int:
    """-1 if a is below b, 1 if it is above, 0 for a tie."""
    difference = a.value - b.value
    return 0 if abs(difference) <= max(a.slack, b.slack) else (1 if difference > 0 else -1)


def relative(value: float | None, text: str, unit: str) -> Figure | None:
    """A figure that ties with others within 10%."""
    return None if value is None else Figure(value, unit, text, TIE * abs(value))


def seconds(value: float | None) -> str:
    return "-" if value is None else _scaled(value, _TIMES)


def size(value: float | None) -> str:
    return "-" if value is None else _scaled(value, _SIZES)


def count(value: float | None) -> str:
    """A count as text, with all digits up to 10 million."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) < 1e7 else _scaled(value, _COUNTS)


def duration(value: float | None) -> str:
    """Seconds as minutes or hours, for long times."""
    if value is None:
        return "-"
    if value < 120:
        return f"{digits(value)} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def times(value: float | None) -> str:
    """A factor as text, with two digits."""
    if value is None:
        return "-"
    return f"{value:.0f}x" if value >= 9.95 else f"{value:.1f}x"


def time_unit(value: float) -> tuple[float, str]:
    """The unit to show seconds in: its size and its name."""
    return _unit(value, _TIMES)


def size_unit(value: float) -> tuple[float, str]:
    """The unit to show bytes in: its size and its name."""
    return _unit(value, _SIZES)


def _unit(value: float, scales: Sequence[tuple[float, str]]) -> tuple[float, str]:
    return next((each for each in scales if abs(value) >= 0.9995 * each[0]), scales[-1])


def _scaled(value: float, scales: Sequence[tuple[float, str]]) -> str:
    factor, unit = _unit(value, scales)
    return f"{digits(value / factor)} {unit}".strip()


def digits(value: float) -> str:
    """Three digits, without an exponent."""
    if abs(value) >= 99.95 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.3g}"
