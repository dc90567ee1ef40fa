"""Files of texts with class labels: flags, reading, and checks before training."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from keras_seq.cli import in_one_line, option
from keras_seq.lazy import data

FEWEST = 10  # texts to train on
HELD_OUT = 10  # without a validation file, the last tenth of the training text is held out
_SHOWN, _WIDTH = 3, 80  # rows that are printed before training, and the characters of each


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledTextFlags:
    """Columns of the files"""

    text_column: str = option("1", "column of the texts: its name, or its number from 0")
    label_column: str = option("0", "column of the labels: its name, or its number from 0")
    header: Literal["auto", "yes", "no"] = option("auto", "whether the first row of the files names the columns")
    label_names: tuple[str, ...] = option((), "names for labels that are numbers, in the order of the numbers")

    def read_parts(self, folder: pathlib.Path) -> dict[str, data.LabeledText]:
        """Reads the files train, valid and test of a folder, and prints classes and three rows. "train" is required.

        Raises:
            ValueError: for a file that cannot be used, and for training text with one label or too few rows.
        """
        parts, names = {}, None
        for part, path in data.find_splits(folder, ("tsv", "csv", "jsonl"), needed=["train"]).items():
            read = data.read_labeled_text(path, labels=names, **self._columns())
            names = read.label_names
            parts[part] = read.named(self.label_names) if self.label_names else read
            print(f"{path}: {read.report}; {parts[part].class_counts()}.")
        _check(parts)
        _show(parts["train"])
        return parts

    def _columns(self) -> dict[str, Any]:
        columns = {"text": self.text_column, "label": self.label_column}
        columns = {part: int(name) if name.isdecimal() else name for part, name in columns.items()}
        return {**columns, "header": {"auto": None, "yes": True, "no": False}[self.header]}


def hold_out_last(train: data.LabeledText) -> tuple[data.LabeledText, data.LabeledText]:
    """Splits the training text: all but the last tenth for training, and the last tenth for validation.

    Raises:
        ValueError: if one of the two lacks a label.
    """
    cut = len(train) - max(1, len(train) // HELD_OUT)
    parts = train.select(range(cut)), train.select(range(cut, len(train)))
    if 0 in [count for part in parts for count in part.class_counts().values()]:
        raise ValueError(
            f"The last tenth of the training text ({len(parts[1]):,} rows for validation) or the rest lacks a label: "
            f"it is sorted, or very small. Shuffle it, or add a file valid.tsv. It has {train.class_counts()}."
        )
    return parts


def _check(parts: Mapping[str, data.LabeledText]) -> None:
    train = parts["train"]
    if len(train.label_names) < 2:
        raise ValueError(
            f"All {len(train):,} training texts have the label {train.label_names[0]!r}: there is nothing to learn. "
            "Does --label-column name the column of the labels?"
        )
    if len(train) < FEWEST:
        raise ValueError(f"{len(train)} training texts are too few. Give at least {FEWEST}.")
    if all(name.lstrip("+-").isdigit() for name in train.label_names):
        print(f"The labels are numbers: {', '.join(train.label_names)}. Give them names with --label-names.")
    known = set(train.texts)
    for part, other in parts.items():
        if part != "train" and len(set(other.labels)) < 2:
            print(f"All texts of the split {part} have one label: its accuracy is of little use.")
        if part != "train" and (same := sum(text in known for text in other.texts)):
            print(f"{same:,} of the {len(other):,} texts of the split {part} are training texts too.")


def _show(train: data.LabeledText) -> None:
    """Prints the first training rows, which show a wrong column."""
    print("The first training rows, label and text:")
    width = max(len(train.label_names[label]) for label in train.labels[:_SHOWN])
    for label, text in zip(train.labels[:_SHOWN], train.texts, strict=False):
        print(f"  {train.label_names[label]:{width}}  {in_one_line(text)[:_WIDTH]}")
