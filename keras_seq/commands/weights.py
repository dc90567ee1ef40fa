"""`keras-seq average` and `keras-seq export`: a run's weights in another form."""

import dataclasses
import pathlib
import sys
from typing import Literal

from keras_seq.cli import option
from keras_seq.commands.beside import FILES
from keras_seq.commands.opened import WEIGHTS
from keras_seq.commands.search_options import SearchOptions, given, search_arguments


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
    """Exports a run's model: as a SavedModel that takes strings and gives strings, its search inside, or a Transformer
    as a CTranslate2 model folder."""

    model: pathlib.Path = option(help=WEIGHTS)
    output: pathlib.Path = option(help="folder to write")
    format: Literal["saved_model", "ctranslate2"] = option("saved_model", "what to write")
    quantization: str | None = option(None, "ctranslate2: int8, int16, float16, ... (default: float32)")
    verify: bool = option(True, "load what was written and compare what it says")
    overwrite: bool = option(False, "replace an export of that kind that is there")


def average(options: Average) -> None:
    from keras_seq import training
    from keras_seq.commands.opened import open_weights

    if options.last < 1:
        raise ValueError(f"--last must be at least 1. Received: {options.last}")
    opened = open_weights(options.model, "average")
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
    from keras_seq.commands.opened import open_weights

    if options.format == "ctranslate2" and given(options):
        raise ValueError(f"{', '.join(given(options))}: a CTranslate2 model has no search inside; tell CTranslate2.")
    if options.format == "saved_model" and options.quantization is not None:
        raise ValueError("--quantization is of --format ctranslate2. Leave it out.")
    for_lines = [f"--{name}" for name in FILES if getattr(options, name) is not None]
    if for_lines:
        raise ValueError(f"{', '.join(for_lines)}: the lines to come are not known yet. Leave it out.")
    opened = open_weights(options.model, "export")
    if opened.is_language_model:
        raise ValueError(f"{opened.file} is a language model; models that translate are exported here.")
    shared = {"verify": options.verify, "overwrite": options.overwrite}
    shared |= {"source_vocabulary": opened.source_vocabulary}
    try:
        if options.format == "ctranslate2":
            given_path = {"quantization": options.quantization}
            exports.ctranslate2(opened.model, options.output, opened.vocabulary, **given_path, **shared)
        else:
            arguments = search_arguments(options, opened.vocabulary) | {"max_length": options.max_length}
            exports.saved_model(opened.model, options.output, opened.vocabulary, **arguments, **shared)
    except RuntimeError as error:  # of the comparison
        raise ValueError(f"{options.output} was not written: {error}") from error
    print(f"{options.output}: written{' and compared' if options.verify else ''}.", file=sys.stderr)
