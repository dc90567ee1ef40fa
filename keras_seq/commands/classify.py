"""`keras-seq classify`: the class of each line."""

import dataclasses
import pathlib

from keras_seq.cli import option
from keras_seq.commands.lines import STDIN, check_files, each_line
from keras_seq.commands.options import HELP, LineOptions
from keras_seq.commands.output import Writer
from keras_seq.commands.text_columns import TextColumn, check_tables, texts
from keras_seq.tasks.results import Failure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify(TextColumn, LineOptions):
    """Predicts the class of each line and writes its label, a tab, and its probability. With --json, it also writes
    the probabilities of all labels. A run folder has the labels in vocabulary/labels.txt."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "text, one example a line, or tables, plain or .gz (none or -: stdin)", positional=True
    )


def classify(options: Classify) -> None:
    from keras_seq.tasks.loading import load_as

    options.check()
    check_files(options.files or [STDIN], options.output)
    check_tables(options.files or [STDIN], options.text_column)
    task = load_as(options.model, "classification")
    if task.rank is not None:
        raise ValueError(
            f"{task.where} classifies arrays, but keras-seq classify takes lines of text. Use keras_seq.load in Python."
        )
    compute = task.predictor(**options.limits)
    with Writer(options.output) as writer:

        def write(number, result):
            failed = isinstance(result, Failure)
            if options.json:
                writer.record(line=number, **({"error": result.reason} if failed else result._asdict()))
            else:
                writer("" if failed else f"{result.label}\t{result.probability:.4f}")

        each_line(texts(options.files, options.text_column), options.chunk, compute, write, writer.flush)
