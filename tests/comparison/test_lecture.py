"""The rules of the lecture's claims: a made record for each verdict of each rule."""

import pytest

from keras_seq.comparison import lecture
from keras_seq.comparison.verdicts import AGREES, DEPENDS, DIFFERS, UNMEASURED
from tests.comparison.records import full, with_numbers

ROWS = {row.topic: row for row in lecture.TABLE}
CLAIMS = {(claim.architecture, claim.statement): claim for claim in lecture.CLAIMS}
FOUR = ("rnn", "lstm", "gru", "transformer")


def verdicts(topic, record):
    judgments = ROWS[topic].judgments(record)
    return [judgments[name].verdict for name in FOUR]


def claim(architecture, statement, record):
    return CLAIMS[architecture, statement].judgment(record)


def four(*values):
    """Numbers of RNN, LSTM, GRU and Transformer."""
    return dict(zip(FOUR, values, strict=True))


def test_the_table_is_the_lectures():
    table = {row.topic: " | ".join(row.adjectives[name] for name in FOUR) for row in lecture.TABLE}
    assert table == {
        "Architecture": "Simple | 3-gate | 2-gate | Self-attention",
        "Handling Long Sequences": "Poor | Excellent | Good | Excellent",
        "Training Time": "Fast | Slow | Medium | High",
        "Memory Usage": "Low | High | Medium | Very High",
        "Parameter Count": "Low | High | Medium | Very High",
        "Ease of Training": "Hard | Easier | Easy | Requires GPU",
        "Use Cases": "Simple | NLP, TS | Efficient | NLP, Vision",
        "Parallelism": "Low | Low | Low | High",
        "Long-Seq Performance": "Poor | Good | Good | Excellent",
    }
    assert all(row.rule.endswith(".") for row in (*lecture.TABLE, *lecture.CLAIMS))


def test_a_record_without_figures_measures_nothing():
    counts = lecture.verdict_counts({"architectures": [{"name": name} for name in FOUR]})
    assert counts == {AGREES: 0, DEPENDS: 0, DIFFERS: 0, UNMEASURED: 4 * len(lecture.TABLE) + len(lecture.CLAIMS)}
    assert lecture.verdict_counts({}) == counts


def test_gates():
    assert verdicts("Architecture", full()) == [AGREES, AGREES, AGREES, UNMEASURED]
    other = with_numbers(full(), "gates", four(1, 2, 3, 0), part="")
    assert verdicts("Architecture", other) == [DIFFERS, DIFFERS, DIFFERS, UNMEASURED]
    assert claim("lstm", "three gates", full()).verdict == claim("gru", "two gates", full()).verdict == AGREES
    assert claim("lstm", "three gates", other).verdict == claim("gru", "two gates", other).verdict == DIFFERS
    assert claim("lstm", "three gates", full()).text == "3 gates"


def test_states():
    other = with_numbers(full(), "states", four(1, 1, 2, 0), part="")
    for architecture, statement in (("lstm", "two states"), ("gru", "one state")):
        assert claim(architecture, statement, full()).verdict == AGREES
        assert claim(architecture, statement, other).verdict == DIFFERS


# topic, the number of a cost, figures in the lecture's order: Low or Fast, Medium, High or Slow, Very High or High
ORDERS = [("Training Time", "seconds_per_token"), ("Memory Usage", "peak_bytes")]


@pytest.mark.parametrize("topic, key", ORDERS)
def test_the_order_of_a_cost(topic, key):
    def judged(*values):
        return verdicts(topic, with_numbers(full(), key, four(*values)))

    assert judged(1.0, 3.0, 2.0, 4.0) == [AGREES] * 4
    assert judged(4.0, 2.0, 3.0, 1.0) == [DIFFERS] * 4
    assert judged(1.0, 1.05, 1.02, 1.08) == [DEPENDS] * 4  # all within 10%
    # The Transformer is less than all others: each of them has one comparison against it, and two in order.
    assert judged(2.0, 4.0, 3.0, 1.0) == [DEPENDS, DEPENDS, DEPENDS, DIFFERS]
    assert judged(1.0, 2.09, 2.0, 4.0) == [AGREES, DEPENDS, DEPENDS, AGREES]
    assert judged(1.0, 2.5, 2.0, 4.0) == [AGREES] * 4
    assert judged(None, 3.0, 2.0, float("nan")) == [UNMEASURED, AGREES, AGREES, UNMEASURED]


def test_the_spread_of_times_makes_a_tie():
    record = with_numbers(full(), "seconds_per_token", four(1.0, 3.0, 2.0, 4.0))
    assert verdicts("Training Time", record) == [AGREES] * 4
    record = with_numbers(record, "seconds_per_token_spread", {"lstm": 1.1})
    assert verdicts("Training Time", record) == [AGREES, DEPENDS, DEPENDS, DEPENDS]


def test_an_architecture_alone_is_not_measured():
    record = full()
    record["architectures"] = [each for each in record["architectures"] if each["name"] == "lstm"]
    judgment = ROWS["Training Time"].judgments(record)["lstm"]
    assert (judgment.verdict, judgment.text) == (UNMEASURED, "14.0 µs per token")


def test_parameters_are_compared_at_equal_width():
    # Parameters of one layer with inputs as wide as its state, without biases: factors of h².
    widths, factors = four(200, 100, 110, 80), four(2, 8, 6, 12)
    record = with_numbers(full(), "units", widths, part="")
    counts = {name: factors[name] * widths[name] ** 2 for name in FOUR}
    assert counts["rnn"] > counts["gru"] and counts["lstm"] > counts["transformer"]
    record = with_numbers(record, "backbone_parameters", counts, part="")
    assert verdicts("Parameter Count", record) == [AGREES] * 4
    assert ROWS["Parameter Count"].judgments(record)["gru"].figure.value == 6
    two_layers = with_numbers(record, "num_layers", {"gru": 2}, part="")
    assert ROWS["Parameter Count"].judgments(two_layers)["gru"].figure.value == 3


def test_handling_of_long_sequences():
    def judged(*values):
        record = full()
        record["memory"]["scores"] = {name: [1.0, 1.0, 1.0, 1.0, value] for name, value in four(*values).items()}
        return verdicts("Handling Long Sequences", record)

    assert judged(0.3, 0.99, 0.9, 0.97) == [AGREES] * 4
    assert judged(0.99, 0.3, 0.6, 0.3) == [DIFFERS] * 4
    assert judged(0.9, 0.905, 0.9, 0.902) == [DEPENDS] * 4  # less than a point apart
    assert judged(None, None, None, None) == [UNMEASURED] * 4


@pytest.mark.parametrize("mode", ["max", "min"])
def test_scores_of_long_texts_have_the_direction_of_the_score(mode):
    def judged(*values):
        record = full()
        record["score"] |= {"mode": mode, "unit": "fraction" if mode == "max" else "nats"}
        for entry in record["architectures"]:
            value = four(*values).get(entry["name"], 0.5)
            value = value if mode == "max" else 4 - value
            entry["quality_by_length"] = [
                {"from": 1, "to": 20, "rows": 900, "score": 0.5},
                {"from": 21, "to": 40, "rows": 900, "score": value},
                {"from": 41, "to": None, "rows": 3, "score": 0.0},  # too few to decide
            ]
        return verdicts("Long-Seq Performance", record)

    assert judged(0.5, 0.7, 0.72, 0.9) == [AGREES] * 4
    assert judged(0.9, 0.7, 0.7, 0.5) == [DIFFERS] * 4
    assert judged(0.7, 0.7, 0.7, 0.7) == [DEPENDS] * 4


def test_few_texts_have_a_wide_spread():
    record = full()
    for entry in record["architectures"]:
        score = {"rnn": 0.5, "lstm": 0.61, "gru": 0.61, "transformer": 0.72}.get(entry["name"], 0.5)
        entry["quality_by_length"] = [{"from": 1, "to": 9, "rows": 100, "score": score}]
    # Twice the standard error of 0.5 over 100 texts is 0.1. All differ by more, and by more than a tenth of the errors.
    assert verdicts("Long-Seq Performance", record) == [AGREES] * 4
    for entry in record["architectures"]:
        entry["quality_by_length"][0]["score"] += 0.02 * (entry["name"] == "rnn")
    assert verdicts("Long-Seq Performance", record) == [DEPENDS, DEPENDS, DEPENDS, AGREES]


def test_ease_of_training():
    def judged(*values):
        return verdicts("Ease of Training", with_numbers(full(), "converged", four(*values), part=""))

    assert judged(1, 3, 5, 6) == [AGREES, AGREES, AGREES, UNMEASURED]
    assert judged(6, 4, 2, 6) == [DIFFERS, DIFFERS, DIFFERS, UNMEASURED]
    assert judged(4, 5, 5, 6) == [DEPENDS, DEPENDS, DEPENDS, UNMEASURED]  # one run of six
    assert judged(1, 5, 5, 6) == [AGREES, DEPENDS, DEPENDS, UNMEASURED]


def test_use_cases_are_not_measured():
    assert verdicts("Use Cases", full()) == [UNMEASURED] * 4


def test_parallelism_is_two_speed_ups():
    def judged(whole, threads):
        record = with_numbers(full(), "whole_sequence_speedup", four(*whole))
        return verdicts("Parallelism", with_numbers(record, "threads_speedup", four(*threads)))

    low_low_high = (5.0, 7.0, 6.0, 40.0)
    assert judged(low_low_high, (1.1, 1.1, 1.1, 1.8)) == [AGREES] * 4
    assert judged((40.0, 40.0, 40.0, 5.0), (1.8, 1.8, 1.8, 1.1)) == [DIFFERS] * 4
    assert judged(low_low_high, (1.8, 1.8, 1.8, 1.1)) == [DEPENDS] * 4  # one each
    assert judged(low_low_high, (1.5, 1.5, 1.5, 1.5)) == [DEPENDS] * 4
    assert judged(low_low_high, (None,) * 4) == [AGREES] * 4
    assert judged((None,) * 4, (1.8, 1.8, 1.8, 1.1)) == [DIFFERS] * 4
    assert judged((None,) * 4, (None,) * 4) == [UNMEASURED] * 4


@pytest.mark.parametrize("architecture, factor", [("lstm", 4), ("gru", 3)])
def test_parameter_formulas(architecture, factor):
    statement, d, h = f"{factor} (dh + hh + h)", 30, 50
    value = factor * (d * h + h * h + h)

    def judged(count, formula=f"{factor}(dh + hh + h)", formula_value=value, layers=1):
        numbers = {"units": h, "num_layers": layers, "backbone_parameters": count, "formula_value": formula_value}
        record = full()
        for key, number in (numbers | {"formula": formula}).items():
            with_numbers(record, key, {architecture: number}, part="")
        return claim(architecture, statement, record)

    assert judged(value).verdict == AGREES
    second_bias = value + factor * h
    assert judged(second_bias).verdict == DEPENDS and "second bias" in judged(second_bias).reason
    assert judged(second_bias, f"{factor} * (d*h + h*h + 2*h)".replace("*", " "), second_bias).verdict == DEPENDS
    assert judged(value + 2 * factor * h, layers=2).verdict == DEPENDS
    both_directions = f"2 x ({factor}(dh + hh + h)), d = 30, h = 25"
    assert judged(value, both_directions).verdict == AGREES
    assert judged(value, f"2 x {factor}(dh + hh + h), d = 30, h = 25").verdict == AGREES
    assert judged(second_bias, both_directions.replace(" + h)", " + 2h)"), second_bias).verdict == DEPENDS
    assert judged(value + 1).verdict == DIFFERS
    assert judged(value, "2(dh + hh + h)", value).verdict == DIFFERS
    assert judged(value, formula_value=None).verdict == UNMEASURED


# architecture, statement, the number of a cost, the architecture to compare with
PAIRS = [
    ("lstm", "more intensive than a GRU", "seconds_per_token", "gru"),
    ("lstm", "slower to train than an RNN", "seconds_per_token", "rnn"),
    ("lstm", "more memory than an RNN", "peak_bytes", "rnn"),
]


@pytest.mark.parametrize("architecture, statement, key, other", PAIRS)
def test_one_cost_against_another(architecture, statement, key, other):
    def judged(value, against):
        record = with_numbers(full(), key, {architecture: value, other: against})
        return claim(architecture, statement, record).verdict

    assert judged(2.0, 1.0) == AGREES
    assert judged(1.0, 2.0) == DIFFERS
    assert judged(1.05, 1.0) == judged(1.0, 1.05) == DEPENDS
    assert judged(None, 1.0) == judged(1.0, None) == UNMEASURED


def test_transformers_train_much_faster():
    def judged(*values):
        record = with_numbers(full(), "seconds_per_token", four(*values))
        return claim("transformer", "much faster to train than recurrent models", record).verdict

    assert judged(2.0, 3.0, 4.0, 1.0) == AGREES
    assert judged(1.0, 1.0, 1.0, 2.0) == DIFFERS
    assert judged(1.0, 3.0, 3.0, 2.0) == DEPENDS


@pytest.mark.parametrize("mode", ["max", "min"])
def test_lstm_against_gru(mode):
    def judged(lstm, gru, seeds=2):
        record = full()
        record["score"] |= {"mode": mode, "unit": "fraction" if mode == "max" else "nats"}
        for entry in record["architectures"]:
            value = {"lstm": lstm, "gru": gru}.get(entry["name"], 0.5)
            value = value if mode == "max" or value is None else 4 - value
            entry["best"] = {"learning_rate": 0.003, "scores": [value] * seeds, "mean": value, "spread": 0.002}
        better = claim("lstm", "slightly better than a GRU", record).verdict
        return better, claim("gru", "comparable to an LSTM", record).verdict

    assert judged(0.9, 0.7) == (AGREES, DIFFERS)
    assert judged(0.7, 0.9) == (DIFFERS, AGREES)
    assert judged(0.8, 0.8) == (DEPENDS, AGREES)
    assert judged(0.7, 0.9, seeds=1) == (DIFFERS, DEPENDS)
    assert judged(None, 0.9) == (UNMEASURED, UNMEASURED)


def test_the_spread_over_seeds_makes_a_tie():
    record = with_numbers(full(), "best", {"lstm": {"mean": 0.9, "spread": 0.01}, "gru": {"mean": 0.8}}, part="")
    assert claim("lstm", "slightly better than a GRU", record).verdict == AGREES
    record = with_numbers(record, "best", {"lstm": {"mean": 0.9, "spread": 0.11}}, part="")
    assert claim("lstm", "slightly better than a GRU", record).verdict == DEPENDS


@pytest.mark.parametrize("share, verdict", [(0.79, AGREES), (0.05, DEPENDS), (0.0, DIFFERS), (None, UNMEASURED)])
def test_padding(share, verdict):
    record = full() | {"feedforward": {"length": 100, "wasted_share": share}}
    assert claim("feedforward", "unnecessary computation", record).verdict == verdict


@pytest.mark.parametrize(
    "longer, verdict",
    [
        ({"refused": True, "answers_lost": 40, "right_before": 90, "error": "no"}, AGREES),
        ({"refused": True, "answers_lost": 0, "right_before": 90, "error": "no"}, DEPENDS),
        ({"refused": False, "answers_lost": 40, "right_before": 90}, DEPENDS),
        ({"refused": False, "answers_lost": 0, "right_before": 90}, DIFFERS),
        ({"refused": True}, UNMEASURED),
        ({}, UNMEASURED),
    ],
)
def test_longer_input(longer, verdict):
    record = full() | {"feedforward": {"longer": longer}}
    assert claim("feedforward", "padding fails on longer texts", record).verdict == verdict


@pytest.mark.parametrize(
    "apart, verdict",
    [
        ({"feedforward": 0.0, "fixed_size": 0.08, "lstm": 0.97}, AGREES),
        ({"feedforward": 0.0, "lstm": 0.97}, AGREES),
        ({"feedforward": 0.0, "fixed_size": 0.7, "lstm": 0.97}, DEPENDS),
        ({"fixed_size": 0.3, "lstm": 0.97}, DEPENDS),
        ({"fixed_size": 0.6, "lstm": 0.97}, DIFFERS),
        ({"feedforward": 0.0, "lstm": 0.0}, AGREES),
        ({"lstm": 0.97}, UNMEASURED),
        ({"feedforward": 0.0}, UNMEASURED),
    ],
)
def test_order_of_words(apart, verdict):
    record = full() | {"feedforward": {"order_pairs": {"pairs": 200, "told_apart": apart}}}
    assert claim("feedforward", "no memory of the sequence", record).verdict == verdict


def test_every_claim_has_a_verdict_in_a_full_record():
    open_claims = [claim.statement for claim in lecture.CLAIMS if claim.judgment(full()).verdict == UNMEASURED]
    assert open_claims == []
    counts = lecture.verdict_counts(full())
    assert sum(counts.values()) == 36 + len(lecture.CLAIMS)
    assert counts[UNMEASURED] == 6  # use cases, self-attention, and the GPU
