"""The flags of a search, and the search that they describe."""

import dataclasses
from typing import Any, Literal

from keras_seq.cli import option

DEFAULT_BEAMS = 5
# Which flags are of which search. None means that a flag was not given, so that one of another search is refused.
_OF = {
    "greedy": (),
    "beam": ("num_beams", "num_return", "length_penalty", "alpha"),
    "sampling": ("num_return", "temperature", "top_k", "top_p", "min_p", "seed"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    search: Literal["greedy", "beam", "sampling"] | None = option(None, "how to look for the output (default: beam)")
    num_beams: int | None = option(None, f"beam: prefixes kept (default: {DEFAULT_BEAMS})")
    num_return: int | None = option(None, "beam, sampling: results for each line (default: 1)")
    length_penalty: Literal["power", "gnmt"] | None = option(
        None, "beam: log p is divided by length ** alpha, or ((5 + length) / 6) ** alpha (default: power)"
    )
    alpha: float | None = option(None, "beam: of the penalty; 0 turns it off (default: 1)")
    temperature: float | None = option(None, "sampling: below 1 likely tokens become likelier (default: 1)")
    top_k: int | None = option(None, "sampling: from the k likeliest tokens only")
    top_p: float | None = option(None, "sampling: from the fewest tokens that have this probability together")
    min_p: float | None = option(None, "sampling: from tokens at least so probable, relative to the likeliest")
    seed: int | None = option(None, "sampling: the same seed and input, the same output (default: 0)")
    max_length: int | None = option(None, "tokens of the output at most, the end token counted")
    min_length: int | None = option(None, "tokens of the output at least")
    no_repeat_ngrams: int | None = option(None, "no sequence of so many tokens comes twice")
    repetition_penalty: float | None = option(None, "above 1: tokens that were there already become less likely")


def given(options: SearchOptions) -> list[str]:
    """The flags of the search that were given, as typed."""
    fields = dataclasses.fields(SearchOptions)
    return [f"--{f.name.replace('_', '-')}" for f in fields if getattr(options, f.name) is not None]


def name_of(options: SearchOptions) -> str:
    return options.search or "beam"


def num_return(options: SearchOptions) -> int:
    return options.num_return or 1


def search_arguments(options: SearchOptions) -> dict[str, Any]:
    """The arguments of `decoding.search`, `decoding.generate` and `export.saved_model` that the flags stand for.

    Raises:
        ValueError: for a flag that the search has not.
    """
    from keras_seq import decoding

    name = name_of(options)
    wrong = [
        f"--{flag.replace('_', '-')}"
        for flag in dict.fromkeys(flag for flags in _OF.values() for flag in flags)
        if flag not in _OF[name] and getattr(options, flag) is not None
    ]
    if wrong:
        kinds = " or ".join(kind for kind, flags in _OF.items() if wrong[0][2:].replace("-", "_") in flags)
        raise ValueError(f"{', '.join(wrong)}: --search {name} has no such flag. Leave it out, or take {kinds}.")
    if not hasattr(decoding, "Beam"):
        return _flat(options, decoding)
    chosen = {flag: getattr(options, flag) for flag in _OF[name] if getattr(options, flag) is not None}
    kind = {"greedy": decoding.Greedy, "beam": decoding.Beam, "sampling": decoding.Sampling}[name]
    constraints = []
    if options.min_length is not None:
        constraints.append(decoding.MinLength(options.min_length))
    if options.no_repeat_ngrams is not None:
        constraints.append(decoding.NoRepeatNgrams(options.no_repeat_ngrams))
    if options.repetition_penalty is not None:
        constraints.append(decoding.RepetitionPenalty(options.repetition_penalty))
    return {"search": kind(**chosen), "constraints": tuple(constraints)}


def _flat(options: SearchOptions, decoding: Any) -> dict[str, Any]:
    """For a `decoding` that has greedy and beam search as functions, and no constraints."""
    missing = [name for name in ("min_length", "no_repeat_ngrams", "repetition_penalty") if getattr(options, name)]
    if name_of(options) == "sampling" or missing:
        flag = f"--{missing[0].replace('_', '-')}" if missing else "--search sampling"
        raise ValueError(f"{flag}: this version searches greedily or with a beam, and knows no constraints.")
    if name_of(options) == "greedy":
        return {"num_beams": 1}
    penalty = {"power": decoding.power_penalty, "gnmt": decoding.gnmt_penalty}[options.length_penalty or "power"]
    return {
        "num_beams": DEFAULT_BEAMS if options.num_beams is None else options.num_beams,
        "num_return": num_return(options),
        "length_penalty": penalty(1.0 if options.alpha is None else options.alpha),
    }
