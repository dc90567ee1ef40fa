"""The best learning rate of an architecture, the rule of convergence, and quality by length."""

import math

import pytest

from keras_seq.comparison.cells import Cell, CellRecord
from keras_seq.comparison.choice import best_of, by_length, convergence


def runs(scores):
    """Records by cell, from `{learning rate: scores of the seeds}`. None is a run that diverged."""
    return {
        Cell("lstm", rate, seed, 8): CellRecord("diverged", "loss is nan")
        if score is None
        else CellRecord("done", score=score)
        for rate, row in scores.items()
        for seed, score in enumerate(row, 1)
    }


@pytest.mark.parametrize(
    ("scores", "mode", "rate", "chosen"),
    [
        ({0.1: [0.5, 0.7], 0.2: [0.8, 0.6]}, "max", 0.2, (0.8, 0.6)),
        ({0.1: [0.5, 0.7], 0.2: [0.8, 0.6]}, "min", 0.1, (0.5, 0.7)),
        ({0.2: [0.6, 0.6], 0.1: [0.6, 0.6]}, "max", 0.1, (0.6, 0.6)),  # equal: the smaller rate
        ({0.1: [0.5, 0.5], 0.2: [0.9, None]}, "max", 0.1, (0.5, 0.5)),  # half of the seeds diverged
        ({0.1: [None, None], 0.2: [0.9, None]}, "max", 0.2, (0.9,)),
    ],
)
def test_the_rate_with_the_best_mean_of_all_seeds(scores, mode, rate, chosen):
    best = best_of(runs(scores), mode)
    assert (best.learning_rate, best.scores) == (rate, chosen)
    assert best.mean == pytest.approx(sum(chosen) / len(chosen))
    assert best.spread == pytest.approx(abs(chosen[0] - chosen[-1]) / math.sqrt(2))  # of two, with n - 1


def test_no_score_no_best():
    assert best_of(runs({0.1: [None]}), "max") is None
    assert best_of({Cell("lstm", 0.1, 1, 8): CellRecord("running", curve=((10, 0.5),))}, "max") is None
    assert convergence([CellRecord("diverged")], "max", 0.5) is None


def test_convergence_is_half_way_from_chance_to_the_best():
    records = [CellRecord("done", score=score) for score in (0.51, 0.64, 0.65, 0.8)] + [CellRecord("failed")]
    rule = convergence(records, "max", 0.5)
    assert rule.at == pytest.approx(0.65)
    assert rule.rule == "half way from chance (0.5) to the best score of any run (0.8)"
    assert [rule.converged(record) for record in records] == [False, False, True, True, False]


def test_without_chance_the_worst_first_round_takes_its_place():
    records = [CellRecord("done", score=2.0, curve=((10, 4.0), (20, 2.0)))]
    records += [CellRecord("done", score=1.0, curve=((10, 3.0), (20, 1.0))), CellRecord("diverged", curve=((10, 9.0),))]
    rule = convergence(records, "min")
    assert rule.at == pytest.approx(2.5)
    assert [rule.converged(record) for record in records] == [True, True, False]


def test_ranges_of_lengths_share_the_examples():
    one = CellRecord("done", by_length=tuple((length, length, 10, length / 100) for length in range(1, 11)))
    two = CellRecord("done", by_length=tuple((length, length, 10, 0.0) for length in range(1, 11)))
    ranges = by_length([one, two])
    assert [(each["from"], each["to"], each["rows"]) for each in ranges] == [
        (1, 2, 20), (3, 4, 20), (5, 6, 20), (7, 8, 20), (9, 10, 20)
    ]  # fmt: skip
    assert [each["score"] for each in ranges] == pytest.approx([(2 * k + 1.5) / 200 for k in range(5)])


def test_few_ranges_stay_as_the_recipe_gives_them():
    record = CellRecord("done", by_length=((5, 9, 10, 1.0), (10, 10, 500, 0.5), (80, 80, 10, 0.25)))
    assert [tuple(each.values()) for each in by_length([record, record])] == [
        (5, 9, 10, 1.0), (10, 10, 500, 0.5), (80, 80, 10, 0.25)
    ]  # fmt: skip


def test_a_frequent_length_is_in_one_range():
    record = CellRecord("done", by_length=((1, 1, 1, 0.0), (2, 2, 98, 0.5), (3, 3, 1, 1.0)))
    ranges = by_length([record], most=2)
    assert sum(each["rows"] for each in ranges) == 100
    assert [each["score"] for each in ranges if each["from"] <= 2 <= each["to"]] == [0.5]
    assert all(before["to"] < after["from"] for before, after in zip(ranges, ranges[1:], strict=False))
