"""Gates and units that were set by hand."""

import keras
import numpy as np
import pytest
from keras import ops

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import layers
from keras_seq.inspection import gradients

B, T, D = 3, 6, 4
X = np.random.default_rng(0).normal(size=(B, T, 2)).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_gate(found):
    return {gate.gate: gate for gate in found}


@pytest.mark.parametrize("make", [layers.LSTM, keras.layers.LSTM])
def test_gates_of_an_lstm(make):
    layer = make(D, name="lstm")
    layer(X)
    bias = np.concatenate([np.full(D, 10.0), [10, -10, 0, 0], np.zeros(D), np.full(D, -10.0)])  # i, f, c, o
    layer.set_weights([np.zeros((2, 16)), np.zeros((4, 16)), bias])
    found = gradients.gate_saturation(layer, X)
    assert [(each.layer, each.gate) for each in found] == [("lstm", "i"), ("lstm", "f"), ("lstm", "o")]
    assert [(each.low, each.high) for each in found] == [(0, 1), (0.25, 0.25), (1, 0)]
    assert found[1].mean == pytest.approx(0.5)


@pytest.mark.parametrize("reset_after, use_bias", [(True, True), (False, True), (True, False)])
def test_gates_of_a_gru_follow_its_formula(reset_after, use_bias):
    options = {"reset_after": reset_after, "use_bias": use_bias, "bias_initializer": "glorot_uniform"}
    layer = layers.GRU(D, **options, return_sequences=True)
    h = np.array(layer(X))
    kernel, recurrent, *biases = layer.get_weights()
    bias = np.reshape(biases, (-1, 3 * D)).sum(axis=0)
    before = np.concatenate([np.zeros((B, 1, D)), h[:, :-1]], axis=1)
    gates = sigmoid(X @ kernel + before @ recurrent + bias)
    found = by_gate(gradients.gate_saturation(layer, X, bounds=(0.4, 0.6)))
    for name, values in {"z": gates[..., :D], "r": gates[..., D : 2 * D]}.items():
        assert found[name].mean == pytest.approx(values.mean(), rel=1e-5)
        assert found[name].low == pytest.approx((values < 0.4).mean())
        assert found[name].high == pytest.approx((values > 0.6).mean())
    assert 0 < found["z"].low < 1


def test_gates_of_the_parallel_layers_follow_their_formulas():
    makers = (layers.MinGRU, layers.MinLSTM, layers.RGLRU)
    min_gru, min_lstm, rglru = (make(D, bias_initializer="glorot_uniform") for make in makers)
    found = [by_gate(gradients.gate_saturation(layer, X)) for layer in (min_gru, min_lstm, rglru)]
    parts = [X @ layer.kernel.numpy() + layer.bias.numpy() for layer in (min_gru, min_lstm, rglru)]
    first, second = [[sigmoid(part[..., n * D : (n + 1) * D]) for part in parts] for n in (0, 1)]
    a = sigmoid(rglru.Lambda.numpy()) ** (8 * first[2])
    expected = [
        {"z": first[0]},
        {"f": first[1], "i": second[1], "a": first[1] / (first[1] + second[1])},
        {"r": first[2], "i": second[2], "a": a},
    ]
    for gates, values in zip(found, expected, strict=True):
        assert {name: gate.mean for name, gate in gates.items()} == pytest.approx(
            {name: value.mean() for name, value in values.items()}, rel=1e-4
        )


def test_masked_steps_do_not_count():
    layer = layers.LSTM(D)
    model = keras.Sequential([keras.layers.Masking(), layer])
    mask = np.arange(T) < np.array([[T], [2], [4]])
    model(X)
    layer.set_weights([np.full((2, 16), 2.0), np.zeros((4, 16)), np.zeros(16)])
    expected = sigmoid(2 * X.sum(axis=2))[mask]
    (i, _, _) = gradients.gate_saturation(model, X * mask[:, :, None], bounds=(0.3, 0.7))
    assert (i.low, i.high) == (pytest.approx((expected < 0.3).mean()), pytest.approx((expected > 0.7).mean()))


class Gated(keras.layers.Layer):
    state_size = 2

    def gates(self, x, states):
        return {"keep": ops.sigmoid(100 * x)}

    def call(self, x, states):
        keep = self.gates(x, states)["keep"]
        return keep * states[0] + x, [keep * states[0] + x]


def test_a_custom_cell_and_stacked_cells():
    (keep,) = gradients.gate_saturation(keras.layers.RNN(Gated(), name="custom"), np.sign(X))
    assert keep[:2] == ("custom", "keep") and keep.low == (X < 0).mean() and keep.high == (X > 0).mean()
    stack = keras.layers.RNN([keras.layers.SimpleRNNCell(3), keras.layers.GRUCell(3), keras.layers.LSTMCell(2)])
    names = [each.gate for each in gradients.gate_saturation(stack, X)]
    assert names == ["1/z", "1/r", "2/i", "2/f", "2/o"]


def test_layers_without_gates_are_left_out_or_refused():
    model = keras.Sequential([layers.SimpleRNN(3, return_sequences=True, name="rnn"), layers.GRU(3, name="gru")])
    model(X)
    assert {each.layer for each in gradients.gate_saturation(model, X)} == {"gru"}
    with pytest.raises(ValueError, match=r"a method `gates\(x, states\)`. Received: rnn"):
        gradients.gate_saturation(model, X, layers=["gru", "rnn"])
    with pytest.raises(ValueError, match=r"`bounds` must be ascending and between 0 and 1. Received: \(0.9, 0.1\)"):
        gradients.gate_saturation(model, X, bounds=(0.9, 0.1))


def test_dead_units():
    gru, dense = layers.GRU(3, return_sequences=True, name="gru"), keras.layers.Dense(4, "relu", name="dense")
    model = keras.Sequential([keras.layers.Masking(name="mask"), gru, dense, keras.layers.Dropout(0.5)])
    model(X)
    kernel, recurrent, bias = gru.get_weights()
    kernel[:, [1, 4, 7]], recurrent[:, [1, 4, 7]], recurrent[1] = 0, 0, 0  # all gates of the middle unit
    gru.set_weights([kernel, recurrent, bias])
    dense.set_weights([np.array([[9, 0, 0, 9], [0] * 4, [0] * 4]), np.array([1.0, 2.0, -1.0, -99.0])])
    x = X.copy()
    x[1, 3:] = 0  # masked: the state would be held, and the dense layer would see it
    found = {each.layer: each for each in gradients.dead_units(model, x)}
    assert list(found) == ["gru", "dense"]
    assert found["gru"].units == 3 and found["gru"].constant.tolist() == [1] and found["gru"].zero.tolist() == [1]
    assert found["dense"].constant.tolist() == [1, 2, 3] and found["dense"].zero.tolist() == [2, 3]
    masked = np.zeros_like(x)
    again = gradients.dead_units(model, [masked, x])
    assert [(each.constant.tolist(), each.zero.tolist()) for each in again] == [([1], [1]), ([1, 2, 3], [2, 3])]
    with pytest.raises(ValueError, match="at least one batch with real steps. Received: none"):
        gradients.dead_units(model, masked)


def test_a_unit_that_moves_between_batches_is_not_dead():
    dense = keras.layers.Dense(2, kernel_initializer="ones")
    batches = [np.full((2, 3, 1), value, "float32") for value in (1, 2)]
    assert gradients.dead_units(dense, batches[0])[0].constant.tolist() == [0, 1]
    assert gradients.dead_units(dense, batches)[0].constant.tolist() == []
    data = tf.data.Dataset.from_tensor_slices((batches, [0, 1]))  # inputs and labels
    assert gradients.dead_units(dense, data)[0].constant.tolist() == []
    assert gradients.dead_units(dense, batches, tolerance=5.0)[0].constant.tolist() == [0, 1]
    with pytest.raises(ValueError, match="`data` must have at least one batch"):
        gradients.dead_units(dense, [])
