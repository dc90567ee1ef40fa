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
    return f"{names[first]} has the best {record.get('score', {}).get('name', 'score')}: {best.text}{also}"


def quality_by_length(record: Mapping) -> str:
    names, falls = figures.labels(record), {}
    for name in names:
        bins = measures.large_bins(record, name)
        if len(bins) > 1:
            falls[name] = (bins[-1]["score"] - bins[0]["score"]) * figures.sign(record), bins
    if not falls:
        return ""
    most = min(falls, key=lambda name: falls[name][0])
    change, (first, *_, last) = falls[most]
    scores = [figures.score_text(record, each["score"]) for each in (first, last)]
    changed = "loses most" if change < 0 else "gains least"
    lengths = f"{scores[0]} at {measures.bin_name(first)} tokens, {scores[1]} at {measures.bin_name(last)}"
    return f"{names[most]} {changed} on longer texts: {lengths}"


def learning(record: Mapping) -> str:
    """The first and the last architecture to reach the score that counts as converged, by tokens."""
    limit, reached = figures.number(record.get("score", {}).get("converged_at")), {}
    for name, curve in measures.best_curves(record).items():
        passed = [
            tokens for tokens, score in curve if limit is not None and figures.sign(record) * (score - limit) >= 0
        ]
        reached |= {name: passed[0]} if passed else {}
    if not reached:
        return ""
    names, first, last = figures.labels(record), min(reached, key=reached.get), max(reached, key=reached.get)
    if len(reached) > 1 and reached[first] == reached[last]:
        return (
            f"{len(reached)} architectures pass {figures.score_text(record, limit)} after {reached[first]:,.0f} tokens"
        )
    text = f"{names[first]} is first at {figures.score_text(record, limit)}, after {reached[first]:,.0f} tokens"
    return text if first == last else f"{text}; {names[last]} last, after {reached[last]:,.0f}"


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


def at_an_edge(record: Mapping) -> str:
    """The architectures whose best learning rate is the smallest or the greatest of the grid."""
    rates = record.get("grid", {}).get("learning_rates") or []
    names, edges = figures.labels(record), {}
    for row in record.get("architectures", []):
        rate = (row.get("best") or {}).get("learning_rate")
        if len(rates) > 1 and rate in (min(rates), max(rates)):
            edges.setdefault(rate, []).append(names[row["name"]])
    found = [f"{joined(group)}: {rate:g}" for rate, group in sorted(edges.items())]
    return f"Best learning rate at the edge of the grid, so that another may be better: {'; '.join(found)}" * bool(
        found
    )


def training_time(record: Mapping) -> str:
    return _extremes(record, measures.training_time, "Fastest in training", "Slowest")


def memory(record: Mapping) -> str:
    return _extremes(record, measures.memory_in_use, "Least memory in training", "Most")


def parallelism(record: Mapping) -> str:
    return _extremes(record, measures.whole_sequence_speedup, "Least gain from whole sequences", "Most")


def threads(record: Mapping) -> str:
    return _extremes(record, measures.threads_speedup, "Least gain from a second thread", "Most")


def generation(record: Mapping) -> str:
    names, growth = figures.labels(record), growths(record)
    if not growth:
        return ""
    most = max(growth, key=growth.get)
    if growth[most] < 1 + figures.TIE:
        return "The cost of a generated token does not grow with the length"
    constant = [names[name] for name, factor in growth.items() if factor < 1 + figures.TIE]
    all_others = len(constant) == len(growth) - 1
    others = f"; constant for {'the others' if all_others else joined(constant)}" if constant else ""
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
    parts = (
        verdicts,
        ease,
        at_an_edge,
        training_time,
        memory,
        parallelism,
        quality_by_length,
        remembering,
        generation,
        feedforward,
    )
    found = [part(record) for part in parts]
    return [sentence(each) for each in found if each]


def sentence(text: str) -> str:
    return text if text.endswith(".") or not text else f"{text}."


def joined(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def _extremes(record: Mapping, measure, least: str, most: str) -> str:
    """The architectures with the smallest and the largest figure: "Fastest: GRU, 11 µs. Slowest: LSTM, 14 µs"."""
    names, found = figures.labels(record), ranked(record, measure)
    if len(found) < 2:
        return ""
    low, *_, high = (figure.text for figure in found.values())
    if low == high:
        return f"{least}: no difference, {low}"
    parts = []
    for title, text in ((least, low), (most, high)):
        equal = [names[name] for name, figure in found.items() if figure.text == text]
        parts.append(f"{title}: {joined(equal) if len(equal) < 4 else f'{len(equal)} architectures'}, {text}")
    return ". ".join(parts)
