"""The flags of a search, and the search that they describe."""

import dataclasses
from typing import Any, Literal

from keras_seq.cli import option

DEFAULT_BEAMS = 5
_OF_BEAM = ("num_beams", "num_return", "length_penalty", "alpha")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    # None means that a flag was not given, so that one of another search can be refused.
    search: Literal["greedy", "beam"] | None = option(None, "how to look for the output (default: beam)")
    num_beams: int | None = option(None, f"beam: prefixes kept (default: {DEFAULT_BEAMS})")
    num_return: int | None = option(None, "beam: results for each line (default: 1)")
    length_penalty: Literal["power", "gnmt"] | None = option(
        None, "beam: log p is divided by length ** alpha, or ((5 + length) / 6) ** alpha (default: power)"
    )
    alpha: float | None = option(None, "beam: of the penalty; 0 turns it off (default: 1)")
    max_length: int | None = option(None, "tokens of the output at most, the end token counted")


def given(options: SearchOptions) -> list[str]:
    """The flags of the search that were given, as typed."""
    return [_flag(f.name) for f in dataclasses.fields(SearchOptions) if getattr(options, f.name) is not None]


def num_return(options: SearchOptions) -> int:
    return options.num_return or 1


def search_arguments(options: SearchOptions) -> dict[str, Any]:
    """The arguments of `decoding.search`, `decoding.generate` and `export.saved_model` that the flags stand for.

    Raises:
        ValueError: for a flag that the search has not.
    """
    from keras_seq import decoding

    if options.search == "greedy":
        wrong = [_flag(name) for name in _OF_BEAM if getattr(options, name) is not None]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: --search greedy has no such flag. Leave it out, or take beam.")
        return {"num_beams": 1}
    penalty = {"power": decoding.power_penalty, "gnmt": decoding.gnmt_penalty}[options.length_penalty or "power"]
    return {
        "num_beams": DEFAULT_BEAMS if options.num_beams is None else options.num_beams,
        "num_return": num_return(options),
        "length_penalty": penalty(1.0 if options.alpha is None else options.alpha),
    }


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
