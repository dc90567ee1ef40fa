"""Time series of a recipe: choice of the file, season of the naive forecast, forecasts of windows and their plots."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_seq import data, tasks, training
from keras_seq.data.series_times import wall_clock
from keras_seq.experiment.reporting import samples
from keras_seq.inspection import plots

_NAMES = {
    ("day", 24): "same hour yesterday",
    ("day", 1440): "same minute yesterday",
    ("week", 7): "same weekday last week",
    ("week", 5): "same weekday last week",
    ("year", 12): "same month last year",
    ("year", 4): "same quarter last year",
    ("year", 52): "same week last year",
}
_CYCLES = {"day": "same time yesterday", "week": "same time last week", "year": "same time last year"}
_PRINTED = 8  # steps of a window


class Season(NamedTuple):
    """The number of rows after which a naive forecast repeats itself, and the name of that forecast."""

    rows: int
    name: str


def find_season(series: data.Series, look_back: int, rows: int | None = None) -> Season:
    """The season of the naive forecast: the shortest cycle of the calendar that the time step divides.

    Args:
        series: series with times. The season of hours is a day, of days a week, of months a year.
        look_back: number of rows that are read, which limits the season.
        rows: season given by the user.
    Raises:
        ValueError: if `rows` is not from 1 to `look_back`.
    """
    count, cycle = data.season(series.times) or (1, "")
    season = min(count, look_back) if rows is None else rows
    if not 1 <= season <= look_back:
        raise ValueError(f"--season must be from 1 to --look-back {look_back}. Received: {season}")
    if season == count and cycle:
        return Season(season, _NAMES.get((cycle, count), _CYCLES[cycle]))
    return Season(season, "last value" if season == 1 else f"{season} rows before")


def find_csv(folder: pathlib.Path, file: str | None) -> pathlib.Path:
    """The file that is named, or the only CSV file of a folder.

    Raises:
        ValueError: if no file is named, and the folder has no CSV file or several.
    """
    if file is not None:
        return folder / file
    files = sorted(folder.glob("*.csv")) + sorted(folder.glob("*.csv.gz"))
    if len(files) != 1:
        names = ", ".join(path.name for path in files[:5]) or "none"
        raise ValueError(f"{folder} must hold one CSV file, or --file name the one to read. It has: {names}.")
    return files[0]


def forecast_windows(task: "tasks.Forecasting", series: data.Series, windows: data.Windows, rows: int) -> np.ndarray:
    """The task's forecasts of all windows, scaled: `(N, H, C)`, or `(N, H, C, Q)` with quantiles.

    Args:
        task: task whose inputs and outputs are rows in the units of the series.
        series: series of the windows.
        windows: windows of the series.
        rows: number of windows that are computed together.
    """
    scaler, chunks = task.target_scaler, []
    for first in range(0, len(windows), rows):
        starts = windows.starts[first : first + rows]
        forecasts = np.stack(task([series.values[start : start + task.look_back] for start in starts]))
        if forecasts.ndim == 3:
            chunks.append(scaler.scaled(forecasts))
        else:
            chunks.append(np.swapaxes(scaler.scaled(np.swapaxes(forecasts, 2, 3)), 2, 3))
    return np.concatenate(chunks)


def draw_forecasts(
    run: training.Run,
    series: data.Series,
    splits: data.WindowSplits,
    forecasts: np.ndarray,
    *,
    shown: int,
    count: int,
    band: np.ndarray | None = None,
    band_label: str = "",
) -> None:
    """Draws (`plots/forecasts.png`) and prints test windows, one column each, in the units of the series.

    Args:
        forecasts: scaled, `(N, H, C)`.
        shown: number of past rows to draw.
        count: number of windows to draw, evenly spread over the test split.
        band: lower and upper limits of the forecasts, scaled, `(N, H, C, 2)`.
        band_label: name of the band in the legend.
    """
    C, picked = len(series.columns), np.linspace(0, len(forecasts) - 1, count).astype(int)
    columns = C - 1 - np.arange(count) % C  # the last one first
    mean, std = (x[columns][:, None] for x in (splits.scaler.mean, splits.scaler.std))
    begins = splits.test.starts[picked] + splits.test.look_back
    rows = begins[:, None] + np.arange(-shown, splits.test.horizon)
    values, predicted = series.values[rows, columns[:, None]], forecasts[picked, :, columns] * std + mean
    if band is not None:
        band = band[picked, :, columns] * std[..., None] + mean[..., None]
    titles, past, future = _titles(series, columns, begins), values[:, :shown], values[:, shown:]
    path, times = run.plots / "forecasts.png", _clock(series, rows)
    plots.forecasts(past, future, predicted, titles, path, band, band_label, times)
    printed = [[" ".join(f"{x:.4g}" for x in row[:_PRINTED]) for row in part] for part in (future, predicted)]
    samples({"begins": titles, "observed": printed[0], "predicted": printed[1]})


def _titles(series: data.Series, columns: Sequence[int], begins: np.ndarray) -> list[str]:
    times = begins if series.times is None else series.written(series.times[begins])
    return [f"{series.columns[column]} from {time}" for column, time in zip(columns, times, strict=True)]


def _clock(series: data.Series, rows: np.ndarray) -> np.ndarray | None:
    """The times of rows `(N, T)` as datetime64; None for a series without dates."""
    if series.times is None or series.times.dtype.kind != "M":
        return None
    return wall_clock(series.times)[rows]
