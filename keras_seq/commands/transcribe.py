"""`keras-seq transcribe`: transcripts of recordings."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from keras_seq.cli import option
from keras_seq.commands.lines import STDIN, Line, each_line, lines
from keras_seq.commands.options import HELP
from keras_seq.commands.output import Writer
from keras_seq.tasks.results import Failure

SAMPLING_RATE = 8000  # default for a SavedModel that records none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcribe:
    """Transcribes wav files: a line of text for each. With --json, it also writes the name of the file, the score of
    the search and the log-probability."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "wav files (none or -: their names are read from stdin, one a line)", positional=True
    )
    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "JSON output, an object for each file")
    sampling_rate: int | None = option(
        None,
        f"sampling rate that files are converted to (default: the model's, or {SAMPLING_RATE} if it records none)",
    )
    chunk: int = option(200, "number of files that are read, sorted by length and processed together")
    batch_seconds: float = option(120.0, "size of a batch in seconds: rows times the padded length")
    max_seconds: float = option(600.0, "longest file in seconds (a longer one gets an empty result and a note)")
    max_length: int = option(100, "greatest number of output tokens of an attention model, the end token counted")


def transcribe(options: Transcribe) -> None:
    for name in ("chunk", "batch_seconds", "max_seconds", "max_length", "sampling_rate"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ValueError(f"--{name.replace('_', '-')} must be positive. Received: {value}")
    if STDIN in options.files and len(options.files) > 1:
        raise ValueError("- (names from stdin) excludes other files. Leave it out, or the files.")
    if options.output is not None and options.output.suffix.lower() == ".wav":
        raise ValueError(f"--output {options.output} would be a wav file of text. Name another one.")
    compute = _predictor(options)
    with Writer(options.output) as writer:
        name_of = []

        def write(number: int, result: Any) -> None:
            name, failed = name_of[number - 1], isinstance(result, Failure)
            if options.json:
                writer.record(file=name, **({"error": result.reason} if failed else result._asdict()))
            else:
                writer("" if failed else result.text)

        def named(items: Iterator[Line | None]) -> Iterator[Line | None]:
            for item in items:
                if item is not None:
                    name_of.append(item.text or "")
                yield item

        each_line(named(_names(options.files)), options.chunk, compute, write, writer.flush, unit="files")


def _names(files: tuple[pathlib.Path, ...]) -> Iterator[Line | None]:
    if not files or files == (STDIN,):
        return lines([STDIN])
    return iter([Line(str(path), str(path)) for path in files])


def _predictor(options: Transcribe) -> Callable[[list], list]:
    """A function from names of sound files to their results."""
    from keras_seq.tasks.loading import load_as

    task = load_as(options.model, "transcription")
    rate, flag_rate = task.sampling_rate, options.sampling_rate
    if rate is not None and flag_rate not in (None, rate):
        raise ValueError(
            f"--sampling-rate {flag_rate}: {task.where} was trained at {rate}. Leave it out: files with another rate "
            "are converted."
        )
    if rate is None and flag_rate is None:
        print(
            f"{task.where} does not record its sampling rate: {SAMPLING_RATE:,} a second is assumed. If it is another, "
            "pass --sampling-rate.",
            file=sys.stderr,
        )
    arguments = {"batch_seconds": options.batch_seconds, "max_seconds": options.max_seconds}
    if hasattr(task.model, "encode"):
        arguments["max_length"] = options.max_length
    if rate is None and flag_rate is not None:
        arguments["sampling_rate"] = flag_rate
    return task.predictor(**arguments)
