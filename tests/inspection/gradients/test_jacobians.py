"""Jacobians of a step against closed formulas and finite differences."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import layers
from keras_seq.inspection import gradients
from tests.cells import LeakyCell

B, T, D = 2, 5, 3


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_simple_rnn_has_the_closed_formula():
    layer, x, h = layers.SimpleRNN(D, dtype="float64"), numbers(B, 2), numbers(B, D, seed=1)
    layer(x[:, None])
    new = np.tanh(x @ np.array(layer.cell.kernel) + h @ np.array(layer.cell.recurrent_kernel))
    expected = (1 - new**2)[:, :, None] * np.array(layer.cell.recurrent_kernel).T
    np.testing.assert_allclose(gradients.step_jacobian(layer, x, h), expected)
    np.testing.assert_allclose(gradients.step_jacobian(layer.cell, x, [h]), expected)
    np.testing.assert_allclose(gradients.step_jacobian(layer, x[0], h[0]), expected[0])  # one row


def test_a_parallel_layer_has_a_diagonal_jacobian():
    layer, x = layers.MinGRU(D, dtype="float64"), numbers(2)
    layer(x[None, None])
    z = 1 / (1 + np.exp(-(x @ np.array(layer.kernel))[:D]))
    np.testing.assert_allclose(gradients.step_jacobian(layer, x, numbers(D)), np.diag(1 - z))


@pytest.mark.parametrize(
    "make", [layers.LSTM, layers.GRU, lambda units, **kwargs: keras.layers.RNN(LeakyCell(units, **kwargs), **kwargs)]
)
def test_jacobians_are_the_finite_differences(make):
    layer, x = make(D, dtype="float64"), numbers(1, 2)
    layer(x[:, None])
    states = [0.3 * numbers(1, *each.shape[1:], seed=n) for n, each in enumerate(layer.get_initial_state(1))]
    sizes = np.cumsum([each.shape[1] for each in states])

    def step(flat):
        parts = [tf.constant(part) for part in np.split(flat[None], sizes[:-1], axis=1)]
        return np.concatenate(layer.cell(tf.constant(x), parts)[1], axis=1)[0]

    flat, width = np.concatenate(states, axis=1)[0], sizes[-1]
    expected = [(step(flat + 1e-6 * e) - step(flat - 1e-6 * e)) / 2e-6 for e in np.eye(width)]
    actual = gradients.step_jacobian(layer, x[0], [state[0] for state in states])
    assert actual.shape == (width, width)
    np.testing.assert_allclose(actual, np.stack(expected, axis=1), atol=1e-8)


def test_a_scaled_orthogonal_matrix_has_equal_singular_values_at_every_step():
    x = numbers(B, T, 2)
    layer = layers.SimpleRNN(D, activation="linear", return_sequences=True, dtype="float64", name="rnn")
    model = keras.Sequential([keras.layers.Masking(dtype="float64"), layer])
    mask = np.arange(T) < np.array([[T], [2]])
    model(x)
    layer.cell.recurrent_kernel.assign(0.8 * np.linalg.qr(numbers(D, D))[0])
    values = gradients.jacobian_singular_values(model, x * mask[:, :, None])["rnn"]
    assert values.shape == (B, T, D)
    np.testing.assert_allclose(values[mask], 0.8)
    assert np.isnan(values[~mask]).all()
    np.testing.assert_array_equal(gradients.jacobian_singular_values(layer, x, mask=mask)["rnn"], values)
    assert gradients.jacobian_singular_values(model, x, rows=1)["rnn"].shape == (1, T, D)


def test_many_rows_are_computed_in_parts(monkeypatch):
    layer, x = layers.LSTM(D, dtype="float64", go_backwards=True), numbers(B, T, 2)
    whole = gradients.jacobian_singular_values(layer, x)
    monkeypatch.setattr("keras_seq.inspection.gradients.jacobians._ROWS", 13)
    (parts,) = gradients.jacobian_singular_values(layer, x).values()
    np.testing.assert_allclose(parts, whole[layer.name], atol=1e-12)
    # In the order of the input: the first computed step, of zero states, is the last one.
    first = gradients.step_jacobian(layer, x[:, -1], layer.get_initial_state(B))
    np.testing.assert_allclose(parts[:, -1], np.linalg.svd(first, compute_uv=False), atol=1e-12)


def test_other_layers_are_refused():
    with pytest.raises(ValueError, match="`layer` must be a recurrent layer or a cell. Received: <Dense"):
        gradients.step_jacobian(keras.layers.Dense(3), np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="`layer` must be built.*call it once. Received: <GRU"):
        gradients.step_jacobian(layers.GRU(3), np.ones(2), np.ones(3))
    dense = keras.Sequential([keras.layers.Dense(3, name="dense")])
    with pytest.raises(ValueError, match="Recurrent layers are needed, which have a cell. Received: .*dense"):
        gradients.jacobian_singular_values(dense, np.ones((1, 2, 3)))
    with pytest.raises(ValueError, match="`rows` must be at least 1. Received: 0"):
        gradients.jacobian_singular_values(dense, np.ones((1, 2, 3)), rows=0)
