import keras
import numpy as np
import pytest

from keras_seq import callbacks
from keras_seq.training import EarlyStopping, Resume, Run, read_history, write_history

X, Y = np.arange(24, dtype="float32").reshape(8, 3) / 24, np.ones((8, 1), "float32")


def build():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("adam", "mse")
    return model


def fit(model, epochs, extra, **options):
    return model.fit(X, Y, epochs=epochs, shuffle=False, verbose=0, callbacks=extra, **options)


def scripted(values):
    """An Evaluator that gives the epochs' values in turn."""
    values = iter(values)
    return callbacks.Evaluator({"val_score": lambda: next(values)})


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path):
    whole, first, second = build(), build(), build()
    fit(whole, 4, [Resume(tmp_path / "whole")])
    fit(first, 2, [Resume(tmp_path / "run")])
    resume = Resume(tmp_path / "run")
    assert resume.initial_epoch == 2
    assert fit(second, 4, [resume]).epoch == [2, 3]
    for ours, theirs in zip(second.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = read_history(tmp_path / "run/history.csv"), read_history(tmp_path / "whole/history.csv")
    assert [row["epoch"] for row in ours] == [1, 2, 3, 4]
    assert [row["loss"] for row in ours] == [row["loss"] for row in theirs]
    seconds = [row["seconds"] for row in ours]
    assert seconds == sorted(seconds)


def test_a_finished_run_trains_no_more_and_a_later_fit_is_free(tmp_path):
    fit(build(), 2, [Resume(tmp_path)])
    model = build()
    assert fit(model, 2, [Resume(tmp_path)]).epoch == []
    assert fit(model, 1, []).epoch == [0]


def test_rows_after_the_restored_epoch_are_cut(tmp_path):
    run = Run(tmp_path)
    fit(build(), 2, [Resume(run)])
    write_history(run.history, [*read_history(run.history), {"epoch": 3, "loss": 9.0}])
    fit(build(), 2, [Resume(run)])
    assert [row["epoch"] for row in read_history(run.history)] == [1, 2]


def test_early_stopping_goes_on_counting_after_a_restart(tmp_path):
    scores = [1.0, 3.0, 2.0, 2.5, 2.9, 2.8, 9.0]

    def watch(run, values):
        return [scripted(values), Resume(run), EarlyStopping(run, "val_score", mode="max", patience=3)]

    whole = fit(build(), 7, watch(tmp_path / "whole", scores))
    assert whole.epoch == [0, 1, 2, 3, 4]
    fit(build(), 4, watch(tmp_path / "run", scores))
    assert fit(build(), 7, watch(tmp_path / "run", scores[4:])).epoch == [4]
    # It had stopped; it stays stopped.
    assert fit(build(), 7, watch(tmp_path / "run", scores[5:])).epoch == []


def test_the_best_model_is_kept(tmp_path):
    run, model, kept = Run(tmp_path), build(), {}
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.update({epoch: model.get_weights()}))
    fit(model, 3, [keep, scripted([2.0, 1.0, 1.5]), Resume(run), EarlyStopping(run, "val_score", patience=5)])
    for ours, theirs in zip(keras.saving.load_model(run.best).get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_best_model_lost_in_a_crash_is_made_again(tmp_path):
    run, model = Run(tmp_path), build()
    fit(model, 2, [scripted([2.0, 1.0]), Resume(run), EarlyStopping(run, "val_score")])
    run.best.unlink()
    fit(build(), 2, [scripted([]), Resume(run), EarlyStopping(run, "val_score")])
    for ours, theirs in zip(keras.saving.load_model(run.best).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_not_a_number_is_never_the_best(tmp_path):
    run = Run(tmp_path)
    stopping = EarlyStopping(run, "val_score", mode="min", patience=3)
    fit(build(), 4, [scripted([float("nan"), 2.0, float("nan"), 1.0]), Resume(run), stopping])
    assert stopping.best == 1.0 and stopping.best_epoch == 3


def test_epochs_without_the_number_do_not_count(tmp_path):
    run, values = Run(tmp_path), iter([3.0, 2.0, 1.0])
    every = callbacks.Evaluator({"val_score": lambda: next(values)}, every=2)
    assert len(fit(build(), 6, [every, Resume(run), EarlyStopping(run, "val_score", "max", patience=2)]).epoch) == 6
    with pytest.warns(UserWarning, match="val_typo"):
        fit(build(), 1, [EarlyStopping(tmp_path / "other", "val_typo")])
    with pytest.raises(ValueError, match="mode"):
        EarlyStopping(tmp_path, mode="auto")
