"""Cuts time series into windows of past and future, scaled with statistics of the training part."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_seq.data.autotune import without_autotune
from keras_seq.data.series import Series, as_series
from keras_seq.data.series_times import as_utc

if TYPE_CHECKING:
    import pandas as pd

# Attributes of pandas, and their first and last values. Scaled to [-0.5, 0.5] as in GluonTS, time_feature/_base.py, and
# in the papers that use its features. Monday is 0.
_CALENDAR = {
    "minute": ("minute", 0, 59),
    "hour": ("hour", 0, 23),
    "weekday": ("day_of_week", 0, 6),
    "day": ("day", 1, 31),
    "month": ("month", 1, 12),
}

USUAL_SPLIT = (0.7, 0.1, 0.2)  # training, validation, test
PUBLISHED_SPLITS = {  # 12, 4 and 4 months of 30 days
    **dict.fromkeys(("ETTh1.csv", "ETTh2.csv"), (8_640, 2_880, 2_880)),
    **dict.fromkeys(("ETTm1.csv", "ETTm2.csv"), (34_560, 11_520, 11_520)),
}


class Scaler:
    """Scales columns to mean 0 and standard deviation 1. A constant column is only shifted to 0.

    Works on arrays and tensors `(..., C)`, also in a graph.

    Args:
        mean, std: floats `(C,)`.
        columns: names of the C columns.
    Example:
        >>> scaler = data.Scaler.fit(np.array([[1.0], [3.0]]), ["level"])
        >>> scaler.scaled(np.array([[5.0]])).tolist(), scaler.inverse(np.array([[3.0]])).tolist()
        ([[3.0]], [[5.0]])
    """

    def __init__(self, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray, columns: Sequence[str]):
        self.mean, self.std, self.columns = np.asarray(mean, float), np.asarray(std, float), tuple(columns)
        if not self.mean.shape == self.std.shape == (len(self.columns),) or not (self.std > 0).all():
            raise ValueError(f"A scaler needs a mean and a positive std for each column. Received: {mean=}, {std=}")

    @classmethod
    def fit(cls, values: np.ndarray, columns: Sequence[str]) -> "Scaler":
        """Fits a scaler to rows `(N, C)`, which should be those of the training part."""
        values = np.asarray(values, float)
        if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
            raise ValueError(f"Scaler.fit needs finite rows (N, C), N > 0. Received: shape {values.shape}")
        constant = values.min(axis=0) == values.max(axis=0)  # rounding may give it a computed deviation above 0
        mean, std = np.where(constant, values[0], values.mean(axis=0)), values.std(axis=0)
        return cls(mean, np.where(constant | (std == 0), 1, std), columns)

    def scaled(self, x):
        """`(x - mean) / std`, in the dtype of `x`."""
        dtype = tf.as_dtype(x.dtype).as_numpy_dtype
        return (x - self.mean.astype(dtype)) / self.std.astype(dtype)

    def inverse(self, x):
        """`x * std + mean`, in the dtype of `x`."""
        dtype = tf.as_dtype(x.dtype).as_numpy_dtype
        return x * self.std.astype(dtype) + self.mean.astype(dtype)

    def select(self, columns: Sequence[str]) -> "Scaler":
        """The scaler of some of the columns, such as the targets."""
        places = _places(columns, self.columns)
        return Scaler(self.mean[places], self.std[places], columns)

    def save(self, path: str | PathLike) -> None:
        """Writes a JSON file. `load` restores exactly the same numbers."""
        content = {"mean": self.mean.tolist(), "std": self.std.tolist(), "columns": self.columns}
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> "Scaler":
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class WindowReport:
    """Counts of all windows: `windows` = `train` + `valid` + `test` + `astride` + `after`.

    The target of an `astride` window begins in one part and ends in another. The target of an `after` window ends
    after the last part. `short` pieces of series are shorter than one window.
    """

    windows: int
    train: int
    valid: int
    test: int
    astride: int = 0
    after: int = 0
    short: int = 0

    def __str__(self) -> str:
        text = f"{self.windows:,} windows: {self.train:,} train, {self.valid:,} valid, {self.test:,} test"
        text += "".join(
            f", {count:,} {where}" for count, where in ((self.astride, "astride"), (self.after, "after them")) if count
        )
        return text + (f"; {self.short:,} pieces of series too short for a window" if self.short else "")


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one part, cut from shared arrays on demand, without copies.

    Args:
        starts: int64 `(windows,)`, the first row of each.
        look_back, horizon: number of past and of future steps.
        arrays: "past", "target" and optionally "known_future", by row. Optionally "static" by series, with
            "series" by row.
        report: report on the windows of all parts.
    """

    starts: np.ndarray
    look_back: int
    horizon: int
    arrays: dict[str, tf.Tensor] = field(repr=False)
    report: WindowReport

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, starts: tf.Tensor):
        """The windows that start at int64 `()` or `(B,)` rows: `(inputs, target)`, as `windows` describes them."""
        rows = starts[..., None] + tf.range(self.look_back + self.horizon, dtype=tf.int64)
        past, future = rows[..., : self.look_back], rows[..., self.look_back :]
        inputs = {"past": tf.gather(self.arrays["past"], past)}
        if "known_future" in self.arrays:
            inputs["known_future"] = tf.gather(self.arrays["known_future"], future)
        if "static" in self.arrays:
            inputs["static"] = tf.gather(self.arrays["static"], tf.gather(self.arrays["series"], starts))
        return inputs if len(inputs) > 1 else inputs["past"], tf.gather(self.arrays["target"], future)

    def dataset(
        self, order: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None, batch_size: int | None = None
    ) -> tf.data.Dataset:
        """A dataset of the windows.

        Args:
            order: a step such as `shuffled(seed, buffer_size=len(windows))`, applied to the start rows. It shuffles
                numbers instead of windows, so a buffer for all of them is small.
            batch_size: size of batches whose windows are cut out together, which is faster than a later `batch`. The
                last batch may be smaller. None: single windows.
        """
        starts = tf.data.Dataset.from_tensor_slices(self.starts)
        starts = starts if order is None else starts.apply(order)
        starts = starts if batch_size is None else starts.batch(batch_size)
        return starts.map(self.gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).apply(without_autotune)


@dataclass(frozen=True, eq=False)
class WindowSplits:
    """The windows of three parts, their scaler, and the names of their columns."""

    train: Windows
    valid: Windows
    test: Windows
    scaler: Scaler | None
    past_columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    known_columns: tuple[str, ...]
    report: WindowReport


def usual_split(name: str) -> tuple[float, float, float] | tuple[int, int, int]:
    """The split of published results on a file of this name: 12, 4 and 4 months of 30 days for ETT, otherwise 0.7, 0.1
    and 0.2.

    Source: Zhou et al. 2021, "Informer", section 5.1, arXiv:2012.07436.
    """
    return PUBLISHED_SPLITS.get(name, USUAL_SPLIT)


def windows(
    series: "Series | pd.DataFrame | np.ndarray",
    look_back: int,
    horizon: int,
    *,
    split: Sequence = (0.7, 0.1, 0.2),
    targets: Sequence[str] | None = None,
    known_future: Sequence[str] = (),
    scaler: Scaler | str | None = "fit",
) -> WindowSplits:
    """Cuts series into windows `(past, target)`, float32 `(look_back, C)` and `(horizon, targets)`, one for each
    possible start row. No window crosses into the next series, or a gap at which a series was split.

    A window belongs to the part that contains its whole target. Its past may reach back into the part before.
    Published results on ETT count windows in this way. Their split is `split=(8640, 2880, 2880)`, 12, 4 and 4 months of
    30 days.

    With known-future or static columns the input is a dict of "past", "known_future" `(horizon, K)` and "static"
    `(F,)`, without those that are absent. The past has every column of the file, followed by the calendar features.

    Args:
        series: a `Series` from `read_series`, or a DataFrame or an array, which is read by it.
        look_back, horizon: number of past and of future steps.
        split: three fractions that sum to 1, or three numbers of rows, or the times at which the second and the third
            part begin, and optionally a third time at which the last part ends. Applies to each series separately.
        targets: the columns to forecast. None takes all columns not in `known_future`.
        known_future: columns whose future values are available, and features of the time index: "minute", "hour",
            "weekday", "day", "month", scaled to [-0.5, 0.5].
        scaler: "fit" fits a scaler to the training rows of all series. Or a fitted `Scaler`, or None for no scaling.
            Static columns and calendar features are never scaled.

    Raises:
        ValueError: if a column does not exist, a split does not fit, or a part has no window.
    Example:
        >>> series = np.arange(20.0)[:, None]
        >>> splits = data.windows(series, look_back=4, horizon=2, split=(0.5, 0.25, 0.25), scaler=None)
        >>> print(splits.report)
        15 windows: 5 train, 4 valid, 4 test, 2 astride
        >>> past, future = next(iter(splits.train.dataset(batch_size=1)))
        >>> past.numpy().ravel().tolist(), future.numpy().ravel().tolist()
        ([0.0, 1.0, 2.0, 3.0], [4.0, 5.0])
    """
    if look_back < 1 or horizon < 1:
        raise ValueError(f"`look_back` and `horizon` must be positive. Received: {look_back=}, {horizon=}")
    series = as_series(series)
    calendar = tuple(name for name in known_future if name not in series.columns)
    past_columns = (*series.columns, *calendar)
    if targets is None:
        targets = [name for name in series.columns if name not in known_future]
    borders = [_borders(series, name, *span, split) for name, span in zip(series.names, series.spans(), strict=True)]

    values = series.values.astype(float)
    if isinstance(scaler, str):
        if scaler != "fit":
            raise ValueError(f'`scaler` must be "fit", a Scaler or None. Received: {scaler!r}')
        scaler = Scaler.fit(np.concatenate([values[first:end] for first, end, *_ in borders]), series.columns)
    if scaler is not None:
        values = scaler.select(series.columns).scaled(values)
    if calendar:
        values = np.concatenate([values, calendar_features(series.times, calendar)], axis=1)
    values = values.astype(np.float32)

    with tf.device("CPU:0"):  # where they will be gathered
        arrays = {"past": tf.constant(values), "target": tf.constant(values[:, _places(targets, series.columns)])}
        if known_future:
            arrays["known_future"] = tf.constant(values[:, _places(known_future, past_columns)])
        if series.static is not None:
            lengths = [end - start for start, end in series.spans()]
            arrays["static"] = tf.constant(series.static, tf.float32)
            arrays["series"] = tf.constant(np.repeat(np.arange(len(lengths)), lengths))

    starts, report = _starts(series, borders, look_back, horizon)
    rows = np.diff(borders, axis=1).sum(axis=0)
    for name, part, part_rows in zip(("training", "validation", "test"), starts, rows, strict=True):
        if part_rows and not len(part):
            raise ValueError(
                f"The {name} part has {part_rows:,} rows and no window of {look_back=}, {horizon=}. Use shorter "
                f"windows or another `split` (0 omits a part). Received: split={tuple(split)}"
            )
    parts = (Windows(part, look_back, horizon, arrays, report) for part in starts)
    return WindowSplits(*parts, scaler, past_columns, tuple(targets), tuple(known_future), report)


def calendar_features(times: np.ndarray | None, names: Sequence[str]) -> np.ndarray:
    """Features of the times `(N,)`, float32 `(N, features)` in [-0.5, 0.5]: "minute", "hour", "weekday", "day" (of the
    month), "month"."""
    unknown = [name for name in names if name not in _CALENDAR]
    if unknown:
        raise ValueError(f"Not a column or a calendar feature ({', '.join(_CALENDAR)}): {', '.join(unknown)}")
    if times is None or times.dtype.kind != "M":
        raise ValueError(f"{', '.join(names)}: calendar features need a time index of dates. The series has none.")
    import pandas as pd

    index = pd.DatetimeIndex(times)
    known = [_CALENDAR[name] for name in names]
    features = [(getattr(index, attribute) - low) / (high - low) - 0.5 for attribute, low, high in known]
    return np.stack(features, axis=1).astype(np.float32)


def _places(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    missing = [name for name in names if name not in columns]
    if missing or isinstance(names, str) or not names:
        raise ValueError(f"Columns must be a list of some of {', '.join(columns)}. Received: {names!r}")
    return [columns.index(name) for name in names]


def _borders(series: Series, name: str, start: int, end: int, split: Sequence) -> tuple[int, int, int, int]:
    """The rows at which the three parts of a series begin, and the row after the last one."""
    rows = end - start
    if len(split) == 3 and all(isinstance(share, Integral) for share in split):
        if min(split) < 0 or sum(split) > rows:
            raise ValueError(f"Series {name!r} has only {rows:,} rows. Received: split={tuple(split)}")
        inner = np.cumsum(split)
    elif len(split) == 3 and all(isinstance(share, Real) for share in split):
        if min(split) < 0 or abs(sum(split) - 1) > 1e-6:
            raise ValueError(f"The fractions of `split` must sum to 1. Received: {tuple(split)}")
        # Training and test are rounded down, and validation is the rest, as in the code of Informer, arXiv:2012.07436.
        train, test = (int(share * rows + 1e-6) for share in (split[0], split[2]))
        inner = np.array([train if split[1] else rows - test, rows - test, rows])
    elif len(split) in (2, 3) and series.times is not None and series.times.dtype.kind == "M":
        found, zone = as_utc(series.times[start:end])
        times = _moments(split, zone)
        inner = np.array([*np.searchsorted(found, times), rows][:3])
        if (np.diff(times) < np.timedelta64(0)).any():
            raise ValueError(f"The times of `split` must increase. Received: {tuple(split)}")
    else:
        raise ValueError(
            "`split` must be three fractions, three numbers of rows or, with a time index of dates, two or three "
            f"times. Received: {tuple(split)}"
        )
    return start, *(int(start + row) for row in inner)


def _moments(times: Sequence, zone) -> np.ndarray:
    """Times as datetime64[us]. With a zone, they are in UTC, and times without an offset are taken as local times."""
    moments = [datetime.fromisoformat(str(time)) for time in times]
    if zone is not None:
        moments = [(m if m.tzinfo else m.replace(tzinfo=zone)).astimezone(UTC).replace(tzinfo=None) for m in moments]
    return np.array(moments, "M8[us]")


def _starts(
    series: Series, borders: list[tuple], look_back: int, horizon: int
) -> tuple[list[np.ndarray], WindowReport]:
    """The first rows of the windows of each part, and the report on all windows."""
    parts, count, after, short = ([], [], []), 0, 0, 0
    for run in series.runs:
        starts = np.arange(run.start, run.end - look_back - horizon + 1)
        begins, ends = starts + look_back, starts + look_back + horizon  # of the targets
        border = borders[run.series]
        for number, part in enumerate(parts):
            part.append(starts[(begins >= border[number]) & (ends <= border[number + 1])])
        count, short = count + len(starts), short + (not len(starts))
        after += int((ends > border[-1]).sum())
    starts = [np.concatenate(part).astype(np.int64) for part in parts]
    kept = [len(part) for part in starts]
    return starts, WindowReport(count, *kept, count - sum(kept) - after, after, short)
