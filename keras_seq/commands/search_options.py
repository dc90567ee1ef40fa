"""The flags of a search and of what it may say, and the search and the constraints that they describe."""

import dataclasses
import pathlib
from typing import Any, Literal

from keras_seq.cli import flag, option
from keras_seq.commands.streams import lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How the output is looked for, and what it may be."""

    # None means that a flag was not given, so that one of another search can be refused.
    search: Literal["greedy", "beam", "sampling", "contrastive"] | None = option(
        None, "how to look for the output (default: beam)"
    )
    num_beams: int | None = option(None, "beam: prefixes kept (default: 5)")
    num_return: int | None = option(None, "beam, sampling: results for each line (default: 1)")
    length_penalty: Literal["power", "gnmt", "sockeye"] | None = option(
        None, "beam: divides log p by length ** alpha (power, the default; sockeye) or ((5 + length) / 6) ** alpha"
    )
    alpha: float | None = option(
        None, "beam: of the penalty; 0 turns it off (default: 1). contrastive: how much repeating costs (default: 0.6)"
    )
    early_stop: Literal["first", "safe"] | None = option(
        None, "beam: a line is done when num-beams outputs have ended (first, the default), or when none can get better"
    )
    num_groups: int | None = option(None, "beam: groups of beams that keep away from each other (default: 1)")
    diversity: float | None = option(None, "beam, groups: nats that a token of an earlier group costs (default: 0.5)")
    coverage_penalty: float | None = option(None, "beam: what leaving out parts of the source costs (default: 0)")
    temperature: float | None = option(None, "sampling: below 1 likelier tokens, above 1 more even ones (default: 1)")
    top_k: int | None = option(
        None, "sampling: from so many likeliest tokens only. contrastive: candidates (default: 4)"
    )
    top_p: float | None = option(None, "sampling: from the likeliest tokens that have this probability together")
    min_p: float | None = option(None, "sampling: from tokens at least so likely, as a share of the likeliest's")
    seed: int | None = option(
        None, "sampling: of the draws; a line's depend on its number and on no other (default: 0)"
    )
    max_length: int | None = option(None, "tokens of the output at most, the end token counted")
    min_length: int | None = option(None, "tokens of the output at least, the end token counted")
    end_within: int | None = option(
        None,
        "tokens within which the output ends by itself: what is longer is not said, where --max-length cuts it off",
    )
    no_repeat: int | None = option(None, "no run of so many tokens is said twice")
    repetition_penalty: float | None = option(None, "log p of what has been said before is multiplied by it")
    ban: pathlib.Path | None = option(None, "file of phrases, one a line, that are not said")
    only: pathlib.Path | None = option(None, "file of words or phrases: nothing but their tokens is said")

    @property
    def longest(self) -> int | None:
        """Tokens of the output at most, as far as it was told."""
        return self.end_within if self.max_length is None else self.max_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineSearchOptions(SearchOptions):
    """And what the output of each line has of its own."""

    prefix: pathlib.Path | None = option(None, "file with the beginning of the output for each line")
    force: pathlib.Path | None = option(
        None, "beam: file with the terms, between tabs, that the output of each line has"
    )


def given(options: SearchOptions) -> list[str]:
    """The flags of the search that were given, as typed."""
    return [flag(name) for name in _given(options)]


def _given(options: SearchOptions) -> list[str]:
    fields = dataclasses.fields(LineSearchOptions)
    return [field.name for field in fields if getattr(options, field.name, None) is not None]


def files_beside(options: LineSearchOptions) -> list[pathlib.Path]:
    """The files that are read beside the input."""
    paths = (options.ban, options.only, options.prefix, options.force)
    return [path for path in paths if path is not None]


def search_options(options: SearchOptions) -> dict[str, Any]:
    """The options of the search that were given, by name, for a task's `predictor`; phrases are read from their files.

    Raises:
        ValueError: for a line that cannot be read.
        OSError: for a file that cannot.
    """
    found = {name: getattr(options, name) for name in _given(options) if name not in ("prefix", "force")}
    return found | {name: _phrases(found[name]) for name in ("ban", "only") if name in found}


def side_inputs(options: LineSearchOptions) -> tuple[str, ...]:
    """The names of the files with a line for each line of the input."""
    return tuple(name for name in ("prefix", "force") if getattr(options, name) is not None)


def _phrases(file: pathlib.Path) -> list[str]:
    texts = []
    for line in lines([file]):
        if line is not None and line.text is None:
            raise ValueError(f"{line.place}: {line.why}")
        if line is not None and line.text.strip():
            texts.append(line.text)
    return texts
