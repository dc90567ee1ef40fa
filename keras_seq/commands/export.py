"""`keras-seq average` and `keras-seq export`: averaged weights of a run, and its model in other formats."""

import dataclasses
import os
import pathlib
import sys
from typing import Any, Literal

from keras_seq.cli import flag, option
from keras_seq.commands.options import WEIGHTS
from keras_seq.commands.search_options import SearchOptions, named_flags, search_options
from keras_seq.tasks.results import one_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Average:
    """Averages the weights of a run's last checkpoints and writes the model. The other verbs take it as --model
    RUN/averaged.keras."""

    model: pathlib.Path = option(help=WEIGHTS)
    last: int = option(5, "number of checkpoints to average, the newest ones")
    output: pathlib.Path | None = option(None, "file to write (default: averaged.keras in the run folder)")
    overwrite: bool = option(False, "replacement of an existing file")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(SearchOptions):
    """Exports a run's model. A SavedModel maps strings to strings and includes the vocabulary and the search. A LiteRT
    or an ONNX file maps ids, sounds, frames or series to the outputs of the model. A CTranslate2 folder has a
    Transformer and its vocabularies."""

    model: pathlib.Path = option(help=WEIGHTS)
    output: pathlib.Path = option(help="folder to write, or file: .tflite for LiteRT, .onnx for ONNX")
    format: Literal["saved_model", "litert", "onnx", "ctranslate2"] = option("saved_model", "format of the export")
    quantization: str | None = option(None, "ctranslate2: int8, int16, float16, ... (default: float32)")
    length: int | None = option(
        None,
        "litert, onnx: length of the example input in tokens, samples or frames (default: 32, 1 second, 10), which is "
        "the length of all inputs of a LiteRT file",
    )
    rows: int | None = option(None, "litert, onnx: rows of the example input, which LiteRT fixes (default: 1)")
    steps: int | None = option(None, "litert: greatest number of output tokens of a file that decodes step by step")
    free_length: bool = option(True, "onnx: inputs of any length")
    first: Literal["start", "end"] | None = option(None, "token before each text of a language model (default: start)")
    verify: bool = option(True, "comparison of the written model with the original")
    overwrite: bool = option(False, "replacement of an existing export of that format")


# Formats to which each option applies.
OPTIONS = {
    "quantization": ("ctranslate2",),
    "length": ("litert", "onnx"),
    "rows": ("litert", "onnx"),
    "steps": ("litert",),
    "free_length": ("onnx",),
    "first": ("saved_model",),
}


def average(options: Average) -> None:
    from keras_seq import training
    from keras_seq.tasks.loading import load_run

    if options.last < 1:
        raise ValueError(f"--last must be at least 1. Received: {options.last}")
    task = load_run(options.model, "keras-seq average")
    output = options.output or task.folder / "averaged.keras"
    if output.suffix != ".keras":
        raise ValueError(f"--output must end in .keras. Received: {output}")
    if output.exists() and not options.overwrite:
        raise ValueError(f"{output} exists already. Name another --output, or add --overwrite.")
    paths = training.Checkpoints(task.folder).paths()[-options.last :]
    if not paths:
        raise ValueError(
            f"{task.folder / 'checkpoints'} has no complete checkpoint. Resume the run, or copy them again."
        )
    training.average_checkpoints(task.model, paths)
    with training.atomic_write(output) as temporary:
        task.model.save(temporary)
    names = ", ".join(path.name for path in paths)
    print(f"{output}: the mean of {names}.", file=sys.stderr)


def export(options: Export) -> None:
    from keras_seq.tasks.loading import load_run

    _check(options)
    task = load_run(options.model, "keras-seq export")
    try:
        FORMATS[options.format](options, task)
    except ImportError:
        raise
    except Exception as error:
        if os.environ.get("KERAS_SEQ_TRACEBACK"):
            raise
        raise ValueError(_in_flags(options, error)) from error
    print(f"{options.output}: written{' and compared' if options.verify else ''}.", file=sys.stderr)


def _check(options: Export) -> None:
    """Raises `ValueError` for options that the format does not have."""
    if options.format != "saved_model" and named_flags(options):
        raise ValueError(
            f"{', '.join(named_flags(options))}: only a SavedModel includes the search, not --format {options.format}. "
            "Leave it out."
        )
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    for name, formats in OPTIONS.items():
        value = getattr(options, name)
        if value != defaults[name] and options.format not in formats:
            raise ValueError(f"{flag(name)} requires --format {' or '.join(formats)}. Leave it out.")
        if isinstance(value, int) and value < 1 and name != "free_length":
            raise ValueError(f"{flag(name)} must be at least 1. Received: {value}")


def _saved_model(options: Export, task: Any) -> None:
    from keras_seq import export as exports

    exports.saved_model(_with_search(task, options), options.output, run=task.folder, **_shared(options))
    if task.name == "tensors":
        print(
            f"{task.folder / 'vocabulary'} has no classes (labels.txt), tags (tags.txt) or columns (forecast.json): "
            "the model is exported without pre- and postprocessing, from tensors to tensors, as `serve`.",
            file=sys.stderr,
        )


def _ctranslate2(options: Export, task: Any) -> None:
    from keras_seq import export as exports

    vocabulary = getattr(task, "vocabulary", None)  # a forecaster has none
    sides = {"source_vocabulary": getattr(task, "source_vocabulary", None)}
    exports.ctranslate2(
        task.model,
        options.output,
        vocabulary,
        **sides,
        quantization=options.quantization,
        run=task.folder,
        **_shared(options),
    )


def _litert(options: Export, task: Any) -> None:
    from keras_seq import export as exports
    from keras_seq.commands.export_examples import example

    if options.steps is not None and not (hasattr(task.model, "encode") or hasattr(task.model, "initial_state")):
        raise ValueError(f"`steps`: {task.where} is a task of {task.name}, which does not decode. Leave it out.")
    inputs = example(task, options.rows or 1, options.length, source_alone=options.steps is not None)
    exports.litert(task.model, options.output, inputs, steps=options.steps, **_shared(options))


def _onnx(options: Export, task: Any) -> None:
    from keras_seq import export as exports
    from keras_seq.commands.export_examples import example

    length, columns = options.length, getattr(task, "columns", None)
    if length is None and columns is not None and options.free_length:
        length = columns.look_back + 1  # the verification tries one step less too
    inputs = example(task, options.rows or 1, length)
    exports.onnx(task.model, options.output, inputs, free_length=options.free_length, **_shared(options))


FORMATS = {"saved_model": _saved_model, "litert": _litert, "onnx": _onnx, "ctranslate2": _ctranslate2}


def _shared(options: Export) -> dict[str, bool]:
    return {"verify": options.verify, "overwrite": options.overwrite}


# Flags for the Python names in errors of the library.
FLAGS = {
    "another `path`": "another --output",
    "`export.saved_model`": "--format saved_model",
    "`free_length=False`": "--no-free-length",
    "`overwrite=True`": "--overwrite",
}


def _in_flags(options: Export, error: Exception) -> str:
    """The message of an error in one line, with flags in place of arguments."""
    message = one_line(error).partition("Traceback (most recent call last)")[0].rstrip(" :")
    for name, words in FLAGS.items():
        message = message.replace(name, words)
    if isinstance(error, ValueError):
        return message
    remedy = "" if message.endswith(".") else "."
    return f"{options.output} was not written: {message}{remedy}"


def _with_search(task: Any, options: Export) -> Any:
    """The task with the search that the flags describe."""
    search = search_options(options)
    if options.first is not None:
        if task.name != "generation":
            raise ValueError(f"--first: {task.where} is a task of {task.name}, not a language model. Leave it out.")
        search["first"] = options.first
    if not search:
        return task
    if not hasattr(task, "with_search"):
        flags = named_flags(options)
        raise ValueError(f"{', '.join(flags)}: {task.where} is a task of {task.name}, without a search. Leave it out.")
    return task.with_search(search)
