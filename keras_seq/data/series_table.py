"""A CSV file of time series as a table: its header, and each cell a number or an error that names it."""

import csv
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_seq.data.lines import read_lines

_LARGEST = float(np.finfo(np.float32).max)


class Fields(NamedTuple):
    """The header of a file, and the names of the fields to read; in `values`, static columns come last."""

    path: Path
    header: list[str]
    time: str | None
    series: str | None
    values: tuple[str, ...]


class Table(NamedTuple):
    """Rows of a file: `lines`, `series`, `times` `(N,)`, `values` float64 `(N, columns)`, NaN where one is missing."""

    fields: Fields
    names: tuple[str, ...]
    lines: np.ndarray
    series: np.ndarray
    times: np.ndarray
    values: np.ndarray

    def taken(self, rows: np.ndarray) -> "Table":
        return self._replace(**{name: getattr(self, name)[rows] for name in ("lines", "series", "times", "values")})

    def series_starts(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.series, prepend=-1))

    def place(self, row: int, column: str | None) -> str:
        return f"{self.fields.path}:{self.lines[row]}: column {column!r}"


def csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """The number and the fields of each line that is not blank; None for a line that cannot be read."""
    for number, line in read_lines(path, on_bad_line="skip"):
        if line is None or line.strip():
            try:  # each line by itself: a stray quotation mark swallows no more than its own
                yield number, None if line is None else next(csv.reader((line,), delimiter=delimiter))
            except csv.Error:
                yield number, None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= _LARGEST and "_" not in text else None  # Python reads 1_000 as a number


def _time(text: str, time_format: str | None) -> datetime | float | None:
    number = None if time_format else _number(text)
    if number is not None:
        return number
    try:
        time = datetime.strptime(text, time_format) if time_format else datetime.fromisoformat(text.strip())
        return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # the latter where UTC has no such year any more, or not yet
        return None


def read_fields(path, header, time_column, time_format, id_column, columns, static_columns) -> Fields:
    header = [name.strip() for name in header]
    by_place = isinstance(time_column, int) and time_column < len(header)
    # A file without a header must not lose its first row to it.
    has_times = _time(header[time_column], time_format) is not None if by_place else False
    if has_times or all(_number(name) is not None for name in header) or len(set(header)) < len(header):
        raise ValueError(
            f"{path}:1: the first line must name the columns, no two of them alike. Received: "
            f"{', '.join(header) or 'nothing'}. Put a header there."
        )
    time_column = header[time_column] if by_place else time_column
    others = {time_column, id_column, *static_columns} - {None}
    columns = [name for name in header if name not in others] if columns is None else list(columns)
    for name in (*columns, *others):
        if name not in header:
            raise ValueError(f"{path}:1: no column {name!r} among {', '.join(header)}. Is `delimiter` right?")
    if not columns:
        raise ValueError(f"{path}:1: no column of values among {', '.join(header)}. Is `delimiter` right?")
    return Fields(path, header, time_column, id_column, (*columns, *static_columns))


def read_table(rows, fields: Fields, time_format, on_bad_row: str, on_bad_value: str) -> tuple[Table, int]:
    """The table in the order of the file, and how many rows could not be read."""
    path, header = fields.path, fields.header
    places = [header.index(name) for name in fields.values]
    time_place, series_place = (None if name is None else header.index(name) for name in (fields.time, fields.series))
    lines, times, series, values, names, unreadable = array("q"), [], array("q"), array("d"), {}, 0
    for line, cells in rows:
        time, problem = float(len(lines)), None
        if cells is None:
            problem = "the line is not CSV in UTF-8, or holds a NUL"
        elif len(cells) != len(header):
            problem = f"the line has {len(cells)} fields, the header {len(header)}: {str(cells)[:100]}"
        elif time_place is not None:
            time = _time(cells[time_place], time_format)
            if time is None or (times and type(time) is not type(times[0])):
                like = f" like {str(times[0])!r}" if times else ""
                problem = f"column {fields.time!r}: {cells[time_place]!r} is not a time{like} (is `time_format` right?)"
        if problem:
            if on_bad_row == "error":
                raise ValueError(f'{path}:{line}: {problem}. Mend it, or drop such rows with on_bad_row="repair".')
            unreadable += 1
            continue
        numbers = [_number(cells[place]) for place in places]
        if None in numbers:
            if on_bad_value == "error":
                column = numbers.index(None)
                raise ValueError(
                    f"{path}:{line}: column {fields.values[column]!r}: {cells[places[column]]!r} is not a finite "
                    "number (of 32 bits). Mend it, leave the column out by `columns`, or have such cells filled in by "
                    'on_bad_value="interpolate".'
                )
            numbers = [np.nan if number is None else number for number in numbers]
        lines.append(line)
        times.append(time)
        series.append(names.setdefault("" if series_place is None else cells[series_place], len(names)))
        values.extend(numbers)
    if not lines:
        raise ValueError(f"{path} has no row to use ({unreadable:,} could not be read).")
    index = np.array(times, float if isinstance(times[0], float) else "M8[us]")
    table = np.array(values).reshape(len(lines), len(places))
    return Table(fields, tuple(names), np.array(lines), np.array(series), index, table), unreadable
