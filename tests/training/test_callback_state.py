import json
import math

import keras
import numpy as np
import pytest

from keras_seq.training import callback_state


class Watcher(keras.callbacks.Callback):
    def __init__(self, limit=3):
        super().__init__()
        self.limit = limit
        self.seen, self.name, self.over, self.best, self.nothing = 0, "a", False, math.inf, None
        self.exact = np.float32(0.1)
        self.history = [1, 2]


class Other(keras.callbacks.Callback):
    pass


def through_json(callbacks):
    return json.loads(json.dumps(callback_state.states(callbacks)))


def test_the_state_comes_back_and_settings_do_not():
    first, second, other = Watcher(limit=3), Watcher(), Watcher(limit=9)
    first.seen, first.name, first.over, first.best, first.nothing = 7, "b", True, math.nan, 2.5
    first.exact, first.history = np.float32(1) / np.float32(3), [5]
    second.seen = 8
    saved, second = through_json([first, second]), Watcher()
    callback_state.restore([other, second], saved)
    assert (other.seen, other.name, other.over, other.nothing) == (7, "b", True, 2.5) and math.isnan(other.best)
    assert other.exact == first.exact and other.exact.dtype == "float32"
    assert other.limit == 9 and other.history == [1, 2] and second.seen == 8


def test_a_plateau_of_keras_goes_on_counting():
    def losses(callback, values):
        rates = []
        for epoch, value in enumerate(values):
            callback.on_epoch_end(epoch, {"loss": value})
            rates.append(float(callback.model.optimizer.learning_rate))
        return rates

    def plateau(rate):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(rate), "mse")
        callback = keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=2, cooldown=1, min_delta=0.1)
        callback.set_model(model)
        callback.on_train_begin()
        return callback

    values = [1.0, 0.95, 0.85, 0.86, 0.84, 0.82, 0.8, 0.9, 0.78, 0.6, 0.6, 0.55, 0.6]
    expected = losses(plateau(1.0), values)
    assert len(set(expected)) > 2
    for stop in range(1, len(values)):
        first = plateau(1.0)
        found = losses(first, values[:stop])
        second = plateau(found[-1])
        callback_state.restore([second], through_json([first]))
        assert found + losses(second, values[stop:]) == expected, stop


def test_callbacks_that_do_not_match_are_named():
    with pytest.warns(UserWarning, match="no state for the callback Other"):
        callback_state.restore([Other()], [])
    with pytest.warns(UserWarning, match="did not get: Watcher"):
        callback_state.restore([], through_json([Watcher()]))
