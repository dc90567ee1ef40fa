"""Searches over a small model, from the outside: what a user calls, and what stands in the folder afterwards."""

import io
import json
import math
import runpy
import sys
from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("KerasTuner's searches run on TensorFlow here", allow_module_level=True)

from keras_seq import tuning
from keras_seq.tuning import tuner as tuner_module
from tests.tuning.search_program import Sums, examples, space, tuner


def search(folder, **options):
    result = tuner(str(folder), **{"oracle": "random", "trials": 6, "tokens": 400} | options)
    return result, result.search()


@pytest.fixture(scope="module")
def folder(made_once):
    return made_once("search", search)


def comparable(trial):
    """What is the same in an interrupted search."""
    rounds = [(each.number, each.tokens, each.score) for each in trial.rounds]
    return trial.trial, trial.status, trial.values, trial.score, trial.reason, str(rounds)


def test_the_folder_of_a_search(folder):
    trials = tuning.read_trials(folder)
    assert [trial.trial for trial in trials] == [f"{number:04}" for number in range(len(trials))]
    assert trials[0].values == space().defaults()
    assert sum(trial.status != "invalid" for trial in trials) == 6
    best = tuning.best_of(trials, "max")
    assert json.loads((folder / "best.json").read_text()) == best.values
    assert keras.models.load_model(folder / f"trial_{best.trial}/run/best.keras").count_params() == best.parameters
    assert (folder / "plots/score_against_cost.png").stat().st_size > 1000
    assert "Epoch 1/3" in (folder / "trial_0000/log.txt").read_text()


def test_all_trials_have_equal_tokens(folder):
    trials = [trial for trial in tuning.read_trials(folder) if trial.status == "completed"]
    assert len({trial.values["batch_size"] for trial in trials}) == 2
    for trial in trials:
        assert 400 <= trial.tokens < 400 + 7 * trial.values["batch_size"]
        assert [each.number for each in trial.rounds] == [1, 2, 3]
        for each in trial.rounds:
            assert 400 * each.number / 3 <= each.tokens < 400 * each.number / 3 + 7 * trial.values["batch_size"]


def test_a_trial_that_diverges_has_failed_and_an_invalid_one_is_replaced(folder):
    for trial in tuning.read_trials(folder):
        if trial.values["units"] == 3 and trial.status != "invalid":
            assert (trial.status, trial.score) == ("failed", None)
            assert trial.reason == "loss is nan after round 1" and trial.tokens > 0
            assert math.isnan(trial.rounds[0].score) or trial.rounds[0].score >= 0
        elif trial.values["learning_rate"] > 0.5:
            assert (trial.status, trial.reason, trial.tokens) == ("invalid", "no such rate", 0)
        else:
            assert trial.status in ("completed", "stopped") and trial.score == max(r.score for r in trial.rounds)


def test_a_finished_search_is_not_repeated(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trial_*/trial.json")}
    again, trials = search(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("trial_*/trial.json")} == before
    assert list(map(comparable, trials)) == list(map(comparable, tuning.read_trials(folder)))
    out = capsys.readouterr().out
    assert "finished trials, the search continues." in out and f"Best: trial {again.best().trial}" in out
    for model in (again.get_best_models()[0], again.load_model(again.best())):
        assert model.count_params() == again.best().parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 9}, "holds another search: `seed` was 2, is now 9. Name another folder, or start over"),
        ({"tokens": 500}, '`budget` was .*"tokens": 400'),
        ({"space": space().remove("units")}, "holds another search: `space` was"),
    ],
)
def test_a_folder_with_another_search_is_refused(folder, options, message):
    before = (folder / "search.json").read_text()
    with pytest.raises(ValueError, match=message):
        tuner(str(folder), **{"oracle": "random", "trials": 6, "tokens": 400} | options)
    assert (folder / "search.json").read_text() == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="is not empty and has no search in it \\(it has thesis.tex\\)"):
        tuner(str(tmp_path))
    with pytest.raises(ValueError, match="needs a folder, but .* is a file"):
        tuner(str(tmp_path / "thesis.tex"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": tuning.Space()}, "The search space is empty"),
        ({"trials": 0}, "`trials` must be at least 1. Received: 0"),
        ({"tokens": None}, "Give one of `tokens` and `seconds`"),
        ({"rounds": 0}, "`rounds` must be above 0. Received: 0"),
        ({"oracle": "tpe"}, "`oracle` must be one of"),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tuner(str(tmp_path / "search"), **options)
    assert not (tmp_path / "search").exists()


def test_an_objective_that_no_round_logs(tmp_path):
    result = tuning.Tuner(Sums(), "val_bleu", directory=tmp_path / "s", space=space(), tokens=100, rounds=2)
    with pytest.raises(tuning.SearchError, match="No round logs the objective `val_bleu`. The logs have: accuracy, "):
        result.search()


def test_a_search_whose_first_trials_all_have_an_error_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(tuner_module, "_MOST_INVALID", 2)
    with pytest.raises(tuning.SearchError, match="The first 2 trials all have an error. The last one: no such rate"):
        search(tmp_path / "s", space=space().float("learning_rate", 0.51, 0.6))


class Interrupted(keras.callbacks.Callback):
    """Interrupts the search at the end of that round of that trial, as Ctrl-C does."""

    def __init__(self, tuner, trial, round):
        super().__init__()
        self._tuner, self._place = tuner, (trial, round)

    def on_epoch_end(self, epoch, logs=None):
        if (len(self._tuner.trials()) - 1, epoch) == self._place:
            raise KeyboardInterrupt


@pytest.mark.long
def test_an_interrupted_trial_goes_on_from_its_last_round(folder, tmp_path, monkeypatch):
    first = tuner(str(tmp_path / "search"), oracle="random", trials=6, tokens=400)
    train = first.hypermodel.train

    def interrupted(hp, run, budget, objective, callbacks):
        train(hp, run, budget, objective, [*callbacks, Interrupted(first, 1, 1)])

    monkeypatch.setattr(first.hypermodel, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.search()
    assert [trial.status for trial in first.trials()] == [first.trials()[0].status, "running"]
    assert len(first.trials()[1].rounds) == 2
    _, trials = search(tmp_path / "search")
    assert list(map(comparable, trials)) == list(map(comparable, tuning.read_trials(folder)))


@pytest.mark.long
def test_hyperband_continues_trials_with_more_rounds(tmp_path):
    _, trials = search(tmp_path, oracle="hyperband", trials=None, rounds=3, tokens=300)
    by_rounds = {len(trial.rounds): trial for trial in trials if trial.status == "completed"}
    assert set(by_rounds) == {1, 3}
    longer = next(trial for trial in trials if len(trial.rounds) == 3)
    twins = [trial for trial in trials if trial.values == longer.values and len(trial.rounds) == 1]
    assert twins and twins[0].rounds == longer.rounds[:1]  # its first round was not trained again


def build(hp):
    hp.Choice("units", [2, 4])
    hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    return Sums().build(hp)


def test_a_plain_function_of_keras_tuner(tmp_path):
    result = tuning.Tuner(build, "val_loss", directory=tmp_path / "s", oracle="random", trials=2, tokens=150, rounds=2)
    train, valid = examples(0).padded_batch(8), examples(1).padded_batch(40)
    trials = result.search(train, validation_data=valid)
    assert len(trials) == 2 and {trial.tokens >= 150 for trial in trials} == {True}
    assert result.best().score == min(trial.score for trial in trials)
    with pytest.raises(tuning.SearchError, match="`search` needs the training batches"):
        tuning.Tuner(build, "val_loss", directory=tmp_path / "t", trials=1, tokens=50, rounds=1).search()


@pytest.mark.long
def test_a_budget_of_seconds(tmp_path):
    _, trials = search(tmp_path, tokens=None, seconds=0.3, trials=2, rounds=2, space=space().choice("units", [4, 8]))
    for trial in trials:
        assert len(trial.rounds) == 2 and trial.tokens > 0


@pytest.mark.parametrize(
    ("name", "direction"),
    [("val_loss", "min"), ("val_accuracy", "max"), ("val_bleu", "max"), ("val_word_error_rate", "min")]
    + [("val_span_f1", "max"), ("val_mse", "min"), ("val_perplexity", "min")],
)
def test_the_direction_of_an_objective(name, direction):
    found = tuning.find_objective(name)
    assert (found.name, found.direction) == (name, direction)
    given = keras_tuner.Objective("val_loss", "max")
    assert tuning.find_objective(given) is given


def test_a_worker_is_needed(folder):
    with pytest.raises(ValueError, match="`workers` must be at least 1. Received: 0"):
        tuner(str(folder), oracle="random", trials=6, tokens=400).search(workers=0)


def test_an_objective_is_needed():
    with pytest.raises(ValueError, match="`objective` is needed"):
        tuning.find_objective(None)


@pytest.mark.long
def test_equal_seeds_give_equal_trials(folder, tmp_path):
    other = tuner(str(tmp_path / "s"), oracle="random", trials=1, tokens=400)
    assert comparable(other.search()[0]) == comparable(tuning.read_trials(folder)[0])
    assert np.isfinite(other.best().score)


# Without training: with stand-ins for the processes, for the oracle, and for the trials.


def made(folder, **options):
    return tuner(str(folder), **{"oracle": "random"} | options)


def ended(number, status="completed", **options):
    score = None if status == "failed" else 0.5
    return tuning.TrialRecord(f"{number:04}", status, {"units": 4}, score, **options)


def written(folder, *records):
    for record in records:
        record.write(folder / f"trial_{record.trial}")
    return list(records)


def trial_of(search, number=0, **values):
    hp = search.oracle.get_space().copy()
    hp.values = {**space().defaults(), **values}
    return SimpleNamespace(trial_id=f"{number:04}", hyperparameters=hp, status="RUNNING", message=None)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_empty_space_is_refused(tmp_path):
    with pytest.raises(ValueError, match="The search space is empty: the hypermodel declares no parameter."):
        tuning.Tuner(lambda hp: None, "val_loss", directory=tmp_path / "s", oracle="random", tokens=100)


def test_starting_over_removes_the_trials(tmp_path):
    made(tmp_path / "s", seed=1)
    written(tmp_path / "s", ended(0))
    assert made(tmp_path / "s", seed=9, overwrite=True).trials() == []
    assert json.loads((tmp_path / "s/search.json").read_text())["seed"] == 9


def test_a_worker_leaves_the_folder_to_the_chief(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tuning.Tuner, "_is_worker", lambda self: True)
    search, ran, told = made(tmp_path / "s"), [], []
    search.save()
    assert not list(tmp_path.rglob("*.json"))
    monkeypatch.setattr(
        keras_tuner.Tuner, "search", lambda self, *arguments, **options: ran.append((arguments, options))
    )
    records = written(tmp_path / "s", ended(0))
    assert search.search("batches", validation_data=1) == records
    assert ran == [(("batches",), {"validation_data": 1})] and not (tmp_path / "s/best.json").exists()
    record = ended(1, rounds=(tuning.Round(1, 10, 1.0, 0.25), tuning.Round(2, 20, 2.0, 0.5)))
    monkeypatch.setattr(search, "run_trial", lambda trial: record)
    monkeypatch.setattr(search.oracle, "update_trial", lambda *given, step: told.append((*given, step)))
    search._try_run_and_update_trial(trial := trial_of(search, 1))
    assert told == [("0001", {"val_accuracy": 0.5}, 2)] and trial.status == "COMPLETED"
    assert capsys.readouterr().out == ""


class Processes:
    """In place of `Workers`: they run for two moments, and die in both."""

    def __init__(self, count, folder):
        self.count, self.running = count, iter([True, True, False]).__next__

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def serve(self, chief):
        return SimpleNamespace(is_alive=lambda: True)

    def died(self):
        return [("worker-0", "killed by SIGKILL"), ("worker-1", "exit code 1")][: self.count]

    def all_died(self):
        return self.count == 1

    def log(self, name):
        return f"{name}.log"


def test_a_chief_gives_the_trials_of_the_dead_to_others(tmp_path, monkeypatch, capsys):
    search, shown, slept = made(tmp_path / "s"), [], []
    records = written(tmp_path / "s", ended(0), ended(1, "running"), ended(2, "failed", reason="loss is nan"))

    def sleep(seconds):
        slept.append(seconds)
        written(tmp_path / "s", ended(1))

    monkeypatch.setattr(tuner_module, "Workers", Processes)
    monkeypatch.setattr(tuner_module, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(keras_tuner.Tuner, "search", lambda self: None)
    monkeypatch.setattr(search, "_finish", lambda: None)
    monkeypatch.setattr(search, "_show", lambda trial: shown.append(trial.trial))
    monkeypatch.setattr(search.oracle, "release", {"worker-0": "0001", "worker-1": None}.get)
    assert [trial.trial for trial in search.search(workers=2)] == [record.trial for record in records]
    assert slept == [0.2, 0.2] and shown == ["0001"]  # the others had ended before
    captured = capsys.readouterr()
    assert captured.err.splitlines() == 2 * [
        "Worker worker-0 died: killed by SIGKILL. Its trial 0001 is given to the next worker. Its output: worker-0.log",
        "Worker worker-1 died: exit code 1. Its output: worker-1.log",
    ]
    assert "2 finished trials, the search continues." in captured.out
    with pytest.raises(tuning.SearchError, match="All workers died. Their output: worker-\\*.log"):
        search._lead(Processes(1, tmp_path))


def test_a_search_without_a_score_ends_with_the_reasons(tmp_path, capsys):
    search = made(tmp_path / "s")
    reasons = ("loss is nan", "no such rate", "loss is nan")
    written(tmp_path / "s", *(ended(number, "failed", reason=reason) for number, reason in enumerate(reasons)))
    with pytest.raises(tuning.SearchError, match="^No trial has a score: loss is nan; no such rate$"):
        search._finish()
    assert "val_accuracy" in capsys.readouterr().out and not (tmp_path / "s/best.json").exists()


def test_an_oracle_that_waits_is_asked_twice_a_second(tmp_path, monkeypatch):
    search, slept, moments = made(tmp_path / "s"), [], iter([10.0, 10.1, 10.7])
    monkeypatch.setattr(tuner_module, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: next(moments)))
    counts = []
    for _ in range(3):
        search.pre_create_trial()
        counts.append(len(slept))
    assert counts == [0, 1, 1] and slept == [0.5]


def test_a_trial_that_has_ended_is_not_run_again(tmp_path):
    search = made(tmp_path / "s")
    (record,) = written(tmp_path / "s", ended(0))
    assert search.run_trial(trial_of(search)) == record  # without batches it would be an error


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(MemoryError("no room\nleft"), "failed", "MemoryError: no room left"), (None, "stopped", "below the median")],
)
def test_how_a_trial_ends(tmp_path, monkeypatch, error, status, reason):
    search = made(tmp_path / "s")

    def train(hp, run, callbacks):
        print("trained")
        callbacks[0].reason = "below the median"
        if error:
            raise error

    monkeypatch.setattr(search, "_train", train)
    record = search.run_trial(trial_of(search))
    assert (record.status, record.reason) == (status, reason)
    assert tuning.read_trials(tmp_path / "s") == [record]
    assert (tmp_path / "s/trial_0000/log.txt").read_text() == "trained\n"


def test_a_trial_of_a_later_bracket_begins_with_the_run_of_the_other(tmp_path):
    search = made(tmp_path / "s")
    (tmp_path / "s/trial_0000/run").mkdir(parents=True)
    (tmp_path / "s/trial_0000/run/history.csv").write_text("epoch\n1\n")
    folder = tmp_path / "s/trial_0003"
    (folder / ".copy/old").mkdir(parents=True)  # of a kill within the copy
    for content in ("epoch\n1\n", "epoch\n1\n2\n"):
        record = search._begin(trial_of(search, 3, **{"tuner/trial_id": "0000"}), folder)
        assert (folder / "run/history.csv").read_text() == content
        assert sorted(path.name for path in folder.iterdir()) == ["run", "trial.json"]
        (folder / "run/history.csv").write_text("epoch\n1\n2\n")  # its own from here on
    assert record == tuning.read_trial(folder / "trial.json") and record.values == space().defaults()


def test_a_terminal_shows_the_last_round(tmp_path):
    search = made(tmp_path / "s")
    search._screen = Terminal()
    search.show_round(ended(4))
    assert search._screen.getvalue() == ""
    search.show_round(ended(4, rounds=(tuning.Round(1, 10, 1.0, 0.5), tuning.Round(2, 20, 2.0, 0.25))))
    assert search._screen.getvalue() == "\r\x1b[K  0004  round 2 of 3  0.2500"


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(ImportError, match=r'keras_seq.tuning needs KerasTuner: pip install "keras-seq\[tuning\]"'):
        runpy.run_path(tuning.__file__)
