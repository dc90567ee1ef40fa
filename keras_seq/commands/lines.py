"""Input of the verbs: lines of files or of stdin, and their results, chunk by chunk."""

import io
import os
import pathlib
import re
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from keras_seq.cli import flag
from keras_seq.tasks.results import Failure

PAUSE_SECONDS = 0.2  # pause of stdin after which the lines read so far are processed
FIRST_ONES = 5  # bad lines that are listed at the end
_BLOCK_BYTES = 1 << 18
STDIN = pathlib.Path("-")


class Line(NamedTuple):
    """A line of the input: its place, `file:3`, and its text, or None and the reason why the line cannot be used. The
    text may be split into words."""

    place: str
    text: str | list[str] | None
    why: str = ""


def check_files(files: Iterable[pathlib.Path], output: pathlib.Path | None = None) -> None:
    """Checks before a model is loaded that files exist, that stdin is named at most once, and that `output` is not an
    input.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: otherwise.
    """
    files = list(files)
    if files.count(STDIN) > 1:
        raise ValueError("Only one of the files can be - (stdin). Name a file for the others.")
    for path in files:
        if path == STDIN:
            continue
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist. Text is read from plain or .gz files, or from stdin (-).")
        if path.is_dir():
            raise ValueError(f"{path} is a folder. Text is read from plain or .gz files, or from stdin (-).")
        if output is not None and output.exists() and output.is_file() and output.samefile(path):
            raise ValueError(f"--output {output} is an input file. Name another one.")


def lines(files: Sequence[pathlib.Path]) -> Iterator[Line | None]:
    """The lines of files one after the other, or of stdin if there are no files. None stands for a pause of stdin.

    Only a line feed ends a line. A byte order mark, and carriage returns at the end of a line, are removed. See
    `data.lines.mended` for a text without a line feed, and for byte order marks inside a text.
    """
    for path in files or [STDIN]:
        name, number = "stdin" if path == STDIN else str(path), 0
        for block in _stdin_blocks() if path == STDIN else _file_blocks(path):
            if block is None:
                yield None
                continue
            if not block:  # only a byte order mark
                continue
            for raw in block.removesuffix(b"\n").split(b"\n"):
                number += 1
                yield _checked(raw.rstrip(b"\r"), f"{name}:{number}")


def chunks(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items. A list is shorter at a None, at the end, and before an error that the items raise."""
    gathered, error = [], None
    items = iter(items)
    while True:
        try:
            item = next(items)
        except StopIteration:
            break
        except (ValueError, OSError) as raised:
            error = raised
            break
        if item is not None:
            gathered.append(item)
        if gathered and (item is None or len(gathered) == size):
            yield gathered
            gathered = []
    if gathered:
        yield gathered
    if error is not None:
        raise error


def _file_blocks(path: pathlib.Path) -> Iterator[bytes]:
    from keras_seq.data.lines import raw_blocks

    return raw_blocks(path)


def _stdin_blocks() -> Iterator[bytes | None]:
    """Complete lines as they arrive, and None after a pause."""
    from keras_seq.data.lines import mended

    if sys.stdin is None:
        raise ValueError("stdin is closed, and no file is named. Name a file.")
    stream = getattr(sys.stdin, "buffer", None)
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError, io.UnsupportedOperation):  # not a file, as in a notebook
        content = stream.read() if stream is not None else sys.stdin.read().encode()
        yield from [mended(content, "stdin", 0)] if content else []
        return
    parts, before, paused = [], 0, True
    while True:
        if not paused and not select.select([descriptor], [], [], PAUSE_SECONDS)[0]:
            paused = True
            yield None
        block = os.read(descriptor, _BLOCK_BYTES)
        if not block:
            break
        head, feed, rest = block.rpartition(b"\n")
        if not feed:
            parts.append(block)
            continue
        block, parts = b"".join([*parts, head, feed]), [rest] if rest else []
        yield mended(block, "stdin", before)
        before, paused = before + block.count(b"\n"), False
    if parts:
        yield mended(b"".join(parts), "stdin", before)


def _checked(raw: bytes, place: str) -> Line:
    if b"\0" in raw:
        return Line(place, None, f"byte {raw.index(0) + 1} is NUL, as in a binary file or in UTF-16")
    try:
        return Line(place, raw.decode())
    except UnicodeDecodeError as error:
        return Line(place, None, f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not valid UTF-8")


class BadLines:
    """Counts lines, or other items (`unit`), without a result, and prints a report on stderr at the end."""

    def __init__(self, unit: str = "lines"):
        self.unit = unit
        self.count = self.total = 0
        self._first = []

    def add(self, place: str, why: str) -> None:
        self.count += 1
        if len(self._first) < FIRST_ONES:
            self._first.append(f"{place}: {why}")

    def print_summary(self) -> None:
        if self.count:
            first = "" if self.count <= FIRST_ONES else f" The first {FIRST_ONES}:"
            have = "has" if self.count == 1 else "have"
            print(f"{self.count:,} of {self.total:,} {self.unit} {have} no result.{first}", file=sys.stderr)
            print("\n".join(f"  {line}" for line in self._first), file=sys.stderr)


def each_line(
    items: Iterable,
    chunk: int,
    compute: Callable[[list], list],
    write: Callable[[int, Any], None],
    flush: Callable[[], None],
    unit: str = "lines",
) -> BadLines:
    """Computes results for items, a chunk of them at a time, and writes them in the order of the items.

    Args:
        items: `Line`s, or tuples of them that belong together, and None for a pause.
        chunk: greatest number of items that are computed together.
        compute: function from the texts (or tuples of texts) of valid items to as many results, each possibly a
            `Failure`.
        write: function of the number of the item, from 1, and its result or `Failure`.
        flush: function that is called after each chunk.
    Returns:
        The count of items without a result, already printed.
    """
    from keras_seq.commands.progress import Progress

    bad, progress = BadLines(unit), Progress(unit)
    try:
        for some in chunks(items, chunk):
            groups = [item if isinstance(item, tuple) and not isinstance(item, Line) else (item,) for item in some]
            wrong = [next((part for part in group if part.text is None), None) for group in groups]
            good = [group for group, part in zip(groups, wrong, strict=True) if part is None]
            results = iter(compute([tuple(p.text for p in g) if len(g) > 1 else g[0].text for g in good]))
            for group, part in zip(groups, wrong, strict=True):
                bad.total += 1
                result = Failure(part.why) if part is not None else _as_flags(next(results))
                if isinstance(result, Failure):
                    bad.add((part or group[0]).place, result.reason)
                write(bad.total, result)
            flush()
            progress(bad.total)
    finally:
        progress.close()
    bad.print_summary()
    return bad


def _as_flags(result: Any) -> Any:
    """A `Failure` with the names of options as flags."""
    if not isinstance(result, Failure):
        return result
    return Failure(re.sub(r"`([a-z_]+)`", lambda match: flag(match[1]), result.reason))
