"""Output of the verbs: lines and JSON objects to a file or to stdout, and a clean exit."""

import contextlib
import errno
import gzip
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from keras_seq.cli import in_one_line
from keras_seq.tasks.results import finite, one_line


class Writer:
    """Writes lines to a file (plain, or `.gz`) or to stdout, always in UTF-8, whenever `flush` is called.

    Raises:
        OSError: if the file cannot be opened, and later if it cannot be written. The message names the file.
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
            self._file = getattr(sys.stdout, "buffer", None)  # in a notebook stdout has no buffer
        self._closes = path is not None

    def __call__(self, line: str, as_is: bool = False) -> None:
        """Adds a line. Line ends inside it become spaces, unless `as_is`: then it must not contain a line feed."""
        self._lines.append(line if as_is else in_one_line(line))

    def record(self, **fields: Any) -> None:
        """Adds a JSON object. NaN and infinity become null."""
        self._lines.append(json.dumps(finite(fields), ensure_ascii=False, allow_nan=False))

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
    """Redirects stdout to devnull, so that Python does not fail at exit when it flushes the rest of the output.

    Source: the note on SIGPIPE in Python's documentation of `signal`.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_cleanly(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wraps a function so that it exits cleanly when the reader of its output stops (`| head`), when stdout is full, at
    Ctrl-C, and when a computation fails, for example for lack of memory."""

    def run(options: Any) -> None:
        try:
            function(options)
            if sys.stdout is not None:
                _flush_stdout()
        except BrokenPipeError:
            abandon_stdout()
            sys.exit(1)
        except KeyboardInterrupt:
            print("Interrupted. All lines written so far are complete.", file=sys.stderr)
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
