import json
import math

import numpy as np
import pytest

from keras_seq import tuning
from keras_seq.tuning import proposals
from keras_seq.tuning.proposals import beside, features, propose, sample

SPACE = (
    tuning.Space()
    .choice("cell", ["gru", "lstm", "cnn"])
    .choice("bidirectional", [True, False], when={"cell": ["gru", "lstm"]})
    .int("layers", 1, 5)
    .float("rate", 1e-4, 1e-2, log=True)
)
HP = SPACE.hyperparameters()


def score(values):
    """Best, 1.0, for a GRU in both directions with 4 layers and a rate of 3e-3."""
    rate, layers = math.log10(values["rate"] / 3e-3), (values["layers"] - 4) / 4
    return 1.0 - rate**2 - layers**2 - 0.5 * (values["cell"] != "gru") - 0.3 * (not values.get("bidirectional"))


def searched(seed, trials=20, noise=0.05):
    random, found = np.random.RandomState(seed), []
    for number in range(trials):
        values = sample(HP, random) if number < 5 else propose(HP, found, [], random, noise=0.05)
        found.append((values, score(values) + random.normal(0, noise)))
    return found


def test_categories_are_equally_far_apart_and_absent_ones_are_none():
    common = {"layers": 3, "rate": 1e-3}
    gru, lstm, cnn = (np.array(features(HP, {"cell": cell, **common})) for cell in ("gru", "lstm", "cnn"))
    for one, other in ((gru, lstm), (lstm, cnn), (gru, cnn)):
        assert np.linalg.norm(one - other) == pytest.approx(1.0)
    forward = np.array(features(HP, {"cell": "gru", "bidirectional": False, **common}))
    backward = np.array(features(HP, {"cell": "gru", "bidirectional": True, **common}))
    assert np.linalg.norm(forward - backward) == pytest.approx(1.0)
    assert np.linalg.norm(forward - gru) == np.linalg.norm(backward - gru) < 1.0


def test_a_number_is_placed_on_its_scale():
    low, middle, high = (features(HP, {"cell": "cnn", "layers": 3, "rate": rate})[-1] for rate in (1e-4, 1e-3, 1e-2))
    assert (low, middle, high) == pytest.approx((0.0, 0.5, 1.0))


def test_values_beside_others_differ_and_are_allowed():
    random = np.random.RandomState(1)
    values = {"cell": "gru", "bidirectional": True, "layers": 5, "rate": 1e-2}
    changes = []
    for _ in range(200):
        other = beside(HP, values, random)
        assert ("bidirectional" in other) == (other["cell"] != "cnn")
        assert all(SPACE[name].allows(value) for name, value in other.items())
        json.dumps(other)  # which the oracle's state is written as
        changes.append(sum(other.get(name) != value for name, value in values.items()))
    assert 0.5 < np.mean(changes) < 2.5


@pytest.mark.long
def test_proposals_find_better_values_than_chance_despite_noise():
    best, chance = [], []
    for seed in range(6):
        best.append(max(score(values) for values, _ in searched(seed, trials=14)))
        random = np.random.RandomState(100 + seed)
        chance.append(max(score(sample(HP, random)) for _ in range(14)))
    assert np.mean(best) > np.mean(chance) + 0.1


def test_a_lucky_trial_is_not_repeated():
    # All cells are equal, and the noise made one trial the best: nothing is known yet about other rates.
    values = {"cell": "cnn", "layers": 3, "rate": 1e-3}
    trials = [(values | {"rate": 1e-3 + 1e-6 * number}, 0.70 + 0.02 * (number == 2)) for number in range(6)]
    other = propose(HP, trials, [], np.random.RandomState(1), noise=0.05)
    assert np.linalg.norm(np.subtract(features(HP, other), features(HP, values))) > 0.3


def test_a_running_trial_is_not_proposed_again():
    found = searched(1, trials=12)
    first = propose(HP, found, [], np.random.RandomState(2), noise=0.05)
    second = propose(HP, found, [first], np.random.RandomState(2), noise=0.05)
    assert first != second
    assert first == propose(HP, found, [], np.random.RandomState(2), noise=0.05)


def test_none_if_all_candidates_have_been_tried():
    found = searched(1, trials=5)
    assert propose(HP, found, [], np.random.RandomState(1), noise=0.05, unseen=lambda values: False) is None


def test_what_is_fixed_has_no_place_in_the_vector():
    values = {"cell": "cnn", "layers": 3, "rate": 1e-3}
    fixed = SPACE.fixed("optimizer", "adam").hyperparameters()
    assert features(fixed, values | {"optimizer": "adam"}) == features(HP, values)


def test_only_values_that_are_new_are_proposed(monkeypatch):
    monkeypatch.setattr(proposals, "_CANDIDATES", 8)
    trials = [({"cell": "cnn", "layers": layers, "rate": 1e-3}, -1.0 * layers) for layers in (1, 3, 5)]
    options = {"noise": 0.05, "random": np.random.RandomState(1)}
    found = propose(HP, trials, [], unseen=lambda values: values["cell"] == "lstm", **options)
    assert found["cell"] == "lstm"
    assert propose(HP, trials, [], unseen=lambda values: False, **options) is None
