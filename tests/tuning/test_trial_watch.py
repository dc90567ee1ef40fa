"""A trial that has had its rounds before it begins."""

from types import SimpleNamespace

import pytest

from keras_seq import tuning
from keras_seq.tuning.trial_watch import TrialWatch

HISTORY = "epoch,loss,val_loss,trained_tokens,seconds\n1,0.5,0.7,100,2.0\n2,0.4,0.6,200,4.0\n"


@pytest.mark.parametrize(("rounds", "first_epoch"), [(2, 9), (3, None)])
def test_a_trial_that_is_over_trains_no_more(tmp_path, rounds, first_epoch):
    shown = []
    objective = tuning.find_objective("val_loss")
    tuner = SimpleNamespace(trial_objective=objective, stopping=None, show_round=shown.append)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/history.csv").write_text(HISTORY)
    watch = TrialWatch(tuner, tuning.TrialRecord("0000", "running", {}), tmp_path / "run", rounds)
    watch.set_model(SimpleNamespace(count_params=lambda: 12, _initial_epoch=None))
    watch.set_params({"epochs": 9})
    watch.on_train_begin()
    assert watch.model._initial_epoch == first_epoch and watch.trained
    record = tuning.read_trial(tmp_path / "trial.json")
    assert (record.status, record.score, record.parameters, record.tokens) == ("running", 0.6, 12, 200)
    assert shown[0].rounds == record.rounds
