"""The axes of parallel coordinates: a place and a label for each value of a parameter, and for each score."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_MARGIN = 0.07  # of an axis, above and below its categories
_LOG_SPAN = 30
# Distances to the best score, as multiples of that of the median. A score beyond the first would press all others
# together. Then the axis ends at the second.
_OUTLIER, _EDGE = 20, 6


class Scale(NamedTuple):
    """An axis: the place of each trial, from 0 to 1 (nan: none), and the labels of places."""

    places: np.ndarray
    ticks: dict[float, str]
    log: bool = False


INACTIVE = object()  # stands for the value of a parameter that is inactive in a trial


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def needs_log(numbers: Sequence[float]) -> bool:
    """Whether the numbers are positive and span more than a factor of 30."""
    return len(numbers) > 0 and min(numbers) > 0 and max(numbers) > _LOG_SPAN * min(numbers)


def shown_value(value: Any) -> str:
    if isinstance(value, bool | np.bool_ | None):
        return {True: "true", False: "false", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def value_scale(values: list, quality: np.ndarray) -> Scale:
    """The axis of a parameter. Categories with better scores lie higher."""
    active = [value for value in values if value is not INACTIVE]
    if not active:
        return Scale(np.full(len(values), np.nan), {})
    if all(map(is_number, active)):
        numbers = np.array([np.nan if value is INACTIVE else value for value in values], "float64")
        scale = _number_scale(numbers)
        return scale._replace(places=_beside_each_other(scale.places, quality, 0.02))
    shown = [None if value is INACTIVE else shown_value(value) for value in values]
    means = {}
    for category in dict.fromkeys(each for each in shown if each is not None):
        there = quality[[each == category for each in shown]]
        means[category] = there[np.isfinite(there)].mean() if np.isfinite(there).any() else -np.inf
    categories = sorted(means, key=lambda category: (means[category], category))
    heights = np.linspace(_MARGIN, 1 - _MARGIN, len(categories)) if len(categories) > 1 else [0.5]
    heights = dict(zip(categories, map(float, heights), strict=True))
    places = np.array([heights.get(each, np.nan) for each in shown])
    places = _beside_each_other(places, quality, min(_MARGIN, 0.3 / len(categories)))
    return Scale(places, {height: shortened(category) for category, height in heights.items()})


def _beside_each_other(places: np.ndarray, quality: np.ndarray, most: float) -> np.ndarray:
    """The places of trials, with those at one place up to `most` above and below it, the best one at the top."""
    spread = places.copy()
    for place in np.unique(places[~np.isnan(places)]):
        (members,) = np.nonzero(places == place)
        order = members[np.argsort(np.nan_to_num(quality[members], nan=-np.inf), kind="stable")]
        reach = min(most, 0.012 * (len(order) - 1))
        spread[order] += np.linspace(-reach, reach, len(order))
    return spread


def _number_scale(numbers: np.ndarray, sign: float = 1.0, middle: float = 0.5) -> Scale:
    """The axis of numbers, from the smallest to the largest. With sign -1, the smallest lies at the top.

    Equal numbers lie at `middle`.
    """
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    if low == high:
        return Scale(np.where(np.isnan(numbers), np.nan, middle), {middle: _label(low)})
    log = needs_log([low, high])

    def place(number):
        share = (np.log(number / low) / np.log(high / low)) if log else (number - low) / (high - low)
        return share if sign > 0 else 1 - share

    distinct = np.unique(numbers[~np.isnan(numbers)])
    gaps = np.abs(np.diff(place(distinct)))
    ticks = distinct if len(distinct) <= 6 and gaps.min() > 0.05 else _round_numbers(low, high, log)
    return Scale(place(numbers), {float(place(tick)): _label(tick) for tick in ticks}, log)


def _label(number: float) -> str:
    return f"{number:.0f}" if number % 1 == 0 and abs(number) < 1e6 else f"{number:.4g}"


def _round_numbers(low: float, high: float, log: bool) -> list[float]:
    from matplotlib.ticker import LogLocator, MaxNLocator

    if log:
        few = math.log10(high / low) < 2.5
        ticks = LogLocator(subs=(1, 3) if few else (1,), numticks=9).tick_values(low, high)
    else:
        ticks = MaxNLocator(6).tick_values(low, high)
    rounding = 1e-9 * (high - low)
    return [float(tick) for tick in ticks if low - rounding <= tick <= high + rounding] or [low, high]


def worst_shown(scores: np.ndarray, sign: float) -> float:
    """The worst score to show."""
    finite = sign * scores[np.isfinite(scores)]
    distances = finite.max() - finite
    median, farthest = np.median(distances), distances.max()
    limit = _EDGE * median if 0 < _OUTLIER * median < farthest else farthest
    return float(sign * finite[distances <= limit].min())


def score_scale(scores: np.ndarray, sign: float) -> Scale:
    """The axis of the score, the best at the top."""
    edge = worst_shown(scores, sign)
    shown = np.where(sign * scores < sign * edge, edge, scores)
    places, ticks, log = _number_scale(shown, sign, middle=1.0)
    if (sign * scores < sign * edge).any():  # nan is not
        ticks = {place: label for place, label in ticks.items() if place > 0.05}
        ticks[0.0] = f"{edge:.4g} or {'less' if sign > 0 else 'more'}"
    return Scale(places, ticks, log)


def shortened(text: str) -> str:
    return text if len(text) <= 18 else text[:15] + "..."
