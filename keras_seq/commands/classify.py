"""`keras-seq classify`: which class each line belongs to."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from keras_seq.cli import option
from keras_seq.commands.classifiers import Classifier, open_classifier
from keras_seq.commands.line_options import LineOptions
from keras_seq.commands.model_files import HELP, Served
from keras_seq.commands.streams import STDIN, Failed, Writer, check_files, each_line
from keras_seq.commands.text_columns import TextColumn, check_tables, texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classify(TextColumn, LineOptions):
    """Says which class each line belongs to: the label, a tab, and its probability. With --json all labels and their
    probabilities too. A run folder has the labels in vocabulary/labels.txt."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "text, one example a line, or tables; plain or .gz; none or -: stdin", positional=True
    )


class Classified(NamedTuple):
    label: str
    probability: float
    probabilities: dict[str, float]


def classify(options: Classify) -> None:
    from keras_seq.commands.searching import Limits

    options.check()
    check_files(options.files or [STDIN], options.output)
    check_tables(options.files or [STDIN], options.text_column)
    limits = Limits(options.batch_tokens, options.max_source_length)
    compute = classification(open_classifier(options.model), limits)
    with Writer(options.output) as writer:

        def write(number, result):
            failed = isinstance(result, Failed)
            if options.json:
                writer.record(line=number, **({"error": result.why} if failed else result._asdict()))
            else:
                writer("" if failed else f"{result.label}\t{result.probability:.4f}")

        each_line(texts(options.files, options.text_column), options.chunk, compute, write, writer.flush)


def classification(opened: Classifier | Served, limits) -> Callable[[list], list]:
    """The function from a list of texts to as many `Classified` or `Failed`."""
    from keras_seq.commands.served import by_length, signature, strings

    lengths = None
    if isinstance(opened, Served):
        function = signature(opened, "classify", {"label", "probability", "labels", "probabilities"})
    else:
        from keras_seq.export.signatures import Exported

        task = opened.task()
        function = Exported(opened.model, task.signatures(opened.model), task.resources).classify

        def lengths(texts):
            return (opened.vocabulary.tokenize(texts).row_lengths().numpy() + 1).tolist() if texts else []

    def compute(texts):
        found = {name: x.numpy() for name, x in function(text=texts).items()}
        rows = zip(found["label"], found["probability"], found["labels"], found["probabilities"], strict=True)
        return [
            Classified(label.decode(), float(best), dict(zip(strings(labels), probabilities.tolist(), strict=True)))
            for label, best, labels, probabilities in rows
        ]

    return by_length(limits, compute, lengths)
