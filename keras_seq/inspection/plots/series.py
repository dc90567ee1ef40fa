"""Forecasts of series, and their errors."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, literal, new_figure, save


def forecasts(
    pasts: np.ndarray,
    futures: np.ndarray,
    forecast: np.ndarray,
    titles: Sequence[str],
    path: str | os.PathLike,
    band: np.ndarray | None = None,
    band_label: str = "band",
) -> pathlib.Path:
    """Draws windows of series: a panel for each, with what came before, what was forecast and what then came.

    Args:
        pasts: floats `(N, T)`.
        futures, forecast: floats `(N, H)`.
        titles: of the N panels.
        path: the picture; its ending names the format.
        band: floats `(N, H, 2)`, the lower and the upper end of what was thought likely.
        band_label: what the legend says of it: "80% band".
    Returns:
        The path of the picture.
    Raises:
        ValueError: if the shapes do not belong together, or there is no window.
        ImportError: if matplotlib is not installed.
    """
    pasts, futures, forecast = (np.asarray(x, float) for x in (pasts, futures, forecast))
    N, H = (*futures.shape, 0)[:2]
    shapes = [x.shape for x in (pasts, futures, forecast) if x.ndim == 2]
    fits = band is None or np.shape(band) == (N, H, 2)
    if len(shapes) < 3 or forecast.shape != futures.shape or not len(pasts) == N == len(titles) or not (N * H and fits):
        raise ValueError(
            "`pasts` must be (N, T), `futures` and `forecast` (N, H), `band` (N, H, 2), with N titles, N and H > 0. "
            f"Received: shapes {pasts.shape}, {futures.shape}, {forecast.shape}, "
            f"{None if band is None else np.shape(band)}, {len(titles)} titles"
        )
    across = min(N, 2)
    down = -(-N // across)
    figure = new_figure(6.4 * across, 2.8 * down)
    steps = np.arange(1, H + 1)
    for index, title in enumerate(titles):
        axes = figure.add_subplot(down, across, index + 1)
        before, last = np.arange(1 - pasts.shape[1], 1), pasts[index, -1:]
        axes.plot(before, pasts[index], color="gray", linewidth=1, label="past")
        axes.plot(np.append(0, steps), np.append(last, futures[index]), color=COLOUR, label="what came")
        axes.plot(steps, forecast[index], color=ACCENT, label="forecast")
        if band is not None:
            low, high = np.moveaxis(np.asarray(band, float)[index], -1, 0)
            axes.fill_between(steps, low, high, color=ACCENT, alpha=0.25, linewidth=0, label=band_label)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_title(literal(title))
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend(fontsize="small")
        if index >= N - across:
            axes.set_xlabel("step")
    return save(figure, path)


def errors_by_step(errors: Mapping[str, np.ndarray], path: str | os.PathLike, unit: str = "error") -> pathlib.Path:
    """Draws how the error grows with the step that is forecast: a line for each model.

    Args:
        errors: for each name, floats `(H,)`; the first one stands out.
        path: the picture; its ending names the format.
        unit: what the errors are: "MSE".
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there is no line, or they have not the same number of steps.
        ImportError: if matplotlib is not installed.
    """
    shapes = {name: np.shape(values) for name, values in errors.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"`errors` must be of one shape (H,), H > 0. Received: {shapes}")
    figure = new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    for place, (name, values) in enumerate(errors.items()):
        look = {"color": ACCENT, "linewidth": 2, "zorder": 3} if place == 0 else {"linewidth": 1}
        steps = np.arange(1, len(values) + 1)
        axes.plot(steps, values, marker="o" if len(values) < 30 else None, markersize=3, label=name, **look)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)
