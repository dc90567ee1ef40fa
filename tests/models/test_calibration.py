from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_seq import models
from tests.reference import array, fill, long_on_jax

L, H, C = 12, 4, 3
QUANTILES = (0.1, 0.5, 0.9)
CASES = {
    "transformer": {},
    "residual": {"architecture": "feedforward", "residual": True},
    "linear-last": {"architecture": "linear", "series_normalization": "last"},
    "mixed": {"architecture": "feedforward", "series_normalization": None, "channel_independent": False},
    "autoregressive": {"architecture": "gru", "decoder": "autoregressive", "targets": [2, 0]},
}


def small(**options):
    sizes = {"units": 8, "num_layers": 1, "patch_length": 4, "dropout": 0.0, "num_heads": 2, "quantiles": QUANTILES}
    model = fill(models.forecaster(C, L, H, **{**sizes, **options}))
    if "quantiles" not in options:
        model.get_layer("calibration").offsets.assign(np.zeros((H, 1, len(QUANTILES))))
    return model


def windows(count, seed, targets=(0, 1, 2)):
    """Pasts of many levels and units, and futures that are twice as wide a step later; in batches of 200."""
    random = np.random.default_rng(seed)
    unit, level = random.uniform(0.1, 10, (count, 1, C)), random.normal(0, 20, (count, 1, C))
    past = random.normal(size=(count, L, C)) * unit + level
    future = random.normal(size=(count, H, C)) * 2.0 ** np.arange(H)[:, None] * unit + level
    past, future = past.astype("float32"), future[..., list(targets)].astype("float32")
    cuts = range(200, count, 200)
    return list(zip(np.split(past, cuts), np.split(future, cuts), strict=True))


def shares_below(model, batches):
    """Of each step and quantile, `(H, Q)`."""
    below = np.concatenate([future[..., None] < model.predict_on_batch(past) for past, future in batches])
    return below.mean(axis=(0, 2))


@pytest.mark.parametrize("name", CASES)
def test_bands_hold_what_they_say(name):
    model, targets = small(**CASES[name]), CASES[name].get("targets", (0, 1, 2))
    valid, test = windows(400, 1, targets), windows(2_000, 2, targets)  # of one size, which JAX compiles once
    before = shares_below(model, valid)
    assert np.abs(before - QUANTILES).max() > 0.2
    np.testing.assert_allclose(models.calibrate(model, valid, QUANTILES), before.mean(axis=0), atol=1e-3)
    wanted = np.tile(QUANTILES, (H, 1))
    np.testing.assert_allclose(shares_below(model, valid), wanted, atol=0.01)  # but for a few that crossed
    np.testing.assert_allclose(shares_below(model, test), wanted, atol=0.06)  # four standard errors of 800 numbers
    assert (np.diff(model.predict_on_batch(test[0][0]), axis=-1) >= 0).all()


@long_on_jax
def test_a_second_call_begins_anew_and_a_saved_model_has_it(tmp_path):
    model, valid = small(), windows(200, 1)
    models.calibrate(model, valid, QUANTILES)
    before = array(model(valid[0][0]))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(keras.models.load_model(tmp_path / "model.keras")(valid[0][0])), before)
    models.calibrate(model, [(past, future * 100) for past, future in valid], QUANTILES)
    models.calibrate(model, valid, QUANTILES)
    np.testing.assert_allclose(array(model(valid[0][0])), before, rtol=1e-4, atol=1e-4)


@long_on_jax
def test_training_leaves_it_alone():
    model, valid = small(architecture="linear"), windows(200, 1)
    models.calibrate(model, valid, QUANTILES)
    offsets = array(model.get_layer("calibration").offsets)
    assert np.abs(offsets).max() > 0.1
    model.compile("sgd", lambda y_true, y_pred: keras.ops.mean(y_pred), jit_compile=False)
    model.train_on_batch(*valid[0])
    np.testing.assert_array_equal(array(model.get_layer("calibration").offsets), offsets)


def test_errors():
    with pytest.raises(ValueError, match="of 3 quantiles. Received: 'forecaster'"):
        models.calibrate(small(quantiles=None), windows(9, 1), QUANTILES)
    with pytest.raises(ValueError, match="of 2 quantiles"):
        models.calibrate(small(), windows(9, 1), (0.1, 0.9))
    with pytest.raises(ValueError, match="`batches` is empty"):
        models.calibrate(small(), [], QUANTILES)


def test_after_an_error_the_model_is_as_it_was():
    model, valid = small(), windows(200, 1)
    models.calibrate(model, valid, QUANTILES)
    before = array(model.get_layer("calibration").offsets).copy()
    valid[0][1][3, 1, 2] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        models.calibrate(model, valid, QUANTILES)
    np.testing.assert_array_equal(array(model.get_layer("calibration").offsets), before)


class Line:
    """A model of one quantile: of a forecast of 1, its half."""

    name = "line"

    def __init__(self):
        self.layers = [SimpleNamespace(name="calibration", offsets=keras.Variable(np.full((2, 1, 1), 7.0)))]

    def predict_on_batch(self, inputs):
        return inputs[..., None] * (0.5 + array(self.layers[0].offsets))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_are_not_finite_change_nothing(bad):
    model, ones = Line(), np.ones((3, 2, 1), "float32")
    target = ones.copy()
    target[1, 1] = bad
    with pytest.raises(ValueError, match="Forecasts and targets must be finite. Some in `batches` are not."):
        models.calibrate(model, [(ones, ones), (ones, target)], [0.5])
    assert array(model.layers[0].offsets).tolist() == [[[7.0]], [[7.0]]]
    np.testing.assert_allclose(models.calibrate(model, [(ones, ones)], [0.5]), [0.0])
    np.testing.assert_allclose(array(model.layers[0].offsets), np.full((2, 1, 1), 0.5))
