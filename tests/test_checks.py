"""The check of layers, checked: it passes what is right and finds what is wrong."""

import keras
import numpy as np
import pytest

from tests.checks import check_layer

X = np.linspace(-1, 1, 24, dtype="float32").reshape(2, 3, 4)


@keras.saving.register_keras_serializable("tests")
class Forgetful(keras.layers.Layer):
    """Leaves its width out of the configuration."""

    def __init__(self, units=5, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def get_config(self):
        return super().get_config()

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x):
        return x @ self.kernel


@keras.saving.register_keras_serializable("tests")
class Stuck(keras.layers.Dense):
    """Has weights that no gradient reaches."""

    def call(self, x):
        return keras.ops.stop_gradient(super().call(x)) + keras.ops.sum(x) * 0


@keras.saving.register_keras_serializable("tests")
class Liar(keras.layers.Dense):
    """Says that its output is wider than it is."""

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], self.units + 1), dtype=self.compute_dtype)


@pytest.mark.parametrize(
    ("layer", "inputs", "weights"),
    [
        (keras.layers.Dense(3, "tanh"), X, True),
        (lambda: keras.layers.LSTM(3, return_sequences=True), X, True),
        (keras.layers.Embedding(9, 4, mask_zero=True), np.array([[1, 2, 0]], "int32"), True),
        (keras.layers.Attention(), ([X, X],), False),
        (keras.layers.MultiHeadAttention(2, 2), {"query": X, "value": X}, True),
    ],
)
def test_right_layers_pass(layer, inputs, weights):
    assert np.isfinite(check_layer(layer, inputs, weights=weights)).all()


def test_a_right_layer_passes_in_a_graph():
    assert np.isfinite(check_layer(keras.layers.Dense(3, "tanh"), X, graph=True)).all()


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("make", [lambda: Forgetful(7), lambda: Stuck(3), lambda: Liar(3)])
def test_wrong_layers_are_found(make, graph):
    with pytest.raises((AssertionError, ValueError), match="static|gradients|shape|no weight"):
        check_layer(make, X, graph=graph)


def test_weights_must_be_as_announced():
    with pytest.raises(AssertionError):
        check_layer(keras.layers.Dense(3), X, weights=False)
