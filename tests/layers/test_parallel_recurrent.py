"""Layers that compute all steps at once against loops over the steps, in NumPy and by the backend's own gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.parallel_recurrent import (
    RGLRU,
    MinGRU,
    MinLSTM,
    ParallelRecurrent,
    _prefixes,
    linear_scan,
    parallel_scan,
)
from keras_seq.layers.recurrent_stack import RecurrentStack
from tests.checks import check_layer
from tests.reference import array, arrays, backend_cases, compiled, fill, in_graph, program, spread

LAYERS = {"mingru": MinGRU, "minlstm": MinLSTM, "rglru": RGLRU}
B, T, D, UNITS = 3, 7, 4, 5
X = spread((B, T, D))
STATE = spread((B, UNITS), start=50)
MASKS = {
    "none": None,
    "right": np.arange(T) < np.array([[7], [2], [0]]),  # the last row is all padding
    "holes": np.random.default_rng(0).random((B, T)) < 0.6,
}
PATHS = {"chosen": linear_scan}
if keras.backend.backend() == "tensorflow":  # which on a CPU chooses a loop; elsewhere the two are one
    PATHS["parallel"] = parallel_scan
by_name = pytest.mark.parametrize("name", LAYERS)
by_name_or_one = pytest.mark.parametrize("name", backend_cases(LAYERS, on_jax=["minlstm"]))
by_path = pytest.mark.parametrize("path", PATHS)
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")


def filled(name, dx=D, dtype="float32", **options):
    layer = LAYERS[name](UNITS, dtype=dtype, **{"return_sequences": True, "return_state": True, **options})
    layer.build((None, None, dx))
    return fill(layer)


def run(layer, x=X, state=None, mask=None):
    """`(outputs, state)`, as NumPy arrays."""
    return arrays(program(layer)(x, initial_state=None if state is None else [state], mask=mask))


def gradients(function, *inputs):
    """The gradients of a function of arrays with one number as its value."""
    inputs = [ops.convert_to_tensor(x) for x in inputs]
    if keras.backend.backend() == "jax":
        import jax

        return arrays(list(jax.jit(jax.grad(function, argnums=tuple(range(len(inputs)))))(*inputs)))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = function(*inputs)
    return arrays(tape.gradient(total, inputs))


def layer_total(layer, mask=None):
    """A weighted sum of all outputs, as a function of the inputs, the initial state and the weights."""

    def total(x, state, *weights):
        (outputs, final), _ = layer.stateless_call(weights, [], x, initial_state=[state], mask=mask)
        return ops.sum(outputs * spread(outputs.shape, start=9)) + ops.sum(final * spread(final.shape, start=5))

    return total


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_equations(name, weights, x, state=None, mask=None, go_backwards=False, activation=lambda x: x):
    """The papers' equations, one step after the other in float64: `(outputs, state)`."""
    kernel, bias, *rest = [w.astype("float64") for w in weights]
    h = np.zeros((len(x), UNITS)) if state is None else state.astype("float64")
    outputs = []
    for t in range(x.shape[1])[:: -1 if go_backwards else 1]:
        first, *others = np.split(x[:, t] @ kernel + bias, 2 if name == "mingru" else 3, axis=-1)
        if name == "mingru":
            z, candidate = sigmoid(first), activation(others[0])
            new = (1 - z) * h + z * candidate
        elif name == "minlstm":
            f, i, candidate = sigmoid(first), sigmoid(others[0]), activation(others[1])
            new = f / (f + i) * h + i / (f + i) * candidate
        else:
            r, i, inner = sigmoid(first), sigmoid(others[0]), others[1]
            a = sigmoid(rest[0]) ** (8 * r)
            new = a * h + np.sqrt(1 - a**2) * (i * inner)
        h = new if mask is None else np.where(mask[:, t, None], new, h)
        outputs.append(h)
    return np.stack(outputs, axis=1), h


@pytest.mark.parametrize("go_backwards", [False, True], ids=["ahead", "backwards"])
@pytest.mark.parametrize(
    "state", backend_cases([None, STATE], on_jax=[STATE]), ids=lambda x: "zeros" if x is None else "state"
)
@pytest.mark.parametrize("mask", backend_cases(MASKS, on_jax=["holes"]))
@by_name
def test_each_is_its_equations(name, mask, state, go_backwards):
    layer = filled(name, go_backwards=go_backwards)
    outputs, final = run(layer, X, state, MASKS[mask])
    expected, expected_final = by_equations(name, layer.get_weights(), X, state, MASKS[mask], go_backwards)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(final, expected_final, atol=1e-6)


@pytest.mark.parametrize("name", ["mingru", "minlstm"])
def test_a_candidate_may_have_an_activation(name):
    layer = filled(name, activation="tanh")
    expected, _ = by_equations(name, layer.get_weights(), X, activation=np.tanh)
    np.testing.assert_allclose(run(layer)[0], expected, atol=1e-6)


@by_name_or_one
def test_what_is_returned(name):
    both = filled(name)
    weights = both.get_weights()
    outputs, final = run(both)
    for sequences, state in ((True, False), (False, True), (False, False)):
        layer = filled(name, return_sequences=sequences, return_state=state)
        layer.set_weights(weights)
        found = keras.tree.flatten(arrays(layer(X)))
        assert len(found) == 1 + state
        np.testing.assert_allclose(found[0], outputs if sequences else final, atol=1e-6)
        np.testing.assert_allclose(found[-1], outputs if sequences else final, atol=1e-6)
    assert [tuple(x.shape) for x in both.get_initial_state(2)] == [(2, UNITS)]
    assert both.state_size == [UNITS]


@by_name
def test_all_at_once_is_step_by_step(name):
    """Over 4,096 steps, in float32, the state carried from call to call."""
    x = spread((2, 4096, D))
    layer = filled(name)
    outputs, final = arrays(in_graph(layer)(x))

    def stepwise(x):
        def step(state, x):
            y, state = layer(x[:, None], initial_state=[state])
            return state, y[:, 0]

        return ops.scan(step, ops.zeros((2, UNITS)), ops.transpose(x, (1, 0, 2)))

    state, slowly = arrays(in_graph(stepwise)(x))
    np.testing.assert_allclose(outputs, slowly.swapaxes(0, 1), atol=1e-4)
    np.testing.assert_allclose(final, state, atol=1e-4)


@by_name_or_one
def test_a_cell_is_one_step(name):
    layer = filled(name)
    y, states = layer.cell(X[:, 0], [STATE])
    expected, final = run(layer, X[:, :1], STATE)
    np.testing.assert_allclose(array(y), expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(array(states[0]), final, atol=1e-6)


@pytest.mark.parametrize("size", backend_cases([1e2, 1e4], on_jax=[1e4]))
@by_name
def test_large_inputs_give_numbers(name, size):
    layer = filled(name)
    x = (size * np.sign(X)).astype("float32")
    assert all(np.isfinite(y).all() for y in run(layer, x, STATE))
    found = gradients(layer_total(layer), x, STATE, *layer.get_weights())
    assert all(np.isfinite(g).all() for g in found)
    assert np.abs(found[2]).max() > 0


@tensorflow_only
@pytest.mark.parametrize("mask", ["none", "holes"])
@by_name
def test_gradients_are_finite_differences(name, mask):
    """In float64, along one direction through all that the result depends on at once."""
    layer = filled(name, dtype="float64")
    total = layer_total(layer, MASKS[mask])
    start = [x.astype("float64") for x in (X, STATE, *layer.get_weights())]
    direction = [np.cos(3 * i + np.arange(x.size)).reshape(x.shape) for i, x in enumerate(start)]

    def value(step):
        return float(total(*(ops.convert_to_tensor(a + step * d) for a, d in zip(start, direction, strict=True))))

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    found = gradients(total, *start)
    assert slope == pytest.approx(sum((g * d).sum() for g, d in zip(found, direction, strict=True)), rel=1e-7)


@by_name_or_one
def test_the_second_half_goes_on_where_the_first_ended(name):
    layer = filled(name)
    whole, final = run(layer, X, STATE, MASKS["holes"])
    first, middle = run(layer, X[:, :3], STATE, MASKS["holes"][:, :3])
    second, end = run(layer, X[:, 3:], middle, MASKS["holes"][:, 3:])
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(end, final, atol=1e-6)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["ahead", "backwards"])
@by_name_or_one
def test_padding_changes_nothing(name, go_backwards):
    layer = filled(name, go_backwards=go_backwards)
    outputs, final = run(layer, X, STATE)
    wider = np.insert(X, [0, 3, 3, T], 1e4, axis=1)
    real = np.insert(np.ones((B, T), "bool"), [0, 3, 3, T], False, axis=1)
    padded, padded_final = run(layer, wider, STATE, real)
    order = real[0, ::-1] if go_backwards else real[0]
    np.testing.assert_allclose(padded[:, order], outputs, atol=1e-6)
    np.testing.assert_allclose(padded_final, final, atol=1e-6)


@by_name
def test_promises_of_a_layer(name):
    options = {"return_sequences": True, "return_state": True, "go_backwards": True, "bias_initializer": "ones"}
    check_layer(LAYERS[name](UNITS, **options), X)


@by_name_or_one
def test_the_mask_of_an_embedding_arrives_and_goes_on(name):
    tokens = np.array([[4, 5, 0, 0], [4, 5, 6, 7]], "int32")
    x = TokenEmbedding(8, D)(tokens)
    layer = filled(name)
    y, final = layer(x)  # not compiled: a mask is an attribute of the tensor
    np.testing.assert_array_equal(array(y._keras_mask), tokens > 0)
    np.testing.assert_allclose(array(final)[0], run(layer, array(x)[:1, :2])[1][0], atol=1e-6)


@by_name_or_one
def test_both_ways_in_the_layer_of_keras(name):
    both = keras.layers.Bidirectional(LAYERS[name](UNITS, return_sequences=True))
    y = array(both(X))
    ahead, _ = by_equations(name, both.forward_layer.get_weights(), X)
    back, _ = by_equations(name, both.backward_layer.get_weights(), X, go_backwards=True)
    np.testing.assert_allclose(y, np.concatenate([ahead, back[:, ::-1]], axis=-1), atol=1e-6)


@by_name_or_one
def test_a_stack_takes_them(name):
    """A single step goes through `cell`."""
    stack = RecurrentStack(LAYERS[name], UNITS, num_layers=2, initializer="glorot_normal")
    stack(X)
    whole, states = arrays(program(stack)(X))
    state = stack.get_initial_state(B)
    for t in range(T):
        x, state = program(stack)(X[:, t : t + 1], initial_state=state)
        np.testing.assert_allclose(array(x)[:, 0], whole[:, t], atol=1e-6)
    np.testing.assert_allclose(array(state[1][0]), states[1][0], atol=1e-6)
    assert isinstance(stack.forward_layers[0].kernel_initializer, keras.initializers.GlorotNormal)


def test_where_lambda_begins():
    layer = RGLRU(1000)
    layer.build((None, None, 2))
    decay = sigmoid(layer.get_weights()[2].astype("float64")) ** layer.c
    assert 0.9 <= decay.min() < 0.905
    assert 0.994 < decay.max() <= 0.99901
    assert decay.mean() == pytest.approx((0.9 + 0.999) / 2, abs=0.005)


@by_name
def test_units_must_be_positive(name):
    with pytest.raises(ValueError, match="`units` must be positive. Received: 0"):
        LAYERS[name](0)


def test_c_must_be_positive():
    for c in (-1, 0):
        with pytest.raises(ValueError, match=f"`c` must be positive. Received: {c}"):
            RGLRU(2, c=c)


# The scan by itself.


def scan_inputs(length=T):
    gates = 0.5 + 0.5 * spread((B, length, D))
    gates[0, -1], gates[1, 0] = 0, 1
    return gates, spread((B, length, D), start=11), spread((B, D), start=30)


def scan_by_loop(gates, values, h, reverse=False):
    """Which the backend differentiates by itself."""
    outputs = {}
    for t in range(gates.shape[1])[:: -1 if reverse else 1]:
        outputs[t] = h = gates[:, t] * h + values[:, t]
    return ops.stack([outputs[t] for t in sorted(outputs)], axis=1)


@pytest.mark.parametrize("length", backend_cases([1, 2, 7, 8], on_jax=[1, 7]))
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
@by_path
def test_a_scan_and_its_gradient_are_those_of_a_loop(path, reverse, length):
    inputs = scan_inputs(length)
    weights = spread((B, length, D), start=3)

    def outputs_and_gradients(scan):
        outputs = compiled(lambda *inputs: scan(*inputs, reverse=reverse))(*map(ops.convert_to_tensor, inputs))
        total = lambda *inputs: ops.sum(scan(*inputs, reverse=reverse) * weights)  # noqa: E731
        return [array(outputs), *gradients(total, *inputs)]

    found, expected = outputs_and_gradients(PATHS[path]), outputs_and_gradients(scan_by_loop)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@tensorflow_only
@by_path
def test_a_scan_over_a_length_not_known_before(path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, None, D))] * 2 + [tf.TensorSpec((None, D))])
    def compute(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = PATHS[path](*inputs)
        assert outputs.shape == (None, None, D)
        return outputs, tape.gradient(outputs, inputs)

    for length in (1, 5, 9):
        inputs = scan_inputs(length)
        outputs, found = arrays(compute(*inputs))
        np.testing.assert_allclose(outputs, array(scan_by_loop(*inputs)), atol=1e-6)
        expected = gradients(lambda *inputs: ops.sum(scan_by_loop(*inputs)), *inputs)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


@tensorflow_only
@by_path
def test_a_scan_under_xla(path):
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def compute(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = PATHS[path](*inputs, reverse=True)
        return tape.gradient(outputs, inputs)

    inputs = [tf.constant(x) for x in scan_inputs()]
    expected = gradients(lambda *inputs: ops.sum(scan_by_loop(*inputs, reverse=True)), *inputs)
    for ours, theirs in zip(arrays(compute(*inputs)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_are_not_in_half_precision(dtype):
    """In which 4,096 ones are at most 2,048."""
    ones = ops.ones((1, 4096, 1), dtype)
    outputs = in_graph(linear_scan)(ones, ones)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    assert float(outputs[0, -1, 0]) == 4096


@by_path
def test_a_second_derivative_is_refused(path):
    inputs = [ops.convert_to_tensor(x) for x in scan_inputs()]

    def total(*inputs):
        return ops.sum(PATHS[path](*inputs))

    if keras.backend.backend() == "jax":
        import jax

        first = jax.grad(total)
    else:
        import tensorflow as tf

        def first(*inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value = total(*inputs)
            return tape.gradient(value, inputs)[0]

    with pytest.raises(NotImplementedError, match="not support second-order"):
        gradients(lambda *inputs: ops.sum(ops.square(first(*inputs))), *inputs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("return_state", [False, True])
def test_in_the_wrappers_of_keras_in_a_functional_model(name, return_state):
    layer = LAYERS[name](UNITS, return_sequences=True, return_state=return_state)
    both = keras.layers.Bidirectional(layer)(keras.Input((None, 3)))
    shapes = [x.shape for x in keras.tree.flatten(both)]
    assert shapes == [(None, None, 2 * UNITS), *[(None, UNITS)] * (2 * return_state)]
    assert keras.layers.TimeDistributed(LAYERS[name](UNITS))(keras.Input((None, 5, 3))).shape == (None, None, UNITS)


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_the_scan_of_another_backend_is_that_of_a_loop(monkeypatch, reverse):
    inputs = scan_inputs()
    expected = array(scan_by_loop(*inputs, reverse=reverse))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    found = _prefixes(*map(ops.convert_to_tensor, inputs), reverse)
    np.testing.assert_allclose(array(found), expected, atol=2e-6)


def test_a_base_class_has_no_gates():
    class Ungated(ParallelRecurrent):
        """Without gates."""

    with pytest.raises(TypeError, match="Ungated must define `gates_and_values\\(\\*parts\\)`"):
        Ungated(2).gates_and_values(None)
