"""`keras-seq translate` and `keras-seq generate`: a line in, a line out, or several."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.commands import nbest
from keras_seq.commands.beside import with_beside
from keras_seq.commands.line_options import LineOptions, ModelOptions
from keras_seq.commands.search_options import LineSearchOptions, files_beside
from keras_seq.commands.streams import STDIN, Failed, Writer, check_files, each_line, in_one_line
from keras_seq.commands.text_columns import TextColumn, check_tables, texts
from keras_seq.commands.unknown_words import UnknownOptions, replacement


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translate(UnknownOptions, LineSearchOptions, TextColumn, LineOptions, ModelOptions):
    """Translates lines, each to one line, in their order. With several results for a line (--num-return), the lines
    are those of an n-best list as Moses writes it: number ||| text ||| log_prob= ... finished= 1 ||| score."""

    files: tuple[pathlib.Path, ...] = option(
        (), "text, plain or .gz, one example a line; none or -: stdin", positional=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(LineSearchOptions, TextColumn, LineOptions, ModelOptions):
    """Goes on from each line with a language model, and writes the line and what follows it, in the order of the lines.
    From an empty line it begins freely."""

    files: tuple[pathlib.Path, ...] = option(
        (), "beginnings, one a line, plain or .gz; none or -: stdin", positional=True
    )
    first: Literal["start", "end"] | None = option(
        None,
        "token before each line (default: start); end: as after a document, in text cut by data.blocks or data.streams",
    )
    echo: bool = option(True, "write the line itself before what follows it")


def translate(options: Translate) -> None:
    from keras_seq.commands.opened import open_models
    from keras_seq.commands.searching import Limits, translation

    limits = Limits(options.batch_tokens, options.max_source_length)
    unknown = replacement(options)
    model = lambda: open_models(options.model, options.model_weight)  # noqa: E731
    told = CutOff()
    _run(options, lambda: told.counting(translation(model(), options, limits, unknown)))
    told.tell()


def generate(options: Generate) -> None:
    from keras_seq.commands.opened import open_models
    from keras_seq.commands.searching import Limits, continuation

    limits = Limits(options.batch_tokens, options.max_source_length)
    model = lambda: open_models(options.model, options.model_weight)  # noqa: E731
    _run(options, lambda: continuation(model(), options, limits, options.first, options.echo))


def _run(options: Any, make: Callable[[], Callable[[list], list]]) -> None:
    options.check()
    check_files([*(options.files or [STDIN]), *files_beside(options)], options.output)
    check_tables(options.files or [STDIN], options.text_column)
    compute = make()
    with Writer(options.output) as writer:
        write = _json(writer) if options.json else _plain(writer, (options.num_return or 1) > 1)
        each_line(
            with_beside(texts(options.files, options.text_column), options), options.chunk, compute, write, writer.flush
        )


def _json(writer: Writer) -> Callable[[int, Any], None]:
    def write(number, result):
        if isinstance(result, Failed):
            writer.record(line=number, error=result.why)
            return
        texts, (scores, log_probs, finished) = [result.own + text for text in result.texts], result[1:4]
        if len(texts) > 1:
            writer.record(line=number, texts=texts, scores=scores, log_probs=log_probs, finished=finished)
        else:
            writer.record(line=number, text=texts[0], score=scores[0], log_prob=log_probs[0], finished=finished[0])

    return write


def _plain(writer: Writer, several: bool) -> Callable[[int, Any], None]:
    def write(number, result):
        if isinstance(result, Failed):
            writer(nbest.without_candidates(number - 1) if several else "")
        elif not several and len(result.texts) == 1:
            writer(_own_line(result) + in_one_line(result.texts[0]), as_is=True)
        else:
            for text, score, log_prob, finished in zip(*result[:4], strict=True):
                features = {"log_prob": log_prob, nbest.FINISHED: finished}
                text = _own_line(result) + in_one_line(text)
                writer(nbest.written(number - 1, text, features, score), as_is=True)

    return write


def _own_line(result: Any) -> str:
    """As it was typed; the text of a column of a table may be of several lines."""
    return result.own.replace("\n", " ")


class CutOff:
    """Counts results that have not come to their end, and tells of them on stderr."""

    def __init__(self):
        self.count = self.total = 0

    def counting(self, compute: Callable[[list], list]) -> Callable[[list], list]:
        def counted(items):
            results = compute(items)
            best = [result.finished[0] for result in results if not isinstance(result, Failed)]
            self.count, self.total = self.count + best.count(False), self.total + len(best)
            return results

        return counted

    def tell(self) -> None:
        if self.count:
            print(
                f"{self.count:,} of {self.total:,} results have not come to their end: they are cut off at "
                "--max-length.",
                file=sys.stderr,
            )
