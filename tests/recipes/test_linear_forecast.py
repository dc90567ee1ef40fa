"""The baselines of forecasts: numbers that a reader can compute, and the linear map against NumPy's own solver."""

import keras
import numpy as np
import pytest

from keras_seq import data, models
from recipes.baselines import linear_forecast


def splits_of(values, look_back=8, horizon=3, split=(0.6, 0.2, 0.2), **options):
    names = [f"c{place}" for place in range(values.shape[1])]
    return data.windows(data.Series(values, tuple(names)), look_back, horizon, split=split, **options)


def test_the_last_value_and_the_last_season():
    past = np.arange(6.0).reshape(1, 6, 1)
    assert linear_forecast.repeat_last(past, 3).ravel().tolist() == [5, 5, 5]
    assert linear_forecast.seasonal(past, 5, 3).ravel().tolist() == [3, 4, 5, 3, 4]
    assert linear_forecast.seasonal(past, 2, 6).ravel().tolist() == [0, 1]
    assert linear_forecast.seasonal(past, 2, 1).ravel().tolist() == [5, 5]


def test_pairs_are_the_windows():
    values = np.random.default_rng(0).normal(size=(900, 2))
    train = splits_of(values, targets=["c1"]).train
    past, future = (np.concatenate(part) for part in zip(*linear_forecast.pairs(train), strict=True))
    expected = [np.concatenate(part) for part in zip(*train.dataset(batch_size=64).as_numpy_iterator(), strict=True)]
    np.testing.assert_array_equal(past, expected[0])
    np.testing.assert_array_equal(future, expected[1])
    assert len(past) > 512 and future.shape[2] == 1


def test_a_linear_series_is_forecast():
    """Waves of two periods, over a level: each step is a weighted sum of eight before it."""
    steps = np.arange(600)
    values = np.stack([7 + np.sin(steps), 3 * np.cos(0.7 * steps) - 2], axis=1)
    splits = splits_of(values)
    linear = linear_forecast.fit_linear(splits.train, splits.valid, [0, 1])
    assert (linear.kernel.shape, linear.bias.shape, linear.ridge) == ((8, 3), (3,), linear_forecast.RIDGES[0])
    past, future = next(linear_forecast.pairs(splits.test))
    assert (
        np.mean((linear(past) - future) ** 2)
        < 2e-3
        < 0.3
        < np.mean((linear_forecast.repeat_last(past, 3) - future) ** 2)
    )


def test_it_is_the_solution_of_least_squares():
    values = np.random.default_rng(1).normal(size=(400, 2)).cumsum(axis=0)
    splits = splits_of(values, targets=["c1"])
    linear = linear_forecast.fit_linear(splits.train, splits.valid, [1])
    past, future = (np.concatenate(part) for part in zip(*linear_forecast.pairs(splits.train), strict=True))
    x, y = past[..., 1].astype(float), future[..., 0].astype(float)
    mean, deviation = x.mean(axis=1, keepdims=True), np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x, y = np.append((x - mean) / deviation, np.ones((len(x), 1)), axis=1), (y - mean) / deviation
    ridge = linear.ridge * np.trace(x[:, :8].T @ x[:, :8]) / 8
    rows = np.append(np.sqrt(ridge) * np.eye(8), np.zeros((8, 1)), axis=1)  # ridge as further equations
    expected = np.linalg.lstsq(np.append(x, rows, axis=0), np.append(y, np.zeros((8, 3)), axis=0), rcond=None)[0]
    np.testing.assert_allclose(np.append(linear.kernel, linear.bias[None], axis=0), expected, atol=1e-3)


def test_noise_is_punished_more_than_a_wave():
    random = np.random.default_rng(2)
    noise, wave = random.normal(size=(300, 1)), np.sin(np.arange(300.0))[:, None]
    splits = [splits_of(values, look_back=60) for values in (noise, wave)]  # about 2 windows for each weight
    found = [linear_forecast.fit_linear(parts.train, parts.valid, [0]).ridge for parts in splits]
    assert found[0] > found[1]


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_a_constant_series_has_a_solution(level):
    splits = splits_of(np.full((100, 1), level))
    linear = linear_forecast.fit_linear(splits.train, splits.valid, [0])
    past, future = next(linear_forecast.pairs(splits.test))
    np.testing.assert_allclose(linear(past), future, atol=1e-4)


@pytest.mark.parametrize(("much", "share"), [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5), (-1.0, 0.0)])
def test_what_a_network_adds_is_scaled_to_fit(much, share):
    """A network that says `much` times what the linear map lacks, which is the same at each step."""
    keras.utils.set_random_seed(1)
    values = np.random.default_rng(3).normal(size=(300, 1))
    valid = splits_of(values).valid
    linear = linear_forecast.Linear(np.zeros((8, 3), "float32"), np.zeros(3, "float32"), 0.0)
    model = models.forecaster(1, 8, 3, architecture="feedforward", units=4, num_layers=1, patch_length=4, residual=True)
    model.get_layer("linear").set_weights([linear.kernel, linear.bias])
    past, future = next(linear_forecast.pairs(valid))
    deviation = np.sqrt(past.var(axis=1, keepdims=True) + 1e-5)
    lacks = np.sum((future - linear(past)) * deviation) / np.sum(np.square(deviation)) / 3
    layer = model.get_layer("forecast")
    layer.set_weights([0 * layer.get_weights()[0], np.full(3, much * lacks, "float32")])
    assert linear_forecast.temper(model, linear, valid) == pytest.approx(share, abs=1e-4)
    np.testing.assert_allclose(layer.get_weights()[1], share * much * lacks, rtol=1e-3, atol=1e-7)
