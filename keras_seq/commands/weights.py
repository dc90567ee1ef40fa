"""`keras-seq average` and `keras-seq export`: a run's weights in another form."""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.commands.classifiers import Classifier
from keras_seq.commands.forecasters import Forecaster
from keras_seq.commands.mappers import Mapper
from keras_seq.commands.model_files import WEIGHTS
from keras_seq.commands.opened import Trained
from keras_seq.commands.recognizers import Recognizer
from keras_seq.commands.search_options import SearchOptions, ctc_arguments, given, search_arguments
from keras_seq.commands.taggers import Tagger


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
    from keras_seq.commands.opened import open_run

    if options.last < 1:
        raise ValueError(f"--last must be at least 1. Received: {options.last}")
    opened = open_run(options.model, "average")
    output = options.output or opened.folder / "averaged.keras"
    if output.suffix != ".keras":
        raise ValueError(f"--output must end in .keras. Received: {output}")
    if output.exists() and not options.overwrite:
        raise ValueError(f"{output} exists already. Name another --output, or add --overwrite.")
    paths = training.Checkpoints(opened.folder).paths()[-options.last :]
    if not paths:
        raise ValueError(
            f"{opened.folder / 'checkpoints'} has no checkpoint that is whole. Train on, or copy them anew."
        )
    training.average_checkpoints(opened.model, paths)
    with training.replacing(output) as temporary:
        opened.model.save(temporary)
    names = ", ".join(path.name for path in paths)
    print(f"{output}: the mean of {names}.", file=sys.stderr)


def export(options: Export) -> None:
    from keras_seq import export as exports
    from keras_seq.commands.opened import open_run
    from keras_seq.models import best_tags

    if options.format == "ctranslate2" and given(options):
        raise ValueError(f"{', '.join(given(options))}: a CTranslate2 model has no search inside; tell CTranslate2.")
    if options.format == "saved_model" and options.quantization is not None:
        raise ValueError("--quantization is of --format ctranslate2. Leave it out.")
    opened = open_run(options.model, "export")
    shared = {"verify": options.verify, "overwrite": options.overwrite}
    try:
        if options.format == "ctranslate2":
            sides = {"source_vocabulary": getattr(opened, "source_vocabulary", None)}
            shared |= {"quantization": options.quantization}
            vocabulary = getattr(opened, "vocabulary", None)  # a forecaster has none
            exports.ctranslate2(opened.model, options.output, vocabulary, **sides, **shared)
        else:
            model = best_tags(opened.model) if isinstance(opened, Tagger) else opened.model
            exports.saved_model(model, options.output, _task(opened, options), **shared)
            if isinstance(opened, Mapper):
                print(
                    f"{opened.folder / 'vocabulary'} names no classes (labels.txt), tags (tags.txt) or columns "
                    "(forecast.json): the model is exported as it is, from tensors to tensors, as `serve`.",
                    file=sys.stderr,
                )
    except RuntimeError as error:  # of the comparison
        raise ValueError(f"{options.output} was not written: {error}") from error
    print(f"{options.output}: written{' and compared' if options.verify else ''}.", file=sys.stderr)


def _task(opened: Classifier | Forecaster | Mapper | Recognizer | Tagger | Trained, options: Export) -> Any:
    """What the model of a run is exported for, by what it is."""
    if isinstance(opened, Classifier | Forecaster | Mapper | Tagger):
        flags = given(options) + ["--first"] * (options.first is not None)
        if flags:
            kind = type(opened.model).__name__ if isinstance(opened, Mapper) else type(opened).__name__.lower()
            raise ValueError(f"{', '.join(flags)}: {opened.file} is a {kind}, and searches for nothing. Leave it out.")
        return opened.task()
    hears = isinstance(opened, Recognizer)
    if options.first is not None and (hears or not opened.is_language_model):
        does = "writes down sound" if hears else "translates"
        raise ValueError(f"--first: {opened.file} {does}, and has no text before its own. Leave it out.")
    return opened.task(**_recognition_options(opened, options)) if hears else _text(opened, options)


def _recognition_options(opened: Recognizer, options: Export) -> dict[str, Any]:
    """The arguments of its `task`."""
    if not opened.attends:
        return ctc_arguments(options, opened.file)
    # Greedy unless told otherwise, as keras-seq transcribe is.
    search = search_arguments(dataclasses.replace(options, search=options.search or "greedy"), opened.vocabulary)
    if options.search in (None, "greedy"):
        search["search"] = "greedy"  # whose score is log p
    return search if options.longest is None else {**search, "max_length": options.longest}


def _text(opened: Trained, options: Export) -> Any:
    """The task of a model that translates, or goes on with a text."""
    from keras_seq import export as exports

    search = search_arguments(options, opened.vocabulary)
    if not opened.is_language_model:
        return exports.Translation(opened.vocabulary, opened.source_vocabulary, max_length=options.longest, **search)
    if options.longest is not None:
        search["max_length"] = options.longest
    return exports.Generation(opened.vocabulary, first=options.first or "start", **search)
