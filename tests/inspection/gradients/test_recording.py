"""The model computes the same while it is recorded, and is unchanged afterwards."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import layers
from keras_seq.inspection import gradients
from keras_seq.inspection.gradients import recording
from tests.cells import LeakyCell

B, T, D = 2, 7, 3
X = np.random.default_rng(0).normal(size=(B, T, D)).astype("float32")
MASKS = {
    "none": None,
    "some": np.array([[1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 0, 1, 0]], bool),
}
MAKERS = {
    **layers.CELLS,
    "keras rnn": keras.layers.SimpleRNN,
    "keras lstm": keras.layers.LSTM,
    "zero output": lambda units, **options: keras.layers.GRU(units, zero_output_for_mask=True, **options),
    "custom": lambda units, **options: keras.layers.RNN(LeakyCell(units), **options),
}


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", MAKERS)
def test_the_loop_computes_the_same(name, mask, go_backwards):
    layer = MAKERS[name](D, return_sequences=True, return_state=True, go_backwards=go_backwards)
    layer(X)
    start = [0.5 + each for each in layer.get_initial_state(B)]
    options = {"initial_state": start, "mask": None if MASKS[mask] is None else tf.constant(MASKS[mask])}
    expected = layer(X, **options)
    with recording.recorded(layer, {"it": layer}) as found:
        actual = layer(X, **options)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    steps = found.calls["it"]
    assert len(steps.inputs) == len(steps.before) == len(steps.parts["h"]) == T
    real = MASKS[mask][:, ::-1] if MASKS[mask] is not None and go_backwards else MASKS[mask]
    outputs = np.array(expected[0])[:, ::-1] if go_backwards else np.array(expected[0])
    real = np.ones((B, T), bool) if real is None else MASKS[mask]
    np.testing.assert_allclose(np.stack(steps.parts["h"], axis=1)[real], outputs[real], rtol=1e-5, atol=1e-6)


def test_convolutional_states_are_recorded():
    layer = layers.ConvLSTM2D(2, 3, padding="same")
    x = np.random.default_rng(0).normal(size=(B, 4, 5, 5, 1)).astype("float32")
    expected = layer(x)
    norms = gradients.gradient_norms(layer, x)
    assert {name.split("/")[1]: (n.rows.shape, n.units.shape) for name, n in norms.items()} == {
        "h": ((B, 4), (4, 50)),
        "c": ((B, 4), (4, 50)),
    }
    np.testing.assert_array_equal(layer(x), expected)
    last = 2 * np.sqrt(np.square(expected).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(norms[f"{layer.name}/h"].rows[:, -1], last, rtol=1e-5)


def test_the_model_is_as_before():
    stateful = layers.GRU(D, return_sequences=True, stateful=True)
    model = keras.Sequential(
        [keras.Input(batch_shape=(B, T, D)), stateful, keras.layers.LSTM(D), keras.layers.Dense(2)]
    )
    model(X)
    before = [np.array(variable) for variable in model.variables]
    state = np.array(stateful.states[0])
    attributes = [set(layer.__dict__) for layer in model._flatten_layers()]
    expected = np.array(model.layers[1](tf.constant(X)))
    gradients.gradient_norms(model, X)
    with pytest.raises(ValueError, match="must give a value for each row"):
        gradients.gradient_norms(model, X, X, lambda y, output: tf.reduce_sum(output))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    np.testing.assert_array_equal(stateful.states[0], state)
    assert state.any() and not tf.config.functions_run_eagerly()
    assert [set(layer.__dict__) for layer in model._flatten_layers()] == attributes
    np.testing.assert_array_equal(model.layers[1](tf.constant(X)), expected)


def test_a_call_that_fails_leaves_no_trace():
    class Broken(keras.layers.Layer):
        def call(self, x):
            raise RuntimeError("broken")

    gru = layers.GRU(D)
    gru(X)
    model = keras.Sequential([gru])
    model.broken = Broken()
    both = recording.recorded(model, {"gru": gru, "broken": model.broken})
    with pytest.raises(RuntimeError, match="broken"), both:
        model.broken(X)
    assert "inner_loop" not in gru.__dict__ and "call" not in model.broken.__dict__
    assert not tf.config.functions_run_eagerly()


def test_outputs_without_a_gradient_are_left_out():
    class Rounded(keras.layers.Layer):
        def call(self, x):
            return keras.ops.cast(x, "int32")

    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    model = keras.layers.Layer()
    model.ints, model.floats = Rounded(), Doubled()
    with recording.recorded(model, {"ints": model.ints, "floats": model.floats}) as found:
        assert model.ints(X).dtype == "int32"
        model.floats(x=X)  # by name, so without a first argument that could carry a mask
    assert list(found.calls) == ["floats"] and found.calls["floats"].mask is None
    np.testing.assert_array_equal(found.calls["floats"].parts["output"], 2 * X)


def test_paths_are_unique_and_leave_out_the_cell():
    class Pair(keras.layers.Layer):
        def __init__(self, below, above, **kwargs):
            super().__init__(**kwargs)
            self.below, self.above = below, above

        def call(self, x):
            return self.above(self.below(x))

    rnn = layers.GRU(D, name="same", return_sequences=True)
    model = Pair(Pair(rnn, rnn, name="part"), layers.GRU(D, name="part"))
    model(X)
    assert list(recording.recorded_paths(model)) == ["part", "part/same", "part (2)"]
    assert list(recording.recorded_paths(rnn)) == ["same"]


def test_dropout_of_training_is_recorded():
    layer = layers.LSTM(D, recurrent_dropout=0.5, dropout=0.5)
    layer(X)
    keras.utils.set_random_seed(0)
    (h, _) = gradients.gradient_norms(layer, X, training=True).values()
    (without, _) = gradients.gradient_norms(layer, X).values()
    assert not np.allclose(h.rows, without.rows)


@pytest.mark.parametrize("make", [keras.layers.LSTM, keras.layers.GRU])
def test_both_directions_of_a_keras_wrapper_are_called(make):
    """On a GPU its fused kernel would call neither layer."""
    wrapper = keras.layers.Bidirectional(make(D, name="it"), name="both")
    wrapper(X)
    fused = f"_can_attempt_fused_{make.__name__.lower()}"
    assert getattr(wrapper, fused)(None, None)
    with recording.recorded(wrapper, recording.watched_layers(wrapper)) as found:
        assert not getattr(wrapper, fused)(None, None)
        wrapper(X)
    assert list(found.calls) == ["forward_it", "backward_it"] and found.calls["backward_it"].go_backwards
    assert getattr(wrapper, fused)(None, None)


def test_a_layer_is_built_and_recorded_twice_at_once():
    layer = layers.GRU(D, name="gru")
    layer(X)
    with recording.recorded(layer, {"a": layer}) as outer:
        x = keras.Input((T, D))
        keras.Model(x, layer(x))  # Keras traces the layer with symbolic tensors
        with recording.recorded(layer, {"b": layer}) as inner:
            layer(X)
        layer(X)
    assert list(inner.calls) == ["b"] and list(outer.calls) == ["a"]
    assert "inner_loop" not in layer.__dict__
