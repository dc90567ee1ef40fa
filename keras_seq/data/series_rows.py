"""The rows of a source of time series: of a CSV file in any country's form, of a DataFrame, of an array."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_seq.data.lines import raw_blocks

if TYPE_CHECKING:
    import pandas as pd

_DELIMITERS, _SAMPLE = (",", ";", "\t", "|"), 50
_WIDE = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class CsvFormat:
    """How a file is written; None: found by looking at it."""

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    comment: str | None = None
    column_names: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ()


class Rows(NamedTuple):
    """The rows of a source before their cells are looked at.

    Attributes:
        source: what they are called in errors.
        header: the names of the columns.
        lines: int64 `(N,)`, the number of each row's line.
        bad: why other lines are no rows, by their number.
        frame: makes the DataFrame `(N, columns)`, with text alone in the columns that it is given the names of.
        delimiter: of a file.
        notes: how it was read, found by looking at it.
    """

    source: str
    header: list[str]
    lines: np.ndarray
    bad: dict[int, str]
    frame: "Callable[[Sequence[str]], pd.DataFrame]"
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


def frame_rows(frame: "pd.DataFrame", source: str = "DataFrame") -> Rows:
    """The rows of a DataFrame, numbered from 0; an index of times becomes the first column."""
    import pandas as pd

    if isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex):
        frame = frame.reset_index(names=frame.index.name or "time")
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
    return Rows(source, list(frame.columns), np.arange(len(frame)), {}, lambda text: frame)


def array_rows(values: Any, columns: Sequence[str] | None) -> Rows:
    """The rows of an array `(N,)` or `(N, C)`; columns without names are called by their numbers."""
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
        ValueError: if it is no text, or the line that names the columns cannot be read.
    """
    texts, note = _texts(path, form.encoding)
    rows, bad = [], {}
    for number, line in enumerate(texts, start=1):
        if problem := _problem(line):
            bad[number] = problem
        elif line.strip() and not (form.comment and line.startswith(form.comment)):
            rows.append((number, line))
    if bad and not form.column_names and min(bad) < min((number for number, _ in rows), default=len(texts)):
        raise ValueError(f"{path}:{min(bad)}: {bad[min(bad)]}. It is to name the columns: mend it.")
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
    """Columns of numbers, and of text where a cell is none."""
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
    words = frame.select_dtypes(bool).columns  # "True" is no number
    return frame.astype(dict.fromkeys(words, str))


def _texts(path: Path, encoding: str | None) -> tuple[list[str | None], str]:
    """The lines of a file, None for one that is no UTF-8, and how they were read if not as UTF-8."""
    raw = b"".join(raw_blocks(path))
    found = encoding or next((name for mark, name in _WIDE.items() if raw.startswith(mark)), None)
    if found is not None:
        try:
            text = raw.decode(found)
        except (UnicodeError, LookupError) as error:
            raise ValueError(
                f"{path} is not in the encoding {found!r}: {error}. Name another by `encoding`."
            ) from error
        return _lines(text), "" if encoding else f"encoded as {found}"
    blocks = raw.split(b"\n") if b"\n" in raw else raw.split(b"\r")
    return [_utf8(block) for block in blocks], ""


def _lines(text: str) -> list[str]:
    return [line.rstrip("\r") for line in text.split("\n")] if "\n" in text else text.split("\r")


def _utf8(line: bytes) -> str | None:
    try:
        return line.rstrip(b"\r").decode()
    except UnicodeDecodeError:
        return None


def _problem(line: str | None) -> str | None:
    if line is None:
        return "the line is not UTF-8. Name the encoding of the file, latin-1 say, by `encoding`"
    if "\0" in line or "\r" in line:
        return "the line holds a NUL, as UTF-16 does" if "\0" in line else "the line holds a carriage return"
    return "a quotation mark does not end on its line" if line.count('"') % 2 else None


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _joined(fields: list[str], delimiter: str) -> str:
    """A line with its quotation marks in order: of stray ones Python and pandas think differently."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(fields)
    return line.getvalue()


def _delimiter(lines: list[str]) -> str:
    """The one that cuts most lines into as many fields as the first, and into the most."""

    def rank(delimiter: str) -> tuple[bool, float, int]:
        counts = [len(_split(line, delimiter)) for line in lines]
        return counts[0] > 1, sum(count == counts[0] for count in counts), counts[0]

    return max(_DELIMITERS, key=rank) if lines else ","
