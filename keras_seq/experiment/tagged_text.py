"""Files of sentences with a tag for each word: flags, reading, splits, and a baseline."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.lazy import data

ENDINGS = ("conllu", "tsv", "txt", "conll", "bio")
FEWEST = 10  # sentences to train on
HELD_OUT = 10  # without a validation file, every tenth sentence of the training text is held out


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggedTextFlags:
    """Columns of the files"""

    word_column: str | None = option(
        None, "column of the words: its name in CoNLL-U, else its number (default: FORM; 0)"
    )
    tag_column: str | None = option(None, "column of the tags, as --word-column (default: UPOS; -1, the last one)")
    feature_columns: tuple[str, ...] = option(
        (), "columns of features of the words, such as parts of speech, as --word-column"
    )
    spans: Literal["auto", "yes", "no"] = option("auto", "whether the tags mark spans: names, chunks")

    def read_parts(self, folder: pathlib.Path) -> dict[str, data.TaggedText]:
        """Reads the files train, valid and test of a folder. "train" is required.

        Raises:
            ValueError: for a file that cannot be used.
        """
        columns: dict[str, Any] = {"words": _column(self.word_column), "tags": _column(self.tag_column)}
        columns["features"] = [_column(name) for name in self.feature_columns]
        parts = {}
        for part, path in data.find_splits(folder, ENDINGS, needed=["train"]).items():
            parts[part] = data.read_tags(path, **columns)
            print(f"{path}: {parts[part].report}; {len(parts[part].tag_names)} tags.")
        return parts

    def check(self, train: data.TaggedText) -> None:
        """Raises `ValueError` for training text with too few sentences, or with implausible tags."""
        counts = collections.Counter(tag for sentence in train.tags for tag in sentence)
        column = "the last column" if self.tag_column is None else f"column {self.tag_column}"
        question = f"is {column} the tags (--tag-column)?"
        if len(counts) < 2:
            raise ValueError(f"All training words have the tag {next(iter(counts))!r}: {question}")
        if counts.total() >= 2 * FEWEST and len(counts) > counts.total() / 2:
            raise ValueError(f"{len(counts):,} different tags of {counts.total():,} training words: {question}")
        if len(train) < FEWEST:
            raise ValueError(f"{len(train)} training sentences are too few. Give at least {FEWEST}.")

    def mark_spans(self, parts: Mapping[str, data.TaggedText]) -> bool:
        """Whether the tags of the splits mark spans.

        Raises:
            ValueError: for tags that cannot, with --spans yes.
        """
        tags = sorted({tag for part in parts.values() for tag in part.tag_names})
        marks = data.mark_spans(tags) if self.spans == "auto" else self.spans == "yes"
        if marks:
            data.spans(tags)  # raises for tags that are not spans, before training
        return marks

    def note_spans(self, parts: Mapping[str, data.TaggedText]) -> None:
        """Prints a note if the tags mark spans."""
        if self.mark_spans(parts):
            letters = {tag[0] for part in parts.values() for tag in part.tag_names}
            letters = "".join(sorted(letters, key="BIMELSUWO".index))
            print(f"The tags mark spans, by {letters}: validated on their F1 (--spans no: on each word's tag).")


def _column(name: str | None) -> str | int | None:
    """A column by its number, or its name in CoNLL-U."""
    return int(name) if name and name.removeprefix("-").isdecimal() else name


def divide_tagged(
    parts: Mapping[str, data.TaggedText],
) -> tuple[data.TaggedText, data.TaggedText, data.TaggedText, str]:
    """Training, validation and test sentences, and the name of the test split.

    A text that selects the best epoch is not a test. So a single split besides the training text is the test, whatever
    its name, and every tenth sentence of the training text is held out for validation.
    """
    train = parts["train"]
    if "valid" in parts and "test" in parts:
        return train, parts["valid"], parts["test"], "test"
    if len(train) < 2:
        raise ValueError("A single training sentence cannot be split. Add a file dev.conllu, or more sentences.")
    held_out = range(min(HELD_OUT, len(train)) - 1, len(train), HELD_OUT)
    valid, train = train.select(held_out), train.select(sorted({*range(len(train))} - {*held_out}))
    for part in ("test", "valid"):
        if part in parts:
            return train, valid, parts[part], "dev" if part == "valid" else part
    return train, valid, valid, "valid"


def usual_tags(train: data.TaggedText) -> tuple[str, dict[str, str]]:
    """A baseline: the most frequent tag overall, and the most frequent tag of each word."""
    counts = collections.defaultdict(collections.Counter)
    for sentence, tags in zip(train.words, train.tags, strict=True):
        for word, tag in zip(sentence, tags, strict=True):
            counts[word][tag] += 1
    usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return sum(counts.values(), collections.Counter()).most_common(1)[0][0], usual
