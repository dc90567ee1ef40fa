"""The flags of a search and of what it may say, and the search and the constraints that they describe."""

import dataclasses
import itertools
import pathlib
import sys
from typing import Any, Literal

from keras_seq.cli import option
from keras_seq.commands.streams import lines

# Which search has which flags; those that are not named here are of all of them.
SEARCHES = {
    "greedy": (),
    "beam": (
        *("num_beams", "num_return", "length_penalty", "alpha", "early_stop"),
        *("num_groups", "diversity", "coverage_penalty", "force"),
    ),
    "sampling": ("temperature", "top_k", "top_p", "min_p", "seed", "num_return"),
    "contrastive": ("top_k", "alpha"),
}
CTC_SEARCHES = {"greedy": (), "beam": ("num_beams", "num_return")}


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
    return [_flag(name) for name in _given(options)]


def _given(options: SearchOptions) -> list[str]:
    fields = dataclasses.fields(LineSearchOptions)
    return [field.name for field in fields if getattr(options, field.name, None) is not None]


def files_beside(options: LineSearchOptions) -> list[pathlib.Path]:
    """What is read beside the input."""
    paths = (options.ban, options.only, options.prefix, options.force)
    return [path for path in paths if path is not None]


def search_arguments(options: SearchOptions, vocabulary: Any) -> dict[str, Any]:
    """The arguments `search` and `constraints` of `decoding.search` and `decoding.generate` that the flags stand for;
    what is given for each line is not among them.

    Args:
        vocabulary: of the output; phrases are cut into its tokens.
    Raises:
        ValueError: for a flag that the search has not, or out of its range.
        OSError: for a file that cannot be read.
    """
    return {"search": _search(options), "constraints": _constraints(options, vocabulary)}


def ctc_arguments(options: SearchOptions, file: pathlib.Path) -> dict[str, Any]:
    """The arguments of `decoding.ctc` that the flags stand for.

    Args:
        file: that has the model.
    Raises:
        ValueError: for a flag that this search has not.
    """
    name, asked_for = options.search or "greedy", _given(options)
    known = CTC_SEARCHES.get(name, ())
    wrong = [flag for flag in asked_for if flag not in ("search", *known)] or ["search"] * (name not in CTC_SEARCHES)
    if wrong:
        raise ValueError(
            f"{_flags(wrong)}: {file} says labels of frames (CTC), for which there are --search greedy, the default, "
            "without more flags, and --search beam with --num-beams and --num-return. Leave others out."
        )
    return {"search": name} | {flag: getattr(options, flag) for flag in known if flag in asked_for}


def _search(options: SearchOptions) -> Any:
    from keras_seq import decoding

    name = options.search or "beam"
    special = {flag for flags in SEARCHES.values() for flag in flags}
    asked_for = _given(options)
    wrong = [flag for flag in asked_for if flag in special - set(SEARCHES[name])]
    if wrong:
        others = [other for other, flags in SEARCHES.items() if set(wrong) <= set(flags)]
        take = f", or take {others[0]}" if others else ""
        raise ValueError(f"{_flags(wrong)}: --search {name} has no such flag. Leave it out{take}.")
    grouped = (options.num_groups or 1) > 1
    if options.diversity is not None and not grouped:
        raise ValueError("--diversity: there is but one group. Leave it out, or add --num-groups.")
    if "force" in asked_for and grouped:
        raise ValueError("--force: beams in groups are not allotted to words. Leave --num-groups out.")
    fields = {flag: getattr(options, flag) for flag in SEARCHES[name] if flag in asked_for}
    fields.pop("force", None)
    if name in ("greedy", "beam"):  # a greedy score is that of a beam of one
        for flag in ("length_penalty", "alpha"):
            fields.pop(flag, None)
        alpha = 1.0 if options.alpha is None else options.alpha
        fields["length_penalty"] = decoding.PENALTIES[options.length_penalty or "power"](alpha)
    return decoding.find_search(name, **fields)


def _constraints(options: SearchOptions, vocabulary: Any) -> list:
    from keras_seq import decoding

    lengths = [(name, getattr(options, name)) for name in ("min_length", "end_within", "max_length")]
    lengths = [(name, length) for name, length in lengths if length is not None]
    for (less, length), (more, longer) in itertools.pairwise(lengths):
        if length > longer:
            raise ValueError(f"{_flag(less)} {length} is more than {_flag(more)} {longer}.")
    found = []
    if options.min_length is not None:
        found.append(decoding.MinLength(options.min_length))
    if options.end_within is not None:
        found.append(decoding.MaxLength(options.end_within))
    if options.no_repeat is not None:
        found.append(decoding.NoRepeat(options.no_repeat))
    if options.repetition_penalty is not None:
        found.append(decoding.RepetitionPenalty(options.repetition_penalty))
    if options.ban is not None:
        found.append(decoding.Banned(_phrases(options.ban, vocabulary)))
    if options.only is not None:
        phrases = _phrases(options.only, vocabulary)
        found.append(decoding.Allowed(sorted({token for phrase in phrases for token in phrase})))
    return found


def _phrases(file: pathlib.Path, vocabulary: Any) -> list[list[int]]:
    """The phrases of a file as ids. Those with words that the vocabulary does not know are left out, and counted on
    stderr: the model cannot say them."""
    texts = []
    for line in lines([file]):
        if line is not None and line.text is None:
            raise ValueError(f"{line.place}: {line.why}")
        if line is not None and line.text.strip():
            texts.append(line.text)
    phrases = [phrase for phrase in (vocabulary.tokenize(texts).to_list() if texts else []) if phrase]
    known = [phrase for phrase in phrases if vocabulary.unknown_id not in phrase]
    if not known:
        raise ValueError(f"{file} has no phrase that the vocabulary knows.")
    if len(known) < len(phrases):
        print(f"{file}: the vocabulary does not know {len(phrases) - len(known):,} of them.", file=sys.stderr)
    return known


def _flags(names: list[str]) -> str:
    return ", ".join(map(_flag, names))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
