"""Reads the rows of TSV and CSV files as fields, or as problems."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keras_seq.data.lines import raw_lines, read_lines

FORMATS = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_LONGEST_FIELD = 2**31 - 1  # bytes; some documents exceed the default of the csv module, 131,072


class Problem(NamedTuple):
    """A problem of a row, which takes the place of its fields.

    Attributes:
        kind: name of its count in a report: "blank", "bad" (not text), "malformed", ...
        message: message for an error.
    """

    kind: str
    message: str = ""


Rows = Iterator[tuple[int, list[str] | Problem]]  # the number of a row's first line; all fields


def format_of(path: Path, format: str | None = None) -> str:
    """Returns `format`, or by default the format of the file name: "tsv", "csv" or "jsonl".

    Raises:
        ValueError: if there is no such format, or the name has no such ending.
    """
    format = format or FORMATS.get(Path(path.name.removesuffix(".gz")).suffix)
    if format is None:
        raise ValueError(f"{path}: the name must end in one of {tuple(FORMATS)}, or pass `format`.")
    if format not in FORMATS.values():
        raise ValueError(f'`format` must be "tsv", "csv" or "jsonl". Received: {format!r}')
    return format


def start(value) -> str:
    """The beginning of a value, for an error message."""
    return repr(value) if len(repr(value)) <= 100 else repr(value)[:100] + "..."


def tsv_rows(path: Path, on_bad_line: str) -> Rows:
    """Rows in which a tab ends a field and a line feed a row, without quotes."""
    for line, text in read_lines(path, on_bad_line):
        if text is None:
            yield line, Problem("bad")
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
            fields = Problem("bad")
        elif len(fields) < 2 and not "".join(fields).strip(" "):
            fields = Problem("blank")
        yield first, fields
