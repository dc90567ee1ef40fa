"""Forecasts around a model that stands in for a forecaster."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import data, tasks
from keras_seq.tasks.forecasting import forecasting, last_rows
from tests.tasks.stand_ins import Function, Model, described

SCALER = data.Scaler([10.0, 20.0], [2.0, 4.0], ["load", "OT"])
COLUMNS = data.ForecastColumns(("load", "OT"), ("load", "OT"), 2, 1)


class Last(Model):
    """Forecasts one more row like the last one."""

    input = keras.KerasTensor((None, None, 2), name="past")
    inputs, output = [input], keras.KerasTensor((None, 1, 2))

    def __call__(self, past, training):
        return past[:, -1:]


@pytest.mark.parametrize(
    ("scalers", "expected"),
    [({}, [12, 24]), ({"scaler": SCALER}, [12, 24]), ({"target_scaler": SCALER}, [34, 116])],
)
def test_numbers_are_scaled_and_back_where_there_is_a_scaler(scalers, expected):
    functions = tasks.Forecasting(Last(), **scalers).signatures()
    assert list(functions) == ["forecast"]
    found = functions["forecast"].function(past=tf.constant([[[10.0, 20.0], [12.0, 24.0]]]))
    np.testing.assert_allclose(found["forecast"], [[expected]])


def test_names_need_a_scaler_and_a_look_back():
    with pytest.raises(ValueError, match="`look_back` needs a `scaler`, which has the names for the description"):
        tasks.Forecasting(Last(), look_back=3)
    for options in ({}, {"scaler": SCALER}):
        with pytest.raises(ValueError, match="Last has no column names. Give the task a `scaler` and a `look_back`."):
            tasks.Forecasting(Last(), **options).columns  # noqa: B018
    assert tasks.Forecasting(Last(), SCALER, look_back=2).columns == COLUMNS


def test_the_calls_by_which_forecasters_are_compared():
    functions, samples = {"forecast": Function(past=tf.TensorSpec([None, 2, 2]))}, [np.ones((2, 2))] * 2
    calls = [("forecast", {"past": (rows, 2, 2)}) for rows in (1, 1, 2)]
    assert described(tasks.Forecasting(Last(), SCALER).calls(functions, samples)) == calls
    task = tasks.Forecasting(Last(), SCALER, look_back=2)
    assert described(task.calls(functions, samples)) == [*calls, ("describe", {})]


def test_pasts_that_cannot_be_read():
    good, bad = np.arange(6.0).reshape(3, 2), np.array([[1.0, 2], [np.inf, 4]])
    several = data.Series(
        good, ("load", "OT"), names=("a", "b"), runs=(data.series.Run(0, 0, 2), data.series.Run(1, 2, 3))
    )
    run = forecasting(lambda past: {"forecast": past[:, -1:]}, COLUMNS)
    found = run([bad, several, np.vstack([bad[1:], good]), good[:, :1]])
    assert found[0].reason == "the past has cells that are not finite numbers"
    assert found[1].reason == "there are several series. Pass a list with each of them as one input"
    assert found[2].values.tolist() == [[4.0, 5.0]]  # the rows that are read are finite
    assert found[3].reason == "the past has the shape (3, 1), but the model reads (2 or more, 2), load, OT"
    assert last_rows(several, COLUMNS, (0, 2))[0].tolist() == good[:2].tolist()
