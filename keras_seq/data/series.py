"""Time series, read and checked: nothing missing, nothing twice, no hole in the time index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_seq.data.lines import as_paths
from keras_seq.data.reports import format_counts
from keras_seq.data.series_grid import Grid
from keras_seq.data.series_rows import CsvFormat, array_rows, file_rows, frame_rows
from keras_seq.data.series_table import Table, fields_of, table_of
from keras_seq.data.series_times import in_file, written

if TYPE_CHECKING:
    import pandas as pd

_TOLERANCE = 1e-3  # of a step: a time index of floats is never exactly on its grid


@dataclass(frozen=True)
class SeriesReport:
    """An account of every row, `read` = `kept` + `unreadable` + `repeated`, and of every repair.

    `moved` rows were put in order; `interpolated` cells and `filled` rows were made up; `gaps` are places where rows
    were missing. `read_as` tells what was found by looking at the file: another delimiter, a decimal comma, ...
    """

    read: int
    kept: int
    unreadable: int = 0
    repeated: int = 0
    moved: int = 0
    interpolated: int = 0
    gaps: int = 0
    filled: int = 0
    read_as: tuple[str, ...] = ()

    @property
    def repaired(self) -> bool:
        """Whether anything was dropped, moved or made up."""
        return any((self.unreadable, self.repeated, self.moved, self.interpolated, self.filled))

    def __str__(self) -> str:
        counts = [
            (self.unreadable, "rows dropped that could not be read"),
            (self.repeated, "rows dropped that repeat a time"),
            (self.moved, "rows put in order"),
            (self.interpolated, "cells interpolated"),
            (self.gaps, "gaps"),
            (self.filled, "rows filled in"),
        ]
        text = format_counts(f"{self.read:,} rows read, {self.kept:,} kept", counts)
        return f"{text}; read with {', '.join(self.read_as)}" if self.read_as else text


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
        times: `(N,)`, where there is a time index: datetime64, int64 or float64; or a pandas.DatetimeIndex, where the
            times have an offset or a time zone.
        names: those of the series.
        runs: where each series is, in one piece or more; where none is given, all rows are one run.
        static: floats `(series, F)`, what is the same in all rows of a series.
        static_columns: their names.
        time_column: the name of the time index, where it came from a file that has one.
        time_form: how its times are written there, as for `strftime`; "%:z" is an offset with a colon.
    """

    values: np.ndarray
    columns: tuple[str, ...]
    times: "np.ndarray | pd.DatetimeIndex | None" = None
    names: tuple[str, ...] = ("",)
    runs: tuple[Run, ...] = ()
    static: np.ndarray | None = None
    static_columns: tuple[str, ...] = ()
    report: SeriesReport = SeriesReport(0, 0)
    time_column: str | None = None
    time_form: str | None = None

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

    def written(self, times: "np.ndarray | pd.DatetimeIndex") -> list:
        """Times of this series, or that follow it, as its file has them: text or numbers."""
        return written(times, self.time_form, like=self.times)


def read_series(
    source: "str | PathLike | pd.DataFrame | np.ndarray",
    *,
    time_column: str | int | None = 0,
    columns: Sequence[str] | None = None,
    id_column: str | None = None,
    static_columns: Sequence[str] = (),
    time_format: str | None = None,
    time_zone: str | None = None,
    frequency: timedelta | float | str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    comment: str | None = None,
    column_names: Sequence[str] = (),
    missing_values: Sequence[str] = (),
    on_bad_row: str = "error",
    on_bad_value: str = "error",
    on_gap: str = "error",
) -> Series:
    """Reads and checks time series, a row for each time.

        read_series("levels.csv")                                  # date,level
        read_series("Pegel.csv", time_format="%d.%m.%Y", time_zone="Europe/Berlin")
        read_series(frame, columns=["level"])                      # a DataFrame

    What is interpolated depends on the value after it too: near the end of the training part a little of what comes
    later is seen.

    Args:
        source: a CSV file, plain or `.gz`, with a header; a DataFrame, whose index is the time index if it holds
            times; or an array `(N,)` or `(N, C)`, without a time index.
        time_column: name or place of the time index, of dates or of numbers. None: rows follow each other at equal
            distances.
        columns: the columns of values; None takes all that have no other role.
        id_column: tells the series apart, in a file with several.
        static_columns: columns of numbers that are the same in all rows of a series.
        time_format: as for `datetime.strptime`; "number" for numbers that could be dates. None: as in ISO 8601, or
            another format if it is the only one that fits all times.
        time_zone: where the clock stands, "Europe/Berlin" say: for times without an offset, or with several.
        frequency: the distance of two rows: a timedelta, a number, or an alias of pandas ("15min", "B", "MS"). None
            takes the commonest one, which may be a number of months, on the same day of the month or on its last, or
            a weekday where there are no Saturdays and Sundays.
        delimiter: between two fields. None: a comma, semicolon, tab or bar, whichever cuts all lines alike.
        decimal: the decimal mark. None: the point, or a comma where that alone fits all numbers.
        thousands: the mark between thousands. None: none, or the one that fits all numbers.
        encoding: of the file. None: UTF-8, or UTF-16 where the file begins with its mark.
        comment: what lines begin with that are no rows.
        column_names: of all columns of a file that has no header.
        missing_values: cells, as written, that stand for no value: "-999" say.
        on_bad_row: "error", or "repair": rows with too few or too many fields, without a time, or that cannot be
            read at all are dropped, rows are sorted by time, and of those with the same time the first is kept.
        on_bad_value: what to do with a cell that is no finite number: "error" or "interpolate".
        on_gap: what to do where rows are missing: "error", "interpolate" to fill them in, or "split", by which no
            window crosses the gap.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for what is wrong in it; names the line (of a DataFrame or an array the row, from 0) and the
            column.
    """
    options = {
        "on_bad_row": (on_bad_row, ("error", "repair")),
        "on_bad_value": (on_bad_value, ("error", "interpolate")),
        "on_gap": (on_gap, ("error", "interpolate", "split")),
    }
    for name, (value, allowed) in options.items():
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {', '.join(allowed)}. Received: {value!r}")
    form = CsvFormat(delimiter, decimal, thousands, encoding, comment, tuple(column_names), tuple(missing_values))
    if isinstance(source, str | PathLike):
        rows = file_rows(as_paths(source)[0], form)
    elif hasattr(source, "columns"):
        rows = frame_rows(source)
    else:
        rows, time_column, columns = array_rows(source, columns), None, None
    headless = bool(column_names) or not isinstance(source, str | PathLike)
    fields = fields_of(rows, headless, time_column, time_format, id_column, columns, static_columns)
    table, unreadable, notes = table_of(rows, fields, form, (time_format, time_zone), on_bad_row, on_bad_value)
    read = len(table.lines) + unreadable
    table, moved = _in_order(table, on_bad_row)
    kept, interpolated = len(table.lines), int(np.isnan(table.values).sum())
    starts, gaps = table.series_starts(), 0
    if fields.time is not None:
        table, starts, gaps, note = _regular(table, frequency, on_gap)
        notes += note
    _interpolate(table)

    ends = [*starts[1:], len(table.lines)]
    runs = tuple(Run(int(table.series[start]), int(start), int(end)) for start, end in zip(starts, ends, strict=True))
    times = None if fields.time is None else in_file(table.times, table.zone)
    C = len(fields.values) - len(static_columns)
    static = _static(table, C) if static_columns else None
    filled = len(table.lines) - kept
    report = SeriesReport(read, kept, unreadable, read - unreadable - kept, moved, interpolated, gaps, filled, notes)
    named = (static, tuple(static_columns), report, fields.time, table.form)
    return Series(table.values[:, :C], fields.values[:C], times, table.names, runs, *named)


def as_series(series: "Series | pd.DataFrame | np.ndarray") -> Series:
    """A `Series` as it is, a DataFrame or an array as `read_series` reads it."""
    return series if isinstance(series, Series) else read_series(series)


def _in_order(table: Table, on_bad_row: str) -> tuple[Table, int]:
    """One series after the other, each in the order of its times; and how many rows were moved for the latter."""
    table = table.taken(np.argsort(table.series, kind="stable"))
    wrong = (np.diff(table.series) == 0) & (table.times[1:] <= table.times[:-1])
    if not wrong.any():
        return table, 0
    if on_bad_row == "error":
        row = int(wrong.argmax()) + 1
        problem = "is also the time" if table.times[row] == table.times[row - 1] else "comes before the time"
        shown = _shown(table, slice(row, row + 1))
        raise ValueError(
            f"{table.place(row, table.fields.time)}: {shown} {problem} of line {table.lines[row - 1]}. "
            "Mend it, name the column that tells several series apart by `id_column`, or have rows sorted, and the "
            'first one of a time kept, by on_bad_row="repair".'
        )
    order = np.lexsort((table.times, table.series))
    moved, table = int((order != np.arange(len(order))).sum()), table.taken(order)
    repeated = (np.diff(table.series) == 0) & (table.times[1:] == table.times[:-1])
    return table.taken(~np.append(False, repeated)), moved


def _shown(table: Table, rows: slice) -> str:
    return str(written(in_file(table.times[rows], table.zone), table.form)[0])


def _regular(table: Table, frequency: Any, on_gap: str) -> tuple[Table, np.ndarray, int, tuple[str, ...]]:
    """The table with its gaps filled or cut, the first row of each run, how many gaps there were, and a note."""
    same = np.diff(table.series) == 0
    if not same.any():
        return table, table.series_starts(), 0, ()
    grid = Grid.of(table.times, table.zone, same, frequency)
    note = ("weekdays alone",) if grid.kind == "weekdays" and frequency is None else ()
    places = grid.places(table.times)
    steps = np.diff(places)
    missing = np.where(same, np.rint(steps) - 1, 0)
    uneven = same & ((np.abs(steps - np.rint(steps)) > _TOLERANCE) | (missing < 0))
    gaps = uneven | (missing > 0)
    if on_gap == "split":
        return table, np.flatnonzero(np.append(True, ~same | gaps)), int(gaps.sum()), note
    # More rows missing than there are is a wrong date, or a wrong frequency.
    if gaps.any() and (on_gap == "error" or uneven.any() or missing.sum() > len(places)):
        row = int(gaps.argmax() if on_gap == "error" else uneven.argmax() if uneven.any() else missing.argmax())
        fill = 'filled in by on_gap="interpolate" or ' if on_gap == "error" and not uneven.any() else ""
        before, after = (_shown(table, slice(place, place + 1)) for place in (row, row + 1))
        raise ValueError(
            f"{table.place(row + 1, table.fields.time)}: {after} follows {before}: {steps[row]:.10g} steps of {grid} "
            f'in place of one. Mend it, give another `frequency`, or have the gap {fill}cut by on_gap="split".'
        )
    copies = np.append(0, missing.astype(int)) + 1
    last = np.cumsum(copies)
    rows = np.repeat(np.arange(len(places)), copies)
    ahead = last[rows] - 1 - np.arange(last[-1])  # steps until the row that was read: 0 for that row itself
    made = ahead > 0
    table = table.taken(rows)
    table.times[made] = grid.times((places[rows] - ahead)[made])
    table.values[made] = np.nan
    return table, table.series_starts(), int(gaps.sum()), note


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
