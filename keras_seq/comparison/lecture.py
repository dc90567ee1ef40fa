"""The adjectives of a common lecture on sequence models, each beside a figure of a comparison.

`TABLE` is its table of RNN, LSTM, GRU and Transformer, and `CLAIMS` are the statements of its text, both as data: the
claim, the architecture, and the rule that decides by the figures of a record whether the claim holds.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping

from keras_seq.comparison import measures, rules
from keras_seq.comparison.verdicts import UNMEASURED, VERDICTS, Judgment

COLUMNS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "transformer": "Transformer"}
ABOUT = "A common lecture describes the architectures by adjectives. Here each one stands beside its figure."
TIES = (
    "An adjective agrees if the figure of its architecture has the claimed order against each architecture with "
    "another adjective. It does not if more of these comparisons are the other way round. A tie makes it depend. "
    "Figures are a tie if they differ by less than 10%, or by less than the spread over seeds. For scores that are "
    "shares it is 10% of the share of errors, and at least one point. For losses it is 2%."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the lecture's table: an adjective by architecture, and the rule that judges all of them."""

    topic: str
    adjectives: Mapping[str, str]
    rule: str
    judge: Callable[[Mapping, Mapping[str, str]], dict[str, Judgment]]

    def judgments(self, record: Mapping) -> dict[str, Judgment]:
        return self.judge(record, self.adjectives)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of the lecture's text on one architecture, and the rule that judges it."""

    topic: str
    architecture: str
    statement: str
    rule: str
    judge: Callable[[Mapping, str, str], Judgment]

    def judgment(self, record: Mapping) -> Judgment:
        return self.judge(record, self.architecture, self.statement)


def _row(topic: str, adjectives: str, rule: str, judge) -> Row:
    """A row whose adjectives stand in the order of `COLUMNS`."""
    return Row(topic, dict(zip(COLUMNS, adjectives.split(" | "), strict=True)), rule, judge)


_SPEED, _AMOUNT = ("faster", "slower"), ("less", "more")
_SIZES = ("Low", "Medium", "High", "Very High")

TABLE = (
    _row(
        "Architecture",
        "Simple | 3-gate | 2-gate | Self-attention",
        "The number of gates of the layer is the claimed one; a simple layer has none.",
        rules.by_gates,
    ),
    _row(
        "Handling Long Sequences",
        "Poor | Excellent | Good | Excellent",
        "Order of the scores of the memory task at the greatest number of steps to remember.",
        rules.by_order(measures.score_to_remember, ("Poor", "Good", "Excellent"), ("worse", "better")),
    ),
    _row(
        "Training Time",
        "Fast | Slow | Medium | High",
        "Order of the time per token in training: Fast, Medium, Slow, High.",
        rules.by_order(measures.training_time, ("Fast", "Medium", "Slow", "High"), _SPEED),
    ),
    _row(
        "Memory Usage",
        "Low | High | Medium | Very High",
        "Order of the peak memory of a training step.",
        rules.by_order(measures.memory_in_use, _SIZES, _AMOUNT),
    ),
    _row(
        "Parameter Count",
        "Low | High | Medium | Very High",
        "Order of the backbone's parameters for each layer, divided by units². This compares models of equal width.",
        rules.by_order(measures.parameters_per_unit, _SIZES, ("fewer", "more")),
    ),
    _row(
        "Ease of Training",
        "Hard | Easier | Easy | Requires GPU",
        "Order of the share of learning rates and seeds that converge: Hard, Easier, Easy. One run is a tie.",
        rules.by_order(measures.converged, ("Hard", "Easier", "Easy"), ("harder", "easier")),
    ),
    _row("Use Cases", "Simple | NLP, TS | Efficient | NLP, Vision", "One task cannot decide it.", rules.unmeasured),
    _row(
        "Parallelism",
        "Low | Low | Low | High",
        "Order of two speed-ups: from step by step to the whole sequence in one call, and from one thread to two. "
        "Different verdicts of the two make it depend.",
        rules.by_both_speedups,
    ),
    _row(
        "Long-Seq Performance",
        "Poor | Good | Good | Excellent",
        "Order of the scores of the longest texts of this task. A difference below two standard errors is a tie.",
        rules.by_quality(measures.score_of_long_texts, ("Poor", "Good", "Excellent")),
    ),
)

_FORMULA = "The parameters of the backbone equal the formula, with input width d and state width h."
CLAIMS = (
    Claim("Gates", "lstm", "three gates", "The layer has three gates.", rules.claimed_count(measures.gates, 3)),
    Claim("Gates", "gru", "two gates", "The layer has two gates.", rules.claimed_count(measures.gates, 2)),
    Claim(
        "Memory units", "lstm", "two states", "The layer carries two states.", rules.claimed_count(measures.states, 2)
    ),
    Claim("Memory units", "gru", "one state", "The layer carries one state.", rules.claimed_count(measures.states, 1)),
    Claim("Parameters", "lstm", "4 (dh + hh + h)", _FORMULA, rules.parameter_formula(4)),
    Claim("Parameters", "gru", "3 (dh + hh + h)", _FORMULA, rules.parameter_formula(3)),
    Claim(
        "Computation",
        "lstm",
        "more intensive than a GRU",
        "The time per token in training is larger than the GRU's.",
        rules.against(measures.training_time, ("gru",), True, _SPEED),
    ),
    Claim(
        "Speed",
        "lstm",
        "slower to train than an RNN",
        "The time per token in training is larger than the RNN's.",
        rules.against(measures.training_time, ("rnn",), True, _SPEED),
    ),
    Claim(
        "Memory",
        "lstm",
        "more memory than an RNN",
        "The peak memory of a training step is larger than the RNN's.",
        rules.against(measures.memory_in_use, ("rnn",), True, _AMOUNT),
    ),
    Claim(
        "Speed",
        "transformer",
        "much faster to train than recurrent models",
        "The time per token in training is smaller than those of RNN, LSTM and GRU. The table claims the opposite.",
        rules.against(measures.training_time, ("rnn", "lstm", "gru"), False, _SPEED),
    ),
    Claim(
        "Performance",
        "lstm",
        "slightly better than a GRU",
        "The best score is better than the GRU's. A tie makes it depend.",
        rules.better_than("gru"),
    ),
    Claim(
        "Performance",
        "gru",
        "comparable to an LSTM",
        "The best score is the LSTM's or better, up to a tie. A single seed makes it depend.",
        rules.comparable_to("lstm"),
    ),
    Claim(
        "Padding",
        "feedforward",
        "unnecessary computation",
        "More than 10% of the positions are padding. At most 1% does not agree.",
        rules.padding_wasted,
    ),
    Claim(
        "Longer input",
        "feedforward",
        "padding fails on longer texts",
        "An input of twice the length is refused, and cutting it loses right answers. Either alone makes it depend.",
        rules.longer_input_fails,
    ),
    Claim(
        "Order",
        "feedforward",
        "no memory of the sequence",
        "The networks without memory have at most 10% right of the pairs of sentences that differ in order alone. "
        "It does not hold if each of them has half as many right as the best other model.",
        rules.blind_to_order,
    ),
)


def verdict_counts(record: Mapping) -> dict[str, int]:
    """The number of claims of the table and of the text by verdict."""
    found = [judgment.verdict for row in TABLE for judgment in row.judgments(record).values()]
    counts = Counter(found + [claim.judgment(record).verdict for claim in CLAIMS])
    return {verdict: counts[verdict] for verdict in (*VERDICTS, UNMEASURED)}
