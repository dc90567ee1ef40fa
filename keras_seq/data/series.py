"""Reads time series and checks them for missing values, repeated times and gaps in the time index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_seq.data.arguments import check_choice
from keras_seq.data.lines import as_paths
from keras_seq.data.reports import Report, count
from keras_seq.data.series_grid import Grid
from keras_seq.data.series_rows import CsvFormat, array_rows, file_rows, frame_rows
from keras_seq.data.series_table import Table, fields_of, table_of
from keras_seq.data.series_times import in_file, written

if TYPE_CHECKING:
    import pandas as pd

_TOLERANCE = 1e-3  # of a step: a time index of floats is never exactly on its grid


@dataclass(frozen=True)
class SeriesReport(Report):
    """Counts of all rows, `read` = `kept` + `unreadable` + `repeated`, and of all repairs.

    `moved` rows were out of order. `interpolated` cells and `filled` rows were interpolated. `gaps` are places where
    rows were missing. `read_as` names the properties detected in the file: another delimiter, a decimal comma, ...
    """

    unreadable: int = count("rows dropped that could not be read", "")
    repeated: int = count("rows dropped that repeat a time", "")
    moved: int = count("rows put in order", "")
    interpolated: int = count("cells interpolated", "")
    gaps: int = count("gaps", "")
    filled: int = count("rows filled in", "")
    read_as: tuple[str, ...] = ()

    @property
    def repaired(self) -> bool:
        """Whether anything was dropped, sorted or interpolated."""
        return any((self.unreadable, self.repeated, self.moved, self.interpolated, self.filled))

    def __str__(self) -> str:
        return super().__str__() + (f"; read with {', '.join(self.read_as)}" if self.read_as else "")


class Run(NamedTuple):
    """Rows `start` to `end` (exclusive) of one series, with no time missing between them."""

    series: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Series:
    """One or more time series, stored one after the other in one array.

    Args:
        values: floats `(N, C)`, all finite.
        columns: names of the C columns.
        times: time index `(N,)`, if any: datetime64, int64 or float64, or a pandas.DatetimeIndex if the times have an
            offset or a time zone.
        names: names of the series.
        runs: the pieces of each series that have no gap, at least one per series. By default, all rows are one run.
        static: floats `(series, F)`, the features that are constant within a series.
        static_columns: names of the F static features.
        time_column: name of the time index in its file, if any.
        time_form: format of the times in the file, as for `strftime`. "%:z" is an offset with a colon.
    """

    values: np.ndarray
    columns: tuple[str, ...]
    times: "np.ndarray | pd.DatetimeIndex | None" = None
    names: tuple[str, ...] = ("",)
    runs: tuple[Run, ...] = ()
    static: np.ndarray | None = None
    static_columns: tuple[str, ...] = ()
    report: SeriesReport = SeriesReport()
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
        """Formats times of this series, or later ones, as in its file: as text or numbers."""
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
    """Reads and checks time series. Each row holds one time.

        read_series("levels.csv")                                  # date,level
        read_series("Pegel.csv", time_format="%d.%m.%Y", time_zone="Europe/Berlin")
        read_series(frame, columns=["level"])                      # a DataFrame

    An interpolated value also depends on the value after it. Near the end of the training part, interpolation thus
    leaks a little of the later data.

    Args:
        source: a CSV file with a header (plain or `.gz`), a DataFrame (its index is the time index if it holds times),
            or an array `(N,)` or `(N, C)` without a time index.
        time_column: name or place of the time index, of dates or of numbers. None: rows follow each other at equal
            distances.
        columns: the columns of values. None takes all columns without another role.
        id_column: column that identifies the series, in a file with several.
        static_columns: columns of numbers that are the same in all rows of a series.
        time_format: format of the times, as for `datetime.strptime`, or "number" for numbers that could be dates.
            None: ISO 8601, or the only other format that fits all times.
        time_zone: time zone of the times, such as "Europe/Berlin". For times without an offset, or with several.
        frequency: the distance of two rows: a timedelta, a number, or an alias of pandas ("15min", "B", "MS"). None
            takes the most common distance. It may be a number of months, on the same or the last day of the month, or
            a weekday if there are no Saturdays and Sundays.
        delimiter: delimiter of the fields. None: the comma, semicolon, tab or bar that splits all lines alike.
        decimal: the decimal mark. None: the point, or the comma if only that fits all numbers.
        thousands: the thousands separator. None: the separator that fits all numbers, if any.
        encoding: encoding of the file. None: UTF-8, or UTF-16 if the file begins with its mark.
        comment: prefix of the lines to skip.
        column_names: names of all columns of a file without a header.
        missing_values: cells, as written, that stand for a missing value, such as "-999".
        on_bad_row: "error", or "repair" to drop rows that have too few or too many fields, have no time or cannot be
            read, to sort rows by time, and to keep the first of the rows with the same time.
        on_bad_value: treatment of cells that are not finite numbers: "error" or "interpolate".
        on_gap: treatment of missing rows: "error", "interpolate" to fill them in, or "split", after which no window
            crosses the gap.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the data is invalid. The message names the column and the line (of a DataFrame or an array the
            row, from 0).
    """
    check_choice("error", "repair", on_bad_row=on_bad_row)
    check_choice("error", "interpolate", on_bad_value=on_bad_value)
    check_choice("error", "interpolate", "split", on_gap=on_gap)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(f"`delimiter` must be one character other than a quotation mark. Received: {delimiter[:40]!r}")
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
    """Returns a `Series` unchanged and reads a DataFrame or an array by `read_series`."""
    return series if isinstance(series, Series) else read_series(series)


def _in_order(table: Table, on_bad_row: str) -> tuple[Table, int]:
    """The table sorted by series and then by time, and the number of rows that were out of order in time."""
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
            "Correct it, name the column that identifies the series with `id_column`, or pass "
            'on_bad_row="repair" to sort rows and keep the first row of each time.'
        )
    order = np.lexsort((table.times, table.series))
    moved, table = int((order != np.arange(len(order))).sum()), table.taken(order)
    repeated = (np.diff(table.series) == 0) & (table.times[1:] == table.times[:-1])
    return table.taken(~np.append(False, repeated)), moved


def _shown(table: Table, rows: slice) -> str:
    return str(written(in_file(table.times[rows], table.zone), table.form)[0])


def _regular(table: Table, frequency: Any, on_gap: str) -> tuple[Table, np.ndarray, int, tuple[str, ...]]:
    """The table with its gaps filled or split, the first row of each run, the number of gaps, and a note."""
    same = np.diff(table.series) == 0
    if not same.any():
        return table, table.series_starts(), 0, ()
    grid = Grid.of(table.times, table.zone, same, frequency)
    note = ("weekdays only",) if grid.kind == "weekdays" and frequency is None else ()
    places = grid.places(table.times)
    steps = np.diff(places)
    missing = np.where(same, np.rint(steps) - 1, 0)
    uneven = same & ((np.abs(steps - np.rint(steps)) > _TOLERANCE) | (missing < 0))
    gaps = uneven | (missing > 0)
    if on_gap == "split":
        return table, np.flatnonzero(np.append(True, ~same | gaps)), int(gaps.sum()), note
    # If more rows are missing than exist, a date or the frequency is wrong.
    if gaps.any() and (on_gap == "error" or uneven.any() or missing.sum() > len(places)):
        row = int(gaps.argmax() if on_gap == "error" else uneven.argmax() if uneven.any() else missing.argmax())
        fill = 'filled in by on_gap="interpolate" or ' if on_gap == "error" and not uneven.any() else ""
        before, after = (_shown(table, slice(place, place + 1)) for place in (row, row + 1))
        raise ValueError(
            f"{table.place(row + 1, table.fields.time)}: {after} follows {before}: {steps[row]:.10g} steps of {grid} "
            f'instead of one. Correct it, pass another `frequency`, or have the gap {fill}split by on_gap="split".'
        )
    copies = np.append(0, missing.astype(int)) + 1
    last = np.cumsum(copies)
    rows = np.repeat(np.arange(len(places)), copies)
    ahead = last[rows] - 1 - np.arange(last[-1])  # steps until the next row that was read: 0 for such a row
    made = ahead > 0
    table = table.taken(rows)
    table.times[made] = grid.times((places[rows] - ahead)[made])
    table.values[made] = np.nan
    return table, table.series_starts(), int(gaps.sum()), note


def _interpolate(table: Table) -> None:
    """Replaces NaN in place by linear interpolation between neighbors, or at an end by the nearest value."""
    x = table.times.astype(np.int64) if table.times.dtype.kind == "M" else table.times
    starts = table.series_starts()
    for start, end in zip(starts, [*starts[1:], len(x)], strict=True):
        values = table.values[start:end]
        for column in np.flatnonzero(np.isnan(values).any(axis=0)):
            bad = np.isnan(values[:, column])
            if bad.all():
                raise ValueError(
                    f"{table.place(start, table.fields.values[column])} has no number in the series "
                    f"{table.names[table.series[start]]!r}. Exclude the column with `columns`."
                )
            values[bad, column] = np.interp(x[start:end][bad], x[start:end][~bad], values[~bad, column])


def _static(table: Table, C: int) -> np.ndarray:
    """The columns from index C on, `(series, F)`."""
    static = table.values[table.series_starts(), C:]
    changes = np.argwhere(table.values[:, C:] != static[table.series])
    if len(changes):
        row, column = changes[0]
        raise ValueError(
            f"{table.place(row, table.fields.values[C + column])}: {table.values[row, C + column]:g} instead of "
            f"{static[table.series[row], column]:g} as in the first row of the series: the column is not static. "
            "Name it in `columns`, or correct it."
        )
    return static
