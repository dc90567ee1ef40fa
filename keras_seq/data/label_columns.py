"""Detects from the rows of labeled text whether the first one is a header, and whether labels are class labels."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_seq.data.table_rows import Problem

_USUAL = {  # usual names of columns
    "text": {"text", "sentence", "sentence1", "review", "content", "comment", "body", "message", "tweet", "document"}
    | {"phrase", "description", "title", "utterance", "question", "query", "input", "source"},
    "label": {"label", "labels", "class", "category", "sentiment", "polarity", "target", "intent", "tag", "rating"}
    | {"stars", "score", "y", "area", "topic", "emotion", "output"},
}
_NAME = re.compile(r"[^\W\d][\w .-]{0,30}")  # a possible name of a column
_NUMBER = re.compile(r"[+-]?[0-9]+")
_FEW = 5  # minimum number of rows to judge by
_MOST_LABELS = 0.9  # labels per row; beyond, nearly each row has a different label


def header_of(rows: Sequence, text: int, label: int) -> bool | None:
    """Whether the first row names the columns, or None if that is undecided.

    Only a row whose label occurs in no other row can be a header. It is one if both columns have usual names, such as
    "text" and "label". With at least 5 other rows, it is also one if all its fields could be names and one of the two
    is usual or all other labels are numbers. It may be one if its text is a name above sentences, and every other
    label occurs at least twice.

    Args:
        rows: (line, fields or `Problem`).
        text, label: numbers of the columns.
    """
    read = [fields for _, fields in rows if not isinstance(fields, Problem) and len(fields) > max(text, label)]
    if len(read) < 2 or isinstance(rows[0][1], Problem):
        return False
    first, *others = read
    cells = [first[place].strip().lower() for place in (text, label)]
    labels = Counter(fields[label].strip().lower() for fields in others)
    usual = [cells[0] in _USUAL["text"], cells[1] in _USUAL["label"]]
    if cells[1] in labels or (len(others) < _FEW and not all(usual)):
        return False
    if all(usual):
        return True
    if not all(_NAME.fullmatch(field.strip()) for field in first):
        return False
    if any(usual) or all(map(_NUMBER.fullmatch, labels)):
        return True
    sentences = sum(" " in fields[text].strip() for fields in others) > len(others) / 2
    return None if sentences and " " not in cells[0] and min(labels.values()) > 1 else False


def is_name_of_text(cell: str) -> bool:
    """Whether this is a usual name of columns of texts."""
    return cell.strip().lower() in _USUAL["text"]


def check_labels(path: Path, label: str | int, labels: Sequence[str], rows: Callable[[], Sequence[list[str]]]) -> None:
    """Raises a `ValueError` if nearly every row has a different label, as for identifiers but not for classes.

    Args:
        path, label: the file and its column of labels, for the error message.
        labels: labels of all rows.
        rows: function that reads the first rows of the table, including a header, to describe its columns.
    """
    found = len(set(labels))
    if len(labels) < 2 * _FEW or found < _MOST_LABELS * len(labels):
        return
    some = rows()
    columns = zip(*(row for row in some if len(row) == len(some[0])), strict=True) if some else ()
    # The first cell is the name of the column, or one of many values.
    told = [f"{place} ({cells[0][:40]!r}, {len(set(cells[1:])):,} different)" for place, cells in enumerate(columns)]
    told = f" The columns are {', '.join(told)}." if told else ""
    raise ValueError(
        f"{path}: one class per row: {found:,} labels in {len(labels):,} rows. Is column {label!r} the label?{told} "
        "Name the right column with `label` (--label-column), or pass the labels as `labels`."
    )
