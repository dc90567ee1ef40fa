"""The rules that decide a claim about architectures by their figures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from keras_seq.comparison.figures import Figure, in_order, labels

AGREES, DIFFERS, DEPENDS, UNMEASURED = "agrees", "does not", "depends", "not measured"
VERDICTS = (AGREES, DEPENDS, DIFFERS)

Measure = Callable[[Mapping, str], Figure | None]


@dataclasses.dataclass(frozen=True)
class Judgment:
    """A claim beside its figure.

    Args:
        claim: the adjective or number of the claim.
        verdict: "agrees", "does not", "depends" or "not measured".
        reason: the comparison that decided it.
        figure: the measured figure, or None.
    """

    claim: str
    verdict: str
    reason: str = ""
    figure: Figure | None = None

    @property
    def text(self) -> str:
        return self.figure.text if self.figure else UNMEASURED


def ordered(
    record: Mapping, measure: Measure, claims: Mapping[str, str], scale: Sequence[str], words: tuple[str, str]
) -> dict[str, Judgment]:
    """Judges adjectives that order architectures by a figure.

    Each architecture is compared with those of another adjective. It agrees if all figures have the order of the
    adjectives. It does not if more of them have the opposite order. A tie, or as many of each, makes it depend.

    Args:
        record: record of a comparison.
        measure: function of the record and an architecture that returns the figure.
        claims: adjective by architecture.
        scale: the adjectives from the smallest to the largest figure.
        words: words for a smaller and a larger figure, such as ("faster", "slower").
    Returns:
        A judgment for each architecture.
    """
    found = {name: measure(record, name) for name in claims}
    names = {name: name.upper() for name in claims} | labels(record)
    return {name: _ordered_one(name, found, claims, scale, words, names) for name in claims}


def _ordered_one(name, found, claims, scale, words, names) -> Judgment:
    figure, claim = found[name], claims[name]
    others = [other for other in found if claims[other] != claim and found[other] and claims[other] in scale]
    if figure is None or claim not in scale:
        return Judgment(claim, UNMEASURED, figure=figure)
    if not others:
        return Judgment(claim, UNMEASURED, "No other architecture was measured.", figure)
    agreed, opposed, tied = [], [], []
    for other in others:
        claimed = 1 if scale.index(claim) > scale.index(claims[other]) else -1
        measured = in_order(figure, found[other])
        (tied if measured == 0 else agreed if measured == claimed else opposed).append((other, measured))
    verdict = AGREES if len(agreed) == len(others) else DIFFERS if len(opposed) > len(agreed) else DEPENDS
    return Judgment(claim, verdict, _relations([*agreed, *opposed], tied, words, names), figure)


def _relations(differing, tied, words, names) -> str:
    """The comparisons with other architectures as a sentence: "Faster than LSTM, GRU; tie with RNN."."""
    parts = []
    for side, word in zip((-1, 1), words, strict=True):
        others = [names[other] for other, measured in differing if measured == side]
        if others:
            parts.append(f"{word} than {', '.join(others)}")
    if tied:
        parts.append(f"tie with {', '.join(names[other] for other, _ in tied)}")
    return _sentence("; ".join(parts))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""


def equal_count(figure: Figure | None, claim: str, wanted: float) -> Judgment:
    """Judges a claimed count, such as the number of gates."""
    if figure is None:
        return Judgment(claim, UNMEASURED)
    return Judgment(claim, AGREES if figure.value == wanted else DIFFERS, figure=figure)


def both(first: dict[str, Judgment], second: dict[str, Judgment], titles: tuple[str, str]) -> dict[str, Judgment]:
    """Two measurements of one claim, named by `titles`: their verdict if it is the same, else "depends"."""
    joined = {}
    for name, one in first.items():
        other = second[name]
        if UNMEASURED in (one.verdict, other.verdict):
            joined[name] = other if one.verdict == UNMEASURED else one
            continue
        verdict = one.verdict if one.verdict == other.verdict else DEPENDS
        parts = zip(titles, (one, other), strict=True)
        shown = "; ".join(f"{title}: {each.text}, {_lower(each.reason).rstrip('.')}" for title, each in parts)
        joined[name] = Judgment(one.claim, verdict, "", one.figure._replace(text=shown[:1].upper() + shown[1:]))
    return joined


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
