"""Plots of the cost of a model by layer."""

import os
import pathlib
from collections.abc import Sequence

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, literal, new_figure, save

_MOST = 24  # bars; the smallest are drawn together
_LEAST = 0.001  # share of a bar of its own
_SMALLER = "smaller layer"


def cost_by_layer(
    names: Sequence[str],
    flop: Sequence[float],
    kept_bytes: Sequence[float],
    path: str | os.PathLike,
    *,
    what: str = "forward pass",
) -> pathlib.Path:
    """Draws the FLOP of each layer and the memory of its activations, as bars beside each other.

    The titles name the layer with the largest share. The smallest layers are one bar: those beyond 24, and those
    below a thousandth.

    Args:
        names: names of the layers.
        flop: FLOP of each layer.
        kept_bytes: bytes of activations that each layer keeps for the gradient.
        path: path of the image, whose suffix sets the format.
        what: the computation that the FLOP are for.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no layer, or the numbers differ in length.
        ImportError: if matplotlib is not installed.
    """
    if not names or not len(names) == len(flop) == len(kept_bytes):
        raise ValueError(
            "`names`, `flop` and `kept_bytes` must have a value for each layer. Received: "
            f"{len(names)}, {len(flop)}, {len(kept_bytes)}"
        )
    bars = _largest(names, flop, kept_bytes)
    figure = new_figure(9.5, 1.4 + 0.28 * len(bars))
    left, right = figure.subplots(1, 2, sharey=True)
    labels = [literal(name) for name, _, _ in bars]
    _draw(left, labels, [flop for _, flop, _ in bars], COLOUR, "FLOP", f"{what}, FLOP")
    _draw(
        right, labels, [kept for _, _, kept in bars], ACCENT, "activations", "activations kept for the gradient, bytes"
    )
    return save(figure, path)


def _largest(names, flop, kept):
    """The bars in the order of the layers, with the smallest together at the end."""
    rows = list(zip(names, flop, kept, strict=True))
    totals = [max(sum(each), 1) for each in (flop, kept)]
    share = [max(row[1] / totals[0], row[2] / totals[1]) for row in rows]
    chosen = sorted(range(len(rows)), key=lambda i: -share[i])[: _MOST - 1 if len(rows) > _MOST else _MOST]
    chosen = {i for i in chosen if share[i] > _LEAST} or {0}
    rest = [row for i, row in enumerate(rows) if i not in chosen]
    bars = [row for i, row in enumerate(rows) if i in chosen]
    if rest:
        bars.append(
            (f"{len(rest)} {_SMALLER}{'s' * (len(rest) > 1)}", sum(row[1] for row in rest), sum(row[2] for row in rest))
        )
    return bars


def _draw(axes, labels, values, color, noun, axis):
    total = max(sum(values), 1)
    bars = axes.barh(range(len(values)), values, color=color)
    axes.bar_label(
        bars, [f"{value / total:.0%}" if value > 0.005 * total else "" for value in values], padding=3, fontsize="small"
    )
    single = [i for i, label in enumerate(labels) if _SMALLER not in label]
    first = max(single, key=lambda i: values[i])
    axes.set_title(f"{values[first] / total:.0%} of the {noun}: {labels[first]}", fontsize="medium")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_xlabel(axis)
    axes.set_xlim(0, 1.14 * max(max(values), 1))
    axes.xaxis.set_major_formatter(lambda value, _: _with_prefix(value))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # the first layer at the top


def _with_prefix(value: float) -> str:
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 1000:
            return f"{value:.3g} {prefix}".rstrip()
        value /= 1000
    return f"{value:,.3g} T"
