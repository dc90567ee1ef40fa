"""`keras-seq score`: log-probabilities and perplexity of lines."""

import collections
import dataclasses
import itertools
import math
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.commands import nbest
from keras_seq.commands.lines import STDIN, BadLines, Line, check_files, each_line, lines
from keras_seq.commands.options import SEVERAL, SHARES, WEIGHTS, LineOptions, loaded
from keras_seq.commands.output import Writer
from keras_seq.commands.text_columns import check_tables
from keras_seq.tasks.results import Failure, Scored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(LineOptions):
    """Computes log p of given lines in nats by forced decoding. A line of output has the sum, the number of tokens (the
    end token is the last), and log p of each, between tabs. The perplexity of all lines is printed on stderr."""

    model: tuple[pathlib.Path, ...] = option(help=f"{WEIGHTS}; {SEVERAL}", repeated=True)
    model_weight: tuple[float, ...] = option((), SHARES, repeated=True)
    file: pathlib.Path = option(
        STDIN, "source text of a translator, or text of a language model (-: stdin)", positional=True
    )
    target: pathlib.Path | None = option(None, "translation of the source, for a translator", positional=True)
    n_best: bool = option(False, "last file as an n-best list of Moses, whose lines get the score")
    name: str = option("model", "name of the score, with --n-best")
    summary: bool = option(False, "figures of all lines and nothing else")
    first: Literal["start", "end"] = option("start", "token before each line of a language model")


def score(options: Score) -> None:
    from keras_seq.tasks.loading import refuse_saved_models
    from keras_seq.tasks.scoring import scoring

    options.check()
    files = [options.file] if options.target is None else [options.file, options.target]
    check_files(files, options.output)
    check_tables(files, remedy="Give the texts of its column, a line each.")
    if not options.name or set(options.name) & set("=:| \t"):
        raise ValueError(f"--name must be a word without = : |. Received: {options.name!r}")
    refuse_saved_models(options.model, "keras-seq score")
    task = loaded(options.model, options.model_weight, "translation", "generation")
    if task.name == "translation" and len(files) == 1:
        raise ValueError(f"{task.where} translates: name the source and the target file.")
    if task.name == "generation" and len(files) == 2:
        raise ValueError(f"{task.where} is a language model: name one file, the text.")
    compute = scoring(task, first=options.first, **options.limits)
    if options.n_best:
        _score_candidates(options, files, compute)
        return

    total = count = 0
    with Writer(options.output) as writer:

        def write(number, result):
            nonlocal total, count
            failed = isinstance(result, Failure)
            if not failed:
                total, count = total + result.total, count + len(result.tokens)
            if options.summary:
                return
            if options.json:
                writer.record(line=number, **({"error": result.reason} if failed else _fields(result)))
            elif failed:
                writer("")
            else:
                writer(f"{result.total:.6g}\t{len(result.tokens)}\t{' '.join(f'{x:.6g}' for x in result.log_probs)}")

        items = _pairs(files) if len(files) == 2 else lines(files)
        bad = each_line(items, options.chunk, compute, write, writer.flush)
        _print_totals(options, writer, bad, total, count)


def _pairs(files: list[pathlib.Path]) -> Iterator[tuple[Line, Line]]:
    """Pairs of the lines of two files with the same number."""
    ours, theirs = ((line for line in lines([file]) if line is not None) for file in files)
    for number, pair in enumerate(itertools.zip_longest(ours, theirs)):
        if None in pair:
            shorter, longer = files if pair[0] is None else reversed(files)
            raise ValueError(
                f"{shorter} has {number:,} lines and {longer} more. Each line must be the translation of the same "
                "line of the other file."
            )
        yield pair


def _fields(scored: Scored) -> dict[str, Any]:
    perplexity = _perplexity(scored.total, len(scored.tokens))
    fields = {"log_prob": scored.total, "perplexity": perplexity}
    return fields | {"tokens": scored.tokens, "token_log_probs": scored.log_probs}


def _perplexity(total: float, count: int) -> float:
    try:
        return math.exp(-total / count) if count else math.nan
    except OverflowError:
        return math.inf


def _print_totals(options: Score, writer: Writer, bad: BadLines, total: float, count: int) -> None:
    scored, perplexity = bad.total - bad.count, _perplexity(total, count)
    if options.summary and options.json:
        writer.record(perplexity=perplexity, log_prob=total, tokens=count, lines=scored, without_result=bad.count)
        return
    totals = f"perplexity {perplexity:.4f}: {scored:,} lines, {count:,} tokens, log p {total:.4f}"
    if options.summary:
        writer(totals)
    else:
        print(totals, file=sys.stderr)


def _score_candidates(options: Score, files: list[pathlib.Path], compute: Callable[[list], list]) -> None:
    """Adds a feature to the lines of an n-best list. A line that cannot be scored is replaced by the number of its
    sentence, so that no sentence is lost."""
    sources = None
    if len(files) == 2:
        sources = [line for line in lines(files[:1]) if line is not None]
    broken = BadLines()
    entries = collections.deque()  # entries whose scores are being computed, in order

    def candidates():
        for entry in nbest.entries(lines(files[-1:]), broken):
            entries.append(entry)
            text = Line(entry.place, entry.text)
            if entry.is_placeholder:
                yield Line(entry.place, None, "there is no candidate")
            elif sources is None:
                yield text
            elif entry.number < len(sources):
                yield sources[entry.number], text
            else:
                yield Line(entry.place, None, f"{files[0]} has {len(sources):,} lines, none for {entry.number}"), text

    with Writer(options.output) as writer:

        def write(number, result):
            entry = entries.popleft()
            if isinstance(result, Failure):
                if options.json:
                    writer.record(line=entry.number + 1, text=entry.text, error=result.reason)
                else:
                    writer(nbest.without_candidates(entry.number))
                return
            scores = entry.scores | {options.name: result.total}
            if options.json:
                writer.record(line=entry.number + 1, text=entry.text, scores=scores)
            else:
                features = {name: value for name, value in scores.items() if name != "score"}
                writer(nbest.written(entry.number, entry.text, features, entry.scores.get("score")), as_is=True)

        each_line(candidates(), options.chunk, compute, write, writer.flush, "candidates")
    broken.print_summary()
