"""Lines in, lines out: what every verb that goes line by line shares."""

import contextlib
import errno
import gzip
import io
import json
import math
import os
import pathlib
import re
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from keras_seq.cli import flag, in_one_line
from keras_seq.tasks.results import Failure, one_line

PAUSE_SECONDS = 0.2  # when stdin says nothing for so long, what has come is worked on
FIRST_ONES = 5  # bad lines that are named at the end
_BLOCK_BYTES = 1 << 18
STDIN = pathlib.Path("-")


class Line(NamedTuple):
    """A line of the input: where it stands, `file:3`, and its text or, where that is None, what is wrong with it. The
    text may be split into words."""

    place: str
    text: str | list[str] | None
    why: str = ""


def check_files(files: Iterable[pathlib.Path], output: pathlib.Path | None = None) -> None:
    """Before a model is loaded: the files are there, stdin is named once, and `output` is none of them.

    Raises:
        FileNotFoundError: for one that is not there.
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
            raise ValueError(f"--output {output} is the very file that is read. Name another one.")


def lines(files: Sequence[pathlib.Path]) -> Iterator[Line | None]:
    """The lines of files one after the other, of stdin where there are none; None where stdin pauses.

    Only a line feed ends a line; a byte order mark and the carriage returns at the end of a line are taken off. See
    `data.lines.mended` for a text without a line feed, and marks inside a text.
    """
    for path in files or [STDIN]:
        name, number = "stdin" if path == STDIN else str(path), 0
        for block in _stdin_blocks() if path == STDIN else _file_blocks(path):
            if block is None:
                yield None
                continue
            for raw in block.removesuffix(b"\n").split(b"\n"):
                number += 1
                yield _checked(raw.rstrip(b"\r"), f"{name}:{number}")


def chunks(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size`; a shorter one where there is a None, at the end, and before an error that the items raise."""
    gathered, error = [], None
    items = iter(items)
    while error is None:
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
    """Whole lines as they come; None when nothing has come for a while."""
    from keras_seq.data.lines import mended

    if sys.stdin is None:
        raise ValueError("stdin is closed, and no file is named. Name a file.")
    stream = getattr(sys.stdin, "buffer", None)
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError, io.UnsupportedOperation):  # no real file, as in a notebook
        content = stream.read() if stream is not None else sys.stdin.read().encode()
        yield from [mended(content, "stdin", 0)] if content else []
        return
    parts, before, told = [], 0, True
    while True:
        if not told and not select.select([descriptor], [], [], PAUSE_SECONDS)[0]:
            told = True
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
        before, told = before + block.count(b"\n"), False
    if parts:
        yield mended(b"".join(parts), "stdin", before)


def _checked(raw: bytes, place: str) -> Line:
    if b"\0" in raw:
        return Line(place, None, f"byte {raw.index(0) + 1} is NUL, as in a file that is no text or is UTF-16")
    try:
        return Line(place, raw.decode())
    except UnicodeDecodeError as error:
        return Line(place, None, f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not valid UTF-8")


class Writer:
    """Where lines go: a file (plain, or `.gz`) or stdout, always UTF-8; they are out when `flush` returns.

    Raises:
        OSError: here, if the file cannot be opened, and later if it cannot be written; names it.
    """

    def __init__(self, path: pathlib.Path | None = None):
        self._name = "stdout" if path is None else str(path)
        self._lines = []
        if path is not None:
            with self._naming():
                opens = gzip.open if path.suffix == ".gz" else open
                self._file = opens(path, "wb")
        elif sys.stdout is None:
            raise ValueError("stdout is closed. Name a file with --output.")
        else:
            self._file = getattr(sys.stdout, "buffer", None)  # a notebook's has none
        self._closes = path is not None

    def __call__(self, line: str, as_is: bool = False) -> None:
        """One line; line ends inside it become spaces, unless it is written as it is: it then holds no line feed."""
        self._lines.append(line if as_is else in_one_line(line))

    def record(self, **fields: Any) -> None:
        """One JSON object; numbers that are not finite become null."""
        self._lines.append(json.dumps(_finite(fields), ensure_ascii=False, allow_nan=False))

    def flush(self) -> None:
        with self._naming():
            content = "".join(f"{line}\n" for line in self._lines)
            self._lines = []
            if self._file is None:
                sys.stdout.write(content)
                sys.stdout.flush()
            else:
                self._file.write(content.encode("utf-8", "replace"))
                self._file.flush()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if error is None or not isinstance(error, OSError):
                self.flush()
        finally:
            if self._closes:
                with self._naming():
                    self._file.close()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._name == "stdout":
                abandon_stdout()
            raise not_written(self._name, error) from error


def not_written(name: str, error: OSError) -> OSError:
    remedy = "Name another file with --output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "Make room on that disk"
    return OSError(f"{name} could not be written: {error.strerror or error}. {remedy}.")


def abandon_stdout() -> None:
    """Sends what stdout still holds to nowhere, so that Python does not try once more, and fail, when it ends.

    Source: the note on SIGPIPE in Python's documentation of `signal`.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_cleanly(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """The function with an orderly end: when nobody reads on (`| head`), when stdout is full, at Ctrl-C, and when a
    computation fails, for want of memory say."""

    def run(options: Any) -> None:
        try:
            function(options)
            if sys.stdout is not None:
                _flush_stdout()
        except BrokenPipeError:
            abandon_stdout()
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted; what is written so far is whole lines.", file=sys.stderr)
            sys.exit(1)
        except Exception as error:
            if not _is_tensorflow_error(error) or os.environ.get("KERAS_SEQ_TRACEBACK"):
                raise
            print(f"error: the model could not be run: {one_line(error)}", file=sys.stderr)
            sys.exit(1)

    return run


def _is_tensorflow_error(error: Exception) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise not_written("stdout", error) from error


class BadLines:
    """Counts lines (or what else, `unit`) without a result, and tells of them on stderr at the end."""

    def __init__(self, unit: str = "lines"):
        self.unit = unit
        self.count = self.total = 0
        self._first = []

    def add(self, place: str, why: str) -> None:
        self.count += 1
        if len(self._first) < FIRST_ONES:
            self._first.append(f"{place}: {why}")

    def tell(self) -> None:
        if self.count:
            first = "" if self.count <= FIRST_ONES else f" The first {FIRST_ONES}:"
            have = "has" if self.count == 1 else "have"
            print(f"{self.count:,} of {self.total:,} {self.unit} {have} no result.{first}", file=sys.stderr)
            print("\n".join(f"  {told}" for told in self._first), file=sys.stderr)


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
        items: `Line`s, or tuples of them that belong together; None is a pause.
        chunk: so many at most are computed together.
        compute: takes the texts (or tuples of texts) of good items and gives as many results, some may be `Failure`.
        write: takes the number of the item, from 1, and its result, or `Failure`.
        flush: is called after each chunk.
    Returns:
        the account of what failed, told already.
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
    bad.tell()
    return bad


def _as_flags(result: Any) -> Any:
    """A `Failure` with the names of options as flags."""
    if not isinstance(result, Failure):
        return result
    return Failure(re.sub(r"`([a-z_]+)`", lambda found: flag(found[1]), result.reason))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
