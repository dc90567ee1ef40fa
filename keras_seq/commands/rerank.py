"""`keras-seq rerank`: reranking of n-best lists by a weighted sum of scores."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator

from keras_seq.cli import option
from keras_seq.commands import nbest
from keras_seq.commands.lines import BadLines, check_files, lines
from keras_seq.commands.output import Writer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rerank:
    """Writes the best candidate of each sentence by a weighted sum of the scores in an n-best list in the format of
    Moses: number ||| text ||| name= value ... ||| score. The name of the last field is score. Truncated candidates
    (finished= 0) come after all others, whatever their score."""

    files: tuple[pathlib.Path, ...] = option((), "n-best lists, plain or .gz (none or -: stdin)", positional=True)
    weights: tuple[str, ...] = option((), "weights of the scores, each name=number (default: score=1)")
    num_return: int = option(
        1, "number of candidates written for each sentence (above 1: as n-best lists, the weighted sum last)"
    )
    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "JSON output, an object for each sentence")


def rerank(options: Rerank) -> None:
    if options.num_return < 1:
        raise ValueError(f"--num-return must be at least 1. Received: {options.num_return}")
    weights = parsed_weights(options.weights)
    check_files(options.files, options.output)
    bad = BadLines()
    with Writer(options.output) as writer:
        expected = 0
        for number, entries in itertools.groupby(_checked(options, weights, bad), key=lambda entry: entry.number):
            for missing in range(expected, number):  # a line for each sentence keeps lines and sources aligned
                _write(writer, options, missing, [])
            expected = number + 1
            _write(writer, options, number, _ordered([entry for entry in entries if entry.scores], weights))
            writer.flush()
    bad.print_summary()


def parsed_weights(words: tuple[str, ...]) -> dict[str, float]:
    weights = {}
    for word in words or ("score=1",):
        name, equals, number = word.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            equals = ""
        if not (name and equals) or not abs(weights[name]) < float("inf"):
            raise ValueError(f"--weights takes name=number, such as log_prob=0.7. Received: {word!r}")
    return weights


def _checked(options: Rerank, weights: dict[str, float], bad: BadLines) -> Iterator[nbest.Entry]:
    """All entries. An entry without one of the weighted scores loses its other scores too. The first entry must have
    all weighted scores: otherwise a name is wrong."""
    num_complete = 0
    for entry in nbest.entries(lines(options.files), bad):
        missing = [name for name in weights if name not in entry.scores]
        if entry.is_placeholder:
            yield entry
            continue
        if missing and not num_complete:
            raise ValueError(
                f"{entry.place} has no score named {missing[0]!r}. It has: {', '.join(entry.scores) or 'none'}. Name "
                "the scores to use with --weights."
            )
        if missing:
            bad.add(entry.place, f"there is no score named {missing[0]!r}")
            yield entry._replace(scores={})
            continue
        num_complete += 1
        yield entry


def _ordered(entries: list[nbest.Entry], weights: dict[str, float]) -> list[tuple[nbest.Entry, float]]:
    """The entries with their combined scores, best first and truncated ones last."""
    import numpy as np

    from keras_seq.decoding import reranking

    if not entries:
        return []
    features = {name: np.array([[entry.scores[name] for entry in entries]]) for name in weights}
    order, scores = reranking.rerank(features, weights)
    best = [(entries[place], float(scores[0, place])) for place in order[0]]
    return sorted(best, key=lambda pair: pair[0].scores.get(nbest.FINISHED) == 0)


def _write(writer: Writer, options: Rerank, number: int, ordered: list[tuple[nbest.Entry, float]]) -> None:
    if not ordered:
        if options.json:
            writer.record(line=number + 1, error="there is no candidate")
        else:
            writer(nbest.without_candidates(number) if options.num_return > 1 else "")
        return
    ordered = ordered[: options.num_return]
    texts, scores = [entry.text for entry, _ in ordered], [score for _, score in ordered]
    if options.json and options.num_return > 1:
        writer.record(line=number + 1, texts=texts, scores=scores)
    elif options.json:
        writer.record(line=number + 1, text=texts[0], score=scores[0])
    elif options.num_return == 1:
        writer(texts[0], as_is=True)
    else:
        for entry, score in ordered:
            features = {name: value for name, value in entry.scores.items() if name != "score"}
            writer(nbest.written(number, entry.text, features, score), as_is=True)
