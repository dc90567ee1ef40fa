"""Plots of gradients through time, as `inspection.gradients` measures them."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, OKABE_ITO, literal, new_figure, save
from keras_seq.inspection.plots.scales import needs_log

if TYPE_CHECKING:
    from keras_seq.inspection.gradients import GateSaturation, GradientNorms, TruncationBias

_COLORS = OKABE_ITO[:7]  # the line styles repeat at another length
_STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_NONE = "0.85"  # gray: no gradient, or no real step


def _looks(names: Sequence[str]) -> list[dict]:
    return [
        {"label": literal(name), "color": _COLORS[n % len(_COLORS)], "linestyle": _STYLES[n % len(_STYLES)]}
        for n, name in enumerate(names)
    ]


def gradient_curve(norms: "Mapping[str, GradientNorms]", path: str | os.PathLike) -> pathlib.Path:
    """Draws the norm of the gradient against the number of steps back from the loss: a line for each layer or model.

    The axis of the norms is logarithmic, so a gradient that vanishes or explodes is a straight line.

    Args:
        norms: results of `gradients.gradient_norms`, by the names in the legend.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there are no norms, or none is above zero.
        ImportError: if matplotlib is not installed.
    """
    curves = {name: each.by_steps_back() for name, each in norms.items()}
    if not any((curve > 0).any() for curve in curves.values()):
        raise ValueError(f"`norms` must have a norm above zero. Received: {list(curves)}")
    figure = new_figure(7.5, 4.5)
    axes = figure.add_subplot()
    for look, curve in zip(_looks(list(curves)), curves.values(), strict=True):
        marker = "o" if len(curve) < 30 else None
        axes.plot(np.where(curve > 0, curve, np.nan), linewidth=1.6, marker=marker, markersize=3, **look)
    axes.set_yscale("log")
    axes.set_xlabel("steps back from the loss")
    axes.set_ylabel("norm of the gradient dL/dh")
    axes.grid(alpha=0.3)
    if len(curves) > 7:
        figure.legend(loc="outside right upper", fontsize="small")
    else:
        axes.legend(fontsize="small")
    axes.set_title(_per_step({name: each.slope() for name, each in norms.items()}), fontsize="medium")
    return save(figure, path)


def _per_step(slopes: Mapping[str, float]) -> str:
    factors = {name: float(np.exp(slope)) for name, slope in slopes.items() if not np.isnan(slope)}
    if not factors:
        return "gradients of a single step"
    least, most = min(factors, key=factors.__getitem__), max(factors, key=factors.__getitem__)
    if least == most:
        return literal(f"{least}: norm × {factors[least]:.3f} per step back")
    lines = f"smallest norm per step back: × {factors[least]:.3f}, {least}", f"largest: × {factors[most]:.3f}, {most}"
    return literal("\n".join(lines))


def gradient_heat_map(norms: "Mapping[str, GradientNorms]", path: str | os.PathLike) -> pathlib.Path:
    """Draws the norms of the gradient of layers (rows) at every step (columns). Light: large. Gray: no gradient.

    Args:
        norms: results of `gradients.gradient_norms` by name. Layers with fewer steps end earlier.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there are no norms, or none is above zero.
        ImportError: if matplotlib is not installed.
    """
    means = [each.mean for each in norms.values()]
    table = np.full((len(means), max(map(len, means), default=0)), np.nan)
    for row, mean in zip(table, means, strict=True):
        row[: len(mean)] = mean
    figure = new_figure(8.0, 1.8 + 0.35 * len(table))
    axes = figure.add_subplot()
    _draw_logarithms(figure, axes, table)
    axes.set_yticks(range(len(table)), [literal(name) for name in norms])
    names, ends = list(norms), []
    for place in (np.nanargmax(table), np.nanargmin(np.where(table > 0, table, np.nan))):
        row, step = np.unravel_index(place, table.shape)
        ends.append(f"{table[row, step]:.1e} ({names[row]}, step {step})")
    axes.set_title(literal(f"largest norm of dL/dh: {ends[0]}\nsmallest: {ends[1]}"), fontsize="medium")
    return save(figure, path)


def unit_gradients(norms: "GradientNorms", path: str | os.PathLike, name: str = "the layer") -> pathlib.Path:
    """Draws the gradients of the units of one layer (rows) at every step (columns). Light: large. Gray: no gradient.

    Args:
        norms: one result of `gradients.gradient_norms`.
        path: path of the image, whose suffix sets the format.
        name: name of the layer in the title.
    Returns:
        The path of the image.
    Raises:
        ValueError: if no gradient is above zero.
        ImportError: if matplotlib is not installed.
    """
    table = norms.units.T
    figure = new_figure(8.0, 2.0 + min(4.5, 0.12 * len(table)))
    axes = figure.add_subplot()
    _draw_logarithms(figure, axes, table)
    axes.set_ylabel("unit")
    axes.yaxis.get_major_locator().set_params(integer=True)
    squares = np.square(table[:, np.isfinite(table).all(axis=0)]).sum(axis=1)
    half = int(np.searchsorted(np.cumsum(np.sort(squares)[::-1]), 0.5 * squares.sum())) + 1
    title = f"{name}: {half} of {len(table)} units have half of the squared gradient"
    axes.set_title(literal(title), fontsize="medium")
    return save(figure, path)


def _draw_logarithms(figure, axes, table: np.ndarray) -> None:
    """Draws decimal logarithms of the positive entries as cells."""
    if not (table > 0).any():
        raise ValueError(f"`norms` must have a norm above zero. Received: a table of shape {table.shape} without one")
    from matplotlib import colormaps

    values = np.full(table.shape, np.nan)
    values[table > 0] = np.log10(table[table > 0])
    map_ = colormaps["cividis"].with_extremes(bad=_NONE)
    image = axes.imshow(values, aspect="auto", cmap=map_, interpolation="nearest")
    axes.set_xlabel("step t")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=axes, fraction=0.05, label="norm, decimal logarithm")


def singular_values(values: np.ndarray, path: str | os.PathLike, name: str = "the layer") -> pathlib.Path:
    """Draws the singular values of the Jacobian dh_t/dh_(t-1) at every step: the largest, the median and the smallest.

    Lines are means over the rows. The field has all the values.

    Args:
        values: float `(B, T, N)`, one result of `gradients.jacobian_singular_values`. NaN at masked steps.
        path: path of the image, whose suffix sets the format.
        name: name of the layer in the title.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the values are not `(B, T, N)`, or all NaN.
        ImportError: if matplotlib is not installed.
    """
    values = np.asarray(values, "float64")
    if values.ndim != 3 or not np.isfinite(values).any():
        raise ValueError(f"`values` must be numbers (B, T, N). Received: shape {values.shape}")
    there = np.isfinite(values).all(axis=(0, 2)) | np.isfinite(values[:, :, 0]).any(axis=0)
    steps = np.flatnonzero(there)
    figure = new_figure(7.5, 4.2)
    axes = figure.add_subplot()
    lines = {"largest": values.max(axis=2), "median": np.median(values, axis=2), "smallest": values.min(axis=2)}
    for (label, each), color in zip(lines.items(), (ACCENT, COLOUR, "black"), strict=True):
        style = {"largest": "-", "median": "--", "smallest": ":"}[label]
        axes.plot(steps, np.nanmean(each[:, steps], axis=0), label=label, color=color, linestyle=style)
    axes.fill_between(
        steps,
        np.nanmin(lines["smallest"][:, steps], axis=0),
        np.nanmax(lines["largest"][:, steps], axis=0),
        color=COLOUR,
        alpha=0.15,
        linewidth=0,
        label="all values of all rows",
    )
    axes.axhline(1, color="gray", linewidth=0.8)
    if needs_log(values[np.isfinite(values)]):
        axes.set_yscale("log")
    above = np.nanmean(lines["largest"][:, steps][np.isfinite(lines["largest"][:, steps])] > 1)
    axes.set_title(
        literal(f"{name}: the largest singular value is above 1 at {above:.0%} of the steps"), fontsize="medium"
    )
    axes.set_xlabel("step t")
    axes.set_ylabel("singular value of dh(t) / dh(t-1)")
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)


def gate_saturation(
    gates: "Sequence[GateSaturation]",
    path: str | os.PathLike,
    bounds: tuple[float, float] = (0.05, 0.95),
) -> pathlib.Path:
    """Draws the shares of gate activations that are low, between and high: a bar for each layer and gate.

    Args:
        gates: results of `gradients.gate_saturation`.
        path: path of the image, whose suffix sets the format.
        bounds: the bounds that they were computed with, for the legend.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no gate.
        ImportError: if matplotlib is not installed.
    """
    if not gates:
        raise ValueError("`gates` must have at least one gate. Received: none")
    figure = new_figure(7.5, 1.6 + 0.32 * len(gates))
    axes = figure.add_subplot()
    low, high = (np.array([getattr(gate, side) for gate in gates]) for side in ("low", "high"))
    places = np.arange(len(gates))
    axes.barh(places, low, color=_COLORS[0], label=f"below {bounds[0]:g}")
    axes.barh(places, 1 - low - high, left=low, color="0.88", label="between")
    axes.barh(
        places, high, left=1 - high, color=_COLORS[1], hatch="///", edgecolor="white", label=f"above {bounds[1]:g}"
    )
    axes.set_yticks(places, [literal(f"{gate.layer} {gate.gate}") for gate in gates])
    axes.set_ylim(len(gates) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("share of the activations")
    worst = max(gates, key=lambda gate: gate.low + gate.high)
    title = f"most saturated: {worst.layer} {worst.gate}, {worst.low + worst.high:.0%} of its activations"
    axes.set_title(literal(title), fontsize="medium")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return save(figure, path)


def truncation_bias(biases: "Mapping[str, Sequence[TruncationBias]]", path: str | os.PathLike) -> pathlib.Path:
    """Draws the error of truncated gradients against the window: its norm, and the cosine with the full gradient.

    Args:
        biases: results of `gradients.truncation_bias`, by the names in the legend.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no result.
        ImportError: if matplotlib is not installed.
    """
    if not biases or not all(biases.values()):
        raise ValueError(f"`biases` must have at least one window for each name. Received: {dict(biases)}")
    figure = new_figure(9.0, 4.0)
    panels = figure.subplots(1, 2)
    windows = sorted({each.window for results in biases.values() for each in results})
    for axes, field, label in zip(
        panels,
        ("relative_error", "cosine"),
        ("relative error of the gradient", "cosine with the full gradient"),
        strict=True,
    ):
        for look, results in zip(_looks(list(biases)), biases.values(), strict=True):
            results = sorted(results)
            axes.plot(
                [r.window for r in results], [getattr(r, field) for r in results], marker="o", markersize=4, **look
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(windows, windows)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("window, steps")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize="small")
    figure.suptitle(literal(_needed_window(biases)), fontsize="medium")
    return save(figure, path)


def _needed_window(biases: "Mapping[str, Sequence[TruncationBias]]") -> str:
    """The smallest window with an error of at most a tenth, for each name."""
    needed = []
    for name, results in biases.items():
        enough = [each.window for each in results if each.relative_error <= 0.1]
        needed.append(f"{name}: {min(enough)}" if enough else f"{name}: none")
    return f"window for an error of at most 10%: {', '.join(needed)}"
