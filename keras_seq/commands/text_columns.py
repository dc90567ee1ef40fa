"""Texts in a column of a table: CSV, TSV or JSON lines."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from keras_seq.cli import option
from keras_seq.commands.lines import STDIN, Line, lines

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextColumn:
    """Tables."""

    text_column: str | None = option(
        None, "column of the texts in .csv, .tsv and .jsonl files: its name, or its number from 0"
    )


def is_table(path: pathlib.Path) -> bool:
    return path.name.removesuffix(".gz").endswith(ENDINGS)


def check_tables(files: Iterable[pathlib.Path], column: str | None = None, remedy: str = "") -> None:
    """Checks that tables have a column of texts named, and that a column is named for tables only.

    Args:
        remedy: remedy in the error of a verb that reads no tables.
    Raises:
        ValueError: if not. The message names the file and the flag.
    """
    files = list(files)
    tables = [path for path in files if is_table(path)]
    if tables and column is None:
        remedy = remedy or "Name the column of the texts with --text-column: its name, or its number from 0."
        raise ValueError(f"{tables[0]} is a table by its name, not lines of text. {remedy}")
    if column is not None and len(tables) < len(files):
        other = next(path for path in files if not is_table(path))
        name = "stdin" if other == STDIN else str(other)
        raise ValueError(f"--text-column requires files named {', '.join(ENDINGS)}. Received: {name}")


def texts(files: Sequence[pathlib.Path], column: str | None) -> Iterator[Line | None]:
    """The lines of files, or the texts of a column of tables, one for each row. None stands for a pause of stdin.

    Raises:
        ValueError: for a table without that column.
    """
    return lines(files) if column is None else (line for path in files for line in _texts(path, column))


def _texts(path: pathlib.Path, column: str) -> Iterator[Line]:
    from keras_seq.data.table_rows import format_of, place_of, table_rows

    format = format_of(path)
    if format == "jsonl":
        yield from (_of_json(line, column) for line in lines([path]))
        return
    number = int(column) if column.isdecimal() else None
    for place, (row, fields) in enumerate(table_rows(path, format, "skip")):
        here = f"{path}:{row}"
        if place == 0 and (number is None or _names_it(fields, number, here)):
            number = place_of(column, fields, here) if number is None else number
        elif not isinstance(fields, list):
            blank = fields.kind == "blank"
            yield Line(here, "" if blank else None, fields.message)
        elif len(fields) <= number:
            yield Line(here, None, f"the row has {len(fields)} columns and lacks number {number}")
        else:
            yield Line(here, fields[number])


def _names_it(fields, number: int, here: str) -> bool:
    """Whether the first row is a header."""
    from keras_seq.data.label_columns import is_name_of_text

    is_header = isinstance(fields, list) and len(fields) > number and is_name_of_text(fields[number])
    if is_header:
        _log.warning("%s names the columns (%s) and is skipped.", here, fields)
    return is_header


def _of_json(line: Line, column: str) -> Line:
    if line.text is None or not line.text.strip():
        return line
    try:
        text = json.loads(line.text)[column]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Line(line.place, None, f"no JSON object with the key {column!r} ({error})")
    return Line(line.place, text) if isinstance(text, str) else Line(line.place, None, f"{column!r} is not a string")


class Texts:
    """The texts of a column, with the interface of `TextFile`, in memory.

    Raises:
        ValueError: for a row that cannot be used, unless bad rows are skipped.
    """

    def __init__(self, path: pathlib.Path, column: str, on_bad_line: str = "error"):
        from keras_seq.data import ParallelReport

        rows = list(texts([path], column))
        bad = [row for row in rows if row.text is None]
        if bad and on_bad_line == "error":
            raise ValueError(f"{bad[0].place}: {bad[0].why}. Fix the row, or drop such rows: --on-bad-line skip.")
        self._texts = [row.text for row in rows if row.text is not None and row.text.strip()]
        empty = len(rows) - len(bad) - len(self._texts)
        self.report = ParallelReport(len(rows), len(self._texts), empty, len(bad))

    def dataset(self):
        """A dataset of strings."""
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(tf.constant([text.encode() for text in self._texts], tf.string))
