import math

import pytest

from keras_seq import tuning
from keras_seq.tuning.records import ranked


def rounds(*scores):
    return tuple(tuning.Round(number, 100 * number, 1.0 * number, score) for number, score in enumerate(scores, 1))


def trial(*scores, status="completed"):
    return tuning.TrialRecord("0", status, {}, None if status == "failed" else max(scores), rounds=rounds(*scores))


OTHERS = [trial(1, 2, 3, 4), trial(2, 3, 4, 5), trial(5, 5, 5, 5), trial(3, 9, 9, 9)]


def test_worse_than_the_median_of_the_best_scores_so_far():
    rule = tuning.MedianRule(warmup_rounds=2, least_trials=4)
    assert rule.reason(rounds(0, 0), OTHERS, "max") == ""  # warm-up
    reason = rule.reason(rounds(4, 3, 2), OTHERS, "max")  # the median of 3, 4, 5 and 9 is 4.5
    assert reason == "4 after round 3, where the median of 4 other trials was 4.5"
    assert rule.reason(rounds(4.5, 0, 0), OTHERS, "max") == ""
    assert rule.reason(rounds(2.6, 3, 3), OTHERS, "min").startswith("2.6 after round 3, where the median")
    assert rule.reason(rounds(2.5, 9, 9), OTHERS, "min") == ""  # the median of 1, 2, 5 and 3


@pytest.mark.parametrize("other", [trial(9, 9), trial(9, 9, 9, status="failed"), trial(9, 9, 9, status="running")])
def test_trials_that_did_not_reach_the_round_do_not_count(other):
    rule = tuning.MedianRule(warmup_rounds=2, least_trials=4)
    assert rule.reason(rounds(0, 0, 0), [*OTHERS[:3], other], "max") == ""
    assert rule.reason(rounds(0, 0, 0), [*OTHERS[:3], trial(9, 9, 9, status="stopped")], "max")


def test_records_round_trip(tmp_path):
    record = tuning.TrialRecord("0003", "failed", {"x": 1}, None, "loss is nan", rounds(0.5, math.nan), seed=2)
    record.write(tmp_path / "trial_0003")
    read = tuning.read_trial(tmp_path / "trial_0003/trial.json")
    assert read.rounds[0] == record.rounds[0] and math.isnan(read.rounds[1].score)
    assert (read.tokens, read.values, read.reason) == (200, {"x": 1}, "loss is nan")
    assert "NaN" not in (tmp_path / "trial_0003/trial.json").read_text()
    (tmp_path / "trial_0004").mkdir()
    (tmp_path / "trial_0004/trial.json").write_text("{}")
    with pytest.raises(ValueError, match="trial.json is damaged"):
        tuning.read_trials(tmp_path)


def test_the_best_of_trials():
    trials = [trial(1), trial(3), trial(3), trial(9, status="failed"), trial(8, status="running")]
    assert tuning.best_of(trials, "max") is trials[1]
    assert tuning.best_of(trials, "min") is trials[0]
    assert tuning.best_of(trials[3:], "max") is None


@pytest.mark.parametrize(("mode", "order"), [("max", [2, 3, 0, 1, 4]), ("min", [0, 2, 3, 1, 4])])
def test_trials_without_a_score_are_last(mode, order):
    trials = [trial(1), trial(9, status="failed"), trial(3), trial(3), trial(8, status="running")]
    found = ranked(trials, mode)
    assert all(one is trials[place] for one, place in zip(found, order, strict=True))
