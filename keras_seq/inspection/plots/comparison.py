"""Plots of architectures side by side: scores with their spread, curves, bars, and scores over a grid.

Each architecture has one color (Okabe and Ito 2008) and one marker in all plots. Models with other names get those of
the architectures in their order. Text and axes have the color `INK`.
An SVG has no background and no outlined letters, so that a page can replace `INK` and the font.
"""

import contextlib
import itertools
import math
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from keras_seq.inspection.plots.figures import literal, new_figure, save
from keras_seq.inspection.plots.scales import needs_log

INK = "#1b1e25"
_STYLES = {
    "rnn": ("#E69F00", "o"),
    "gru": ("#56B4E9", "s"),
    "lstm": ("#0072B2", "D"),
    "mingru": ("#009E73", "^"),
    "minlstm": ("#B3A100", "v"),  # the yellow of the palette, darkened to be visible on white
    "rglru": ("#CC79A7", "P"),
    "transformer": ("#D55E00", "X"),
    "feedforward": (INK, "p"),
}
_TEXT = ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color")
_WIDTH = 4.8  # inches: a page on a phone shows the letters at their size
_MISSING = "#9AA0A8"


def score_ranges(
    scores: Mapping[str, Sequence[float]],
    path: str | os.PathLike,
    *,
    title: str,
    label: str,
    labels: Mapping[str, str] | None = None,
    percent: bool = False,
) -> pathlib.Path:
    """Draws the scores of each architecture in a row: a ring for each seed, and a marker at the mean.

    A bar spans one standard deviation on each side of the mean.

    Args:
        scores: scores of the seeds by architecture, from the top to the bottom.
        path: path of the image, whose suffix sets the format.
        title: the finding.
        label: title of the axis, with the unit.
        labels: displayed names by architecture.
        percent: whether the scores are fractions, to be shown as percentages.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no architecture, or one has no score.
        ImportError: if matplotlib is not installed.
    """
    if not scores or not all(map(len, scores.values())):
        raise ValueError(f"`scores` must have at least one score for each architecture. Received: {dict(scores)}")
    with _style(path):
        figure, axes = _axes(1.3 + 0.34 * len(scores), title)
        looks = _looks(scores)
        for row, (name, values) in enumerate(scores.items()):
            color, marker = looks[name]
            mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            axes.plot([mean - spread, mean + spread], [row, row], color=color, linewidth=5, alpha=0.35)
            axes.plot(values, [row] * len(values), "o", markersize=6, markerfacecolor="none", color=color)
            axes.plot([mean], [row], marker, markersize=7, color=color)
            _annotate(axes, f"{mean:.1%}" if percent else f"{mean:.4g}", (mean, row), (0, 6))
        _name_rows(axes, list(scores), labels)
        axes.set_xlabel(literal(label))
        axes.margins(x=0.08)
        if percent:
            axes.xaxis.set_major_formatter(_percent)
        axes.grid(axis="x", alpha=0.25)
        return save(figure, path)


def compared_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: str | os.PathLike,
    *,
    title: str,
    x_label: str,
    y_label: str,
    labels: Mapping[str, str] | None = None,
    percent: bool = False,
    log_x: bool = False,
    from_zero: bool = False,
    ticks: Mapping[float, str] | None = None,
) -> pathlib.Path:
    """Draws a curve for each architecture. A value that is not finite is a gap.

    Args:
        curves: x and y by architecture, `(N,)` floats each. N may differ.
        path: path of the image, whose suffix sets the format.
        title: the finding.
        x_label, y_label: titles of the axes, with their units.
        labels: displayed names by architecture.
        percent: whether y is a fraction, to be shown as a percentage.
        log_x: whether x is logarithmic.
        from_zero: whether y starts at zero. If y spans more than a factor of 30, it is logarithmic instead.
        ticks: labels of places of x. None: numbers.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no curve, or x and y of one differ in length.
        ImportError: if matplotlib is not installed.
    """
    lengths = {name: (len(x), len(y)) for name, (x, y) in curves.items()}
    if not lengths or any(x != y or not x for x, y in lengths.values()):
        raise ValueError(f"`curves` must have as many x as y, and at least one curve. Received: {lengths}")
    with _style(path):
        figure, axes = _axes(3.4 + 0.2 * math.ceil(len(curves) / 4), title)
        looks = _looks(curves)
        for name, (x, y) in curves.items():
            color, marker = looks[name]
            every = max(1, len(x) // 12)
            label = literal((labels or {}).get(name, name))
            axes.plot(x, y, marker=marker, markersize=5, markevery=every, linewidth=1.5, color=color, label=label)
        if log_x:
            axes.set_xscale("log", base=2)
        else:
            axes.xaxis.get_major_locator().set_params(nbins=6)
        axes.xaxis.set_major_formatter(_thousands)
        if from_zero and needs_log([value for _, y in curves.values() for value in y]):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        elif from_zero:
            axes.set_ylim(bottom=0)
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()), minor=False)
            axes.xaxis.minorticks_off()
        if percent:
            axes.yaxis.set_major_formatter(_percent)
        axes.set_xlabel(literal(x_label))
        axes.set_ylabel(literal(y_label))
        axes.grid(alpha=0.25)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, handlelength=1.6, columnspacing=1.0)
        return save(figure, path)


def compared_bars(
    values: Mapping[str, float],
    path: str | os.PathLike,
    *,
    title: str,
    label: str,
    shown: Mapping[str, str],
    labels: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Draws a horizontal bar for each architecture, which starts at zero.

    Args:
        values: numbers from 0 by architecture, from the top to the bottom.
        path: path of the image, whose suffix sets the format.
        title: the finding.
        label: title of the axis, with the unit.
        shown: text beside the bar by architecture.
        labels: displayed names by architecture.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no bar, or a value is negative or not finite.
        ImportError: if matplotlib is not installed.
    """
    if not values or not all(math.isfinite(value) and value >= 0 for value in values.values()):
        raise ValueError(f"`values` must be finite, at least 0, and at least one. Received: {dict(values)}")
    with _style(path):
        figure, axes = _axes(1.2 + 0.3 * len(values), title)
        colors = [color for color, _ in _looks(values).values()]
        axes.barh(range(len(values)), list(values.values()), color=colors, height=0.62)
        for row, (name, value) in enumerate(values.items()):
            _annotate(axes, literal(shown[name]), (value, row), (4, 0), ha="left", va="center")
        _name_rows(axes, list(values), labels)
        axes.set_xlim(0, 1.22 * max(*values.values(), 1e-30))
        axes.set_xlabel(literal(label))
        axes.grid(axis="x", alpha=0.25)
        return save(figure, path)


def score_grid(
    scores: Sequence[Sequence[float]] | np.ndarray,
    path: str | os.PathLike,
    *,
    title: str,
    rows: Mapping[str, str],
    columns: Sequence[str],
    column_label: str,
    score_label: str,
    shown: Sequence[Sequence[str]],
    mode: str = "max",
    percent: bool = False,
) -> pathlib.Path:
    """Draws scores over a grid, such as architectures x learning rates. A brighter cell is better.

    A cell without a finite score is hatched.

    Args:
        scores: floats `(R, C)`.
        path: path of the image, whose suffix sets the format.
        title: the finding.
        rows: displayed names of the R architectures, from the top to the bottom.
        columns: names of the C columns.
        column_label, score_label: titles of the columns and of the scale of colors, with their units.
        shown: texts of the cells, `(R, C)`.
        mode: "max" or "min", the direction of better scores.
        percent: whether the scores are fractions, to be shown as percentages.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the scores are not `(R, C)`.
        ImportError: if matplotlib is not installed.
    """
    scores = np.asarray(scores, "float64")
    if scores.shape != (len(rows), len(columns)):
        wanted = (len(rows), len(columns))
        raise ValueError(f"`scores` must be {wanted}, rows x columns. Received: shape {scores.shape}")
    finite = np.isfinite(scores)
    low, high = (float(scores[finite].min()), float(scores[finite].max())) if finite.any() else (0.0, 0.0)
    with _style(path):
        figure, axes = _axes(1.4 + 0.36 * len(rows), title)
        axes.set_facecolor("none")
        colors = {"cmap": "cividis" if mode == "max" else "cividis_r", "vmin": low, "vmax": high}
        image = axes.pcolormesh(np.ma.masked_invalid(scores), edgecolors="none", **colors)
        axes.invert_yaxis()
        for (row, column), score in np.ndenumerate(scores):
            color = INK
            if np.isfinite(score):
                red, green, blue, _ = image.cmap(image.norm(score))
                color = "#111111" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#ffffff"
            else:
                _hatch(axes, row, column)
            axes.text(column + 0.5, row + 0.5, shown[row][column], color=color, ha="center", va="center", fontsize=9)
        axes.set_xticks(np.arange(len(columns)) + 0.5, list(columns))
        axes.set_yticks(np.arange(len(rows)) + 0.5, [literal(label) for label in rows.values()])
        axes.set_xlabel(literal(column_label))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if low < high:
            shown_as = {"format": _percent} if percent else {}
            bar = figure.colorbar(image, ax=axes, fraction=0.05, label=literal(score_label), **shown_as)
            bar.outline.set_visible(False)
        return save(figure, path)


def _looks(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """The color and the marker of each name."""
    # Blue first. If all are taken, they repeat.
    order = sorted(_STYLES.items(), key=lambda item: item[0] != "lstm")
    free = itertools.cycle([look for name, look in order if name not in names] or [look for _, look in order])
    return {name: _STYLES[name] if name in _STYLES else next(free) for name in names}


@contextlib.contextmanager
def _style(path: str | os.PathLike) -> Iterator[None]:
    """The settings of matplotlib for a plot: an SVG is transparent, keeps its letters, and repeats byte for byte."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError('Plots need matplotlib: pip install "keras-seq[recipes]"') from None
    settings = {"font.size": 10, "axes.titlesize": 11, "legend.fontsize": 9, "hatch.linewidth": 0.6}
    settings |= {"axes.spines.top": False, "axes.spines.right": False} | dict.fromkeys(_TEXT, INK)
    if pathlib.Path(path).suffix == ".svg":
        settings |= {"svg.fonttype": "none", "svg.hashsalt": "keras_seq", "savefig.transparent": True}
    with matplotlib.rc_context(settings):
        yield


def _axes(height: float, title: str):
    import textwrap

    lines = textwrap.wrap(literal(title), 48, break_on_hyphens=False)
    figure = new_figure(_WIDTH, height + 0.2 * (len(lines) - 1))
    figure.suptitle("\n".join(lines), fontsize=11, x=0.01, ha="left", fontweight="bold")
    return figure, figure.add_subplot()


def _name_rows(axes, names: Sequence[str], labels: Mapping[str, str] | None) -> None:
    """Names the rows of a plot, the first one at the top."""
    axes.set_yticks(range(len(names)), [literal((labels or {}).get(name, name)) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_axisbelow(True)


def _annotate(axes, text: str, place: tuple[float, float], offset: tuple[float, float], **options) -> None:
    options = {"ha": "center", "va": "bottom", "fontsize": 9} | options
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **options)


def _hatch(axes, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column, row), 1, 1, facecolor="none", edgecolor=_MISSING, hatch="////", linewidth=0))


def _thousands(value: float, _) -> str:
    """A number of an axis, from 10,000 on in thousands (k) or millions (M)."""
    if abs(value) < 1e4:
        return f"{value:g}"
    return f"{value / 1e3:g}k" if abs(value) < 1e6 else f"{value / 1e6:g}M"


def _percent(value: float, _) -> str:
    return f"{100 * value:.3g}%"
