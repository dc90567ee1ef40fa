"""Reads parallel text, files that are line by line translations of each other, and checks it before training."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from os import PathLike
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_seq.data.lines import Paths, as_paths, count_lines, read_blocks
from keras_seq.data.reports import Report, count
from keras_seq.data.splits import find_splits

_BLOCK_PAIRS = 4096  # pairs passed from Python to TensorFlow at a time: a call costs as much as a hundred pairs


@dataclass(frozen=True)
class ParallelReport(Report):
    """Counts of all pairs of lines: `read` = `kept` + `empty` + `bad_lines` + `malformed`.

    Args:
        read, kept: pairs.
        empty: pairs with an empty side.
        bad_lines: pairs with a line that is not UTF-8 or holds a NUL.
        malformed: rows of a table that lack a column.
    """

    empty: int = count("with an empty side")
    bad_lines: int = count("with a line that is not UTF-8 or holds a NUL")
    malformed: int = count("without two columns")
    unit = "pair"


@dataclass(frozen=True)
class ParallelText:
    """Pairs of lines in memory, and the report of reading."""

    sources: list[str]
    targets: list[str]
    report: ParallelReport

    def __len__(self) -> int:
        return len(self.sources)

    def dataset(self) -> tf.data.Dataset:
        """A dataset of the pairs: (string, string)."""
        # Bytes make string tensors directly; a NumPy array of str would pad every line to the longest one.
        sides = ([line.encode() for line in side] for side in (self.sources, self.targets))
        return tf.data.Dataset.from_tensor_slices(tuple(tf.constant(side, tf.string) for side in sides))


class ParallelFiles:
    """Parallel text that is read from its files on each pass, for corpora of any size.

    Only a line feed ends a line. A byte order mark and carriage returns at the end of a line are removed. Pairs with an
    empty side are dropped and counted. When the object is created, all files are checked once for damage, equal line
    counts and bad lines.

    Args:
        source: a file or a list of files, plain or `.gz`.
        target: the file or files with the other side.
        on_bad_line: "error", or "skip" to drop and count pairs with a line that is not UTF-8 or holds a NUL.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if two files differ in their number of lines, if a line is bad (and `on_bad_line="error"`),
            if a `.gz` file is damaged, or if no pair is left.
    """

    def __init__(self, source: Paths, target: Paths, *, on_bad_line: str = "error"):
        sources, targets = as_paths(source), as_paths(target)
        if len(sources) != len(targets):
            raise ValueError(
                "`source` and `target` must name the same number of files. "
                f"Received: {len(sources)} ({source}) and {len(targets)} ({target})"
            )
        self._name = f"{source}, {target}"
        self._on_bad_line = on_bad_line
        self._files = []  # (source, target, lines of each)
        for paths in zip(sources, targets, strict=True):
            counts = [count_lines(path, on_bad_line) for path in paths]
            if counts[0] != counts[1]:
                raise ValueError(
                    f"Parallel files must have the same number of lines. Received: {paths[0]} has {counts[0]:,} "
                    f"and {paths[1]} has {counts[1]:,}."
                )
            self._files.append((*paths, counts[0]))
        self._report = None
        if next(self._blocks(), None) is None:  # a corpus of blank lines is read to its end, which sets the report
            self._report.check(self._name)
        self._report = None

    @property
    def files(self) -> list[tuple[Path, Path]]:
        """The files: pairs of source and target."""
        return [(source, target) for source, target, _ in self._files]

    @property
    def pairs(self) -> int:
        """The number of pairs of lines in the files, including pairs that a pass will drop."""
        return sum(lines for *_, lines in self._files)

    @property
    def report(self) -> ParallelReport | None:
        """The report of the latest complete pass, or None before the first."""
        return self._report

    def dataset(self) -> tf.data.Dataset:
        """A dataset of (source, target) strings, read again on each pass, in the order of the files, in little memory.

        At the end of the first pass, a warning reports the dropped pairs.
        """
        sides = tf.TensorSpec([None], tf.string)
        return tf.data.Dataset.from_generator(self._arrays, output_signature=(sides, sides)).unbatch()

    def read(self) -> ParallelText:
        """Reads all pairs into memory."""
        sources, targets = [], []
        for source_block, target_block in self._blocks():
            sources += source_block
            targets += target_block
        return ParallelText(sources, targets, self._report)

    def _arrays(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        before = self._report
        for block in self._blocks():
            # As objects: an array of str or bytes would pad every line to the longest one.
            yield tuple(np.array([line.encode() for line in side], dtype=object) for side in block)
        report = self._report
        if before is None and report.kept < report.read:
            logging.getLogger("keras_seq").warning("%s: %s", self._name, report)

    def _blocks(self) -> Iterator[tuple[list[str], list[str]]]:
        """Makes one pass: yields the kept pairs, thousands at a time, then sets the report."""
        read = kept = empty = bad_lines = 0
        for *paths, lines in self._files:
            sides = [chain.from_iterable(read_blocks(path, self._on_bad_line)) for path in paths]
            counts = [0, 0]
            while any(block := [list(islice(side, _BLOCK_PAIRS)) for side in sides]):
                counts = [count + len(side) for count, side in zip(counts, block, strict=True)]
                if counts[0] != counts[1]:
                    break
                good = [pair for pair in zip(*block, strict=True) if None not in pair]
                full = [pair for pair in good if pair[0].strip() and pair[1].strip()]
                read += len(block[0])
                bad_lines += len(block[0]) - len(good)
                empty += len(good) - len(full)
                kept += len(full)
                if full:
                    yield tuple(map(list, zip(*full, strict=True)))
            if counts != [lines, lines]:
                raise ValueError(
                    f"{paths[0]} or {paths[1]} was changed while it was in use. Each had {lines:,} lines. "
                    "Open the files again."
                )
        self._report = ParallelReport(read, kept, empty, bad_lines)


def parallel_text(source: Paths, target: Paths, *, on_bad_line: str = "error") -> tf.data.Dataset:
    """A dataset of (source, target) strings that streams from the files. A warning reports the dropped pairs.

    `ParallelFiles(...).dataset()` is the same, and gives access to the report. `read_parallel_text` keeps a small
    corpus in memory.

    Args, Raises: those of `ParallelFiles`.
    """
    return ParallelFiles(source, target, on_bad_line=on_bad_line).dataset()


def read_parallel_text(source: Paths, target: Paths, *, on_bad_line: str = "error") -> ParallelText:
    """Reads parallel text into memory and checks it.

    Args, Raises: those of `ParallelFiles`.
    """
    return ParallelFiles(source, target, on_bad_line=on_bad_line).read()


def find_parallel_splits(folder: str | PathLike, source: str, target: str) -> dict[str, tuple[Path, Path]]:
    """Finds the files of "train", "valid" and "test" by their names: `train.en`, `val.en.gz`, `test_2016.en` and so on.

    Files for "test" are optional.

    Args:
        folder: folder of the files.
        source, target: suffixes of their names, usually languages.

    Raises:
        FileNotFoundError: if the folder does not exist, lacks a file for training or validation, or has a file of one
            side without its counterpart.
        ValueError: if several files match a split.
    """
    needed = ("train", "valid")
    sources = find_splits(folder, [source], needed)
    targets = find_splits(folder, [target], tuple(sources))
    if "test" in targets:
        sources = find_splits(folder, [source])
    return {part: (path, targets[part]) for part, path in sources.items()}
