"""Parses rows of time series into a table of numbers and times, with errors that name the cell."""

import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_seq.data.series_rows import CsvFormat, Rows
from keras_seq.data.series_times import NUMBER, Times, parse_times

if TYPE_CHECKING:
    import pandas as pd

_LARGEST = float(np.finfo(np.float32).max)
# Decimal mark and thousands separator, the most common first. Python and pandas read the first.
_MARKS = [(".", None)] + [(".", mark) for mark in " '’\u00a0\u202f"] + [(",", None), (",", "."), (".", ",")]
_MARKS += [(",", mark) for mark in " '’\u00a0\u202f"]
_DIGITS = r"[+-]?\d[\d.,' ’\u00a0\u202f]*(?:[eE][+-]?\d+)?|[+-]?[.,]\d+"


class Fields(NamedTuple):
    """The source of the cells, and the names of the columns to read. In `values`, static columns come last."""

    source: str
    time: str | None
    series: str | None
    values: tuple[str, ...]


class Table(NamedTuple):
    """Rows: `lines`, `series`, `times` `(N,)`, `values` float64 `(N, columns)`, NaN for missing values. `zone` and
    `form` are those of `Times`."""

    fields: Fields
    names: tuple[str, ...]
    lines: np.ndarray
    series: np.ndarray
    times: np.ndarray
    values: np.ndarray
    zone: tzinfo | None = None
    form: str | None = None

    def taken(self, rows: np.ndarray) -> "Table":
        return self._replace(**{name: getattr(self, name)[rows] for name in ("lines", "series", "times", "values")})

    def series_starts(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.series, prepend=-1))

    def place(self, row: int, column: str | None) -> str:
        return f"{self.fields.source}:{self.lines[row]}: column {column!r}"


def fields_of(rows: Rows, headless: bool, time, time_format, id_column, columns, static_columns) -> Fields:
    """Assigns roles to the columns.

    Raises:
        ValueError: if the first line is not a header, or a column does not exist.
    """
    header, where = rows.header, rows.source if rows.delimiter is None else f"{rows.source}:1"
    by_place = isinstance(time, int) and time < len(header)
    # A file without a header must not lose its first row.
    data = not headless and header and (_all_numbers(header) or (by_place and _is_time(header[time], time_format)))
    if data or not header or len(set(header)) < len(header):
        raise ValueError(
            f"{where}: the first line must name the columns, with distinct names. Received: "
            f"{', '.join(header) or 'nothing'}. Add a header, or pass the names as `column_names`."
        )
    time = header[time] if by_place else time
    others = {time, id_column, *static_columns} - {None}
    columns = [name for name in header if name not in others] if columns is None else list(columns)
    told = f"among {', '.join(header)}. Is `delimiter` right?"
    for name in (*columns, *others):
        if name not in header:
            raise ValueError(f"{where}: no column {name!r} {told}")
    if not columns:
        raise ValueError(f"{where}: no column of values {told}")
    return Fields(rows.source, time, id_column, (*columns, *static_columns))


def _all_numbers(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(NUMBER, cell) for cell in cells)


def _is_time(cell: str, time_format: str | None) -> bool:
    import pandas as pd

    try:
        return bool(parse_times(pd.Series([cell], dtype=str), time_format).good.all())
    except ValueError:  # an ambiguous date
        return True


def table_of(
    rows: Rows, fields: Fields, form: CsvFormat, times: tuple, on_bad_row: str, on_bad_value: str
) -> tuple[Table, int, tuple[str, ...]]:
    """The table in the order of the source, the number of rows that could not be read, and notes on the format.

    Raises:
        ValueError: if a cell is invalid. The message names the line and the cell.
    """
    frame, bad = rows.frame([name for name in (fields.time, fields.series) if name is not None]), dict(rows.bad)
    found = Times(np.arange(len(frame), dtype=float), np.ones(len(frame), bool))
    if fields.time is not None and len(frame):
        found = _times(rows, frame[fields.time], *times)
        like = f" like {str(frame[fields.time][found.good.argmax()])!r}" if found.good.any() else ""
        for row in np.flatnonzero(~found.good):
            cell = str(frame[fields.time][row])
            bad[rows.lines[row]] = f"column {fields.time!r}: {cell!r} is not a time{like} (is `time_format` right?)"
    if bad and on_bad_row == "error":
        line = min(bad)
        raise ValueError(f'{rows.source}:{line}: {bad[line]}. Correct it, or drop such rows with on_bad_row="repair".')
    good = found.good
    if not good.any():
        raise ValueError(f"{rows.source} has no row to use ({len(bad):,} could not be read).")
    frame, lines = frame[good], rows.lines[good]
    values, note = _values(rows, fields, frame, lines, form, on_bad_value)
    names, series = ("",), np.zeros(len(lines), int)
    if fields.series is not None:
        series, unique = frame[fields.series].factorize()
        names = tuple(str(name) for name in unique)
    table = Table(fields, names, lines, series, found.values[good], values, found.zone, found.form)
    return table, len(bad), tuple(filter(None, (*rows.notes, note, found.note)))


def _times(rows: Rows, cells: "pd.Series", *options: Any) -> Times:
    try:
        return parse_times(cells, *options)
    except ValueError as error:  # about the whole column
        raise ValueError(f"{rows.source}:{rows.lines[0]}: {error}") from error


def _values(rows: Rows, fields, frame, lines, form: CsvFormat, on_bad_value: str) -> tuple[np.ndarray, str]:
    """The columns of values, NaN for cells that are not finite 32-bit numbers, and a note on their format."""
    texts = {
        name: frame[name].astype(str).str.strip() for name in fields.values if frame[name].dtype.kind not in "iufb"
    }
    decimal, thousands = _marks(rows, texts, lines, form)
    values = np.empty((len(frame), len(fields.values)))
    for place, name in enumerate(fields.values):
        values[:, place] = _floats(texts[name], decimal, thousands) if name in texts else frame[name]
        if form.missing_values:
            missing = {*form.missing_values, *_numbers_of(form.missing_values)}
            values[frame[name].isin(missing), place] = np.nan
    values[~(np.abs(values) <= _LARGEST)] = np.nan
    if on_bad_value == "error" and np.isnan(values).any():
        row, place = np.argwhere(np.isnan(values))[0]
        name = fields.values[place]
        cell = rows.frame([name])[name][frame.index[row]]  # as written
        raise ValueError(
            f"{fields.source}:{lines[row]}: column {name!r}: {str(cell)!r} is not a finite number (of "
            "32 bits). Correct it, exclude the column with `columns`, or fill in such cells with "
            'on_bad_value="interpolate".'
        )
    told = [f"decimal {decimal!r}"] if decimal != (form.decimal or ".") else []
    told += [f"thousands {thousands!r}"] if thousands != form.thousands else []
    return values, ", ".join(told)


def _numbers_of(cells: Sequence[str]) -> list[float]:
    return [float(cell) for cell in cells if re.fullmatch(NUMBER, cell)]


def _floats(text: "pd.Series", decimal: str = ".", thousands: str | None = None) -> np.ndarray:
    import pandas as pd

    if thousands:
        text = text.str.replace(thousands, "")
    text = text.str.replace("\u2212", "-")  # the minus sign of typesetters
    if decimal != ".":
        text = text.str.replace(decimal, ".")
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(float, copy=True)
    numbers[text.str.lower().isin(["true", "false"])] = np.nan  # numbers for pandas
    return numbers


def _marks(rows: Rows, texts: dict[str, "pd.Series"], lines, form: CsvFormat) -> tuple[str, str | None]:
    """The decimal mark and the thousands separator with which all cells that look like numbers are numbers.

    Raises:
        ValueError: if a cell such as 1,020 can be read in both ways.
    """
    if form.decimal is not None or form.thousands is not None:
        return form.decimal or ("," if form.thousands == "." else "."), form.thousands
    digits = {name: text[text.str.fullmatch(_DIGITS)] for name, text in texts.items() if np.isnan(_floats(text)).any()}
    odd = [(name, text[np.isnan(_floats(text))]) for name, text in digits.items()]
    odd = [(name, text) for name, text in odd if len(text)]
    if not odd:
        return ".", None
    unique = {cell for text in digits.values() for cell in text.unique()}
    fitting = [marks for marks in _MARKS if all(re.fullmatch(_pattern(*marks), cell) for cell in unique)]
    if {(",", None), (".", ",")} <= set(fitting):
        if rows.delimiter == ",":
            return ".", ","
        (name, text), *_ = odd
        line = lines[texts[name].index.get_loc(text.index[0])]
        raise ValueError(
            f"{rows.source}:{line}: column {name!r}: {text.iloc[0]!r} may have a decimal comma or a thousands "
            "separator. Choose with `decimal` or `thousands`. This cannot be repaired."
        )
    return (*fitting, (".", None))[0]


def _pattern(decimal: str, thousands: str | None) -> str:
    whole = rf"\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+|\d+" if thousands else r"\d+"
    return rf"[+-]?(?:(?:{whole})?{re.escape(decimal)}\d+|(?:{whole}){re.escape(decimal)}?)(?:[eE][+-]?\d+)?"
