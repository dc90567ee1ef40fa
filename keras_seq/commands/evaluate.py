"""`keras-seq evaluate`: scores of a model, or of hypotheses, on files with references."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from keras_seq.cli import flag, option, table
from keras_seq.commands.options import HELP, SEVERAL, SHARES, LineOptions, UnknownOptions, loaded
from keras_seq.commands.output import Writer
from keras_seq.commands.search_options import LineSearchOptions
from keras_seq.series_options import SeriesFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledFiles:
    """Format of files with labels or references"""

    text_column: str | None = option(None, "column of the texts: its name, or its number from 0 (default: as trained)")
    label_column: str | None = option(None, "column of the labels: name or number (default: as trained, or 0)")
    header: Literal["auto", "yes", "no"] | None = option(None, "presence of a header row (default: as trained)")
    file_column: str = option("0", "column of the sound files in a table of recordings: name or number")
    word_column: str | None = option(None, "column of the words: name in CoNLL-U, else number (default: as trained)")
    tag_column: str | None = option(None, "column of the tags: name in CoNLL-U, else number (default: as trained)")
    spans: Literal["auto", "yes", "no"] | None = option(None, "tags read as spans such as BIO (default: as trained)")
    frames: int | None = option(None, "number of frames of each clip, evenly spread (default: as trained)")
    every: int | None = option(None, "step between the frames taken from a file (default: as trained)")
    documents: Literal["file", "line"] | None = option(None, "unit of running text (default: as trained)")
    block: int | None = option(None, "tokens of a block of running text (default: as trained, or 64)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(UnknownOptions, LineSearchOptions, LabeledFiles, SeriesFlags, LineOptions):
    """Scores a model on files with references, or hypotheses against references line by line. The model's task
    determines the format of the files and the scores. By default, columns are those of the model's training."""

    files: tuple[pathlib.Path, ...] = option(
        (),
        "references and hypotheses as lines of text; or, with --model, labeled files of its task: a table of texts or "
        "of recordings, CoNLL-U or columns, a series, running text, a folder of clips, an .npz file",
        positional=True,
    )
    model: tuple[pathlib.Path, ...] = option((), f"{HELP}; {SEVERAL}", repeated=True)
    model_weight: tuple[float, ...] = option((), SHARES, repeated=True)
    source: pathlib.Path | None = option(None, "source text of a translator, whose references are the file")
    tokenize: str = option("13a", "tokenizer of sacreBLEU's BLEU (none: for tokenized text)")
    lowercase: bool = option(False, "BLEU without case")
    split: tuple[float, ...] | None = option(
        None,
        "training, validation and test rows of a series, or shares, to score the test split (default: all rows, or as "
        "trained for the file of the training)",
    )


class Scores(NamedTuple):
    """The scores of a model or of hypotheses.

    Attributes:
        record: names and numbers, for --json.
        rows: cells of the table.
        lines: further lines below the table.
    """

    record: dict[str, Any]
    rows: list[tuple[str, ...]]
    lines: tuple[str, ...] = ()


def evaluate(options: Evaluate) -> None:
    options.check()
    if options.model and options.source is None:
        scores = _of_task(options)
    else:
        from keras_seq.commands.evaluate_text import score_lines

        scores = score_lines(options)
    with Writer(options.output) as writer:
        if options.json:
            writer.record(**scores.record)
        for line in [] if options.json else [*table(scores.rows, numbers=False), *scores.lines]:
            writer(line)


def _of_task(options: Evaluate) -> Scores:
    if not options.files:
        raise ValueError("--model requires files with references. Name one or more.")
    missing = [path for path in options.files if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]} does not exist. Name a file with references for the model.")
    task = loaded(options.model, options.model_weight)
    score, names = _scorers()[task.name]
    _refuse_others(options, task, {*names, "files", "model", "model_weight", "output", "json"})
    return score(options, task)


LINES = ("batch_tokens", "max_source_length", "chunk")
SEARCH = tuple(field.name for field in dataclasses.fields(LineSearchOptions) if field.name not in ("prefix", "force"))
SERIES = tuple(field.name for field in dataclasses.fields(SeriesFlags))


def _scorers() -> dict[str, tuple[Callable[[Evaluate, Any], Scores], tuple[str, ...]]]:
    """For each task name, the function that scores the task, and the options that it reads."""
    from keras_seq.commands import evaluate_labels, evaluate_series, evaluate_sound, evaluate_text

    texts = ("text_column", "label_column", "header")
    unknown = ("replace_unknown", "dictionary", "tokenize", "lowercase")
    labeled = (*LINES, *texts, "file_column", "frames", "every")
    return {
        "translation": (evaluate_text.score_pairs, (*LINES, *SEARCH, *unknown)),
        "generation": (evaluate_text.score_running_text, ("documents", "block")),
        "classification": (evaluate_labels.score_classes, labeled),
        "tagging": (evaluate_labels.score_tags, (*LINES, "word_column", "tag_column", "spans")),
        "forecasting": (evaluate_series.score_forecasts, (*SERIES, "split")),
        "transcription": (evaluate_sound.score_transcripts, ("text_column", "file_column", *SEARCH)),
        "tensors": (evaluate_labels.score_arrays, ("frames", "every")),
    }


def _refuse_others(options: Evaluate, task: Any, names: set[str]) -> None:
    """Raises `ValueError` for an option that the task does not read."""
    others = [
        flag(field.name)
        for field in dataclasses.fields(options)
        if field.name not in names and getattr(options, field.name) != field.default
    ]
    if others:
        verb = "does" if len(others) == 1 else "do"
        raise ValueError(f"{', '.join(others)} {verb} not apply to {task.where}, a task of {task.name}. Leave it out.")


def one_file(options: Evaluate) -> pathlib.Path:
    """The file of a task that takes a single one.

    Raises:
        ValueError: if there are several files.
    """
    if len(options.files) > 1:
        raise ValueError(f"This task is evaluated on one file. Received: {' '.join(map(str, options.files))}")
    return options.files[0]


def as_trained(options: Evaluate, task: Any, **defaults: Any) -> dict[str, Any]:
    """Options by name: from the command line, else from the `config.json` of the run, else from `defaults`."""
    from keras_seq.training import read_config

    config = read_config(task.folder / "config.json") if task.folder is not None else {}
    values = {}
    for name, default in defaults.items():
        value = getattr(options, name, None)
        value = config.get(name) if value is None else value
        values[name] = default if value is None else value
    return values


def column(name: str | None) -> str | int | None:
    """Number of a column, or its name."""
    return int(name) if name is not None and name.removeprefix("-").isdecimal() else name


def without_result(results: list) -> list[tuple[int, str]]:
    """Indices of the inputs without a result, with the reasons."""
    from keras_seq.tasks.results import Failure

    return [(place, result.reason) for place, result in enumerate(results) if isinstance(result, Failure)]


def failure_lines(results: list, unit: str) -> tuple[str, ...]:
    """A note on the inputs without a result, which count as wrong."""
    failed = without_result(results)
    if not failed:
        return ()
    number, reason = failed[0][0] + 1, failed[0][1]
    return (
        "",
        f"{len(failed):,} of {len(results):,} {unit} have no result and count as wrong; number {number}: {reason}",
    )
