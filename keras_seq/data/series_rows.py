"""Reads the rows of time series from a CSV file in the format of any country, a DataFrame, or an array."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_seq.data.lines import raw_blocks, split_lines

if TYPE_CHECKING:
    import pandas as pd

_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # bytes, decoded with "surrogateescape"
_DELIMITERS, _SAMPLE = (",", ";", "\t", "|"), 50
_WIDE = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class CsvFormat:
    """The format of a file. Values of None are detected."""

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    comment: str | None = None
    column_names: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ()


class Rows(NamedTuple):
    """The rows of a source, with cells not yet parsed.

    Attributes:
        source: name of the source in errors.
        header: names of the columns.
        lines: int64 `(N,)`, line number of each row.
        bad: problems of the other lines, by line number.
        frame: function of column names that returns the DataFrame `(N, columns)`, with only text in these columns.
        delimiter: delimiter of a file.
        notes: properties of the format that were detected.
    """

    source: str
    header: list[str]
    lines: np.ndarray
    bad: dict[int, str]
    frame: "Callable[[Sequence[str]], pd.DataFrame]"
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


def frame_rows(frame: "pd.DataFrame", source: str = "DataFrame") -> Rows:
    """The rows of a DataFrame, numbered from 0. An index of times becomes the first column."""
    import pandas as pd

    if isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex):
        frame = frame.reset_index(names=frame.index.name or "time")
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
    return Rows(source, list(frame.columns), np.arange(len(frame)), {}, lambda text: frame)


def array_rows(values: Any, columns: Sequence[str] | None) -> Rows:
    """The rows of an array `(N,)` or `(N, C)`. Columns without names are named by their numbers."""
    import pandas as pd

    values = np.asarray(values)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise ValueError(f"An array of series has numbers (N,) or (N, C). Received: {values.dtype} {values.shape}")
    names = [str(place) for place in range(values.shape[1])] if columns is None else list(columns)
    if len(names) != values.shape[1]:
        raise ValueError(f"`columns` must name the {values.shape[1]} columns. Received: {', '.join(names)}")
    return frame_rows(pd.DataFrame(values, columns=names), "array")


def file_rows(path: Path, form: CsvFormat) -> Rows:
    """The rows of a file.

    Raises:
        ValueError: if the file is not text, or the line that names the columns cannot be read.
    """
    texts, note = _texts(path, form.encoding)
    rows, bad = [], {}
    for number, line in enumerate(texts, start=1):
        if problem := _problem(line):
            bad[number] = problem
        elif line.strip() and not (form.comment and line.startswith(form.comment)):
            rows.append((number, line))
    if bad and not form.column_names and min(bad) < min((number for number, _ in rows), default=len(texts)):
        raise ValueError(f"{path}:{min(bad)}: {bad[min(bad)]}. The line must name the columns. Correct it.")
    if rows and (named := re.fullmatch(r'"?sep=(.)"?', rows[0][1].strip())):  # as Excel writes
        form, rows = replace(form, delimiter=form.delimiter or named[1]), rows[1:]
    delimiter = form.delimiter or _delimiter([line for _, line in rows[:_SAMPLE]])
    header = list(form.column_names) or (_split(rows.pop(0)[1], delimiter) if rows else [])
    lines, fine = [], []
    for number, line in rows:
        quoted = _split(line, delimiter) if '"' in line else None
        count = line.count(delimiter) + 1 if quoted is None else len(quoted)
        if count == len(header):
            lines.append(number)
            fine.append(line if quoted is None else _joined(quoted, delimiter))
        else:
            bad[number] = f"the line has {count} fields, the header {len(header)}: {line[:100]}"
    header = [name.strip() for name in header]
    if header and not header[-1] and all(line.rstrip().endswith(delimiter) for line in fine):
        header = header[:-1]  # a delimiter at the end of each line
    notes = (note, f"{delimiter!r} between fields" if delimiter != (form.delimiter or ",") else "")

    def frame(text: Sequence[str]) -> "pd.DataFrame":
        return _frame(fine, header, text, delimiter)

    return Rows(str(path), header, np.array(lines, int), bad, frame, delimiter, notes)


def _frame(lines: list[str], header: list[str], text: Sequence[str], delimiter: str) -> "pd.DataFrame":
    """Columns of numbers, or of text if a cell is not a number."""
    import pandas as pd

    if not lines:
        return pd.DataFrame(columns=header)
    frame = pd.read_csv(
        io.BytesIO("\n".join(lines).encode()),
        sep=delimiter,
        names=header,
        header=None,
        usecols=range(len(header)),
        dtype=dict.fromkeys(text, str),
        na_filter=False,
        skip_blank_lines=False,
        low_memory=False,
    )
    words = frame.select_dtypes(bool).columns  # "True" is not a number
    return frame.astype(dict.fromkeys(words, str))


def _texts(path: Path, encoding: str | None) -> tuple[list[str], str]:
    """The lines of a file, with surrogates for bytes that are not UTF-8, and a note on another encoding."""
    raw = b"".join(raw_blocks(path))
    found = encoding or next((name for mark, name in _WIDE.items() if raw.startswith(mark)), None)
    try:
        text = raw.decode(found) if found else raw.decode(errors="surrogateescape")
    except (UnicodeError, LookupError) as error:
        raise ValueError(f"{path} is not in the encoding {found!r}: {error}. Pass another `encoding`.") from error
    return split_lines(text), f"encoded as {found}" if found and not encoding else ""


def _problem(line: str) -> str | None:
    if not line.isascii() and _NOT_UTF8.search(line):
        return "the line is not UTF-8. Pass the encoding of the file, such as latin-1, as `encoding`"
    if "\0" in line or "\r" in line:
        return "the line holds a NUL, as UTF-16 does" if "\0" in line else "the line holds a carriage return"
    return "a quotation mark does not end on its line" if line.count('"') % 2 else None


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _joined(fields: list[str], delimiter: str) -> str:
    """A line with correct quotation marks, since Python and pandas treat stray ones differently."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(fields)
    return line.getvalue()


def _delimiter(lines: list[str]) -> str:
    """The delimiter that splits most lines into as many fields as the first, and into the most fields."""

    def rank(delimiter: str) -> tuple[bool, float, int]:
        counts = [len(_split(line, delimiter)) for line in lines]
        return counts[0] > 1, sum(count == counts[0] for count in counts), counts[0]

    return max(_DELIMITERS, key=rank) if lines else ","
