"""`keras-seq translate` and `keras-seq generate`: one or several lines of output for each line of input."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal

from keras_seq.cli import in_one_line, option
from keras_seq.commands import nbest
from keras_seq.commands.line_inputs import with_side_inputs
from keras_seq.commands.lines import STDIN, check_files, each_line
from keras_seq.commands.options import LineOptions, ModelOptions, UnknownOptions, loaded, replacement
from keras_seq.commands.output import Writer
from keras_seq.commands.search_options import LineSearchOptions, files_beside, search_options, side_inputs
from keras_seq.commands.text_columns import TextColumn, check_tables, texts
from keras_seq.tasks.results import Failure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translate(UnknownOptions, LineSearchOptions, TextColumn, LineOptions, ModelOptions):
    """Translates each line to one line, in order. With several results for a line (--num-return), the output is an
    n-best list in the format of Moses: number ||| text ||| log_prob= ... finished= 1 ||| score."""

    files: tuple[pathlib.Path, ...] = option(
        (), "text, plain or .gz, one example a line (none or -: stdin)", positional=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(LineSearchOptions, TextColumn, LineOptions, ModelOptions):
    """Continues each line with a language model and writes the line and its continuation, in order. An empty line gets
    an unprompted text."""

    files: tuple[pathlib.Path, ...] = option(
        (), "prompts, one a line, plain or .gz (none or -: stdin)", positional=True
    )
    first: Literal["start", "end"] | None = option(
        None,
        "token before each line (default: start; end, as after a document, in text cut by data.blocks or data.streams)",
    )
    echo: bool = option(True, "the line itself before its continuation")


def translate(options: Translate) -> None:
    unknown = replacement(options)
    cut_off = CutOff()
    _run(options, lambda: cut_off.counting(translator(options, options.model, replace_unknown=unknown)))
    cut_off.print_summary()


def generate(options: Generate) -> None:
    first = {"first": options.first} if options.first else {}
    _run(options, lambda: searching(options, options.model, "generation", echo=options.echo, **first))


def translator(options: Any, paths: tuple[pathlib.Path, ...], **others: Any) -> Callable[[list], list]:
    """The function from lines, or tuples of lines, to results that the flags describe."""
    return searching(options, paths, "translation", **others)


def searching(options: Any, paths: tuple[pathlib.Path, ...], kind: str, **others: Any) -> Callable[[list], list]:
    """As `translator`, for a kind of task, with further options of its `predictor`."""
    task = loaded(paths, options.model_weight, kind)
    per_line = {"side_inputs": names} if (names := side_inputs(options)) else {}
    return task.predictor(**options.limits, **per_line, **search_options(options), **others)


def _run(options: Any, make: Callable[[], Callable[[list], list]]) -> None:
    options.check()
    check_files([*(options.files or [STDIN]), *files_beside(options)], options.output)
    check_tables(options.files or [STDIN], options.text_column)
    compute = make()
    with Writer(options.output) as writer:
        write = _json(writer) if options.json else _plain(writer, (options.num_return or 1) > 1)
        each_line(
            with_side_inputs(texts(options.files, options.text_column), options),
            options.chunk,
            compute,
            write,
            writer.flush,
        )


def _json(writer: Writer) -> Callable[[int, Any], None]:
    def write(number, result):
        if isinstance(result, Failure):
            writer.record(line=number, error=result.reason)
            return
        texts, (scores, log_probs, finished) = [result.prompt + text for text in result.texts], result[1:4]
        if len(texts) > 1:
            writer.record(line=number, texts=texts, scores=scores, log_probs=log_probs, finished=finished)
        else:
            writer.record(line=number, text=texts[0], score=scores[0], log_prob=log_probs[0], finished=finished[0])

    return write


def _plain(writer: Writer, several: bool) -> Callable[[int, Any], None]:
    def write(number, result):
        if isinstance(result, Failure):
            writer(nbest.without_candidates(number - 1) if several else "")
        elif not several and len(result.texts) == 1:
            writer(_prompt_line(result) + in_one_line(result.texts[0]), as_is=True)
        else:
            for text, score, log_prob, finished in zip(*result[:4], strict=True):
                features = {"log_prob": log_prob, nbest.FINISHED: finished}
                text = _prompt_line(result) + in_one_line(text)
                writer(nbest.written(number - 1, text, features, score), as_is=True)

    return write


def _prompt_line(result: Any) -> str:
    """The prompt as it was typed, in one line. The text of a table's column may have several."""
    return result.prompt.replace("\n", " ")


class CutOff:
    """Counts results without an end token, and prints their number on stderr."""

    def __init__(self):
        self.count = self.total = 0

    def counting(self, compute: Callable[[list], list]) -> Callable[[list], list]:
        def counted(items):
            results = compute(items)
            best = [result.finished[0] for result in results if not isinstance(result, Failure)]
            self.count, self.total = self.count + best.count(False), self.total + len(best)
            return results

        return counted

    def print_summary(self) -> None:
        if self.count:
            print(
                f"{self.count:,} of {self.total:,} results did not end by themselves: they are truncated at "
                "--max-length.",
                file=sys.stderr,
            )
