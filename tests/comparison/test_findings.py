"""Figures as text, ties, and the findings of a record in sentences."""

import pytest

from keras_seq.comparison import figures, findings, verdicts
from keras_seq.comparison.figures import Figure
from tests.comparison.records import full, with_numbers


@pytest.mark.parametrize(
    "show, value, text",
    [
        (figures.seconds, 1.2e-5, "12.0 µs"),
        (figures.seconds, 0.00999, "9.99 ms"),
        (figures.seconds, 0.9999, "1.00 s"),
        (figures.seconds, 3e-10, "0.30 ns"),
        (figures.seconds, 340.0, "340 s"),
        (figures.size, 812e6, "812 MB"),
        (figures.size, 1.234e9, "1.23 GB"),
        (figures.size, 0.0, "0 B"),
        (figures.count, 74_112.0, "74,112"),
        (figures.count, 3.45e8, "345 M"),
        (figures.duration, 31.0, "31.0 s"),
        (figures.duration, 1500.0, "25 min"),
        (figures.duration, 9000.0, "2.5 h"),
        (figures.times, 7.94, "7.9x"),
        (figures.times, 88.2, "88x"),
        *(
            (show, None, "-")
            for show in (figures.seconds, figures.size, figures.count, figures.duration, figures.times)
        ),
    ],
)
def test_numbers_have_units_and_few_digits(show, value, text):
    assert show(value) == text


@pytest.mark.parametrize("value", [None, True, "3", float("nan"), float("inf"), [1]])
def test_what_is_no_finite_number_is_none(value):
    assert figures.number(value) is None


def test_scores_have_the_unit_of_the_record():
    assert figures.best_score(full(), "gru").text == "77.1% ± 0.4%"
    losses = full()
    losses["score"] |= {"name": "loss", "unit": "nats", "mode": "min"}
    assert figures.best_score(losses, "gru").text == "0.771 ± 0.0042 nats"
    assert figures.score_text(losses, None) == "-"


def test_a_tie_is_within_the_larger_slack():
    a, b = Figure(1.0, "", "", 0.1), Figure(1.15, "", "", 0.0)
    assert (figures.in_order(a, b), figures.in_order(b, a)) == (-1, 1)
    assert figures.in_order(a, b._replace(slack=0.2)) == 0


def test_slack_of_shares_is_a_share_of_the_errors():
    share, loss = {"score": {"unit": "fraction"}}, {"score": {"unit": "nats"}}
    assert figures.score_slack(share, 0.7) == pytest.approx(0.03)
    assert figures.score_slack(share, 0.999) == 0.01
    assert figures.score_slack(loss, 4.0) == pytest.approx(0.08)


def test_judgments_name_the_comparisons():
    values = {"a": 1.0, "b": 2.0, "c": 2.0}
    found = verdicts.ordered(
        {},
        lambda record, name: Figure(values[name], "", ""),
        {"a": "low", "b": "high", "c": "low"},
        ("low", "high"),
        ("less", "more"),
    )
    assert found["b"].reason == "More than A; tie with C."
    assert {name: each.verdict for name, each in found.items()} == {"a": "agrees", "b": "depends", "c": "depends"}


def test_findings_of_a_full_record():
    assert findings.quality(full()) == (
        "GRU has the best accuracy: 77.1% ± 0.4%; a tie with MinGRU, LSTM, MinLSTM and RG-LRU"
    )
    assert findings.training_time(full()) == (
        "Fastest in training: Feed-forward, 2.10 µs per token. Slowest: LSTM, 14.0 µs per token"
    )
    assert findings.memory(full()) == "Least memory in training: Feed-forward, 150 MB. Most: Transformer, 690 MB"
    assert findings.threads(full()) == "Least gain from a second thread: 7 architectures, 1.3x. Most: Transformer, 1.7x"
    assert findings.quality_by_length(full()) == (
        "RNN loses most on longer texts: 72.2% at 1 to 10 tokens, 59.2% at 21 to 40"
    )
    # 0.9 - 0.2 x 0.25 at 40,000 tokens and so on: the best run of each passes 0.65 where 0.25 / step is small enough.
    assert findings.learning(full()) == "GRU is first at 65.0%, after 120,000 tokens; RNN last, after 200,000"
    assert findings.remembering(full()) == "With 80 steps to remember, GRU scores 99.9% and RNN 35.0%"
    assert findings.generation(full()) == (
        "Transformer's cost per token grows 3.3x from 16 to 512 tokens; constant for the others"
    )
    assert findings.ease(full()).endswith("RNN: 2 of 6 runs")
    assert findings.feedforward(full()) == "A fixed input of 100 positions wastes 79% of them on padding"


def test_a_best_learning_rate_at_the_edge_of_the_grid_is_named():
    record = full()
    for number, entry in enumerate(record["architectures"]):
        entry["best"]["learning_rate"] = (0.001, 0.003, 0.01, 0.01)[min(number, 3)]
    record["architectures"] = record["architectures"][:4]
    found = findings.at_an_edge(record)
    assert found.endswith("that another may be better: RNN: 0.001; LSTM and MinGRU: 0.01")
    record["grid"]["learning_rates"] = [0.0001, 0.001, 0.01, 0.1]
    assert findings.at_an_edge(record) == findings.at_an_edge({}) == ""


def test_the_best_score_has_the_direction_of_the_record():
    losses = full()
    losses["score"] |= {"name": "perplexity", "unit": "", "mode": "min"}
    assert list(findings.by_score(losses))[0] == "rnn"
    assert findings.quality(losses) == "RNN has the best perplexity: 0.702 ± 0.0042"


def test_equal_figures_are_no_extremes():
    names = [entry["name"] for entry in full()["architectures"]]
    record = with_numbers(full(), "threads_speedup", dict.fromkeys(names, 1.5))
    assert findings.threads(record) == "Least gain from a second thread: no difference, 1.5x"
    for entry in record["architectures"]:
        for run in entry["runs"]:
            run["curve"] = [[1000, 0.5], [2000, 0.66]]
    assert findings.learning(record) == "8 architectures pass 65.0% after 2,000 tokens"
    record = with_numbers(record, "converged", dict.fromkeys(names, 6), part="")
    assert findings.ease(record) == "All architectures converge in 6 of 6 runs"
    constant = [{"length": 1, "seconds_per_token": 1.0}, {"length": 9, "seconds_per_token": 1.05}]
    record = with_numbers(record, "generation", dict.fromkeys(names, constant))
    assert findings.generation(record) == "The cost of a generated token does not grow with the length"


def test_an_empty_record_has_no_findings():
    assert findings.in_short({}) == ["No claim of the lecture was measured."]
    assert findings.quality({}) == findings.learning({}) == ""


def test_verdicts_are_counted():
    text = findings.verdicts(full())
    numbers = [int(word) for word in text.replace(",", "").replace(".", "").split() if word.isdigit()]
    assert numbers[0] == sum(numbers[1:4]) and numbers[0] + numbers[4] == 51


def test_the_unit_of_an_axis_is_that_of_its_largest_number():
    assert figures.time_unit(1.4e-5) == (1e-6, "µs") and figures.time_unit(0.042) == (1e-3, "ms")
    assert figures.size_unit(690e6) == (1e6, "MB") and figures.size_unit(2e9) == (1e9, "GB")
