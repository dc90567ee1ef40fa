"""Options of a search by name, and the search and constraints built from them."""

import dataclasses
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

# The options of each search. Options that are not named here belong to all of them.
SEARCH_OPTIONS = {
    "greedy": (),
    "beam": (
        *("num_beams", "num_return", "length_penalty", "alpha", "early_stop"),
        *("num_groups", "diversity", "coverage_penalty", "force"),
    ),
    "sampling": ("temperature", "top_k", "top_p", "min_p", "seed", "num_return"),
    "contrastive": ("top_k", "alpha"),
}
CTC_SEARCH_OPTIONS = {"greedy": (), "beam": ("num_beams", "num_return")}
CONSTRAINTS = ("min_length", "end_within", "no_repeat", "repetition_penalty", "ban", "only", "constraints")
NAMES = {"search", "max_length", *CONSTRAINTS, *(name for names in SEARCH_OPTIONS.values() for name in names)}


def get_search(options: Mapping[str, Any], default: Any = None) -> Any:
    """Builds the search from options.

    Args:
        options: the given options by name: `search` (a name or an object), `num_beams`, ...
        default: search whose other options are kept, unless another kind is named.
    Raises:
        ValueError: for an option that the search does not have, or that is out of its range.
    """
    from keras_seq import decoding

    kinds = {kind: name for name, kind in decoding.SEARCHES.items()}
    search = options.get("search") or kinds.get(type(default), default if default is not None else "beam")
    if not isinstance(search, str):
        return search
    special = {name for names in SEARCH_OPTIONS.values() for name in names}
    wrong = [name for name in options if name in special - set(SEARCH_OPTIONS[search])]
    if wrong:
        others = [other for other, names in SEARCH_OPTIONS.items() if set(wrong) <= set(names)]
        take = f", or use {others[0]}" if others else ""
        raise ValueError(f"{_listed(wrong)}: `search` {search} has no such option. Leave it out{take}.")
    fields = {name: options[name] for name in SEARCH_OPTIONS[search] if name in options and name != "force"}
    if search in ("greedy", "beam"):  # the score of greedy search is that of a beam of one
        fields |= _length_penalty(fields, default)
    base = default if kinds.get(type(default)) == search else decoding.get_search(search, **_start(search))
    found = dataclasses.replace(base, **fields)
    grouped = getattr(found, "num_groups", 1) > 1
    if "diversity" in options and not grouped:
        raise ValueError("`diversity` requires `num_groups` greater than 1.")
    if "force" in options and grouped:
        raise ValueError("`force` does not work with beams in groups. Leave `num_groups` out.")
    return found


def _start(search: str) -> dict[str, Any]:
    from keras_seq import decoding

    return {"length_penalty": decoding.power_penalty(1.0)} if search == "greedy" else {}


def _length_penalty(fields: dict[str, Any], default: Any) -> dict[str, Any]:
    """The field `length_penalty`, built from a name and `alpha`, which are removed from `fields`."""
    from keras_seq import decoding

    name, alpha = fields.pop("length_penalty", None), fields.pop("alpha", None)
    if name is None and alpha is None:
        return {}
    if callable(name):
        return {"length_penalty": name}
    before = getattr(default, "length_penalty", None)
    if name is None and hasattr(before, "alpha"):
        return {"length_penalty": dataclasses.replace(before, alpha=alpha)}
    return {"length_penalty": decoding.PENALTIES[name or "power"](1.0 if alpha is None else alpha)}


def find_constraints(options: Mapping[str, Any], vocabulary: Any) -> list:
    """Builds the constraints from options: `min_length`, `end_within`, `no_repeat`, `repetition_penalty`, phrases in
    `ban` and `only`, and `constraints` themselves.

    Args:
        vocabulary: vocabulary of the output, which tokenizes the phrases.
    Raises:
        ValueError: for lengths that exclude each other, or phrases that are not in the vocabulary.
    """
    from keras_seq import decoding

    lengths = [(name, options[name]) for name in ("min_length", "end_within", "max_length") if name in options]
    for (less, length), (more, longer) in itertools.pairwise(lengths):
        if length > longer:
            raise ValueError(f"`{less}` {length} is more than `{more}` {longer}.")
    makers = {
        "min_length": decoding.MinLength,
        "end_within": decoding.MaxLength,
        "no_repeat": decoding.NoRepeat,
        "repetition_penalty": decoding.RepetitionPenalty,
    }
    found = [maker(options[name]) for name, maker in makers.items() if name in options]
    if "ban" in options:
        found.append(decoding.Banned(_phrases("ban", options["ban"], vocabulary)))
    if "only" in options:
        phrases = _phrases("only", options["only"], vocabulary)
        found.append(decoding.Allowed(sorted({token for phrase in phrases for token in phrase})))
    return [*found, *options.get("constraints", ())]


def longest(options: Mapping[str, Any]) -> int | None:
    """The maximum number of tokens of the output, if the options set it."""
    return options.get("max_length", options.get("end_within"))


def ctc_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options for `decoding.ctc`.

    Raises:
        ValueError: for an option that it does not have.
    """
    name = options.get("search", "greedy")
    known = CTC_SEARCH_OPTIONS.get(name, ())
    wrong = [option for option in options if option not in ("search", *known)]
    wrong = wrong or ["search"] * (name not in CTC_SEARCH_OPTIONS)
    if wrong:
        raise ValueError(
            f"{_listed(wrong)}: {where} returns labels of frames (CTC). Use `search` greedy, the default, without "
            "more options, or `search` beam with `num_beams` and `num_return`. Leave others out."
        )
    return {"search": name} | {option: options[option] for option in known if option in options}


def check_names(options: Mapping[str, Any], where: str) -> None:
    """Raises `ValueError` for options that do not exist in any search."""
    unknown = sorted(set(options) - NAMES)
    if unknown:
        raise ValueError(f"{_listed(unknown)}: {where} has no such option. It has: {', '.join(sorted(NAMES))}.")


def _phrases(name: str, texts: Sequence[str], vocabulary: Any) -> list[list[int]]:
    """Phrases as ids. Phrases with words outside the vocabulary are left out with a warning, since no output has
    them."""
    phrases = [phrase for phrase in (vocabulary.tokenize(list(texts)).to_list() if texts else []) if phrase]
    known = [phrase for phrase in phrases if vocabulary.unknown_id not in phrase]
    if not known:
        raise ValueError(f"`{name}` has no phrase whose words are all in the vocabulary.")
    if len(known) < len(phrases):
        warnings.warn(f"`{name}`: {len(phrases) - len(known):,} of them are not in the vocabulary.", stacklevel=2)
    return known


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def as_config(search: Any) -> dict[str, Any]:
    """A search in a form for JSON, or {} for a custom kind."""
    from keras_seq import decoding

    name = {kind: name for name, kind in decoding.SEARCHES.items()}.get(type(search))
    if name is None:
        return {}
    fields = {field.name: getattr(search, field.name) for field in dataclasses.fields(search) if field.init}
    penalty = fields.get("length_penalty")
    if penalty is not None:
        if not hasattr(penalty, "alpha"):
            return {}
        fields["length_penalty"] = [float(penalty.alpha), float(penalty.beta)]
    plain = {
        key: value for key, value in fields.items() if value is None or isinstance(value, int | float | str | list)
    }
    return {"search": name, **plain}


def from_config(config: Mapping[str, Any]) -> Any:
    """The inverse of `as_config`."""
    from keras_seq import decoding
    from keras_seq.decoding.forced_scoring import LengthPenalty

    fields = dict(config)
    name = fields.pop("search")
    if fields.get("length_penalty") is not None:
        fields["length_penalty"] = LengthPenalty(*fields["length_penalty"])
    return decoding.get_search(name, **fields)
