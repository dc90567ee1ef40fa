"""Plots of the lengths of a corpus, its buckets, and their padding."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, new_figure, runs, save


def buckets(
    lengths: np.ndarray,
    maxima: Sequence,
    plans: Mapping[str, tuple[int, float]],
    chosen: str,
    path: str | os.PathLike,
) -> pathlib.Path:
    """Draws the lengths of a corpus with the buckets of its examples, and padding against the number of shapes.

    One length: a histogram, with a line at the end of each bucket. Two: the number of examples of each source and
    target length, darker for more, with both histograms at the sides. Lines separate the buckets. All pairs inside one
    field are padded to its upper right corner, marked by a dot.

    Args:
        lengths: ints `(N,)`, or `(N, 2)` of source and target.
        maxima: inclusive limits of the buckets, numbers or (source, target). An example goes to the first bucket that
            it fits into, in order of increasing sum.
        plans: ways of batching by name, with the number of shapes and the share of padding.
        chosen: name of the plan to mark.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there are no lengths.
        ImportError: if matplotlib is not installed.
    """
    lengths = np.asarray(lengths)
    if not lengths.size or lengths.ndim > 2 or lengths.shape[1:] not in ((), (2,)):
        raise ValueError(f"`lengths` must have shape (N,) or (N, 2), and N > 0. Received: shape {lengths.shape}")
    figure = new_figure(12.0, 5.6)
    left, right = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    if lengths.ndim == 1:
        _draw_boundaries(left.add_subplot(), lengths, maxima)
    else:
        _draw_shapes(left, lengths, maxima)
    _draw_plans(right.add_subplot(), plans, chosen)
    return save(figure, path)


def _longest_drawn(lengths: np.ndarray) -> int:
    """The end of the axis. Up to two examples in a thousand are not shown: few long ones would hide the others."""
    return max(2, int(np.quantile(lengths, 0.998, method="lower") * 1.1) + 1)


def _draw_boundaries(axes, lengths: np.ndarray, maxima: Sequence[int]) -> None:
    last = _longest_drawn(lengths)
    width = -(-last // 120)  # more bars than that would blur
    axes.hist(lengths, np.arange(0.5, last + width + 0.5, width), color=COLOUR)
    ends = [longest + 0.5 for longest in maxima if longest <= last]
    axes.vlines(ends, 0, 1, color=ACCENT, linewidth=0.8, transform=axes.get_xaxis_transform(), label="end of a bucket")
    beyond = int((lengths > last).sum())
    axes.set_xlabel("length" + (f" ({beyond:,} longer, to {lengths.max():,}, not shown)" if beyond else ""))
    axes.set_xlim(0.5, last + 0.5)
    axes.set_ylabel("examples")
    axes.legend(loc="upper right")
    axes.set_title(f"{len(lengths):,} examples in {len(maxima)} buckets")


def _draw_shapes(figure, lengths: np.ndarray, maxima: Sequence[tuple[int, int]]) -> None:
    grid = figure.add_gridspec(2, 2, width_ratios=[6, 1], height_ratios=[1, 6])
    axes = figure.add_subplot(grid[1, 0])
    last = [_longest_drawn(lengths[:, side]) for side in (0, 1)]
    width = [-(-longest // 150) for longest in last]
    edges = [np.arange(0.5, last[side] + width[side] + 0.5, width[side]) for side in (0, 1)]
    counts, *_ = np.histogram2d(*lengths.T, bins=edges)
    # Shares of the densest cell on a square root scale: rare lengths stay visible, empty cells stay white.
    axes.pcolormesh(*edges, np.sqrt(np.where(counts.T > 0, counts.T, np.nan)), cmap="Blues", vmin=-0.5, rasterized=True)

    shapes = np.array(sorted(maxima, key=lambda shape: (sum(shape), tuple(shape))))  # (K, 2)
    places = [np.linspace(0.5, longest + 0.5, min(longest, 600) + 1) for longest in last]
    middles = [(place[1:] + place[:-1]) / 2 for place in places]
    fits = (middles[0][:, None, None] <= shapes[:, 0] + 0.5) & (middles[1][:, None] <= shapes[:, 1] + 0.5)
    field = np.where(fits.any(axis=2), fits.argmax(axis=2), len(shapes))  # (S, T): the first bucket that fits
    x, low, high = runs(field[1:] != field[:-1])  # between two fields, from left to right
    axes.vlines(places[0][x + 1], places[1][low], places[1][high], color=ACCENT, linewidth=0.7)
    y, low, high = runs((field[:, 1:] != field[:, :-1]).T)
    axes.hlines(places[1][y + 1], places[0][low], places[0][high], color=ACCENT, linewidth=0.7)
    seen = shapes[(shapes <= last).all(axis=1)]
    axes.plot(*(seen + 0.5).T, "o", color=ACCENT, markersize=3)

    beyond = int((lengths > last).any(axis=1).sum())
    axes.set_xlabel("source length" + (f" ({beyond:,} longer pairs not shown)" if beyond else ""))
    axes.set_ylabel("target length")
    axes.set_xlim(0.5, last[0] + 0.5)
    axes.set_ylim(0.5, last[1] + 0.5)
    above, beside = figure.add_subplot(grid[0, 0], sharex=axes), figure.add_subplot(grid[1, 1], sharey=axes)
    above.hist(lengths[:, 0], edges[0], color=COLOUR)
    beside.hist(lengths[:, 1], edges[1], color=COLOUR, orientation="horizontal")
    for margin in (above, beside):
        margin.axis("off")
    above.set_title(f"{len(lengths):,} pairs in {len(maxima)} (source, target) shapes")


def _draw_plans(axes, plans: Mapping[str, tuple[int, float]], chosen: str) -> None:
    fitted = sorted(figures for name, figures in plans.items() if "fitted" in name)
    axes.plot(*zip(*fitted, strict=True), "-o", color=ACCENT, markersize=5, label="fitted")
    for shapes, padding in fitted:
        place = {"xytext": (-5, -5), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(f"{padding:.1%}", (shapes, padding), color=ACCENT, **place)
    for name, (shapes, padding) in plans.items():
        if "fitted" not in name:
            axes.plot(shapes, padding, "s", color=COLOUR, markersize=6)
            place = {"xytext": (7, 5), "textcoords": "offset points"}
            axes.annotate(f"{name}: {padding:.1%}", (shapes, padding), color=COLOUR, **place)
    axes.plot(*plans[chosen], "o", color=ACCENT, markersize=13, fillstyle="none", label=f"to take: {chosen}")
    axes.set_xscale("log")
    ticks = sorted({1, *(shapes for shapes, _ in fitted)})
    axes.set_xticks(ticks, ticks)
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.8, 12 * max(shapes for shapes, _ in plans.values()))  # room for the names
    most = max(0.01, *(padding for _, padding in plans.values()))
    axes.set_ylim(-0.06 * most, 1.08 * most)
    axes.set_xlabel("shapes")
    axes.set_ylabel("padding")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    axes.set_title("padding by the number of shapes")
