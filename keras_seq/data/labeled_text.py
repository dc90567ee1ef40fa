"""Labeled texts from TSV, CSV or JSON lines, and folds for cross-validation."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_seq.data.label_columns import check_labels, header_of
from keras_seq.data.lines import Paths, as_paths, read_lines
from keras_seq.data.reports import format_counts
from keras_seq.data.table_rows import Problem, csv_rows, format_of, start, tsv_rows

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_REASONS = {
    "blank": "blank",
    "empty": "without text",
    "malformed": "malformed",
    "unknown": "with an unknown label",
    "bad": "with invalid UTF-8 or NUL",
}


@dataclass(frozen=True)
class LabeledReport:
    """Counts of all rows without headers: `read` is the sum of all other counts.

    Args:
        read, kept: rows.
        blank: rows without content.
        empty: rows whose text is only white space.
        malformed: rows with another number of fields, a misplaced quote, invalid JSON, a text or label of a wrong type.
        unknown: rows whose label is not among the given labels.
        bad: rows that are not UTF-8 or hold a NUL.
    """

    read: int
    kept: int
    blank: int = 0
    empty: int = 0
    malformed: int = 0
    unknown: int = 0
    bad: int = 0

    def __str__(self) -> str:
        text = f"{self.read:,} rows read, {self.kept:,} kept"
        return format_counts(text, [(getattr(self, name), reason) for name, reason in _REASONS.items()], "dropped: ")


@dataclass(frozen=True)
class LabeledText:
    """Texts in memory, the number of each text's label, the names of the labels, and the report of reading."""

    texts: list[str]
    labels: list[int]
    label_names: tuple[str, ...]
    report: LabeledReport

    def __len__(self) -> int:
        return len(self.texts)

    def dataset(self) -> tf.data.Dataset:
        """A dataset of (text, label): a string and an int32 scalar."""
        texts = tf.constant([text.encode() for text in self.texts], tf.string)
        return tf.data.Dataset.from_tensor_slices((texts, tf.constant(self.labels, tf.int32)))

    def class_counts(self) -> dict[str, int]:
        """The number of texts of each label, by its name."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return dict(zip(self.label_names, counts.tolist(), strict=True))

    def class_weights(self) -> dict[int, float]:
        """Weights by inverse frequency, for `model.fit(class_weight=...)`, of mean 1 over the texts.

            weight(c) = N / (number of labels that occur x N_c)

        A label without texts gets 0.
        """
        counts = list(self.class_counts().values())
        occurring = sum(count > 0 for count in counts)
        return {i: len(self) / (occurring * count) if count else 0.0 for i, count in enumerate(counts)}

    def named(self, names: Sequence[str]) -> "LabeledText":
        """Renames the labels, in the order of their numbers, for example of labels that are numbers."""
        if len(_names(names)) != len(self.label_names):
            told = f"{len(self.label_names)} labels, {_shortened(self.label_names)}"
            raise ValueError(f"`names` must name each of the {told}. Received: {names!r}")
        return replace(self, label_names=_names(names))

    def select(self, indices: Sequence[int] | np.ndarray) -> "LabeledText":
        """The texts at these indices, in this order, such as a fold."""
        texts, labels = [self.texts[i] for i in indices], [self.labels[i] for i in indices]
        return LabeledText(texts, labels, self.label_names, LabeledReport(read=len(texts), kept=len(texts)))


_Pairs = Iterator[tuple[int, tuple[str, str] | Problem]]  # the number of a row's first line; (text, label)


def read_labeled_text(
    paths: "Paths | pd.DataFrame",
    *,
    text: str | int = "text",
    label: str | int = "label",
    format: str | None = None,
    header: bool | None = None,
    labels: Sequence[str | int] | None = None,
    on_bad_line: str = "error",
) -> LabeledText:
    """Reads texts and their labels. Blank rows are dropped and counted.

    TSV has no quotes: a tab ends a field, a line feed a row. In CSV a quoted field can hold commas, doubled quotes
    and line feeds. In JSON lines each line is an object. White space is stripped from labels but not from texts.

    Args:
        paths: a file or a list of files, plain or `.gz`, or a DataFrame, whose rows are numbered from 0 in errors.
        text, label: the columns: names in the header (or keys), or numbers from 0.
        format: "tsv", "csv" or "jsonl". None: by the file name (`.tsv`, `.csv`, `.jsonl`, `.ndjson`).
        header: whether the first row of each file names the columns. None: it does if a column is given by name, or,
            with a warning, if the rows show it (see `label_columns.header_of`).
        labels: names of the labels, in the order of their numbers. For other parts, pass the `label_names` of the
            training part. None: the labels in the data, in alphabetical order, or by size if all are integers.
        on_bad_line: "error", or "skip" to drop and count invalid rows.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a row is invalid and `on_bad_line="error"` (see `LabeledReport`), if there is no such column, if
            a quote is never closed, if a `.gz` file is damaged, if no row is left, if the first row may or may not be
            a header, or if nearly each of 10 or more rows has a different label.
    """
    if on_bad_line not in ("error", "skip"):
        raise ValueError(f'`on_bad_line` must be "error" or "skip". Received: {on_bad_line!r}')
    if text == label:
        raise ValueError(f"`text` and `label` must be two columns. Received: {text!r} twice")
    names = None if labels is None else _names(labels)
    counts = Counter()
    texts, found = [], []
    for path, rows in _sources(paths, format, text, label, header, on_bad_line):
        for line, row in rows:
            counts["read"] += 1
            if not isinstance(row, Problem) and names is not None and row[1] not in names:
                row = Problem("unknown", f"the label {row[1]!r} is not one of `labels`: {_shortened(names)}.")
            if not isinstance(row, Problem):
                texts.append(row[0])
                found.append(row[1])
                continue
            if on_bad_line == "error" and row.kind != "blank":
                remedy = 'Correct the row, or drop such rows with on_bad_line="skip".'
                raise ValueError(f"{path}:{line}: {row.message} {remedy}")
            counts[row.kind] += 1
    report = LabeledReport(kept=len(texts), **{"read": 0, **counts})
    if not texts:
        raise ValueError(f"{paths}: no row is left to use ({report}).")
    if names is None:
        check_labels(path, label, found, lambda: _first_rows(path, format))
        names = _in_order(set(found))
    numbers = {name: number for number, name in enumerate(names)}
    return LabeledText(texts, [numbers[name] for name in found], names, report)


def _sources(paths, format, text, label, header, on_bad_line) -> Iterator[tuple[Any, Iterator]]:
    """Yields the name and the rows of each source. Rows are (number, (text, label) or `Problem`)."""
    if hasattr(paths, "columns"):
        yield "DataFrame", _frame_pairs(paths, text, label)
        return
    for path in as_paths(paths):
        yield path, _pairs(path, format_of(path, format), text, label, header, on_bad_line)


def _frame_pairs(frame: "pd.DataFrame", *columns: str | int) -> Iterator:
    names = [frame.columns[name] if isinstance(name, int) and name not in frame.columns else name for name in columns]
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"The DataFrame has no column {missing[0]!r}. It has: {', '.join(map(str, frame.columns))}")
    for row, (text, label) in enumerate(zip(*(frame[name].tolist() for name in names), strict=True)):
        if not isinstance(text, str):
            yield row, Problem("malformed", f"the text is {text!r}, not a string.")
        elif label is None or label != label or not str(label).strip():
            yield row, Problem("malformed", "the row has no label.")
        else:
            yield row, (text, str(label).strip()) if text.strip() else Problem("empty", "the row has no text.")


def _first_rows(path: Any, format: str | None) -> list[list[str]]:
    """The rows for an error message."""
    if not isinstance(path, Path) or format_of(path, format) == "jsonl":
        return []
    rows = (tsv_rows if format_of(path, format) == "tsv" else csv_rows)(path, "skip")
    return [fields for _, fields in islice(rows, 1000) if not isinstance(fields, Problem)]


def folds(labels: Sequence[int] | np.ndarray, k: int, seed: int) -> np.ndarray:
    """Distributes examples over `k` folds: the fold of each example, int32 `(N,)`, determined by the arguments.

    The folds are stratified: their sizes, and their counts of each label, differ by at most one.

    Args:
        labels: ints `(N,)`. All the same if labels do not matter.
        k: number of folds.
        seed: a non-negative whole number.
    Raises:
        ValueError: if there are fewer examples than folds, or fewer than 2 folds.
    """
    labels = np.asarray(labels)
    if not 2 <= k <= len(labels):
        raise ValueError(f"`k` must be from 2 to {len(labels)}, the number of examples. Received: {k}")
    order = np.random.default_rng(seed).permutation(len(labels))
    dealt = order[np.argsort(labels[order], kind="stable")]  # label by label, in random order within a label
    found = np.empty(len(labels), np.int32)
    found[dealt] = np.arange(len(labels)) % k
    return found


def _names(labels: Sequence[str | int]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ValueError(f"`labels` must be a list of names. Received: {labels!r}")
    names = tuple(str(name).strip() for name in labels)
    if not names or "" in names or len(set(names)) < len(names):
        raise ValueError(f"`labels` must name each label once. Received: {labels!r}")
    return names


def _in_order(names: set[str]) -> tuple[str, ...]:
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")


def _pairs(path: Path, format: str, text, label, header: bool | None, on_bad_line: str) -> _Pairs:
    if format == "jsonl":
        rows = _json_rows(path, text, label, on_bad_line)
    else:
        rows = _table_rows(path, format, text, label, header, on_bad_line)
    for line, row in rows:
        if not isinstance(row, Problem):
            row = (row[0], row[1].strip())
            if not row[0].strip():
                row = Problem("empty", f"the text is empty: {row[0]!r}.")
            elif not row[1]:
                row = Problem("malformed", "the label is empty.")
        yield line, row


def _table_rows(path: Path, format: str, text, label, header: bool | None, on_bad_line: str) -> _Pairs:
    rows = (tsv_rows if format == "tsv" else csv_rows)(path, on_bad_line)
    if header is None and (isinstance(text, str) or isinstance(label, str)):
        header = True
    if header:
        line, names = next(rows, (1, []))
        if isinstance(names, Problem):
            raise ValueError(f"{path}:{line}: the header cannot be read ({_REASONS[names.kind]}). {names.message}")
        width, what = len(names), f"the header has {len(names)}"
    else:
        rows, names = list(rows), []
        is_header = header_of(rows, text, label) if header is None else False
        if is_header is None:
            raise ValueError(
                f"{path}:{rows[0][0]}: {start(rows[0][1])} may be a header or an example: no other row has its label. "
                "Pass header=True or header=False (--header yes or no)."
            )
        if is_header:
            line, found = rows.pop(0)
            _log.warning(
                "%s:%s names the columns (%s) and is not read as an example. header=False reads it.", path, line, found
            )
        widths = Counter(len(fields) for _, fields in rows if not isinstance(fields, Problem))
        width = widths.most_common(1)[0][0] if widths else 0
        line, what = 1, f"most rows have {width}"
    places = [_place(path, line, column, names, width) for column in (text, label)] if width else []
    for line, fields in rows:
        if isinstance(fields, Problem):
            yield line, fields
        elif len(fields) != width:
            yield line, Problem("malformed", f"{len(fields)} fields where {what}: {start(fields)}.")
        else:
            yield line, (fields[places[0]], fields[places[1]])


def _place(path: Path, line: int, column: str | int, names: list[str], width: int) -> int:
    if isinstance(column, int):
        if not 0 <= column < width:
            raise ValueError(
                f"{path}:{line}: there is no column {column}: the columns are 0 to {width - 1}.{_hint(path, width)}"
            )
        return column
    if not names:
        raise ValueError(f"A column name needs a file with a header. Received: {column!r}")
    names = [name.strip() for name in names]
    if names.count(column) != 1:
        raise ValueError(
            f"{path}:{line}: {names.count(column)} columns have the name {column!r}. The header names "
            f"{_shortened(names)}. Give the name or the number (from 0) of the column.{_hint(path, width)}"
        )
    return names.index(column)


def _hint(path: Path, width: int) -> str:
    """A hint on the delimiter of a table of one column."""
    _, text = next(read_lines(path, "skip"), (1, None))
    mark = next((mark for mark in ";\t,|" if mark in (text or "")), None)
    return f" Are fields separated by {mark!r}? Use commas, or tabs and format='tsv'." if width == 1 and mark else ""


def _json_rows(path: Path, text, label, on_bad_line: str) -> _Pairs:
    if not isinstance(text, str) or not isinstance(label, str):
        raise ValueError(f"JSON lines have columns by name, not by number. Received: {text=}, {label=}")
    for line, content in read_lines(path, on_bad_line):
        if content is None:
            yield line, Problem("bad")
        else:
            yield line, _json_row(content, text, label) if content.strip() else Problem("blank")


def _json_row(content: str, text: str, label: str) -> tuple[str, str] | Problem:
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        return Problem("malformed", f"not JSON ({error}): {start(content)}.")
    if not isinstance(row, dict):
        return Problem("malformed", f"not a JSON object: {start(content)}.")
    missing = [key for key in (text, label) if key not in row]
    if missing:
        return Problem("malformed", f"the key {missing[0]!r} is missing. The row has {_shortened(list(row))}.")
    string, name = row[text], row[label]
    if not isinstance(string, str):
        return Problem("malformed", f"{text!r} must be a string. Received: {start(string)}.")
    if isinstance(name, (bool, int)):
        name = json.dumps(name)  # true, not True
    if not isinstance(name, str):
        return Problem("malformed", f"{label!r} must be a string or an integer. Received: {start(name)}.")
    try:
        joined = (string + name).encode()
    except UnicodeEncodeError as error:  # half of a pair \ud83d\ude00
        return Problem("bad", f"an invalid character: {error}.")
    return Problem("bad", "a NUL (\\u0000) in the text or the label.") if b"\0" in joined else (string, name)
