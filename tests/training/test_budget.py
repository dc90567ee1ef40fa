"""Training on a budget: the same weights after an interruption, and the end where the budget ends."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import data, schedules, training
from keras_seq.training import budget
from tests.reference import quick


def build(rate=0.1):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.3)])
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
    return model


def training_data(**amount):
    order = data.shuffled(1)
    x = np.arange(60, dtype="float32").reshape(20, 3) / 60
    batches = tf.data.Dataset.from_tensor_slices((x, np.ones((20, 1), "float32"))).apply(order).batch(4)
    return training.TrainingData(batches, [order], **amount)


def fit(model, train, run, *others, save_every=None):
    resume = training.Resume(run, epoch_aware=train.epoch_aware, callbacks=train.stateful(), save_every=save_every)
    model.fit(train.batches, epochs=train.epochs, verbose=0, callbacks=[*train.callbacks(), resume, *others])
    return training.read_history(training.Run(run).history)


class StopAt(keras.callbacks.Callback):
    """Interrupts the training before that step of all."""

    def __init__(self, step):
        super().__init__()
        self._steps = itertools.count()
        self._last = step

    def on_train_batch_begin(self, batch, logs=None):
        if next(self._steps) == self._last:
            raise KeyboardInterrupt


def test_a_budget_of_examples_is_used_up_to_a_batch(tmp_path):
    train = training_data(tokens=70, rounds=4)
    rows = fit(build(), train, tmp_path)
    assert [row["trained_examples"] for row in rows] == [20, 36, 56, 72]  # the batches of 4 that complete a quarter
    assert train.updates == 18 and str(train) == "72 examples, 18 batches in 4 rounds"


@pytest.mark.parametrize("step", quick([3, 5, 12], few=[5]))
def test_an_interrupted_budget_is_the_uninterrupted_one(tmp_path, step):
    amount = {"tokens": 70, "rounds": 4}
    whole, first, second = build(), build(), build()
    rows = fit(whole, training_data(**amount), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(first, training_data(**amount), tmp_path / "run", StopAt(step), save_every=2)
    assert training.Resume(tmp_path / "run").initial_step or step == 5
    resumed = fit(second, training_data(**amount), tmp_path / "run", save_every=2)
    for ours, theirs in zip(second.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in ("loss", "trained_examples"):
        assert [row[name] for row in resumed] == [row[name] for row in rows]


def test_a_budget_of_seconds_ends_with_the_step_that_uses_it_up(tmp_path):
    rate = schedules.Progress(schedules.LinearDecay(0.1, 5, 100), 100)
    train = training_data(seconds=0.4, rounds=2)
    assert train.updates is None
    rows = fit(build(rate), train, tmp_path)
    spent = [row["trained_seconds"] for row in rows]
    assert spent[0] >= 0.2 and spent[1] >= 0.4
    assert 0 < rows[0]["trained_examples"] < rows[1]["trained_examples"]
    assert float(rate.progress) == 1.0 and float(rate(7)) == 0.0
    assert fit(build(rate), training_data(seconds=0.4, rounds=2), tmp_path) == rows  # nothing is left


def test_a_budget_of_seconds_shows_no_number_of_steps(capsys):
    train = training_data(seconds=0.3, rounds=2)
    model = build(schedules.Progress(schedules.LinearDecay(0.1, 5, 100), 100))
    model.fit(train.batches, epochs=2, verbose=1, callbacks=train.callbacks())
    out = capsys.readouterr().out
    assert "Epoch 2/2" in out and "Unknown" in out and str(int(train.batches.cardinality())) not in out


def test_epochs_need_no_budget():
    train = training_data(epochs=3)
    assert (train.epochs, train.updates, train.callbacks(), train.rounds) == (3, 15, [], None)
    assert str(train) == "5 batches an epoch"


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        ({}, "Give one of `epochs`, `tokens`, `seconds`"),
        ({"epochs": 2, "tokens": 9}, "Give one of"),
        ({"seconds": 0}, "`seconds` must be above 0"),
        ({"seconds": float("inf")}, "`seconds` must be above 0"),
    ],
)
def test_errors(amount, message):
    with pytest.raises(ValueError, match=message):
        training_data(**amount)


@pytest.mark.parametrize("scheduled", [True, False])
def test_seconds_move_a_schedule_that_follows_them(monkeypatch, scheduled):
    train = SimpleNamespace(seconds=10.0, epochs=2, rounds=SimpleNamespace(start_at=[].append))
    callback, moments, moved = budget._SecondsBudget(train), iter([100.0, 103.0, 105.0]), []
    rate = SimpleNamespace(progress=SimpleNamespace(assign=moved.append)) if scheduled else 0.1
    callback.set_model(SimpleNamespace(optimizer=SimpleNamespace(_learning_rate=rate, iterations=0)))
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    callback.on_epoch_begin(0)
    callback.on_train_batch_begin(0)
    assert callback.elapsed == 3.0
    with pytest.raises(StopIteration):  # half of the seconds are the first round's
        callback.on_train_batch_begin(1)
    assert callback.elapsed == 5.0 and moved == [0.3, 0.5][: 2 * scheduled]


def test_a_budget_of_seconds_is_told():
    assert training.TrainingData.__str__(SimpleNamespace(seconds=1200, epochs=4)) == "1,200 seconds in 4 rounds"
