"""Reads and writes files of class or tag names, one per line, in the order of their numbers."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path


def save_labels(path: str | PathLike, labels: Sequence[str]) -> None:
    """Writes the names. In a run folder the file is `vocabulary/labels.txt`.

    Raises:
        ValueError: if there is no name, one is empty, repeated or has a line end in it, or two differ only in white
            space at their ends.
    """
    _check(labels, "`labels`")
    Path(path).write_text("\n".join(labels) + "\n", "utf-8", newline="\n")


def load_labels(path: str | PathLike) -> list[str]:
    """Reads a file written by `save_labels`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold such names.
    """
    labels = Path(path).read_text("utf-8-sig").removesuffix("\n").split("\n")
    _check(labels, str(path))
    return labels


def _check(labels: Sequence[str], what: str) -> None:
    if isinstance(labels, str) or not len(labels) or len(set(labels)) < len(labels):
        raise ValueError(f"{what} must hold one name or more, each once. Received: {labels!r}")
    if len({label.strip() for label in labels}) < len(labels):
        raise ValueError(f"{what} must hold names that differ in more than white space at their ends: {labels!r}")
    for label in labels:
        if not label or label.splitlines() != [label]:
            raise ValueError(f"{what} must hold names without line ends, none empty. Received: {label!r}")
