"""`keras-seq average` and `keras-seq export`: a run's weights in another form."""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.commands.options import WEIGHTS
from keras_seq.commands.search_options import SearchOptions, given, search_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Average:
    """Averages the weights of a run's last checkpoints, and writes the model. In the run folder it can be given to the
    other verbs: --model RUN/averaged.keras."""

    model: pathlib.Path = option(help=WEIGHTS)
    last: int = option(5, "how many checkpoints, the newest ones; fewer where there are fewer")
    output: pathlib.Path | None = option(None, "file to write (default: averaged.keras in the run folder)")
    overwrite: bool = option(False, "replace the file if it is there")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(SearchOptions):
    """Exports a run's model: as a SavedModel that takes strings and gives strings, its search inside if it has one, or
    a Transformer as a CTranslate2 model folder."""

    model: pathlib.Path = option(help=WEIGHTS)
    output: pathlib.Path = option(help="folder to write")
    format: Literal["saved_model", "ctranslate2"] = option("saved_model", "what to write")
    quantization: str | None = option(None, "ctranslate2: int8, int16, float16, ... (default: float32)")
    first: Literal["start", "end"] | None = option(
        None, "of a language model: the token before each text (default: start)"
    )
    verify: bool = option(True, "load what was written and compare what it says")
    overwrite: bool = option(False, "replace an export of that kind that is there")


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
        raise ValueError(f"{task.folder / 'checkpoints'} has no checkpoint that is whole. Train on, or copy them anew.")
    training.average_checkpoints(task.model, paths)
    with training.atomic_write(output) as temporary:
        task.model.save(temporary)
    names = ", ".join(path.name for path in paths)
    print(f"{output}: the mean of {names}.", file=sys.stderr)


def export(options: Export) -> None:
    from keras_seq import export as exports
    from keras_seq.tasks.loading import load_run

    if options.format == "ctranslate2" and given(options):
        raise ValueError(f"{', '.join(given(options))}: a CTranslate2 model has no search inside; tell CTranslate2.")
    if options.format == "saved_model" and options.quantization is not None:
        raise ValueError("--quantization is of --format ctranslate2. Leave it out.")
    task = load_run(options.model, "keras-seq export")
    shared = {"verify": options.verify, "overwrite": options.overwrite}
    try:
        if options.format == "ctranslate2":
            sides = {"source_vocabulary": getattr(task, "source_vocabulary", None)}
            shared |= {"quantization": options.quantization}
            vocabulary = getattr(task, "vocabulary", None)  # a forecaster has none
            exports.ctranslate2(task.model, options.output, vocabulary, **sides, **shared)
        else:
            exports.saved_model(_with_search(task, options), options.output, **shared)
            if task.name == "tensors":
                print(
                    f"{task.folder / 'vocabulary'} names no classes (labels.txt), tags (tags.txt) or columns "
                    "(forecast.json): the model is exported as it is, from tensors to tensors, as `serve`.",
                    file=sys.stderr,
                )
    except RuntimeError as error:  # of the comparison
        raise ValueError(f"{options.output} was not written: {error}") from error
    print(f"{options.output}: written{' and compared' if options.verify else ''}.", file=sys.stderr)


def _with_search(task: Any, options: Export) -> Any:
    """The task with the search that the flags ask for."""
    asked = search_options(options)
    if options.first is not None:
        if task.name != "generation":
            raise ValueError(
                f"--first: {task.where} is a task of {task.name}, with no text before its own. Leave it out."
            )
        asked["first"] = options.first
    if not asked:
        return task
    if not hasattr(task, "with_search"):
        flags = given(options)
        raise ValueError(f"{', '.join(flags)}: {task.where} is a task of {task.name}, without a search. Leave it out.")
    return task.with_search(asked)
