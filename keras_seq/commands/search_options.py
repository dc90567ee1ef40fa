"""Flags of a search and of constraints of its output, and the options that they describe."""

import dataclasses
import pathlib
from typing import Any, Literal

from keras_seq.cli import flag, option
from keras_seq.commands.lines import lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Search and constraints of the output."""

    # None means that the flag was not given. A flag of another search is an error.
    search: Literal["greedy", "beam", "sampling", "contrastive"] | None = option(
        None, "search algorithm (default: beam)"
    )
    num_beams: int | None = option(None, "beam: number of beams (default: 5)")
    num_return: int | None = option(None, "beam, sampling: number of results for each line (default: 1)")
    length_penalty: Literal["power", "gnmt", "sockeye"] | None = option(
        None, "beam: divisor of log p: length ** alpha (power, the default; sockeye) or ((5 + length) / 6) ** alpha"
    )
    alpha: float | None = option(
        None,
        "beam: exponent of the length penalty, 0 for none (default: 1); contrastive: penalty's weight (default: 0.6)",
    )
    early_stop: Literal["first", "safe"] | None = option(
        None,
        "beam: end of the search: when num-beams outputs have ended (first, the default), or no better one is possible",
    )
    num_groups: int | None = option(None, "beam: number of groups of beams with different outputs (default: 1)")
    diversity: float | None = option(None, "beam: penalty in nats for a token of an earlier group (default: 0.5)")
    coverage_penalty: float | None = option(None, "beam: weight of the penalty for uncovered source words (default: 0)")
    temperature: float | None = option(
        None, "sampling: temperature, below 1 for likelier tokens, above 1 for a flatter distribution (default: 1)"
    )
    top_k: int | None = option(
        None, "sampling: number of likeliest tokens to sample from; contrastive: number of candidates (default: 4)"
    )
    top_p: float | None = option(None, "sampling: total probability of the likeliest tokens to sample from")
    min_p: float | None = option(None, "sampling: least probability of a token, as a share of the likeliest one's")
    seed: int | None = option(None, "sampling: random seed, combined with the number of each line (default: 0)")
    max_length: int | None = option(None, "greatest number of output tokens, the end token counted")
    min_length: int | None = option(None, "least number of output tokens, the end token counted")
    end_within: int | None = option(
        None,
        "hard limit in tokens: only outputs that end within it (--max-length truncates instead)",
    )
    no_repeat: int | None = option(None, "length of runs of tokens that occur at most once")
    repetition_penalty: float | None = option(None, "factor on log p of tokens that were generated before")
    ban: pathlib.Path | None = option(None, "file of forbidden phrases, one a line")
    only: pathlib.Path | None = option(
        None, "file of words or phrases, one a line, whose tokens are the only ones allowed"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineSearchOptions(SearchOptions):
    """Constraints of the output of each line."""

    prefix: pathlib.Path | None = option(None, "file with the beginning of each line's output")
    force: pathlib.Path | None = option(None, "beam: file with the required terms of each line's output, between tabs")


def named_flags(options: SearchOptions) -> list[str]:
    """The flags of the search that were given, in the form `--num-beams`."""
    return [flag(name) for name in _given_names(options)]


def _given_names(options: SearchOptions) -> list[str]:
    fields = dataclasses.fields(LineSearchOptions)
    return [field.name for field in fields if getattr(options, field.name, None) is not None]


def files_beside(options: LineSearchOptions) -> list[pathlib.Path]:
    """The files that are read in addition to the input."""
    paths = (options.ban, options.only, options.prefix, options.force)
    return [path for path in paths if path is not None]


def search_options(options: SearchOptions) -> dict[str, Any]:
    """The options of the search that were given, by name, for a task's `predictor`. Phrases are read from their files.

    Raises:
        ValueError: if a line cannot be read.
        OSError: if a file cannot be read.
    """
    values = {name: getattr(options, name) for name in _given_names(options) if name not in ("prefix", "force")}
    return values | {name: _phrases(values[name]) for name in ("ban", "only") if name in values}


def side_inputs(options: LineSearchOptions) -> tuple[str, ...]:
    """Names of the options whose files have a line for each line of the input."""
    return tuple(name for name in ("prefix", "force") if getattr(options, name) is not None)


def _phrases(file: pathlib.Path) -> list[str]:
    texts = []
    for line in lines([file]):
        if line is not None and line.text is None:
            raise ValueError(f"{line.place}: {line.why}")
        if line is not None and line.text.strip():
            texts.append(line.text)
    return texts
