"""Truncated gradients against the closed formula of a scalar RNN."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

from keras_seq import layers, losses
from keras_seq.inspection import gradients

T = 12


def scalar_rnn(w, **options):
    layer = layers.SimpleRNN(1, activation="linear", use_bias=False, dtype="float64", **options)
    layer.build((None, T, 1))
    layer.set_weights([np.ones((1, 1)), np.full((1, 1), w)])
    return layer


def closed_formula(w, steps):
    """The gradient of h_T^2 by (kernel, w) through the last `steps` steps, for inputs of 1: h_t = w h_(t-1) + 1."""
    h = np.cumsum(w ** np.arange(T))  # h[t - 1] after t steps
    back = w ** np.arange(steps)  # dh_T / dh_(T - n)
    before = np.append(h[::-1], 0.0)[1 : steps + 1]  # the states that these steps start from
    return 2 * h[-1] * np.array([back.sum(), back @ before])


@pytest.mark.parametrize("w", [0.5, 0.9])
def test_a_loss_of_the_last_step_has_the_last_steps_alone(w):
    windows = (1, 3, 5, 6, 11, 12, 100)
    full, found = closed_formula(w, T), gradients.truncation_bias(scalar_rnn(w), np.ones((2, T, 1)), windows=windows)
    for window, bias in zip(windows, found, strict=True):
        truncated = closed_formula(w, min(window, T))
        norm, other = np.linalg.norm(full), np.linalg.norm(truncated)
        assert bias.window == window
        assert bias.relative_error == pytest.approx(np.linalg.norm(truncated - full) / norm, abs=1e-12)
        assert bias.cosine == pytest.approx(truncated @ full / norm / other)
        assert bias.norm_ratio == pytest.approx(other / norm)
    assert [bias.relative_error for bias in found[-2:]] == [0, 0]
    errors = [bias.relative_error for bias in found]
    assert errors == sorted(errors, reverse=True)


def test_a_loss_of_every_step_is_cut_into_chunks():
    """With chunks of 4 of 12 steps, the gradient is the sum of those of three sequences with carried states."""
    w, layer = 0.7, scalar_rnn(0.7, return_sequences=True)
    (bias,) = gradients.truncation_bias(
        layer, np.ones((1, T, 1)), np.zeros((1, T, 1)), lambda y, output: output[..., 0], windows=(4,)
    )

    def gradient(window):
        total, d = np.zeros(2), np.zeros(2)  # d: the derivative of h by (kernel, w), zero after each cut
        h = 0.0
        for t in range(T):
            d = np.zeros(2) if t % window == 0 else d
            d, h = w * d + [1, h], w * h + 1
            total = total + d
        return total

    error = np.linalg.norm(gradient(4) - gradient(T)) / np.linalg.norm(gradient(T))
    assert bias.relative_error == pytest.approx(error)


@pytest.mark.parametrize("cell", ["gru", "lstm", "minlstm"])
def test_a_window_of_all_steps_has_no_bias(cell):
    tokens, labels = np.random.default_rng(0).integers(1, 9, (2, 2, T))
    tokens[0, 7:] = 0
    stack = layers.RecurrentStack(cell, 4, num_layers=2, return_state=False)
    model = keras.Sequential([layers.TokenEmbedding(9, 4), stack, keras.layers.Dense(9)])
    model.compile("sgd", losses.TokenCrossentropy())
    short, whole = gradients.truncation_bias(model, tokens, labels, windows=(2, T))
    assert whole.relative_error == 0 and whole.cosine == pytest.approx(1) and whole.norm_ratio == 1
    assert 0.01 < short.relative_error < 1.5


def test_a_gradient_of_zero_has_no_direction():
    (bias,) = gradients.truncation_bias(scalar_rnn(0.5), np.zeros((1, T, 1)), windows=(3,))
    assert np.isnan(bias.relative_error) and np.isnan(bias.cosine)


def test_what_cannot_be_truncated_is_refused():
    with pytest.raises(ValueError, match=r"`windows` must be numbers of steps, at least 1. Received: \(5, 0\)"):
        gradients.truncation_bias(scalar_rnn(0.5), np.ones((1, T, 1)), windows=(5, 0))
    frozen = scalar_rnn(0.5)
    frozen.trainable = False
    with pytest.raises(ValueError, match="`model` must have trainable weights"):
        gradients.truncation_bias(frozen, np.ones((1, T, 1)), windows=(5,))
    with pytest.raises(ValueError, match="Recurrent layers are needed"):
        gradients.truncation_bias(layers.TransformerStack(8), np.ones((1, T, 8)))
