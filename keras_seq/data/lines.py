"""Streams the lines of text files, plain or `.gz`, and checks that they are text."""

import functools
import gzip
import logging
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import AnyStr

from keras_seq.data.arguments import check_choice

Paths = str | PathLike | Sequence[str | PathLike]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 18  # some thousands of lines, to amortize the cost of a block


def as_paths(paths: Paths) -> list[Path]:
    """A path, or a sequence of paths, as a list of existing files.

    Raises:
        FileNotFoundError: if a path does not exist or is not a file.
        ValueError: if there is no path.
    """
    found = [Path(paths)] if isinstance(paths, (str, PathLike)) else [Path(path) for path in paths]
    if not found:
        raise ValueError(f"Name at least one file. Received: {paths!r}")
    for path in found:
        if not path.is_file():
            raise FileNotFoundError(f"{path} {'is not a file' if path.exists() else 'does not exist'}. Name a file.")
    return found


def raw_lines(path: str | PathLike) -> Iterator[bytes]:
    """The lines of a file, in constant memory.

    Only a line feed ends a line. A byte order mark and the carriage returns at the end of a line are removed. See
    `mended` for files without a line feed, and marks inside a file.

    Raises:
        ValueError: if a `.gz` file is damaged.
    """
    return chain.from_iterable(map(split_lines, raw_blocks(path)))


def read_lines(path: str | PathLike, on_bad_line: str = "error") -> Iterator[tuple[int, str | None]]:
    """The lines of a file as (number from 1, text), in constant memory.

    Args:
        path: plain, or `.gz`.
        on_bad_line: treatment of a line that is not UTF-8 or holds a NUL: "error", or "skip" to yield None as its text,
            for the caller to count.

    Raises:
        ValueError: if a line is bad and `on_bad_line="error"`, or a `.gz` file is damaged.
    """
    return enumerate(chain.from_iterable(read_blocks(path, on_bad_line)), start=1)


def read_blocks(path: str | PathLike, on_bad_line: str = "error") -> Iterator[list[str | None]]:
    """The lines of `read_lines` without their numbers, thousands at a time, for less than a microsecond per line.

    Args, Raises: those of `read_lines`.
    """
    check_choice("error", "skip", on_bad_line=on_bad_line)
    return _checked(Path(path), on_bad_line)


def count_lines(path: str | PathLike, on_bad_line: str = "skip") -> int:
    """The number of lines of a file, counted without splitting them, at some GB per second.

    Args:
        path: plain, or `.gz`.
        on_bad_line: "error" to check every byte, too, and raise the errors of `read_lines`. Or "skip".

    Raises:
        ValueError: if a line is bad and `on_bad_line="error"`, or a `.gz` file is damaged.
    """
    check_choice("error", "skip", on_bad_line=on_bad_line)
    path, lines = Path(path), 0
    for block in raw_blocks(path):
        if on_bad_line == "error" and decoded(block) is None:
            for number, line in enumerate(split_lines(block), start=lines + 1):
                _text(line, path, number, "error")
        lines += lines_in(block)
    return lines


def raw_blocks(path: str | PathLike) -> Iterator[bytes]:
    """The bytes of a file in blocks of whole lines, as returned by `mended`. If the last line has no line feed, the
    last block ends without one.

    Raises:
        ValueError: if a `.gz` file is damaged.
    """
    path, lines = Path(path), 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            block = file.read(_BLOCK_BYTES) + file.readline()
            while block:
                block = mended(block, str(path), lines)
                if block:  # not only a byte order mark
                    yield block
                lines += block.count(b"\n")
                block = file.read(_BLOCK_BYTES) + file.readline()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged somewhere after line {lines:,}: {error}. Recreate it, or pass the plain file."
        ) from error


def mended(block: bytes, name: str, before: int) -> bytes:
    """Removes byte order marks at the beginning of a text, and inside it, where files have been joined. If a text has
    no line feed, its carriage returns become line ends, as in old Macintosh files. Logs a warning for marks inside a
    text and for missing line feeds.

    Args:
        block: whole lines. If they are the first and have no line feed, the whole text.
        name: name of the text.
        before: number of preceding lines.
    """
    if not before and b"\n" not in block and b"\r" in block.strip(b"\r"):
        _tell("%s has no line feed. Its carriage returns are used as line ends.", name)
        block = block.replace(b"\r", b"\n")
    if _BYTE_ORDER_MARK not in block:
        return block
    block = block.removeprefix(_BYTE_ORDER_MARK)
    inside = block.count(b"\n" + _BYTE_ORDER_MARK)
    if inside:
        _tell("%s has a byte order mark at the beginning of %d of its lines. The marks are removed.", name, inside)
    return block.replace(b"\n" + _BYTE_ORDER_MARK, b"\n")


@functools.cache  # a file is read several times, but warned about once
def _tell(message: str, *told: str | int) -> None:
    _log.warning(message, *told)


def lines_in(content: bytes) -> int:
    """The number of lines. Text after the last line feed is a line if it is not empty."""
    return content.count(b"\n") + (content[-1:] not in (b"", b"\n"))


def split_lines(block: AnyStr) -> list[AnyStr]:
    """The lines of a text without their line feeds, and without the carriage returns before them."""
    # Not `splitlines`, which also splits at form feeds and other characters inside a line.
    feed, carriage = (b"\n", b"\r") if isinstance(block, bytes) else ("\n", "\r")
    lines = block.removesuffix(feed).split(feed)
    return [line.rstrip(carriage) for line in lines] if carriage in block else lines


def decoded(block: bytes) -> str | None:
    """The text of a block, or None if one of its lines is bad."""
    try:
        return None if b"\0" in block else block.decode()
    except UnicodeDecodeError:
        return None


def _checked(path: Path, on_bad_line: str) -> Iterator[list[str | None]]:
    read = 0
    for block in raw_blocks(path):
        text = decoded(block)
        if text is not None:
            lines = split_lines(text)
        else:
            lines = [_text(line, path, number, on_bad_line) for number, line in enumerate(split_lines(block), read + 1)]
        read += len(lines)
        yield lines


def _text(line: bytes, path: Path, number: int, on_bad_line: str) -> str | None:
    try:
        place, text = line.find(b"\0"), line.decode()
        problem = "is NUL, as in a file that is not text or is UTF-16"
    except UnicodeDecodeError as error:
        place, text = error.start, None
        problem = f"(0x{line[place]:02x}) is not valid UTF-8"
    if place < 0:
        return text
    if on_bad_line == "skip":
        return None
    raise ValueError(
        f"{path}:{number}: byte {place + 1} of the line {problem}. "
        'Save the file as UTF-8, or drop such lines with on_bad_line="skip".'
    )
