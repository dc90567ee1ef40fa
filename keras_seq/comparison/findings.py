"""The findings of a comparison, each in a sentence: titles of figures and the list at the top of a report.

Each function takes a record and returns a sentence, or an empty text where the record lacks the figures.
"""

from collections.abc import Callable, Mapping, Sequence

from keras_seq.comparison import figures, lecture, measures
from keras_seq.comparison.figures import Figure
from keras_seq.comparison.verdicts import AGREES, DEPENDS, DIFFERS, UNMEASURED, VERDICTS


def ranked(record: Mapping, measure: Callable[[Mapping, str], Figure | None], largest_first=False) -> dict[str, Figure]:
    """The figures of the architectures that have one, sorted."""
    found = {name: measure(record, name) for name in figures.architectures(record)}
    found = {name: figure for name, figure in found.items() if figure}
    return dict(sorted(found.items(), key=lambda item: item[1].value, reverse=largest_first))


def by_score(record: Mapping) -> dict[str, Figure]:
    """The best scores, the best architecture first."""
    return ranked(record, figures.best_score, largest_first=figures.sign(record) > 0)


def quality(record: Mapping) -> str:
    scores = by_score(record)
    if not scores:
        return ""
    names, (first, best) = figures.labels(record), next(iter(scores.items()))
    tied = [names[name] for name, score in scores.items() if name != first and not figures.in_order(score, best)]
    also = f"; a tie with {joined(tied)}" if tied else ""
    return f"{names[first]} has the best {record['score']['name']}: {best.text}{also}"


def quality_by_length(record: Mapping) -> str:
    names, falls = figures.labels(record), {}
    for name, entry in figures.architectures(record).items():
        bins = [each for each in entry.get("quality_by_length") or [] if figures.number(each["score"]) is not None]
        if len(bins) > 1:
            falls[name] = (bins[-1]["score"] - bins[0]["score"]) * figures.sign(record), bins
    if not falls:
        return ""
    least, most = max(falls, key=lambda name: falls[name][0]), min(falls, key=lambda name: falls[name][0])
    first, last = falls[most][1][0], falls[most][1][-1]
    scores = f"{figures.score_text(record, first['score'])} to {figures.score_text(record, last['score'])}"
    changed = "loses most" if falls[most][0] < 0 else "gains least"
    lengths = f"from {measures.bin_name(first)} to {measures.bin_name(last)} tokens"
    other = f", {names[least]} {'least' if falls[least][0] < 0 else 'gains'}" if least != most else ""
    return f"{names[most]} {changed} {lengths}: {scores}{other}"


def remembering(record: Mapping) -> str:
    names, scores = figures.labels(record), ranked(record, measures.score_to_remember, largest_first=True)
    if len(scores) < 2:
        return ""
    (best, high), (worst, low) = list(scores.items())[0], list(scores.items())[-1]
    steps = record["memory"]["lengths"][-1]
    return f"With {steps} steps to remember, {names[best]} scores {high.value:.1%} and {names[worst]} {low.value:.1%}"


def ease(record: Mapping) -> str:
    names, shares = figures.labels(record), ranked(record, measures.converged, largest_first=True)
    if not shares:
        return ""
    top, low = next(iter(shares.values())), list(shares.values())[-1]
    easiest = joined([names[name] for name, share in shares.items() if share.value == top.value])
    if top.value == low.value:
        return f"All architectures converge in {top.text}"
    hardest = joined([names[name] for name, share in shares.items() if share.value == low.value])
    return f"{easiest}: {top.text} converge. {hardest}: {low.text}"


def training_time(record: Mapping) -> str:
    return _extremes(record, measures.training_time, "{} trains fastest, {}; {} slowest, {}")


def memory(record: Mapping) -> str:
    return _extremes(record, measures.memory_in_use, "{} needs the least memory, {}; {} the most, {}")


def parallelism(record: Mapping) -> str:
    template = "The whole sequence at once helps {} least, {}, and {} most, {}"
    return _extremes(record, measures.whole_sequence_speedup, template)


def generation(record: Mapping) -> str:
    names, growth = figures.labels(record), growths(record)
    if not growth:
        return ""
    most = max(growth, key=growth.get)
    if growth[most] < 1 + figures.TIE:
        return "The cost of a generated token does not grow with the length"
    constant = [names[name] for name, factor in growth.items() if factor < 1 + figures.TIE]
    others = f"; constant for {joined(constant)}" if constant else ""
    lengths = [each["length"] for each in figures.architectures(record)[most]["cost"]["generation"]]
    span = f"from {lengths[0]} to {lengths[-1]} tokens"
    return f"{names[most]}'s cost per token grows {figures.times(growth[most])} {span}{others}"


def growths(record: Mapping) -> dict[str, float]:
    """The factor by which the cost of a generated token grows from the shortest to the longest text."""
    found = {}
    for name, entry in figures.architectures(record).items():
        points = (entry.get("cost") or {}).get("generation") or []
        points = [figures.number(each["seconds_per_token"]) for each in points]
        if len(points) > 1 and points[0] and points[-1]:
            found[name] = points[-1] / points[0]
    return found


def feedforward(record: Mapping) -> str:
    entry = record.get("feedforward") or {}
    share = figures.number(entry.get("wasted_share"))
    if share is None:
        return ""
    return f"A fixed input of {entry.get('length')} positions wastes {share:.0%} of them on padding"


def verdicts(record: Mapping) -> str:
    """The numbers of the lecture's claims by verdict."""
    counts = lecture.verdict_counts(record)
    measured = sum(counts[verdict] for verdict in VERDICTS)
    if not measured:
        return "No claim of the lecture was measured"
    return (
        f"Of {measured} claims of the lecture with a figure, {counts[AGREES]} agree, {counts[DIFFERS]} do not, and "
        f"{counts[DEPENDS]} depend. {counts[UNMEASURED]} more were not measured"
    )


def in_short(record: Mapping) -> list[str]:
    """All findings but the first, which is the headline."""
    parts: Sequence[Callable] = (verdicts, ease, training_time, memory, parallelism, quality_by_length, remembering)
    found = [part(record) for part in (*parts, generation, feedforward)]
    return [sentence(each) for each in found if each]


def sentence(text: str) -> str:
    return text if text.endswith(".") or not text else f"{text}."


def joined(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def _extremes(record: Mapping, measure, template: str) -> str:
    names, found = figures.labels(record), list(ranked(record, measure).items())
    if len(found) < 2:
        return ""
    (first, low), (last, high) = found[0], found[-1]
    return template.format(names[first], low.text, names[last], high.text)
