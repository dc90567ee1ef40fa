"""Plots of time series forecasts, and of their errors."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, literal, new_figure, save

_HEADROOM = 2.5  # times the largest error of the model: the limit for the others


def forecasts(
    pasts: np.ndarray,
    futures: np.ndarray,
    forecast: np.ndarray,
    titles: Sequence[str],
    path: str | os.PathLike,
    band: np.ndarray | None = None,
    band_label: str = "band",
    times: np.ndarray | None = None,
) -> pathlib.Path:
    """Draws windows of series: a panel for each, with the past, the observed future and the predicted one.

    Args:
        pasts: floats `(N, T)`.
        futures, forecast: floats `(N, H)`.
        titles: titles of the N panels.
        path: path of the image, whose suffix sets the format.
        band: floats `(N, H, 2)`, the lower and the upper limit of the forecast.
        band_label: label of the band in the legend, such as "80% band".
        times: datetime64 `(N, T + H)`, the dates on the axis. None: steps, of which 0 is the last row of the past.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the shapes do not fit together, or there is no window.
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
    T = pasts.shape[1]
    if times is not None and np.shape(times) != (N, T + H):
        raise ValueError(f"`times` must be {(N, T + H)}. Received: shape {np.shape(times)}")
    steps = np.tile(np.arange(1 - T, H + 1), (N, 1)) if times is None else np.asarray(times)
    across = min(N, 2)
    figure = new_figure(6.4 * across, 2.8 * -(-N // across))
    for index, title in enumerate(titles):
        axes = figure.add_subplot(-(-N // across), across, index + 1)
        limits = None if band is None else np.asarray(band, float)[index]
        _draw_window(axes, steps[index], pasts[index], futures[index], forecast[index], limits, band_label)
        axes.set_title(literal(title))
        if index == 0:
            axes.legend(fontsize="small")
        if times is not None:
            _format_dates(axes)
        elif index >= N - across:
            axes.set_xlabel("step")
    return save(figure, path)


def _draw_window(axes, steps, past, future, forecast, limits, band_label) -> None:
    T = len(past)
    now, ahead = steps[max(0, T - 1)], steps[T:]
    axes.plot(steps[:T], past, color="gray", linewidth=1, label="past")
    joined = (np.append(now, ahead), np.append(past[-1:], future)) if T else (ahead, future)
    axes.plot(*joined, color=COLOUR, label="observed")
    axes.plot(ahead, forecast, color=ACCENT, label="predicted")
    if limits is not None:
        axes.fill_between(ahead, *limits.T, color=ACCENT, alpha=0.25, linewidth=0, label=band_label)
    axes.axvline(now, color="black", linewidth=0.6)
    axes.grid(alpha=0.3)


def _format_dates(axes) -> None:
    """Sets few dates, each as short as possible."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def errors_by_step(errors: Mapping[str, np.ndarray], path: str | os.PathLike, unit: str = "error") -> pathlib.Path:
    """Draws the error against the forecast step: a line for each model.

    The axis ends a little above the errors of the first model. If another one is much worse, its line leaves the
    image, and the legend has its mean.

    Args:
        errors: floats `(H,)` by name. The first one is highlighted, and all its steps are visible.
        path: path of the image, whose suffix sets the format.
        unit: unit of the errors, such as "MSE".
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is no line, or the numbers of steps differ.
        ImportError: if matplotlib is not installed.
    """
    shapes = {name: np.shape(values) for name, values in errors.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"`errors` must have one shape (H,), H > 0. Received: {shapes}")
    figure = new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    top = _HEADROOM * max(np.max(next(iter(errors.values()))), np.finfo(float).tiny)
    for place, (name, values) in enumerate(errors.items()):
        look = {"color": ACCENT, "linewidth": 2, "zorder": 3} if place == 0 else {"linewidth": 1}
        steps = np.arange(1, len(values) + 1)
        label = name if np.max(values) <= top else f"{name} (mean {np.mean(values):.3g})"
        axes.plot(steps, values, marker="o" if len(values) < 30 else None, markersize=3, label=label, **look)
    axes.set_ylim(0, min(top, 1.08 * max(map(np.max, errors.values()), default=top)) or None)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)
