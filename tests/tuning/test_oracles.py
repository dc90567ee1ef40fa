"""The oracles without training: what is proposed, what is told, and what survives a kill."""

import json
import sys
from types import SimpleNamespace

import keras_tuner
import numpy as np
import pytest

from keras_seq import tuning
from keras_seq.tuning import oracles

NAMES = ["bayesian", "random", "hyperband", "grid"]


def space():
    return (
        tuning.Space()
        .choice("kind", ["a", "b"])
        .float("x", 0, 1, step=0.25, default=0.5)
        .choice("n", [1, 2], when={"kind": "b"})
    )


def make(folder, name, **options):
    options = {"trials": 12, "tokens": None, "seed": 3, "rounds": 9} | options
    objective = keras_tuner.Objective("loss", options.pop("direction", "min"))
    oracle = oracles.make_oracle(name, objective, space=space().hyperparameters(), **options)
    oracle._set_project_dir(str(folder), "search")
    (folder / "search").mkdir(exist_ok=True)
    oracle.reload()
    return oracle


def loss_of(values):
    return abs(values["x"] - 0.75) + 0.1 * (values["kind"] == "a") + 0.01 * values.get("n", 0)


def run(oracle, end=None, until=None):
    """Runs trials until the oracle stops, and returns their values. `end(values)` is the status of a trial."""
    seen = []
    while until is None or len(seen) < until:
        trial = oracle.create_trial("tuner0")
        if trial.status == "STOPPED":
            break
        values = dict(trial.hyperparameters.values)
        trial.status = "COMPLETED" if end is None else end(values)
        if trial.status == "COMPLETED":
            oracle.update_trial(trial.trial_id, {"loss": loss_of(values)})
        oracle.end_trial(trial)
        seen.append(values)
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_the_first_trial_has_the_defaults_and_none_is_repeated(tmp_path, name):
    oracle = make(tmp_path, name, trials={"hyperband": None, "grid": None, "random": 12, "bayesian": 5}[name])
    seen = run(oracle)
    own = [{key: value for key, value in values.items() if not key.startswith("tuner/")} for values in seen]
    assert own[0] == {"kind": "a", "x": 0.5}
    if name == "hyperband":
        assert {values["tuner/epochs"] for values in seen} == {1, 3, 9}
    else:
        assert len({json.dumps(values, sort_keys=True) for values in own}) == len(own)
    if name == "grid":
        assert len(own) == 5 + 5 * 2
    assert all(("n" in values) == (values["kind"] == "b") for values in own)


@pytest.mark.parametrize("name", NAMES)
def test_a_search_that_was_killed_after_any_trial_goes_on_as_it_would_have(tmp_path, name):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    trials = {"hyperband": None, "bayesian": 5}.get(name, 12)
    whole = run(make(tmp_path / "whole", name, trials=trials))
    parts = []
    while True:
        oracle = make(tmp_path / "killed", name, trials=trials)  # a new process
        more = run(oracle, until=1)
        if not more:
            break
        parts += more
        given = oracle.create_trial("tuner0")  # the process dies within a trial, which is given out again
        again = make(tmp_path / "killed", name, trials=trials).create_trial("tuner0")
        assert (again.trial_id, again.hyperparameters.values) == (given.trial_id, given.hyperparameters.values)
    assert parts == whole


@pytest.mark.parametrize("name", NAMES)
def test_failed_and_invalid_trials_are_the_worst_and_never_the_best(tmp_path, name):
    def end(values):
        return {0.0: "FAILED", 1.0: "INVALID"}.get(values["x"], "COMPLETED")

    oracle = make(tmp_path, name, trials={"bayesian": 7, "hyperband": None}.get(name, 12))
    run(oracle, end)
    states = {trial.status for trial in oracle.trials.values()}
    assert "COMPLETED" in states and states & {"FAILED", "INVALID"}
    if name == "hyperband":  # a bracket with a failed trial is completed
        assert any(trial.hyperparameters.values["tuner/epochs"] == 9 for trial in oracle.trials.values())
    assert oracle.get_best_trials()[0].status == "COMPLETED"
    assert all(trial.score is None for trial in oracle.trials.values() if trial.status != "COMPLETED")


def test_equal_seeds_give_equal_proposals(tmp_path):
    searches = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        searches.append(run(make(tmp_path / name, "random", seed=seed, trials=5)))
    assert searches[0] == searches[1] != searches[2]


def test_an_invalid_trial_does_not_count(tmp_path):
    oracle = make(tmp_path, "random", trials=4)
    run(oracle, lambda values: "INVALID" if values["kind"] == "a" else "COMPLETED")
    states = [trial.status for trial in oracle.trials.values()]
    assert states.count("COMPLETED") == 4 and "INVALID" in states


def test_a_space_of_invalid_trials_ends(tmp_path):
    oracle = make(tmp_path, "grid", trials=1)
    assert len(run(oracle, lambda values: "INVALID")) == 10


@pytest.mark.long
def test_bayesian_search_beats_random_search(tmp_path):
    best = {}
    for name in ("bayesian", "random"):
        found = []
        for seed in range(1, 6):
            folder = tmp_path / f"{name}-{seed}"
            folder.mkdir()
            found.append(min(map(loss_of, run(make(folder, name, seed=seed, trials=8)))))
        best[name] = sum(found) / len(found)
    assert best["bayesian"] <= best["random"]


def test_a_trial_of_a_worker_that_died_is_given_to_the_next(tmp_path):
    oracle = make(tmp_path, "random")
    first, second = oracle.create_trial("worker-0"), oracle.create_trial("worker-1")
    assert first.trial_id != second.trial_id
    assert oracle.release("worker-0") == first.trial_id
    assert oracle.release("worker-0") is None
    assert oracle.create_trial("worker-2").trial_id == first.trial_id
    assert oracle.create_trial("worker-1").trial_id == second.trial_id  # still its own


def test_a_kill_within_a_write_leaves_the_state_before_it(tmp_path, monkeypatch):
    oracle = make(tmp_path, "bayesian")
    run(oracle, until=2)
    before = oracle._path.read_text()

    def fails(*arguments):
        raise RuntimeError("killed")

    monkeypatch.setattr(oracles.json, "dumps", fails)
    with pytest.raises(RuntimeError, match="killed"):
        run(oracle, until=1)
    monkeypatch.undo()
    assert oracle._path.read_text() == before
    assert len(make(tmp_path, "bayesian").trials) == 2


def test_a_limit_on_all_tokens_ends_the_search(tmp_path):
    oracle = make(tmp_path, "random", tokens=250)

    def end(values):
        name = list(oracle.trials)[-1]
        rounds = (tuning.Round(1, 100, 1.0, 0.5),)
        tuning.TrialRecord(name, "completed", values, 0.5, rounds=rounds).write(tmp_path / f"search/trial_{name}")
        return "COMPLETED"

    assert len(run(oracle, end)) == 3


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="`oracle` must be one of bayesian, random, hyperband, grid. Received: 'tpe'"):
        make(tmp_path, "tpe")
    with pytest.raises(ValueError, match='`trials` or `total_tokens` is needed with the oracle "random"'):
        make(tmp_path, "random", trials=None)
    (tmp_path / "search").mkdir(exist_ok=True)
    (tmp_path / "search/oracle.json").write_text('{"trials": ')
    with pytest.raises(ValueError, match="oracle.json is damaged.*Remove it to start the search over"):
        make(tmp_path, "random")


@pytest.mark.parametrize(
    ("direction", "sign", "proposed"), [("min", -1, {"kind": "b", "x": 1.0, "n": 2}), ("max", 1, None)]
)
def test_proposals_follow_from_the_trials_that_finished(tmp_path, monkeypatch, direction, sign, proposed):
    asked = []

    def propose(space, trials, ongoing, random, *, noise, unseen):
        asked.append((trials, ongoing, random.randint(10**6), noise, [unseen(values) for values, _ in trials]))
        return proposed

    monkeypatch.setitem(sys.modules, "keras_seq.tuning.proposals", SimpleNamespace(propose=propose))
    oracle = make(tmp_path, "bayesian", direction=direction)
    done = run(oracle, until=6)
    assert not asked  # the first ones are drawn
    running = oracle.create_trial("tuner1").hyperparameters.values
    following = oracle.create_trial("tuner0").hyperparameters.values
    finished = [(values, sign * loss_of(values)) for values in done]
    for number, ongoing in enumerate(([], [running])):
        draw = np.random.RandomState([3, 6 + number]).randint(10**6)
        assert asked[number] == (finished, ongoing, draw, 0.05, [False] * 6)
    assert (running == proposed) == (proposed is not None) and following not in done
