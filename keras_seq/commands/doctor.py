"""`keras-seq doctor`: analysis of a corpus before training: lengths, padding, buckets."""

import dataclasses
import json
import logging
import os
import pathlib
import sys
import textwrap
from collections.abc import Sequence
from typing import Literal

from keras_seq.cli import option, table
from keras_seq.commands.progress import Progress
from keras_seq.commands.text_columns import TextColumn, Texts, check_tables

_TIMED_VOCABULARY_LINES = 20_000  # of the vocabulary that is trained for timing only


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor(TextColumn):
    """Analyzes a corpus before training: lengths of its lines, padding of its batches, dropped lines, suggested
    buckets. Two files are parallel text: each line of one is the translation of the same line of the other.
    Each line's end token is counted, as in training. Tokens and padding are the totals of both sides."""

    file: pathlib.Path = option(help="text, one example a line, plain or .gz", positional=True)
    target: pathlib.Path | None = option(None, "translation of the text", positional=True)
    subwords: pathlib.Path | None = option(
        None, "SentencePiece model that text.Subwords saved (default: words between ASCII white space)"
    )
    tokens_per_batch: int = option(4096, "size of a batch in tokens: rows times the longer padded side")
    max_shapes: int = option(40, "greatest number of fitted shapes")
    max_length: int | None = option(None, "length in tokens from which examples are dropped, as by `shorter_than`")
    truncate: bool = option(
        False, "cutting of long examples to one token less than --max-length, in place of dropping them"
    )
    replicas: int = option(1, "number of devices that share a batch")
    on_bad_line: Literal["error", "skip"] = option("error", "treatment of lines that are not UTF-8 or hold a NUL")
    timing: bool = option(True, "timing of some batches of the pipeline, from the file on, without training")
    plot: pathlib.Path | None = option(None, "file for a plot of lengths, buckets and padding (.png, .svg, .pdf)")
    json: bool = option(False, "JSON output, one object and nothing else")


def doctor(options: Doctor) -> None:
    logger = logging.getLogger("keras_seq")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the report lists the lines that a reader drops
    try:
        _doctor(options)
    finally:
        logger.setLevel(level)


def _doctor(options: Doctor) -> None:
    if "tensorflow" not in sys.modules:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU does not help here, and may be busy training
    from keras_seq import text
    from keras_seq.data import doctor as corpus
    from keras_seq.data.lengths import TextFile, measure
    from keras_seq.data.parallel_text import ParallelFiles

    vocabulary = None if options.subwords is None else text.Subwords.load(options.subwords)
    files = [options.file] if options.target is None else [options.file, options.target]
    check_tables(files, options.text_column)
    if options.text_column is not None:
        if options.target is not None:
            raise ValueError(f"--text-column takes a single file. Leave it out, or leave {options.target} out.")
        lines = Texts(options.file, options.text_column, options.on_bad_line)
    elif options.target is None:
        lines = TextFile(options.file, options.on_bad_line)
    else:
        lines = ParallelFiles(options.file, options.target, on_bad_line=options.on_bad_line)
    lengths, unknown = measure(lines.dataset(), vocabulary, Progress("examples counted"))
    if not len(lengths):
        raise ValueError(f"{options.file}: no line with text is left to analyze ({lines.report}).")
    report = corpus.analyze_lengths(
        lengths,
        tokens_per_batch=options.tokens_per_batch,
        max_shapes=options.max_shapes,
        max_length=options.max_length,
        truncate=options.truncate,
        replicas=options.replicas,
        dropped={reason: getattr(lines.report, reason) for reason in ("empty", "bad_lines")},
        unknown=unknown,
    )
    if options.timing:
        if vocabulary is None:
            vocabulary = text.Words.train(lines.dataset().take(_TIMED_VOCABULARY_LINES))
        batches = _batches(lines.dataset().apply(vocabulary.encoded()), report.suggestion.buckets, options)
        report = dataclasses.replace(report, timing=corpus.time_batches(batches))
    if options.plot is not None:
        from keras_seq.inspection import plots

        lengths = corpus.shortened(lengths, options.max_length, options.truncate)
        figures = {plan.name: (plan.shapes, plan.padding) for plan in report.plans}
        plots.buckets(lengths, report.suggestion.buckets, figures, report.suggestion.name, options.plot)
    if options.json:
        print(json.dumps(report.as_dict(), ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(_page(report, options)))


def _batches(dataset, buckets: tuple, options: Doctor):
    """Batches as `Report.code` makes them."""
    from keras_seq.data.bucketing import bucketed
    from keras_seq.data.lengths import shorter_than

    if options.max_length is not None and options.truncate:
        last = options.max_length - 1
        cut = (lambda ids: ids[:last]) if options.target is None else (lambda *sides: tuple(s[:last] for s in sides))
        dataset = dataset.map(cut)
    elif options.max_length is not None:
        dataset = dataset.apply(shorter_than(options.max_length))
    step = bucketed(
        options.tokens_per_batch, buckets=buckets, multiple_of=options.replicas, pad_to_bucket_boundary=True
    )
    return dataset.apply(step)


def _page(report, options: Doctor) -> list[str]:
    unit = "words by white space" if options.subwords is None else f"subwords of {options.subwords}"
    lines = [f"{options.file}" if options.target is None else f"{options.file} | {options.target}", ""]
    lines += [f"{report.examples:,} examples, {report.tokens:,} tokens: {unit}, and an end token for each line"]
    dropped = [f"{count:,} {_REASONS.get(reason, reason)}" for reason, count in report.dropped.items() if count]
    lines += [f"dropped: {', '.join(dropped)}" if dropped else "nothing dropped"]
    if report.truncated:
        lines += [f"truncated: {report.truncated:,} examples, to {options.max_length - 1} tokens a side"]
    if report.unknown is not None:
        lines += [f"unknown to the vocabulary: {report.unknown:,} tokens ({report.unknown / report.tokens:.3%})"]

    lines += ["", *_lengths(report.sides), "", f"batches of {report.budget:,} tokens (rows x the longer side)"]
    if report.replicas > 1:
        lines[-1] += f" for {report.replicas} replicas"
    head = ("", "shapes", "padding", "batches", "partial", "traces", "tokens a batch", "oversized")
    rows = []
    for plan in report.plans:
        mark = "> " if plan == report.suggestion else "  "
        tokens = f"{plan.tokens_per_batch.mean:,.0f} ± {plan.tokens_per_batch.spread:.0%}"
        numbers = (plan.batches, plan.partial_batches, plan.traces)
        figures = [
            f"{plan.shapes:,}",
            f"{plan.padding:.1%}",
            *(f"{n:,}" for n in numbers),
            tokens,
            f"{plan.oversized:,}",
        ]
        rows.append((mark + plan.name, *figures))
    lines += [*table([head, *rows]), "", *_advice(report), ""]

    spread = report.suggestion.tokens_per_batch
    facts = [("tokens a batch", f"{spread.mean:,.0f} on average, from {spread.minimum:,} to {spread.maximum:,}")]
    if report.imbalance is not None:
        excess = report.imbalance
        facts += [
            ("replicas", f"the fullest has {excess.mean:.1%} more tokens than the mean, {excess.worst:.0%} at worst")
        ]
    if report.timing is not None:
        timing = report.timing
        median, mean = 1000 * timing.median, 1000 * timing.mean
        facts += [
            ("pipeline alone", f"{median:.1f} ms a batch (median of {timing.batches}), {mean:.1f} ms on average"),
            ("", f"{timing.tokens_per_second:,.0f} tokens/s, after {timing.first_batch:.1f} s to the first batch"),
        ]
    lines += table(facts, numbers=False)
    return [*lines, "", *textwrap.wrap(_MEANING, 100)]


_REASONS = {
    "empty": "with an empty line",
    "bad_lines": "with a line that is not UTF-8 or holds a NUL",
    "too_long": "too long",
}
_MEANING = (
    "padding: share of positions without a token, both sides together, with each batch padded to its bucket's "
    "shape. shapes: number of different padded lengths. traces: number of different shapes including the rows, "
    "which XLA compiles, partial batches too. partial: batches at the end of an epoch that are not full. tokens a "
    "batch: without padding, mean and standard deviation, in the order of the file. oversized: examples whose "
    "bucket is longer than the budget, each a batch by itself."
)


def _lengths(sides) -> list[str]:
    head = ("length", "mean", "least", *(f"{float(share):.0%}" for share in sides[0].quantiles), "most")
    rows = [(s.side, f"{s.mean:.1f}", s.minimum, *s.quantiles.values(), s.maximum) for s in sides]
    lines = [*table([head, *((name, mean, *(f"{n:,}" for n in others)) for name, mean, *others in rows)]), ""]
    for s in sides:
        last = s.first + len(s.counts) * s.width - 1
        more = f" and to {s.maximum:,} in the last column" if s.maximum > last else ""
        lines.append(f"{s.side}  {_bars(s.counts)}  {s.first} to {min(last, s.maximum):,}{more}")
    return lines


def _bars(counts: Sequence[int]) -> str:
    """A histogram with a bar for each count: the largest count is a full bar, and only 0 is blank."""
    try:
        ink = " ▁▂▃▄▅▆▇█"
        ink.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        ink = " .:-=+*#@"
    times = 2 if len(counts) <= 40 else 1
    return "".join(times * ink[-(-count * (len(ink) - 1) // max(counts))] for count in counts)


def _advice(report) -> list[str]:
    best = report.suggestion
    lines = [f"Take {best.name}: {best.padding:.1%} padding."]
    for plan in report.plans:
        if not plan.fitted and plan.padding > best.padding:
            times = (1 - best.padding) / (1 - plan.padding)  # the same tokens in more positions
            lines += [f"With {plan.name} ({plan.shapes:,} in use), an epoch has {times:.2f} times as many positions."]
    full = best.batches - best.partial_batches
    if full < best.partial_batches:
        lines += [f"Only {full:,} of its {best.batches:,} batches are full: too many shapes for a small corpus."]
    if best.partial_batches:
        lines += ["Shuffle the batches too, `.apply(data.shuffled(seed, 1000))`: those that are not full come last."]
    if best.oversized:
        lines += [f"{best.oversized:,} are oversized: --max-length {report.budget + 1} or less drops the longest."]
    return [*lines, *textwrap.indent(report.code, "    ").split("\n")]
