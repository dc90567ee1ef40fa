"""The rules of the claims: functions that take a record and return judgments.

A rule of a row of the table takes the adjective of each architecture. A rule of a statement takes one architecture.
"""

import re
from collections.abc import Mapping

from keras_seq.comparison import figures
from keras_seq.comparison.figures import Figure
from keras_seq.comparison.measures import gates, threads_speedup, whole_sequence_speedup
from keras_seq.comparison.verdicts import (
    AGREES,
    DEPENDS,
    DIFFERS,
    UNMEASURED,
    Judgment,
    both,
    equal_count,
    ordered,
)

_GATES = {"Simple": 0, "3-gate": 3, "2-gate": 2}
_BLIND, _SEEING = 0.1, 0.5  # shares of pairs: up to the first is blind to order
WITHOUT_MEMORY = ("feedforward", "fixed_size")


def by_order(measure, scale: tuple[str, ...], words: tuple[str, str]):
    """A rule: the adjectives in `scale`, from the smallest to the largest figure."""
    return lambda record, adjectives: ordered(record, measure, adjectives, scale, words)


def by_quality(measure, scale: tuple[str, ...]):
    """A rule: the adjectives in `scale`, from the worst to the best score of the comparison."""

    def judge(record, adjectives):
        if figures.sign(record) > 0:
            return ordered(record, measure, adjectives, scale, ("worse", "better"))
        return ordered(record, measure, adjectives, scale[::-1], ("better", "worse"))

    return judge


def by_gates(record: Mapping, adjectives: Mapping[str, str]) -> dict[str, Judgment]:
    judged = {}
    for name, adjective in adjectives.items():
        figure = gates(record, name)
        known = adjective in _GATES
        judged[name] = (
            equal_count(figure, adjective, _GATES[adjective])
            if known
            else Judgment(adjective, UNMEASURED, "By definition.", figure)
        )
    return judged


def by_both_speedups(record: Mapping, adjectives: Mapping[str, str]) -> dict[str, Judgment]:
    scale, words = ("Low", "High"), ("lower", "higher")
    first = ordered(record, whole_sequence_speedup, adjectives, scale, words)
    return both(first, ordered(record, threads_speedup, adjectives, scale, words), ("whole sequence", "two threads"))


def unmeasured(record: Mapping, adjectives: Mapping[str, str]) -> dict[str, Judgment]:
    return {name: Judgment(adjective, UNMEASURED) for name, adjective in adjectives.items()}


def claimed_count(measure, wanted: int):
    return lambda record, name, statement: equal_count(measure(record, name), statement, wanted)


def against(measure, others: tuple[str, ...], larger: bool, words: tuple[str, str]):
    """A rule: the figure of the architecture is larger, or smaller, than those of all `others`."""

    def judge(record, name, statement):
        claims = {name: statement} | dict.fromkeys(others, "")
        return ordered(record, measure, claims, ("", statement) if larger else (statement, ""), words)[name]

    return judge


def parameter_formula(factor: int):
    """A rule: the backbone has factor (dh + hh + h) parameters, with the input's width d and the state's width h."""
    claimed = f"{factor}(dh+hh+h)"

    def judge(record, name, statement):
        entry = figures.architectures(record).get(name, {})
        count, value = (figures.number(entry.get(key)) for key in ("backbone_parameters", "formula_value"))
        if count is None or value is None:
            return Judgment(statement, UNMEASURED)
        figure = Figure(count, "parameters", f"{count:,.0f} parameters")
        formula = of_one_layer(entry.get("formula") or claimed)
        biases = factor * (entry.get("units") or 0) * (entry.get("num_layers") or 1)
        if formula == claimed and count == value:
            return Judgment(statement, AGREES, f"The formula gives {value:,.0f}.", figure)
        if count - value == biases or formula == f"{factor}(dh+hh+2h)" and count == value:
            reason = f"Keras's layer has a second bias (reset_after): {factor}h more parameters in each layer."
            return Judgment(statement, DEPENDS, reason, figure)
        return Judgment(statement, DIFFERS, f"The formula {entry.get('formula', claimed)} gives {value:,.0f}.", figure)

    return judge


def of_one_layer(formula: str) -> str:
    """The formula of a layer in one direction: "2 x (3(dh + hh + 2h)), d = 96, h = 48" becomes "3(dh+hh+2h)"."""
    formula = re.sub(r"^\d+x|[\s*·]", "", re.sub(r"\s", "", formula.split(",")[0]))
    return formula[1:-1] if formula.startswith("(") and formula.endswith(")") else formula


def better_than(other: str):
    """A rule: the best score is better than that of `other`."""

    def judge(record, name, statement):
        figure, reference = figures.best_score(record, name), figures.best_score(record, other)
        if not figure or not reference:
            return Judgment(statement, UNMEASURED, figure=figure)
        order = figures.sign(record) * figures.in_order(figure, reference)
        verdict = {1: AGREES, 0: DEPENDS, -1: DIFFERS}[order]
        return Judgment(statement, verdict, f"{_name(record, other)}: {reference.text}.", figure)

    return judge


def comparable_to(other: str):
    """A rule: the best score is that of `other` or better, as several seeds show."""

    def judge(record, name, statement):
        figure, reference = figures.best_score(record, name), figures.best_score(record, other)
        if not figure or not reference:
            return Judgment(statement, UNMEASURED, figure=figure)
        reason = f"{_name(record, other)}: {reference.text}."
        if len(figures.architectures(record)[name]["best"].get("scores", [])) < 2:
            return Judgment(statement, DEPENDS, f"{reason} One seed has no spread.", figure)
        worse = figures.sign(record) * figures.in_order(figure, reference) < 0
        return Judgment(statement, DIFFERS if worse else AGREES, reason, figure)

    return judge


def _name(record: Mapping, name: str) -> str:
    return figures.labels(record).get(name, name)


def padding_wasted(record: Mapping, name: str, statement: str) -> Judgment:
    """Agrees if more than a tenth of the positions are padding, and does not if at most a hundredth are."""
    share = figures.number((record.get("feedforward") or {}).get("wasted_share"))
    if share is None:
        return Judgment(statement, UNMEASURED)
    length = record["feedforward"].get("length")
    figure = Figure(share, "share of positions", f"{share:.0%} of {length or 'all'} positions are padding")
    return Judgment(statement, AGREES if share > 0.1 else DEPENDS if share > 0.01 else DIFFERS, figure=figure)


def longer_input_fails(record: Mapping, name: str, statement: str) -> Judgment:
    """Agrees if the longer input is refused and cutting it loses right answers."""
    longer = (record.get("feedforward") or {}).get("longer") or {}
    lost, right = figures.number(longer.get("answers_lost")), figures.number(longer.get("right_before"))
    if "refused" not in longer or lost is None or not right:
        return Judgment(statement, UNMEASURED)
    refused, share = longer["refused"], lost / right
    figure = Figure(share, "share of right answers", f"{lost:,.0f} of {right:,.0f} right answers lost by the cut")
    verdict = AGREES if refused and lost else DEPENDS if refused or lost else DIFFERS
    reason = f"Refused: {longer.get('error', 'without a message')}" if refused else "The input was accepted."
    return Judgment(statement, verdict, reason, figure)


def blind_to_order(record: Mapping, name: str, statement: str) -> Judgment:
    """Agrees if each network without memory classifies at most a tenth of the pairs right.

    It does not if each of them has half as many right as the best other architecture, and more than a tenth.
    """
    apart = ((record.get("feedforward") or {}).get("order_pairs") or {}).get("told_apart") or {}
    without = {each: apart[each] for each in WITHOUT_MEMORY if figures.number(apart.get(each)) is not None}
    others = {each: share for each, share in apart.items() if each not in without and figures.number(share) is not None}
    if not without or not others:
        return Judgment(statement, UNMEASURED)
    best = max(others, key=others.get)
    shown = "; ".join(f"{_name(record, each).replace('_', ' ')} {share:.0%}" for each, share in without.items())
    figure = Figure(max(without.values()), "share of pairs", f"{shown} of the pairs right")
    blind = [share <= _BLIND for share in without.values()]
    sees = [share > _BLIND and share >= _SEEING * others[best] for share in without.values()]
    verdict = AGREES if all(blind) else DIFFERS if all(sees) else DEPENDS
    return Judgment(statement, verdict, f"Best of the others: {_name(record, best)}, {others[best]:.0%}.", figure)
