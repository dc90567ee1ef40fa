"""Norms of gradients and updates against the step that an optimizer takes."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

from keras_seq import layers, losses, optimizers
from keras_seq.inspection import gradients

X = np.random.default_rng(0).integers(1, 9, (4, 6))
Y = np.random.default_rng(1).integers(1, 9, (4, 6))


def tagger():
    stack = layers.RecurrentStack("gru", 4, return_state=False)
    return keras.Sequential([layers.TokenEmbedding(9, 4), stack, keras.layers.Dense(9)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=0.1),
        lambda: optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5), clipnorm=0.05),
    ],
)
def test_updates_are_those_of_the_next_training_step(make):
    model = tagger()
    model.compile(make(), losses.TokenCrossentropy(), run_eagerly=True)
    model.train_on_batch(X, Y)  # the slots are not zero
    model.train_on_batch(X, Y)
    before = [np.array(weight) for weight in model.trainable_variables]
    slots = [np.array(slot) for slot in model.optimizer.variables]
    found = gradients.parameter_norms(model, X, Y)
    for weight, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    for slot, value in zip(model.optimizer.variables, slots, strict=True):
        np.testing.assert_array_equal(slot, value)
    model.train_on_batch(X, Y)
    for norm, weight, value in zip(found, model.trainable_variables, before, strict=True):
        assert norm.path == weight.path and norm.shape == value.shape
        assert norm.weight == pytest.approx(np.linalg.norm(value))
        assert norm.update == pytest.approx(np.linalg.norm(np.array(weight) - value), rel=1e-3)
        assert norm.ratio == pytest.approx(norm.update / norm.weight)


def test_an_update_by_sgd_is_the_scaled_gradient_and_clipping_bounds_it():
    model = tagger()
    plain = gradients.parameter_norms(model, X, Y, losses.TokenCrossentropy(), optimizer=keras.optimizers.SGD(0.5))
    total = float(np.sqrt(sum(each.gradient**2 for each in plain)))
    assert [each.update for each in plain] == pytest.approx([0.5 * each.gradient for each in plain], rel=1e-4)
    clipped = gradients.parameter_norms(
        model, X, Y, losses.TokenCrossentropy(), optimizer=keras.optimizers.SGD(0.5, global_clipnorm=total / 3)
    )
    assert np.sqrt(sum(each.update**2 for each in clipped)) == pytest.approx(0.5 * total / 3, rel=1e-4)
    assert [each.gradient for each in clipped] == pytest.approx([each.gradient for each in plain])


def test_without_an_optimizer_there_is_no_update():
    found = gradients.parameter_norms(tagger(), X, Y, losses.TokenCrossentropy())
    assert all(np.isnan(each.update) and np.isnan(each.ratio) and each.gradient > 0 for each in found[:2])


def test_ratios_of_weights_of_zeros():
    dense = keras.layers.Dense(3)
    _, bias = gradients.parameter_norms(dense, np.ones((1, 2)), optimizer=keras.optimizers.SGD(1.0))
    assert bias.weight == 0 and bias.ratio == np.inf
    unused = keras.Model(*[keras.Input((2,))] * 2)
    unused.extra = dense
    found = gradients.parameter_norms(unused, np.ones((1, 2)), optimizer=keras.optimizers.SGD(1.0))
    assert [(each.gradient, each.update) for each in found] == [(0, 0), (0, 0)] and found[1].ratio == 0


def test_the_optimizer_of_another_model_is_refused():
    other = keras.Sequential([keras.layers.Dense(2)])
    other.compile("adam", "mse", run_eagerly=True)
    other.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="`optimizer` must be new, or that of the model.*built for other weights"):
        gradients.parameter_norms(tagger(), X, Y, losses.TokenCrossentropy(), optimizer=other.optimizer)
