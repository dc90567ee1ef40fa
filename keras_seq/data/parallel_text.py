"""Parallel text: two files, line by line the translation of each other, checked before training starts."""

import gzip
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import tensorflow as tf

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Paths = str | PathLike | Sequence[str | PathLike]


@dataclass(frozen=True)
class Report:
    """An account of every pair of lines: `read` = `kept` + `empty` + `bad_utf8`."""

    read: int
    kept: int
    empty: int = 0
    bad_utf8: int = 0

    def __str__(self) -> str:
        text = f"{self.read:,} pairs read, {self.kept:,} kept"
        dropped = [(self.empty, "with an empty side"), (self.bad_utf8, "with invalid UTF-8")]
        if any(count for count, _ in dropped):
            text += "; dropped: " + ", ".join(f"{count:,} {reason}" for count, reason in dropped if count)
        return text


@dataclass(frozen=True)
class ParallelText:
    """Pairs of lines in memory, and the report on how they were read."""

    sources: list[str]
    targets: list[str]
    report: Report

    def __len__(self) -> int:
        return len(self.sources)

    def dataset(self) -> tf.data.Dataset:
        """A dataset of the pairs: (string, string)."""
        # Bytes make string tensors directly; a NumPy array of str would give every line the room of the longest one.
        sides = ([line.encode() for line in side] for side in (self.sources, self.targets))
        return tf.data.Dataset.from_tensor_slices(tuple(tf.constant(side, tf.string) for side in sides))


def parallel_text(source: Paths, target: Paths, *, on_bad_utf8: str = "error") -> tf.data.Dataset:
    """A dataset of (source, target) strings; what was dropped is logged as a warning.

    Args, Raises: those of `read_parallel_text`.
    """
    pairs = read_parallel_text(source, target, on_bad_utf8=on_bad_utf8)
    if pairs.report.kept < pairs.report.read:
        logging.getLogger("keras_seq").warning("%s, %s: %s", source, target, pairs.report)
    return pairs.dataset()


def read_parallel_text(source: Paths, target: Paths, *, on_bad_utf8: str = "error") -> ParallelText:
    """Reads and checks parallel text. Only a line feed ends a line; a byte order mark and carriage returns at the
    end of a line are taken off. Pairs with an empty side are dropped and counted.

    Args:
        source: a file or a list of files, plain or `.gz`.
        target: the file, or as many files, with the other side.
        on_bad_utf8: "error", or "skip" to drop such pairs and count them.

    Raises:
        FileNotFoundError: for a file that is not there.
        ValueError: if two files differ in their number of lines, if a line is not UTF-8 (and `on_bad_utf8="error"`),
            if a `.gz` file is damaged, or if no pair is left.
    """
    if on_bad_utf8 not in ("error", "skip"):
        raise ValueError(f'`on_bad_utf8` must be "error" or "skip". Received: {on_bad_utf8!r}')
    source_paths, target_paths = _paths(source), _paths(target)
    if len(source_paths) != len(target_paths) or not source_paths:
        raise ValueError(
            "`source` and `target` must name the same number of files, at least one. "
            f"Received: {len(source_paths)} ({source}) and {len(target_paths)} ({target})"
        )
    for path in (*source_paths, *target_paths):
        if not path.is_file():
            kind = "is not a file" if path.exists() else "does not exist"
            raise FileNotFoundError(f"{path} {kind}. Text is read from plain or .gz files.")

    sources, targets = [], []
    read = empty = bad_utf8 = 0
    for source_path, target_path in zip(source_paths, target_paths, strict=True):
        source_lines, target_lines = _raw_lines(source_path), _raw_lines(target_path)
        if len(source_lines) != len(target_lines):
            raise ValueError(
                f"Parallel files must have the same number of lines. Received: {source_path} has {len(source_lines):,} "
                f"and {target_path} has {len(target_lines):,}."
            )
        read += len(source_lines)
        for number, (raw_source, raw_target) in enumerate(zip(source_lines, target_lines, strict=True), start=1):
            path = source_path
            try:
                source_line = raw_source.decode()
                path = target_path
                target_line = raw_target.decode()
            except UnicodeDecodeError as error:
                if on_bad_utf8 == "error":
                    raise ValueError(_bad_utf8_message(path, number, error)) from error
                bad_utf8 += 1
                continue
            if source_line.strip() and target_line.strip():
                sources.append(source_line)
                targets.append(target_line)
            else:
                empty += 1

    report = Report(read, len(sources), empty, bad_utf8)
    if not sources:
        raise ValueError(f"{source}, {target}: no pair of lines is left to use ({report}).")
    return ParallelText(sources, targets, report)


SPLIT_NAMES = {"train": ("train",), "valid": ("val", "valid", "dev"), "test": ("test",)}


def find_splits(folder: str | PathLike, source: str, target: str) -> dict[str, tuple[Path, Path]]:
    """Finds the files of "train", "valid" and "test" by their names: `train.en`, `val.en.gz`, `test_2016.en` and so on.

    Args:
        folder: where they are.
        source, target: the ends of their names, languages as a rule.

    Raises:
        FileNotFoundError: if there is no folder, or no file for a split.
        ValueError: if several files could be meant.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())

    def find(starts: tuple[str, ...], ending: str) -> Path:
        endings = (f".{ending}", f".{ending}.gz")
        found = [name for name in names if name.startswith(starts) and name.endswith(endings)]
        if not found:
            raise FileNotFoundError(f"{folder} has no file named {' or '.join(starts)}*.{ending} (or .gz).")
        if len(found) > 1:
            raise ValueError(f"{folder}: which of {', '.join(found)} is meant? Name the files one by one.")
        return folder / found[0]

    return {part: (find(starts, source), find(starts, target)) for part, starts in SPLIT_NAMES.items()}


def _paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, (str, PathLike)) else [Path(path) for path in paths]


def _raw_lines(path: Path) -> list[bytes]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}. Make it again, or give the plain file.") from error
    # Not `splitlines`, which also splits at form feeds and other characters that stand inside a line.
    lines = data.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    if lines[-1] == b"":  # what follows the last line feed is no line
        lines.pop()
    return [line.rstrip(b"\r") for line in lines]


def _bad_utf8_message(path: Path, number: int, error: UnicodeDecodeError) -> str:
    return (
        f"{path}:{number}: byte {error.start + 1} of the line (0x{error.object[error.start]:02x}) is not valid UTF-8. "
        'Save the file as UTF-8, or drop such pairs with on_bad_utf8="skip".'
    )
