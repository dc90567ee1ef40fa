import sys

import numpy as np
import pytest

from keras_seq.tuning.importance import importance
from keras_seq.tuning.records import TrialRecord


def trials_of(score, count=40, seed=0, **more):
    """Trials with random values, whose score is a function of them."""
    random, trials = np.random.default_rng(seed), []
    for number in range(count):
        values = {
            "rate": float(10 ** random.uniform(-5, -1)),
            "cell": str(random.choice(["lstm", "gru", "rnn"])),
            "layers": int(random.integers(1, 5)),
            "norm": bool(random.integers(2)),
        }
        trials.append(TrialRecord(f"{number:04}", "completed", values, float(score(values)), **more))
    return trials


def by_rate(values):
    return -((np.log10(values["rate"]) + 3) ** 2)


def by_cell(values):
    return {"lstm": 0.0, "gru": 1.0, "rnn": 3.0}[values["cell"]]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    "score, name",
    [(by_rate, "rate"), (by_cell, "cell"), (lambda v: v["layers"], "layers"), (lambda v: v["norm"], "norm")],
)
def test_a_single_parameter_explains_the_score(score, name, mode):
    shares = importance(trials_of(score), mode)
    assert next(iter(shares)) == name and shares[name] > 0.9
    assert sum(shares.values()) == pytest.approx(1) and set(shares) == {"rate", "cell", "layers", "norm"}
    assert max(share for other, share in shares.items() if other != name) < 0.05


def test_two_parameters_share_and_the_others_have_little():
    shares = importance(trials_of(lambda values: by_rate(values) + by_cell(values), 60), "max")
    assert min(shares["rate"], shares["cell"]) > 0.15
    assert shares["layers"] + shares["norm"] < 0.1


def test_the_order_of_the_trials_has_no_effect():
    trials = trials_of(lambda values: by_rate(values) + by_cell(values), 24)
    trials[3] = TrialRecord("0003", "failed", dict(reversed(trials[3].values.items())))
    assert importance(trials, "max") == importance(trials[::-1], "max") == importance(trials[7:] + trials[:7], "max")


def test_a_conditional_parameter_counts_where_it_is_active():
    def score(values):
        return 2.0 * values["layers"] if values["cell"] == "lstm" else 5.0

    trials = trials_of(score, 60)
    for trial in trials:
        if trial.values["cell"] != "lstm":
            del trial.values["layers"]
    shares = importance(trials, "max")
    assert shares["layers"] > 0.5 and shares["rate"] + shares["norm"] < 0.1


def test_failed_trials_count_with_the_worst_score():
    trials = trials_of(lambda values: 0.9 + 0.001 * values["layers"], 40)
    trials = [TrialRecord(trial.trial, "failed", trial.values) if trial.values["norm"] else trial for trial in trials]
    with_failed = importance(trials, "max")
    assert with_failed["norm"] > 0.3
    without = importance([trial for trial in trials if trial.status != "failed"], "max")
    assert without["norm"] == 0 and without["layers"] > 0.9


def test_nothing_is_explained_by_few_or_equal_or_random_scores():
    trials = trials_of(by_rate)
    assert importance([], "max") == {}
    assert importance(trials[:3], "max") == {}
    running = [TrialRecord("9", status, trials[5].values) for status in ("failed", "running", "invalid")]
    assert importance(trials[:3] + running, "max") == {}
    assert importance(trials_of(lambda values: 0.5), "max") == {}
    noise = np.random.default_rng(1)
    assert importance(trials_of(lambda values: noise.normal(), 10), "max") == {}
    assert importance([TrialRecord(str(i), "completed", {"a": 1}, float(i)) for i in range(9)], "max") == {}


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(
        ImportError, match=r'The importance of parameters needs scikit-learn: pip install "keras-seq\[tun'
    ):
        importance(trials_of(by_rate), "max")
