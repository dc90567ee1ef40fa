"""Time series, read from CSV and checked: nothing missing, nothing twice, no hole in the time index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import NamedTuple

import numpy as np

from keras_seq.data.accounts import with_counts
from keras_seq.data.lines import as_paths
from keras_seq.data.series_table import Table, csv_rows, read_fields, read_table

_TOLERANCE = 1e-3  # of a step: a time index of floats is never exactly on its grid


@dataclass(frozen=True)
class SeriesReport:
    """An account of every row, `read` = `kept` + `unreadable` + `repeated`, and of every repair.

    `moved` rows were put in order; `interpolated` cells and `filled` rows were made up; `gaps` are places where rows
    were missing.
    """

    read: int
    kept: int
    unreadable: int = 0
    repeated: int = 0
    moved: int = 0
    interpolated: int = 0
    gaps: int = 0
    filled: int = 0

    def __str__(self) -> str:
        counts = [
            (self.unreadable, "rows dropped that could not be read"),
            (self.repeated, "rows dropped that repeat a time"),
            (self.moved, "rows put in order"),
            (self.interpolated, "cells interpolated"),
            (self.gaps, "gaps"),
            (self.filled, "rows filled in"),
        ]
        text = f"{self.read:,} rows read, {self.kept:,} kept"
        return with_counts(text, counts)


class Run(NamedTuple):
    """Rows `start` to `end` (exclusive) of one series, with no time missing between them."""

    series: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Series:
    """One time series or several, one after the other in one array.

    Args:
        values: floats `(N, C)`, all finite.
        columns: the names of the C columns.
        times: datetime64 or float `(N,)`, where there is a time index.
        names: those of the series.
        runs: where each series is, in one piece or more; where none is given, all rows are one run.
        static: floats `(series, F)`, what is the same in all rows of a series.
        static_columns: their names.
        time_column: the name of the time index, where it came from a file that has one.
    """

    values: np.ndarray
    columns: tuple[str, ...]
    times: np.ndarray | None = None
    names: tuple[str, ...] = ("",)
    runs: tuple[Run, ...] = ()
    static: np.ndarray | None = None
    static_columns: tuple[str, ...] = ()
    report: SeriesReport = SeriesReport(0, 0)
    time_column: str | None = None

    def __post_init__(self):
        if self.values.ndim != 2 or len(self.columns) != self.values.shape[1] or not np.isfinite(self.values).all():
            raise ValueError(
                "`values` must be finite numbers (N, C), and `columns` the names of the C columns. "
                f"Received: shape {self.values.shape}, {len(self.columns)} names"
            )
        if not self.runs:
            object.__setattr__(self, "runs", (Run(0, 0, len(self.values)),))

    def __len__(self) -> int:
        return len(self.values)

    def spans(self) -> list[tuple[int, int]]:
        """The first row of each series, and the row after its last one."""
        ends = {run.series: run.end for run in self.runs}
        starts = {run.series: run.start for run in reversed(self.runs)}
        return [(starts[series], ends[series]) for series in sorted(ends)]


def read_series(
    path: str | PathLike,
    *,
    time_column: str | int | None = 0,
    columns: Sequence[str] | None = None,
    id_column: str | None = None,
    static_columns: Sequence[str] = (),
    time_format: str | None = None,
    frequency: timedelta | float | None = None,
    delimiter: str = ",",
    on_bad_row: str = "error",
    on_bad_value: str = "error",
    on_gap: str = "error",
) -> Series:
    """Reads and checks time series: a CSV file, plain or `.gz`, with a header and one row for each time.

    What is interpolated depends on the value after it too: near the end of the training part a little of what comes
    later is seen.

    Args:
        path: the file.
        time_column: name or place of the time index, of dates as in ISO 8601 (with a time zone they become UTC) or of
            numbers. None: rows follow each other at equal distances.
        columns: the columns of values; None takes all that have no other role.
        id_column: tells the series apart, in a file with several.
        static_columns: columns of numbers that are the same in all rows of a series.
        time_format: as for `datetime.strptime`, for dates written otherwise.
        frequency: the distance of two rows, a timedelta or a number; None takes the commonest one, which may be a
            number of months where rows come on the same day of the month or on its last.
        delimiter: between two fields.
        on_bad_row: "error", or "repair": rows with too few or too many fields, without a time, or that cannot be
            read at all are dropped, rows are sorted by time, and of those with the same time the first is kept.
        on_bad_value: what to do with a cell that is no finite number: "error" or "interpolate".
        on_gap: what to do where rows are missing: "error", "interpolate" to fill them in, or "split", by which no
            window crosses the gap.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for what is wrong in it; names the line and the column.
    """
    options = {
        "on_bad_row": (on_bad_row, ("error", "repair")),
        "on_bad_value": (on_bad_value, ("error", "interpolate")),
        "on_gap": (on_gap, ("error", "interpolate", "split")),
    }
    for name, (value, allowed) in options.items():
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {', '.join(allowed)}. Received: {value!r}")
    [path] = as_paths(path)
    rows = csv_rows(path, delimiter)
    header = next(rows, (0, None))[1] or []
    fields = read_fields(path, header, time_column, time_format, id_column, columns, static_columns)
    table, unreadable = read_table(rows, fields, time_format, on_bad_row, on_bad_value)
    read = len(table.lines) + unreadable
    table, moved = _in_order(table, on_bad_row)
    kept, interpolated = len(table.lines), int(np.isnan(table.values).sum())
    starts, gaps = table.series_starts(), 0
    if fields.time is not None:
        table, starts, gaps = _regular(table, frequency, on_gap)
    _interpolate(table)

    ends = [*starts[1:], len(table.lines)]
    runs = tuple(Run(int(table.series[start]), int(start), int(end)) for start, end in zip(starts, ends, strict=True))
    times = None if fields.time is None else table.times
    if times is not None and times.dtype.kind == "M":
        times = times.astype("M8[us]")  # from months, where they were the grid
    C = len(fields.values) - len(static_columns)
    static = _static(table, C) if static_columns else None
    filled = len(table.lines) - kept
    report = SeriesReport(read, kept, unreadable, read - unreadable - kept, moved, interpolated, gaps, filled)
    named = (static, tuple(static_columns), report, fields.time)
    return Series(table.values[:, :C], fields.values[:C], times, table.names, runs, *named)


def _in_order(table: Table, on_bad_row: str) -> tuple[Table, int]:
    """One series after the other, each in the order of its times; and how many rows were moved for the latter."""
    table = table.taken(np.argsort(table.series, kind="stable"))
    wrong = (np.diff(table.series) == 0) & (table.times[1:] <= table.times[:-1])
    if not wrong.any():
        return table, 0
    if on_bad_row == "error":
        row = int(wrong.argmax()) + 1
        problem = "is also the time" if table.times[row] == table.times[row - 1] else "comes before the time"
        raise ValueError(
            f"{table.place(row, table.fields.time)}: {table.times[row]} {problem} of line {table.lines[row - 1]}. "
            "Mend it, name the column that tells several series apart by `id_column`, or have rows sorted, and the "
            'first one of a time kept, by on_bad_row="repair".'
        )
    order = np.lexsort((table.times, table.series))
    moved, table = int((order != np.arange(len(order))).sum()), table.taken(order)
    repeated = (np.diff(table.series) == 0) & (table.times[1:] == table.times[:-1])
    return table.taken(~np.append(False, repeated)), moved


def _grid(table: Table, same: np.ndarray, frequency: timedelta | float | None) -> tuple[np.ndarray, np.generic]:
    """The times, as months where they come by months, and the distance of two that follow each other."""

    def commonest(times):
        steps, counts = np.unique(np.diff(times)[same], return_counts=True)
        return steps[counts.argmax()]

    times, dates = table.times, table.times.dtype.kind == "M"
    if frequency is not None:
        if isinstance(frequency, timedelta) != dates or frequency <= 0 * frequency:
            raise ValueError(
                "`frequency` must be positive: a timedelta where the time index has dates, else a number. "
                f"Received: {frequency!r}"
            )
        return times, np.timedelta64(frequency) if dates else np.float64(frequency)
    step = commonest(times)
    if dates and step >= np.timedelta64(28, "D"):
        months = times.astype("M8[M]")
        if len(np.unique(times - months)) == 1 or len(np.unique(times - (months + 1))) == 1:
            return months, commonest(months)
    return times, step


def _regular(table: Table, frequency: timedelta | float | None, on_gap: str) -> tuple[Table, np.ndarray, int]:
    """The table with its gaps filled or cut, the first row of each run, and how many gaps there were."""
    same = np.diff(table.series) == 0
    if not same.any():
        return table, table.series_starts(), 0
    times, step = _grid(table, same, frequency)
    table = table._replace(times=times)
    steps = np.diff(times) / step
    missing = np.where(same, np.rint(steps) - 1, 0)
    uneven = same & ((np.abs(steps - np.rint(steps)) > _TOLERANCE) | (missing < 0))
    gaps = uneven | (missing > 0)
    if on_gap == "split":
        return table, np.flatnonzero(np.append(True, ~same | gaps)), int(gaps.sum())
    # More rows missing than there are is a wrong date, or a wrong frequency.
    if gaps.any() and (on_gap == "error" or uneven.any() or missing.sum() > len(times)):
        row = int(gaps.argmax() if on_gap == "error" else uneven.argmax() if uneven.any() else missing.argmax())
        fill = 'filled in by on_gap="interpolate" or ' if on_gap == "error" and not uneven.any() else ""
        unit = " months" if times.dtype == "M8[M]" else ""
        raise ValueError(
            f"{table.place(row + 1, table.fields.time)}: {times[row + 1]} follows {times[row]}: {steps[row]:.10g} "
            f"steps of {step.item()}{unit} in place of one. Mend it, give another `frequency`, or have the gap {fill}"
            'cut by on_gap="split".'
        )
    copies = np.append(0, missing.astype(int)) + 1
    last = np.cumsum(copies)
    rows = np.repeat(np.arange(len(times)), copies)
    ahead = last[rows] - 1 - np.arange(last[-1])  # steps until the row that was read: 0 for that row itself
    table = table.taken(rows)
    table = table._replace(times=table.times - ahead * step)
    table.values[ahead > 0] = np.nan
    return table, table.series_starts(), int(gaps.sum())


def _interpolate(table: Table) -> None:
    """Fills NaN, in place, on a line between the values before and after it; at an end, with the nearest value."""
    x = table.times.astype(np.int64) if table.times.dtype.kind == "M" else table.times
    starts = table.series_starts()
    for start, end in zip(starts, [*starts[1:], len(x)], strict=True):
        values = table.values[start:end]
        for column in np.flatnonzero(np.isnan(values).any(axis=0)):
            bad = np.isnan(values[:, column])
            if bad.all():
                raise ValueError(
                    f"{table.place(start, table.fields.values[column])} has no number in the series "
                    f"{table.names[table.series[start]]!r}. Leave it out by `columns`."
                )
            values[bad, column] = np.interp(x[start:end][bad], x[start:end][~bad], values[~bad, column])


def _static(table: Table, C: int) -> np.ndarray:
    """The columns from the C-th on, `(series, F)`."""
    static = table.values[table.series_starts(), C:]
    changes = np.argwhere(table.values[:, C:] != static[table.series])
    if len(changes):
        row, column = changes[0]
        raise ValueError(
            f"{table.place(row, table.fields.values[C + column])}: {table.values[row, C + column]:g}, where the series "
            f"began with {static[table.series[row], column]:g}: not static. Name it in `columns`, or mend it."
        )
    return static
