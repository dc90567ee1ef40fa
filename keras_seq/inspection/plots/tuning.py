"""Plots of a search for hyperparameters: which of them matter, the values of each trial, and the cost of the best."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, literal, new_figure, save
from keras_seq.inspection.plots.scales import (
    INACTIVE,
    Scale,
    score_scale,
    shortened,
    shown_value,
    value_scale,
    worst_shown,
)

_LOW = -0.13  # the place below an axis for trials without a value there


def parameter_importance(
    importance: Mapping[str, float],
    path: str | os.PathLike,
    *,
    objective: str = "the score",
    trials: int | None = None,
) -> pathlib.Path:
    """Draws the importance of each parameter as a bar, the largest at the top.

    Args:
        importance: share of the explained variance of the objective that is due to each parameter, from 0 to 1.
        path: path of the image, whose suffix sets the format.
        objective: name of the objective.
        trials: number of trials that the shares were computed from, for the title.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no parameter.
        ImportError: if matplotlib is not installed.
    """
    if not importance:
        raise ValueError("`importance` must have the share of at least one parameter. Received: {}")
    ordered = sorted(importance.items(), key=lambda item: (item[1], item[0]))
    names, shares = [literal(name) for name, _ in ordered], [share for _, share in ordered]
    over = f" over {trials} trials" if trials else ""
    title = f"{names[-1]} explains {shares[-1]:.0%} of the spread of {literal(objective)}{over}"
    figure = new_figure(max(7.0, 0.4 + 0.1 * len(title)), 1.5 + 0.36 * len(names))
    axes = figure.add_subplot()
    colors = [COLOUR] * (len(names) - 1) + [ACCENT]
    axes.barh(names, shares, color=colors, height=0.68)
    for row, share in enumerate(shares):
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{share:.0%}", (share, row), color=colors[row], **place)
    axes.set_xlim(0, 1.12 * max(*shares, 1e-6))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel(f"share of the explained variance of {literal(objective)}")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, fontsize="large")  # over the names too: many are long
    return save(figure, path)


def parallel_coordinates(
    values: Sequence[Mapping[str, Any]],
    scores: Sequence[float],
    path: str | os.PathLike,
    *,
    objective: str = "score",
    mode: str = "max",
    names: Sequence[str] | None = None,
) -> pathlib.Path:
    """Draws each trial as a line through its values: an axis for each parameter, and the score as the last one.

    Numbers that span more than a factor of 30 have a logarithmic axis. Other values are categories, with those of the
    best mean score at the top. A line passes below the axis of a parameter that is inactive in the trial. The darker a
    line, the better its score. The best trial is thick, with its values above the axes.

    Args:
        values: values of the N trials by name, without inactive parameters.
        scores: N floats. A score that is not finite marks a failed trial: a dashed line.
        path: path of the image, whose suffix sets the format.
        objective: name of the score.
        mode: "max" or "min", the direction of better scores.
        names: parameters from left to right. None: all, in the order of their first appearance.
    Returns:
        The path of the image.
    Raises:
        ValueError: if N differs, no score is finite, or there is no parameter.
        ImportError: if matplotlib is not installed.
    """
    scores = np.asarray(scores, "float64")
    names = list(dict.fromkeys(name for each in values for name in each) if names is None else names)
    if len(values) != len(scores) or not np.isfinite(scores).any() or not names:
        raise ValueError(
            "`values` and `scores` must have one length, with at least one parameter and one finite score. Received: "
            f"{len(values)} and {len(scores)}, {len(names)} parameters, {np.isfinite(scores).sum()} finite scores"
        )
    sign = -1.0 if mode == "min" else 1.0
    scores = np.where(np.isfinite(scores), scores, np.nan)
    best = int(np.nanargmax(sign * scores))
    scales = [value_scale([each.get(name, INACTIVE) for each in values], sign * scores) for name in names]
    scales.append(score_scale(scores, sign))
    rooms = [_room(scale, name) for scale, name in zip(scales, [*names, objective], strict=True)]
    lefts = np.cumsum([0.0, *rooms[1:]])

    figure = new_figure(max(6.4, 1.7 + lefts[-1]), 4.8)
    axes = figure.add_subplot()
    axes.axis("off")
    color = _colors()
    quality = scales[-1].places
    for trial in np.argsort(np.where(np.isnan(quality), -1, quality), kind="stable"):
        if trial != best:
            _draw_trial(axes, lefts, scales, trial, color)
    _draw_trial(axes, lefts, scales, best, color, thick=True)
    for left, scale, name in zip(lefts, scales, [*names, objective], strict=True):
        last = left == lefts[-1]
        value = scores[best] if last else values[best].get(name, "inactive")
        _draw_axis(axes, left, scale, name, shown_value(value), color(1.0), last)
    strip = np.linspace(0, 1, 256)[:, None]
    rgb = np.array([color(place) for place in strip[:, 0]])[:, None]
    axes.imshow(rgb, extent=(lefts[-1], lefts[-1] + 0.13, 0, 1), origin="lower", aspect="auto", zorder=3)
    axes.set_xlim(-_width(scales[0]), lefts[-1] + 0.2 + _width(scales[-1]))
    lowest = any(np.isnan(scale.places).any() for scale in scales)
    axes.set_ylim(_LOW - 0.1 if lowest else -0.06, 1.22)
    failed = int(np.isnan(scores).sum())
    others = f" ({failed} failed)" if failed else ""
    of_all = f"is the best of {len(scores)} trials{others}" if len(scores) > 1 else "is that of the only trial"
    axes.set_title(f"{literal(objective)} {shown_value(scores[best])} {of_all}. Its values are in bold.")
    return save(figure, path)


def _colors():
    """The color of a place on the axis of the score. The best are the darkest, since the paper is white."""
    from matplotlib import colormaps

    return lambda place: colormaps["viridis_r"](0.06 + 0.94 * float(place))


def _width(scale: Scale) -> float:
    """The width of the labels of an axis in inches."""
    longest = max(map(len, [*scale.ticks.values(), "inactive" if np.isnan(scale.places).any() else ""]))
    return 0.2 + 0.075 * longest


def _room(scale: Scale, name: str) -> float:
    """The distance of an axis to the one on its left, in inches: its name and its labels fit in."""
    return max(1.3, 0.085 * len(name) + 0.25, _width(scale) + 0.5)


def _draw_trial(axes, lefts, scales: Sequence[Scale], trial: int, color, thick: bool = False) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    heights = [scale.places[trial] for scale in scales]
    failed = np.isnan(heights[-1])
    missing = [int(np.isnan(scale.places).sum()) for scale in scales]
    ranks = [int(np.isnan(scale.places[:trial]).sum()) for scale in scales]
    for index, height in enumerate(heights):
        if np.isnan(height):  # beside each other, as in a category
            heights[index] = _LOW + 0.03 * (ranks[index] / max(1, missing[index] - 1) - 0.5)
    points, codes = [(lefts[0], heights[0])], [Path.MOVETO]
    for left, right, start, end in zip(lefts[:-1], lefts[1:], heights[:-1], heights[1:], strict=True):
        bend = 0.38 * (right - left)
        points += [(left + bend, start), (right - bend, end), (right, end)]
        codes += [Path.CURVE4] * 3
    line = Path(points, codes)
    if failed:
        axes.add_patch(PathPatch(line, fill=False, edgecolor="0.6", linestyle=(0, (3, 2)), linewidth=0.9, zorder=1))
        return
    if thick:
        axes.add_patch(PathPatch(line, fill=False, edgecolor="white", linewidth=6, zorder=4))
    look = {"linewidth": 3.2, "zorder": 5} if thick else {"linewidth": 1.3, "alpha": 0.9, "zorder": 2}
    axes.add_patch(PathPatch(line, fill=False, edgecolor=color(scales[-1].places[trial]), **look))


def _draw_axis(axes, left: float, scale: Scale, name: str, best: str, color, last: bool) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    side = {"ha": "left" if last else "right", "va": "center", "fontsize": 8.5, "path_effects": halo, "zorder": 6}
    edge = left + 0.13 + 0.06 if last else left - 0.06
    axes.plot([left, left], [0, 1], color="0.25", linewidth=0.9, zorder=3)
    for height, label in scale.ticks.items():
        axes.plot([left, left + 0.03], [height, height], color="0.25", linewidth=0.9, zorder=3)
        axes.text(edge, height, literal(label), **side)
    if np.isnan(scale.places).any():
        axes.plot(left, _LOW, "s", color="white", markeredgecolor="0.25", markersize=5, zorder=3)
        below = {"ha": "center", "va": "top", "fontsize": 8.5, "fontstyle": "italic", "color": "0.35"}
        axes.text(left, _LOW - 0.045, "failed" if last else "inactive", **below)
    centered = {"ha": "center", "va": "bottom"}
    axes.text(left, 1.135, literal(name) + (" (log)" if scale.log else ""), fontsize=9, **centered)
    axes.text(left, 1.065, literal(shortened(best)), fontsize=9, fontweight="bold", color=color, **centered)


def score_against_cost(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    path: str | os.PathLike,
    *,
    unit: str = "tokens",
    objective: str = "score",
    mode: str = "max",
    best: str | None = None,
) -> pathlib.Path:
    """Draws the score of each trial against its training, and the best score so far against that of all trials.

    Args:
        curves: the tokens and the score at the end of each round, by name of the trial, in the order of the trials. A
            round whose score is not finite counts as cost only.
        path: path of the image, whose suffix sets the format.
        unit: unit of the tokens, such as "tokens" or "examples".
        objective: name of the score.
        mode: "max" or "min", the direction of better scores.
        best: name of the trial to highlight. None: the one with the best score.
    Returns:
        The path of the image.
    Raises:
        ValueError: if no score is finite, the lengths of a curve differ, or `best` is not one of the trials.
        ImportError: if matplotlib is not installed.
    """
    curves = {name: (np.asarray(tokens, float), np.asarray(scores, float)) for name, (tokens, scores) in curves.items()}
    shapes = {name: (tokens.shape, scores.shape) for name, (tokens, scores) in curves.items()}
    finite = np.concatenate([[], *(scores[np.isfinite(scores)] for _, scores in curves.values())])
    if not finite.size or any(tokens != scores or len(tokens) != 1 for tokens, scores in shapes.values()):
        raise ValueError(
            "`curves` must have two sequences of one length for each trial, and a finite score. Received: "
            f"{shapes}, {finite.size} finite scores"
        )
    sign = -1.0 if mode == "min" else 1.0
    curves = {
        name: (tokens, np.where(np.isfinite(scores), scores, np.nan)) for name, (tokens, scores) in curves.items()
    }
    tops = {name: np.nanmax(sign * scores) for name, (_, scores) in curves.items() if np.isfinite(scores).any()}
    best = max(tops, key=tops.get) if best is None else best
    if best not in tops:
        raise ValueError(f"`best` must be a trial with a finite score: {', '.join(tops)}. Received: {best}")

    figure = new_figure(11.0, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for name, (tokens, scores) in curves.items():
        look = {"color": COLOUR, "linewidth": 0.9, "alpha": 0.55, "markersize": 2.5}
        if name == best:
            look = {"color": ACCENT, "linewidth": 2.4, "markersize": 4, "zorder": 4, "label": f"trial {best}"}
        left.plot(tokens, scores, marker="o", **look)
    if len(tops) > 1:
        left.plot([], [], color=COLOUR, linewidth=0.9, label="other trials" if len(tops) > 2 else "other trial")
    found, spent = _draw_search(right, curves, sign, best)

    edge, top = worst_shown(finite, sign), sign * (sign * finite).max()
    margin = 0.06 * abs(top - edge) or 0.05 * abs(top) or 1.0
    left.set_ylim(min(edge, top) - margin, max(edge, top) + margin)
    outside = int((sign * finite < sign * edge).sum())
    worse = f" ({outside} {'lower' if sign > 0 else 'higher'} not shown)" if outside else ""
    left.set_ylabel(literal(objective) + worse)
    left.set_xlabel(f"{unit} of the trial")
    right.set_xlabel(f"{unit} of all trials, in their order")
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda tokens, _: _short(tokens))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(framealpha=0.9)
    share = f"after {found / spent:.0%} of {_short(spent)} {unit}" if spent else "before the first step"
    figure.suptitle(f"best {literal(objective)}: {shown_value(float(top))}, found {share}")
    return save(figure, path)


def _draw_search(axes, curves, sign: float, best: str) -> tuple[float, float]:
    """Draws the best score of each trial and the best so far. Returns the tokens until the best, and all of them."""
    spent, so_far = 0.0, -np.inf
    tops, steps = {}, []
    for name, (tokens, scores) in curves.items():
        if np.isfinite(scores).any():
            top = int(np.nanargmax(sign * scores))
            tops[name] = spent + tokens[top], scores[top]
        for token, score in zip(tokens, scores, strict=True):
            if sign * score > so_far:
                so_far = sign * score
                steps.append((spent + token, score))
        spent += tokens[-1] if len(tokens) else 0.0
    found = steps[-1][0]
    place = tops.pop(best)
    if tops:
        axes.plot(
            *zip(*tops.values(), strict=True), "o", color=COLOUR, markersize=4, alpha=0.7, label="best of another trial"
        )
    axes.step(
        *zip(*steps, (spent, sign * so_far), strict=True),
        where="post",
        color=ACCENT,
        linewidth=1.8,
        label="best so far",
    )
    axes.plot(*place, "o", color=ACCENT, markersize=7, zorder=4, label=f"best of trial {best}")
    return found, spent


def _short(number: float) -> str:
    """A count in few characters, such as 2.5M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
