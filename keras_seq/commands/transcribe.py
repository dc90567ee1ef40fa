"""`keras-seq transcribe`: what is said in recordings."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from keras_seq.cli import option
from keras_seq.commands.model_files import HELP, Served
from keras_seq.commands.recognizers import Recognizer, open_recognizer
from keras_seq.commands.streams import STDIN, Failed, Line, Writer, each_line, lines

SAMPLE_RATE = 8000  # of a SavedModel that does not tell


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcribe:
    """Writes down what is said in wav files: a line of text for each. With --json the name of the file, the score of
    the search and the log-probability too."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "wav files; none or -: their names are read from stdin, one a line", positional=True
    )
    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "write a JSON object for each file")
    sample_rate: int | None = option(
        None,
        f"that files are converted to (default: that of the model; {SAMPLE_RATE} for a SavedModel that does not tell)",
    )
    chunk: int = option(200, "files that are read, sorted by length and worked on together")
    batch_seconds: float = option(120.0, "rows of a batch times its padded length")
    max_seconds: float = option(600.0, "longer files get an empty result and a note")
    max_length: int = option(100, "of a text in tokens, the end counted, where a run folder's model attends")


class Heard(NamedTuple):
    text: str
    score: float
    log_prob: float


def transcribe(options: Transcribe) -> None:
    for name in ("chunk", "batch_seconds", "max_seconds", "max_length", "sample_rate"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ValueError(f"--{name.replace('_', '-')} must be positive. Received: {value}")
    if STDIN in options.files and len(options.files) > 1:
        raise ValueError("- (names from stdin) stands alone. Leave it out, or the files.")
    if options.output is not None and options.output.suffix.lower() == ".wav":
        raise ValueError(f"--output {options.output} would be a wav file of text. Name another one.")
    compute = recognition(open_recognizer(options.model), options)
    with Writer(options.output) as writer:
        name_of = []

        def write(number: int, result: Heard | Failed) -> None:
            name, failed = name_of[number - 1], isinstance(result, Failed)
            if options.json:
                writer.record(file=name, **({"error": result.why} if failed else result._asdict()))
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


def recognition(opened: Recognizer | Served, options: Transcribe) -> Callable[[list], list]:
    """The function from a list of names of wav files to as many `Heard` or `Failed`.

    Raises:
        ValueError: if the SavedModel has no such signature, or the rate is not the model's.
    """
    from keras_seq.data import read_audio

    function, rate = _function(opened, options)

    def read(name: str) -> Any:
        try:
            waveform = read_audio([name], rate, resample=True, mix_down=True).waveform(0)
        except (OSError, ValueError) as error:
            return Failed(str(error))
        seconds = len(waveform) / rate
        if seconds > options.max_seconds:
            return Failed(f"{name}: {seconds:,.1f} s are more than --max-seconds {options.max_seconds:g}")
        return waveform

    def compute(names: list[str]) -> list[Heard | Failed]:
        results = [read(name) for name in names]
        rows = [row for row, result in enumerate(results) if not isinstance(result, Failed)]
        for batch in _batches(rows, [len(result) for result in results], int(options.batch_seconds * rate)):
            heard = _run(function, [results[row] for row in batch])
            for row, result in zip(batch, heard, strict=True):
                results[row] = result
        return results

    return compute


def _batches(rows: list[int], lengths: list[int], samples: int) -> Iterator[list[int]]:
    """Rows of like length together, the longest first."""
    rows = sorted(rows, key=lambda row: -lengths[row])
    while rows:
        count = max(1, samples // max(1, lengths[rows[0]]))
        yield rows[:count]
        rows = rows[count:]


def _run(function: Callable, waveforms: list) -> list[Heard]:
    import numpy as np
    import tensorflow as tf

    batch = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    found = function(waveform=tf.constant(batch))
    # Of several results, as a beam may give them, the first is the best.
    columns = [found[name].numpy().reshape(len(waveforms), -1)[:, 0] for name in ("text", "score", "log_prob")]
    rows = zip(*columns, strict=True)
    return [Heard(text.decode("utf-8", "replace"), float(score), float(log_prob)) for text, score, log_prob in rows]


def _function(opened: Recognizer | Served, options: Transcribe) -> tuple[Callable, int]:
    """What is called with waveforms, and their sample rate."""
    if isinstance(opened, Served):
        found = opened.signatures.get("transcribe")
        if found is None or set(found.structured_input_signature[1]) != {"waveform"}:
            raise ValueError(
                f"{opened.folder} has no signature `transcribe` from `waveform`, as export.saved_model writes it. It "
                f"has: {', '.join(sorted(opened.signatures)) or 'none'}. keras-seq inspect tells more."
            )
        return found, _served_rate(opened, options)
    _check_rate(opened.file, opened.sample_rate, options)
    from keras_seq.export.signatures import Exported

    task = opened.task(max_length=options.max_length, search="greedy")
    signatures = {"transcribe": task.signatures(opened.model)["transcribe"]}
    return Exported(opened.model, signatures, task.resources).transcribe, opened.sample_rate


def _served_rate(opened: Served, options: Transcribe) -> int:
    """The sample rate that a SavedModel tells; else that of the flag, or one that is guessed."""
    describe = opened.signatures.get("describe")
    if describe is not None and "sample_rate" in describe.structured_outputs:
        rate = int(describe()["sample_rate"])
        _check_rate(opened.folder, rate, options)
        return rate
    if options.sample_rate is None:
        print(
            f"{opened.folder} does not tell its sample rate: {SAMPLE_RATE:,} a second are taken. If it is another, "
            "give --sample-rate.",
            file=sys.stderr,
        )
    return options.sample_rate or SAMPLE_RATE


def _check_rate(path: pathlib.Path, rate: int, options: Transcribe) -> None:
    if options.sample_rate not in (None, rate):
        raise ValueError(
            f"--sample-rate {options.sample_rate}: {path} was trained at {rate}. Leave it out; files with another rate "
            "are converted."
        )
