"""Scores of forecasts: errors of each step of the horizon, next to those of naive baselines."""

import dataclasses
import sys
from typing import Any

from keras_seq.cli import table
from keras_seq.commands.evaluate import Evaluate, Scores, one_file
from keras_seq.series_options import SeriesFlags
from keras_seq.tasks.results import Failure

_WHOLE = (0.0, 0.0, 1.0)  # all rows are the test part


def score_forecasts(options: Evaluate, task: Any) -> Scores:
    """MSE and MAE of a forecaster on all windows of a series, or of its test split.

    Errors are standardized by the scaler of the run, as in the recipe's report. A SavedModel does not provide its
    scaler, so its errors are in the units of the series.
    """
    import numpy as np

    columns, path = task.columns, one_file(options)
    series, part, config = _read(options, task, columns)
    windows = _windows(series, columns, part, path)
    past, future = _pairs(windows)  # (N, L, C), (N, H, targets)
    outputs = _predicted(task, past)
    targets = [columns.columns.index(name) for name in columns.targets]
    std = task.target_scaler.std if getattr(task, "target_scaler", None) is not None else np.ones(len(targets))
    forecasts = {"model": _likeliest(outputs, columns), **_baselines(past[..., targets], columns, series, config)}
    off = {name: (values - future) / std for name, values in forecasts.items()}
    more = _band(outputs, future, columns)
    return _report(off, more, len(past), "all rows" if part == _WHOLE else f"test part of {_shown(part)}", std)


def _read(options: Evaluate, task: Any, columns: Any) -> tuple[Any, tuple, dict[str, Any]]:
    """The series, the split and the configuration of the run."""
    from keras_seq import data
    from keras_seq.training import read_config

    config = read_config(task.folder / "config.json") if task.folder is not None else {}
    path, options = one_file(options), _reading(options, config)
    series = options.read(path, columns.columns)
    if note := options.reading_note(str(path), series.report):
        print(note, file=sys.stderr)
    digests = read_config(task.folder / "data.json") if task.folder is not None else {}
    split = options.split
    if split is None and digests.get("train") == data.fingerprint(series):
        split = config.get("split") or data.usual_split(path.name)
    split = tuple(split or _WHOLE)
    return series, tuple(map(int, split)) if max(split) > 1 else split, config


def _reading(options: Evaluate, config: dict[str, Any]) -> Evaluate:
    """The options, with the run's flags for reading in place of those at their defaults."""
    changes = {}
    for field in dataclasses.fields(SeriesFlags):
        value = config.get(field.name)
        if value not in (None, []) and getattr(options, field.name) == field.default:
            changes[field.name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(options, **changes)


def _windows(series: Any, columns: Any, split: tuple, path: Any) -> Any:
    from keras_seq import data

    rows = columns.look_back + columns.horizon
    if all(run.end - run.start < rows for run in series.runs):
        raise ValueError(f"{path} has no window to score: one needs {rows:,} rows without a gap. Give a longer series.")
    sizes = {"look_back": columns.look_back, "horizon": columns.horizon}
    try:
        splits = data.windows(series, **sizes, split=split, targets=columns.targets, scaler=None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not len(splits.test):
        raise ValueError(f"{path} has no row to score: --split {_shown(split)} leaves none for the test. Give it some.")
    return splits.test


def _pairs(windows: Any) -> tuple[Any, Any]:
    """Past and future of all windows, in the units of the series."""
    import numpy as np

    past, target = (windows.arrays[name].numpy() for name in ("past", "target"))
    rows = windows.starts[:, None] + np.arange(windows.look_back + windows.horizon)
    return past[rows[:, : windows.look_back]], target[rows[:, windows.look_back :]]


def _predicted(task: Any, past: Any) -> Any:
    import numpy as np

    results = task.predictor()(list(past))
    failed = [result for result in results if isinstance(result, Failure)]
    if failed:
        raise ValueError(f"{task.where} cannot forecast: {failed[0].reason}")
    return np.stack([result.values for result in results])  # (N, H, targets[, Q])


def _likeliest(outputs: Any, columns: Any) -> Any:
    """The forecast itself, or the quantile that is nearest to the median."""
    import numpy as np

    return outputs[..., np.abs(np.array(columns.quantiles) - 0.5).argmin()] if columns.quantiles else outputs


def _baselines(past: Any, columns: Any, series: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Naive forecasts `(N, H, targets)` that repeat the last season, and the last value."""
    import numpy as np

    from keras_seq.experiment import find_season

    season = find_season(series, columns.look_back, config.get("season"))
    baselines = {"last value": np.repeat(past[:, -1:], columns.horizon, axis=1)}
    if season.rows > 1:
        places = past.shape[1] - season.rows + np.arange(columns.horizon) % season.rows
        baselines = {season.name: past[:, places], **baselines}
    return baselines


def _band(outputs: Any, future: Any, columns: Any) -> dict[str, float]:
    """Share of the future values between the outermost quantiles."""
    import numpy as np

    if len(columns.quantiles) < 2:
        return {}
    inside = (outputs[..., 0] <= future) & (future <= outputs[..., -1])
    return {f"inside the {columns.quantiles[-1] - columns.quantiles[0]:.0%} band": float(np.mean(inside))}


def _report(off: dict[str, Any], more: dict[str, float], count: int, part: str, std: Any) -> Scores:
    import numpy as np

    errors = {name: {"mse": float(np.square(by).mean()), "mae": float(np.abs(by).mean())} for name, by in off.items()}
    steps = {name: np.square(by).mean(axis=(0, 2)).tolist() for name, by in off.items()}
    unit = "in units of the series" if (std == 1).all() else "standardized"
    record = {"windows": count, "part": part, "unit": unit, **errors["model"], **more}
    record |= {"baselines": {name: errors[name] for name in errors if name != "model"}, "mse_by_step": steps}
    rows = [("", "MSE", "MAE")]
    rows += [(name, f"{error['mse']:.4f}", f"{error['mae']:.4f}") for name, error in errors.items()]
    rows += [(name, f"{share:.1%}", "") for name, share in more.items()]
    horizon = len(steps["model"])
    shown = sorted({1, max(1, horizon // 4), max(1, horizon // 2), horizon})
    cells = [("MSE", *(f"step {step}" for step in shown))]
    cells += [(name, *(f"{values[step - 1]:.4f}" for step in shown)) for name, values in steps.items()]
    return Scores(record, rows, ("", *table(cells), "", f"{count:,} windows, {part}, {unit}"))


def _shown(split: tuple) -> str:
    return " ".join(f"{share:g}" for share in split)
