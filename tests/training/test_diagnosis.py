import dataclasses
import functools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import losses
from keras_seq.training import diagnose, diagnosis
from keras_seq.training.diagnosis import Diagnosis
from keras_seq.training.value_origins import Origin
from tests.training.planted import MODELS, REAL, WORDS, Planted, language_model

planted = functools.cache(Planted)


def check(name: str, seed: int) -> None:
    """Plants a NaN in a random place of a model and asserts that the diagnosis names that place."""
    model, rng = planted(name), np.random.default_rng(seed)
    kinds = sorted({place.kind for place in model.places})
    kind = kinds[seed % len(kinds)]
    places = [place for place in model.places if place.kind == kind]
    place = places[rng.integers(len(places))]
    with model.planted(place, np.nan, rng) as batch:
        found = diagnose(model.model, batch)
    assert found.origin is not None, (place, str(found))
    told = found.origin.name if kind == "weight" else found.origin.layer
    assert (found.origin.place, found.origin.kind, told) == (kind, "NaN", place.name), (place, str(found))


@pytest.mark.parametrize("name, seeds", [("decoder", 4), ("lstm forecaster", 6)])
def test_a_nan_is_found_where_it_was_planted(name, seeds):
    for seed in range(seeds):
        check(name, seed)
    assert diagnose(planted(name).model, planted(name).batch).origin is None  # each was taken out again


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_nan_in_each_of_a_hundred_random_places_is_found_there(name):
    assert 7 * len(MODELS) >= 100
    for seed in range(7):
        check(name, seed)


class Operation(keras.layers.Layer):
    """Applies a function, in a layer of its own."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)


def model_with(function, width=3, loss="mse"):
    layers = [keras.layers.Dense(width, use_bias=False, name="before"), Operation(function, name="culprit")]
    model = keras.Sequential([keras.Input((width,)), *layers, keras.layers.Dense(1, name="after")], name="model")
    model.compile("sgd", loss)
    model.layers[0].set_weights([np.eye(width)])
    return model


ZERO = np.array([[1.0, 0.0, 2.0], [3.0, 4.0, 5.0]], "float32")
ONES = np.ones((2, 1), "float32")
FUNCTIONS = {
    "the logarithm of 0": (lambda x: tf.math.log(x), "forward", "Inf", "Log", "logarithm"),
    "a division by 0": (lambda x: 1.0 / x, "forward", "Inf", "RealDiv", "divisor"),
    "0 by 0": (lambda x: x / x, "forward", "NaN", "RealDiv", "divisor"),
    "an exponential": (lambda x: tf.exp(x * 1e3), "forward", "Inf", "Exp", "exponential"),
    "an overflow": (lambda x: x * 1e38 * 1e3, "forward", "Inf", "Mul", "Clip the gradients"),
    "the slope of a root at 0": (lambda x: tf.sqrt(x), "backward", "Inf", "SqrtGrad, in the gradient of Sqrt", "root"),
    "a where": (lambda x: tf.where(x > 0, tf.math.log(x), 0.0), "backward", "NaN", "in the gradient of Log", "`where`"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_operation_and_the_remedy(name):
    function, place, kind, operation, remedy = FUNCTIONS[name]
    model = model_with(function)
    found = diagnose(model, (ZERO, ONES))
    assert (found.origin.place, found.origin.layer, found.origin.layer_class) == (place, "model/culprit", "Operation")
    assert operation in found.origin.operation and remedy in str(found), str(found)
    if place == "forward":
        assert found.origin.kind == kind and "test_diagnosis.py" in found.origin.source
        assert not np.isfinite(found.loss)
    else:
        assert np.isfinite(found.loss) and found.bad_gradients == ("model/before/kernel",)


def test_infinite_masks_are_no_fault():
    def masked_softmax(x):
        return tf.nn.softmax(tf.where(x > 0, x, -np.inf))

    assert diagnose(model_with(masked_softmax), (ZERO, ONES)).origin is None
    nothing_left = diagnose(model_with(masked_softmax), (-ZERO, ONES)).origin
    assert (nothing_left.kind, nothing_left.layer) == ("NaN", "model/culprit") and nothing_left.operation == "Softmax"


def test_the_row_of_an_input_and_of_a_label():
    x = np.ones((4, 3), "float32")
    x[2, 1] = np.inf
    found = diagnose(model_with(lambda x: x), (x, np.ones((4, 1), "float32")))
    assert (found.origin.place, found.origin.kind) == ("input", "Inf")
    assert found.origin.detail == "row 2, feature 1 (counted from 0; 1 of 12 values)"
    y = np.ones((4, 1), "float32")
    y[3] = np.nan
    found = diagnose(model_with(lambda x: x), (np.ones((4, 3), "float32"), y))
    assert (found.origin.place, found.origin.detail) == (
        "label",
        "row 3, feature 0 (counted from 0; 1 of 4 values)",
    )


def test_a_nan_that_the_loss_does_not_see_is_no_fault():
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3)])
    model.compile("sgd", losses.QuantileLoss([0.1, 0.5, 0.9]))
    x, y, weights = np.ones((2, 4, 3), "float32"), np.ones((2, 4), "float32"), np.ones((2, 4), "float32")
    y[1, 2], weights[1, 2] = np.nan, 0
    assert diagnose(model, (x, y, weights)).origin is None
    weights[1, 2] = 1
    assert diagnose(model, (x, y, weights)).origin.place == "label"


def test_a_loss_function():
    def loss(y_true, y_pred):
        return tf.math.log(y_pred - y_pred)

    found = diagnose(model_with(lambda x: x, loss=loss), (ZERO, ONES))
    assert (found.origin.place, found.origin.layer, found.origin.operation) == ("loss", "", "Log")

    def root(y_true, y_pred):
        return tf.sqrt(y_pred - y_pred)

    found = diagnose(model_with(lambda x: x, loss=root), (ZERO, ONES))
    assert found.origin.place == "loss" and found.loss == 0 and "gradient of Sqrt" in found.origin.operation


def test_a_label_out_of_range_is_an_error_with_a_remedy():
    model, (x, y, weights), _ = language_model("rnn")
    model.compile("sgd", losses.TokenCrossentropy())
    found = diagnose(model, (x, y + 20, weights))
    assert found.origin is None and "Received: 0 to 29" in found.error and "labels" in found.remedies[0]


def test_the_model_is_the_same_afterwards():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dropout(0.5), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("adam", "mse")
    before = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]]
    first, second = (diagnose(model, (ZERO, ONES)).loss for _ in range(2))
    assert first == second  # the same units are dropped
    after = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)
    assert not {"apply", "scale_loss"} & vars(model.optimizer).keys()
    assert keras.Operation.__call__.__module__.startswith("keras.") and not tf.config.functions_run_eagerly()


def test_a_weight_of_a_row_that_the_batch_does_not_use():
    model, batch, _ = language_model("gru")
    model.compile("sgd", losses.TokenCrossentropy())
    diagnose(model, batch)  # builds it
    table = next(v for v in model.trainable_variables if v.path.endswith("embeddings"))
    rows = table.numpy()
    rows[1] = np.nan  # WORDS has no 1
    table.assign(rows)
    assert 1 not in WORDS and REAL.any()
    found = diagnose(model, batch)
    assert (found.origin.place, found.origin.name) == ("weight", table.path) and found.bad_weights == (table.path,)


CLIP = "Clip the gradients (`global_clipnorm=1.0` of the optimizer), lower the learning rate or lengthen its warm-up."


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (Diagnosis(None, None), ["All weights are finite."]),
        (Diagnosis(None, 0.25), ["The step is finite: the loss is 0.25."]),
        (
            Diagnosis(None, None, error="label 9 of 3"),
            [
                "The step ends with an error: label 9 of 3",
                "  Remedy: Correct the labels or the number of classes, if the error names a label.",
            ],
        ),
        (
            Diagnosis(None, 0.25, bad_optimizer=("m1", "m2", "m3", "m4")),
            [
                "The step is finite, but variables of the optimizer are not: m1, m2, m3.",
                f"  Remedy: Start again from a checkpoint before this step. {CLIP}",
            ],
        ),
        (
            Diagnosis(Origin("weight", "NaN", "a/kernel", "a"), 2.0, bad_weights=("a", "b", "c", "d")),
            [
                "The weight a/kernel of layer a is NaN already before the step.",
                "  Loss of the step: 2.",
                "  Weights that were not finite before the step: 4, a, b, c, ....",
                f"  Remedy: An earlier update broke it. Start again from a checkpoint before this step. {CLIP}",
            ],
        ),
    ],
)
def test_the_text_of_a_diagnosis(found, lines):
    remedies = tuple(diagnosis._remedies(found, SimpleNamespace()))
    assert str(dataclasses.replace(found, remedies=remedies)).splitlines() == lines


@pytest.mark.parametrize(
    ("shape", "place", "told"),
    [
        ((), (), "1 of 1 values"),
        ((3,), (2,), "row 2 (counted from 0; 1 of 3 values)"),
        ((2, 3, 4), (1, 2, 3), "row 1, step 2, feature 3 (counted from 0; 1 of 24 values)"),
        ((2, 1, 2, 3), (1, 0, 1, 2), "1 of 12 values, the first at [1, 0, 1, 2]"),
    ],
)
def test_the_place_in_an_array(shape, place, told):
    value = np.ones(shape)
    value[place] = np.nan
    assert diagnosis._cell(value) == told


@pytest.mark.parametrize("place", ["input", "weight", "forward"])
def test_a_bad_factor_of_a_gradient_is_its_origin(place):
    origin, bad = Origin(place, "NaN", layer="a"), tf.constant(np.nan)
    step = SimpleNamespace(gradients=[(None, tf.constant(1.0)), (None, None), (None, bad)])
    origins = SimpleNamespace(of=lambda gradient: origin if gradient is bad else None, calls=[])
    assert diagnosis._backward_origin(origins, step, {"a/kernel"}) is origin
