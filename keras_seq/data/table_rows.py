"""Reads the rows of TSV and CSV files as fields, or as problems."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_seq.data.arguments import check_choice
from keras_seq.data.lines import raw_lines, read_lines

FORMATS = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_LONGEST_FIELD = 2**31 - 1  # bytes; some documents exceed the default of the csv module, 131,072


class Problem(NamedTuple):
    """A problem of a row, which takes the place of its fields.

    Attributes:
        kind: name of its count in a report: "blank", "bad" (not text), "malformed", ...
        message: message for an error. Empty for rows that are dropped without one.
    """

    kind: str
    message: str = ""


Rows = Iterator[tuple[int, list[str] | Problem]]  # the number of a row's first line; all fields
BAD = Problem("bad", "is not UTF-8 or holds a NUL")


def format_of(path: Path, format: str | None = None) -> str:
    """Returns `format`, or by default the format of the file name: "tsv", "csv" or "jsonl".

    Raises:
        ValueError: if there is no such format, or the name has no such ending.
    """
    format = format or FORMATS.get(Path(path.name.removesuffix(".gz")).suffix)
    if format is None:
        raise ValueError(f"{path}: the name must end in one of {tuple(FORMATS)}, or pass `format`.")
    check_choice("tsv", "csv", "jsonl", format=format)
    return format


def start(value) -> str:
    """The beginning of a value, for an error message."""
    return repr(value) if len(repr(value)) <= 100 else repr(value)[:100] + "..."


def shortened(names: Sequence[str]) -> str:
    """The first of some names, for an error message."""
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")


def good_rows(path: Any, rows: Iterable[tuple[int, Any]], counts: Counter, on_bad_line: str, unit: str = "row"):
    """Yields the rows that are not problems. Counts all rows as "read", and problems by their kind.

    Args:
        path: name of the source in errors.
        rows: (line number, row or `Problem`).
        counts: counts to add to.
        on_bad_line: "error", or "skip" for problems with a message to be counted too.
        unit: what a row holds.
    Raises:
        ValueError: at a problem with a message, if `on_bad_line="error"`.
    """
    for line, row in rows:
        counts["read"] += 1
        if not isinstance(row, Problem):
            yield row
        elif on_bad_line == "error" and row.message:
            raise ValueError(f'{path}:{line}: {row.message} Correct it, or drop such {unit}s with on_bad_line="skip".')
        else:
            counts[row.kind] += 1


def place_of(name: str, header: list[str] | Problem, where: str) -> int:
    """The number of the column that a header calls so.

    Raises:
        ValueError: if there is not exactly one.
    """
    names = [] if isinstance(header, Problem) else [cell.strip() for cell in header]
    if names.count(name) != 1:
        raise ValueError(
            f"{where}: {names.count(name)} columns have the name {name!r}. The header names "
            f"{shortened(names) or 'none'}. Give the name or the number (from 0) of the column.{other_delimiter(names)}"
        )
    return names.index(name)


def other_delimiter(fields: Sequence[str]) -> str:
    """A hint on the delimiter of a table of one column, from its first row."""
    mark = next((mark for mark in ";\t,|" if len(fields) == 1 and mark in fields[0]), None)
    return f" Are fields separated by {mark!r}? Use commas, or tabs and format='tsv'." if mark else ""


def table_rows(path: Path, format: str, on_bad_line: str) -> Rows:
    """The rows of a table in the format "tsv" or "csv"."""
    return (csv_rows if format == "csv" else tsv_rows)(path, on_bad_line)


def tsv_rows(path: Path, on_bad_line: str) -> Rows:
    """Rows in which a tab ends a field and a line feed a row, without quotes."""
    for line, text in read_lines(path, on_bad_line):
        if text is None:
            yield line, BAD
        else:
            yield line, text.split("\t") if text.strip(" ") else Problem("blank")


def csv_rows(path: Path, on_bad_line: str) -> Rows:
    """Rows in which a quoted field can hold commas, doubled quotes and line feeds.

    Raises:
        ValueError: if a quote is never closed.
    """
    last_bad, ended = 0, False

    def lines():
        nonlocal last_bad, ended
        for (number, text), raw in zip(read_lines(path, on_bad_line), raw_lines(path), strict=True):
            if text is None:
                last_bad = number
                text = raw.decode(errors="replace").replace("\0", "")  # its quotes belong to the row, dropped or not
            yield text + "\n"
        ended = True

    reader = csv.reader(lines(), strict=True)
    while True:
        first = reader.line_num + 1
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if ended:  # an unknown number of rows is part of the field
                raise ValueError(
                    f"{path}:{first}: a quote that opens in the row that begins here is never closed. Close it, "
                    'double quotes that are part of a text, or read a file without quoting as format="tsv".'
                ) from error
            fields = Problem("malformed", f"not CSV: {error}.")
        finally:
            csv.field_size_limit(before)  # the limit is global
        if last_bad >= first:
            fields = BAD
        elif len(fields) < 2 and not "".join(fields).strip(" "):
            fields = Problem("blank")
        yield first, fields
