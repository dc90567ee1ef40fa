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

from keras_seq.data.arguments import check_choice
from keras_seq.data.label_columns import check_labels, header_of
from keras_seq.data.lines import Paths, as_paths, read_lines
from keras_seq.data.reports import Report, count
from keras_seq.data.table_rows import (
    BAD,
    Problem,
    format_of,
    good_rows,
    other_delimiter,
    place_of,
    shortened,
    start,
    table_rows,
)

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabeledReport(Report):
    """Counts of all rows without headers: `read` is the sum of all other counts.

    Args:
        read, kept: rows.
        blank: rows without content.
        empty: rows whose text is only white space.
        malformed: rows with another number of fields, a misplaced quote, invalid JSON, a text or label of a wrong type.
        unknown: rows whose label is not among the given labels.
        bad: rows that are not UTF-8 or hold a NUL.
    """

    blank: int = count("blank")
    empty: int = count("without text")
    malformed: int = count("malformed")
    unknown: int = count("with an unknown label")
    bad: int = count("with invalid UTF-8 or NUL")


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
            told = f"{len(self.label_names)} labels, {shortened(self.label_names)}"
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
    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"review": ["fine", "dull"] * 5, "mood": ["good", "bad"] * 5})
        >>> reviews = data.read_labeled_text(frame, text="review", label="mood")
        >>> len(reviews), reviews.label_names, reviews.class_counts()
        (10, ('bad', 'good'), {'bad': 5, 'good': 5})
    """
    check_choice("error", "skip", on_bad_line=on_bad_line)
    if text == label:
        raise ValueError(f"`text` and `label` must be two columns. Received: {text!r} twice")
    names = None if labels is None else _names(labels)
    counts, texts, found = Counter(), [], []
    for path, rows in _sources(paths, format, (text, label), header, on_bad_line):
        for row in good_rows(path, _checked(rows, names), counts, on_bad_line):
            texts.append(row[0])
            found.append(row[1])
    report = LabeledReport(kept=len(texts), **counts)
    report.check(paths)
    if names is None:
        check_labels(path, label, found, lambda: _first_rows(path, format))
        names = _in_order(set(found))
    numbers = {name: number for number, name in enumerate(names)}
    return LabeledText(texts, [numbers[name] for name in found], names, report)


def _sources(paths, format, columns, header, on_bad_line) -> Iterator[tuple[Any, _Pairs]]:
    """Yields the name and the rows of each source."""
    if hasattr(paths, "columns"):
        yield "DataFrame", _frame_rows(paths, columns)
        return
    for path in as_paths(paths):
        if format_of(path, format) == "jsonl":
            yield path, _json_rows(path, *columns, on_bad_line)
        else:
            yield path, _table_rows(path, format_of(path, format), columns, header, on_bad_line)


def _checked(rows: _Pairs, names: Sequence[str] | None) -> _Pairs:
    """The rows, with problems in place of those without a text or one of the labels."""
    for line, row in rows:
        if not isinstance(row, Problem):
            text, label = row = row[0], row[1].strip()
            if not text.strip():
                row = Problem("empty", f"the text is empty: {text!r}.")
            elif not label:
                row = Problem("malformed", "the label is empty.")
            elif names is not None and label not in names:
                row = Problem("unknown", f"the label {label!r} is not one of `labels`: {shortened(names)}.")
        yield line, row


def _frame_rows(frame: "pd.DataFrame", columns: tuple) -> _Pairs:
    names = [frame.columns[name] if isinstance(name, int) and name not in frame.columns else name for name in columns]
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"The DataFrame has no column {missing[0]!r}. It has: {', '.join(map(str, frame.columns))}")
    texts, labels = (frame[name] for name in names)
    for row, (text, label, has_label) in enumerate(zip(texts.tolist(), labels.tolist(), labels.notna(), strict=True)):
        if isinstance(text, str):
            yield row, (text, str(label) if has_label else "")
        else:
            yield row, Problem("malformed", f"the text is {text!r}, not a string.")


def _first_rows(path: Any, format: str | None) -> list[list[str]]:
    """The rows for an error message."""
    if not isinstance(path, Path) or format_of(path, format) == "jsonl":
        return []
    rows = table_rows(path, format_of(path, format), "skip")
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


def _table_rows(path: Path, format: str, columns: tuple, header: bool | None, on_bad_line: str) -> _Pairs:
    rows = table_rows(path, format, on_bad_line)
    named = any(isinstance(column, str) for column in columns) if header is None else header
    if named:
        line, first = next(rows, (1, []))
        if isinstance(first, Problem):
            raise ValueError(f"{path}:{line}: the header cannot be read ({first.message or first.kind}).")
        width, what = len(first), f"the header has {len(first)}"
    else:
        rows = list(rows) if header is False else _without_header(path, list(rows), columns)
        read = [fields for _, fields in rows if not isinstance(fields, Problem)]
        line, first = 1, read[0] if read else []
        (width, _), *_ = Counter(map(len, read)).most_common(1) or [(0, 0)]
        what = f"most rows have {width}"
    places = [_place(f"{path}:{line}", column, first, width, named) for column in columns] if width else []
    for line, fields in rows:
        if isinstance(fields, Problem):
            yield line, fields
        elif len(fields) != width:
            yield line, Problem("malformed", f"{len(fields)} fields where {what}: {start(fields)}.")
        else:
            yield line, (fields[places[0]], fields[places[1]])


def _without_header(path: Path, rows: list, columns: tuple) -> list:
    is_header = header_of(rows, *columns)
    if is_header is False:
        return rows
    line, first = rows[0]
    if is_header is None:
        raise ValueError(
            f"{path}:{line}: {start(first)} may be a header or an example: no other row has its label. "
            "Pass header=True or header=False (--header yes or no)."
        )
    _log.warning(
        "%s:%s names the columns (%s) and is not read as an example. header=False reads it.", path, line, first
    )
    return rows[1:]


def _place(where: str, column: str | int, first: list[str], width: int, named: bool) -> int:
    """The number of a column, by its number or its name in the first row."""
    if isinstance(column, str) and not named:
        raise ValueError(f"A column name needs a file with a header. Received: {column!r}")
    if isinstance(column, str):
        return place_of(column, first, where)
    if not 0 <= column < width:
        hint = other_delimiter(first)
        raise ValueError(f"{where}: there is no column {column}: the columns are 0 to {width - 1}.{hint}")
    return column


def _json_rows(path: Path, text, label, on_bad_line: str) -> _Pairs:
    if not isinstance(text, str) or not isinstance(label, str):
        raise ValueError(f"JSON lines have columns by name, not by number. Received: {text=}, {label=}")
    for line, content in read_lines(path, on_bad_line):
        if content is None:
            yield line, BAD
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
        return Problem("malformed", f"the key {missing[0]!r} is missing. The row has {shortened(list(row))}.")
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
