"""Models of every kind: attention, convolution, subclassed, loops of the user, encoders and decoders."""

import keras
import numpy as np
import pytest
from keras import ops

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import layers, models
from keras_seq.inspection import gradients

B, T, D = 3, 12, 4
TOKENS = np.random.default_rng(2).integers(1, 9, (B, T)) * (np.arange(T) < np.array([[T], [8], [3]]))


def inputs(seed=0, shape=(B, T, 3), dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def keras_transformer():
    x = inputs_ = keras.Input((T, D))
    for n in range(2):
        x = x + keras.layers.MultiHeadAttention(2, 4, name=f"attention_{n}")(x, x, use_causal_mask=True)
    return keras.Model(inputs_, x)


class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(2, 4)
        self.dense = keras.layers.Dense(D)

    def call(self, x):
        return self.dense(x + self.attention(x, x, use_causal_mask=True))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(name=f"block_{n}") for n in range(2)]

    @tf.function
    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize(
    "make, names",
    [
        (keras_transformer, ["attention_0/output", "attention_1/output"]),
        (Subclassed, ["block_0/output", "block_1/output"]),
        (
            lambda: layers.TransformerStack(D, 2, num_layers=2, return_state=False),
            ["layer_0/output", "layer_1/output"],
        ),
        (lambda: keras.Sequential([keras.layers.Conv1D(D, 3, padding="causal", name="a")]), ["a/output"]),
    ],
)
def test_models_without_recurrence(make, names):
    model, x = make(), inputs(shape=(B, T, D))
    model(x)
    norms = gradients.gradient_norms(model, x, at=4)
    assert list(norms) == names
    for each in norms.values():
        assert each.rows.shape == (B, T) and (each.rows[:, 5:] == 0).all() and (each.rows[:, 4] > 0).all()
    if len(names) > 1:  # the layer above attends to all earlier steps
        assert (norms[names[0]].rows[:, :4] > 0).all()


def test_layers_are_chosen_by_path_name_or_object():
    model = keras.Sequential([keras.layers.Dense(D, name="below"), layers.GRU(D, name="gru"), keras.layers.Dense(2)])
    x = inputs()
    model(x)
    norms = gradients.gradient_norms(model, x, layers=["below", model.layers[1]])
    assert list(norms) == ["below/output", "gru/h"]
    with pytest.raises(ValueError, match="`layers` must be layers of the model: .*below, gru, dense.*Received: 'top'"):
        gradients.gradient_norms(model, x, layers=["top"])
    model = keras.Model(*[keras.Input((T, D))] * 2)
    model.extra = keras.layers.Dense(3, name="extra")
    with pytest.raises(ValueError, match="does not call these layers, or they return no floats.*: extra"):
        gradients.gradient_norms(model, inputs(shape=(B, T, D)), layers=["extra"])


def test_a_layer_that_is_called_twice_has_two_curves():
    layer, x = layers.GRU(D, return_sequences=True, name="gru"), keras.Input((T, D))
    model = keras.Model(x, layer(layer(x)))
    assert list(gradients.gradient_norms(model, inputs(shape=(B, T, D)))) == ["gru/h", "gru (call 2)/h"]


class LoopOfTheUser(keras.Model):
    def __init__(self):
        super().__init__()
        self.cell = keras.layers.GRUCell(D, name="cell")
        self.dense = keras.layers.Dense(2, name="dense")

    def call(self, x):
        states = [ops.zeros((x.shape[0], D))]
        for t in range(x.shape[1]):
            _, states = self.cell(x[:, t], states)
        return self.dense(states[0])


def test_a_cell_in_a_loop_of_the_user_has_the_gradients_of_a_layer():
    loop, x = LoopOfTheUser(), inputs()
    norms = gradients.gradient_norms(loop, x)
    assert {name: each.rows.shape for name, each in norms.items()} == {
        "cell/output": (B, T),
        "dense/output": (B, 1),
    }
    model = keras.Sequential([layers.GRU(D), keras.layers.Dense(2)])
    model(x)
    model.set_weights(loop.get_weights())
    (expected,) = gradients.gradient_norms(model, x).values()
    np.testing.assert_allclose(norms["cell/output"].rows, expected.rows, rtol=1e-4)
    np.testing.assert_array_equal(norms["cell/output"].steps_back, expected.steps_back)


def test_an_encoder_counts_its_own_steps():
    model = models.Seq2Seq(9, units=D, num_layers=1, cell="gru", attention="dot")
    norms = gradients.gradient_norms(model, {"source": TOKENS, "target": TOKENS[:, :5]})
    encoder = [each for name, each in norms.items() if name.startswith("encoder")]
    decoder = [each for name, each in norms.items() if name.startswith("decoder")]
    assert {each.rows.shape for each in encoder} == {(B, T)} and {each.rows.shape for each in decoder} == {(B, 5)}
    assert encoder[0].steps_back[0].tolist() == list(range(T - 1, -1, -1))
