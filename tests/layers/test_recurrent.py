"""Our recurrent layers against Keras's, whose numbers they promise."""

import functools

import keras
import numpy as np
import pytest

from keras_seq.layers import GRU, LSTM, SimpleRNN, with_fast_recurrent_layers
from tests.checks import check_layer
from tests.reference import array, arrays, fill, quick, spread

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fast loop is TensorFlow's: elsewhere ours are Keras's own"
)
PAIRS = {
    "rnn": (SimpleRNN, keras.layers.SimpleRNN),
    "gru": (GRU, keras.layers.GRU),
    "lstm": (LSTM, keras.layers.LSTM),
}
OURS = [ours for ours, _ in PAIRS.values()]
B, T, D, UNITS = 3, 5, 4, 3
X = spread((B, T, D))
MASKS = {
    "none": None,
    "right": np.arange(T) < np.array([[5], [2], [0]]),  # the last row is all padding
    "left": np.arange(T) >= np.array([[0], [3], [4]]),
    "holes": np.array([[1, 0, 1, 1, 0], [0, 1, 0, 1, 1], [1, 1, 0, 0, 1]], "bool"),
}
OPTIONS = {"plain": {}, "backwards without bias": {"go_backwards": True, "use_bias": False}}


def pair(name, dtype="float32", **options):
    """Our layer and Keras's with the same weights, none of them zero."""
    options = {"return_sequences": True, "return_state": True, **options}
    ours, theirs = (each(UNITS, dtype=dtype, **options) for each in PAIRS[name])
    for layer in (ours, theirs):
        layer.build((B, T, D))
        fill(layer)
    return ours, theirs


def state_of(layer):
    return [spread((B, UNITS), start=50 + i) for i in range(len(layer.state_size))]


def computation(layer, training=True, graph=True):
    """A function of inputs, mask and state: all outputs, and the gradients of a weighted sum of them with respect to
    inputs, states and weights.
    """
    import tensorflow as tf

    def compute(x, mask, state):
        with tf.GradientTape() as tape:
            tape.watch([x, *(state or [])])
            outputs = layer(x, mask=mask, initial_state=state, training=training)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            total = sum(tf.reduce_sum(y * spread(y.shape, start=9 * i)) for i, y in enumerate(outputs))
        return outputs, tape.gradient(total, [x, *(state or []), *[v.value for v in layer.trainable_variables]])

    # Our loop as it trains, in a graph. Keras's, by whose numbers it is measured, is quicker than its own tracing.
    ours = type(layer) in OURS and layer._fast_step() is not None
    return tf.function(compute, autograph=False) if ours and graph else compute


def outputs_and_gradients(layer, mask=None, state=None, training=True, x=X, compute=None, graph=True):
    import tensorflow as tf

    compute = compute or computation(layer, training, graph)
    mask = None if mask is None else tf.constant(mask)
    state = None if state is None else [tf.constant(s, layer.compute_dtype) for s in state]
    return arrays(compute(tf.constant(x, layer.compute_dtype), mask, state))


def assert_same(ours, theirs, tolerance):
    for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@functools.cache
def computations(name, options):
    """Our layer and Keras's with what computes them, so that masks share a graph."""
    return [(layer, computation(layer)) for layer in pair(name, **OPTIONS[options])]


def states_masks_and_options():
    """Of all of them the quick tests have each mask with a state and without, with one of the options each time."""
    cases = [(options, mask, given) for options in OPTIONS for mask in MASKS for given in (False, True)]
    even = {(mask, given): (i + given) % 2 for i, mask in enumerate(MASKS) for given in (False, True)}
    return quick(cases, few=[case for case in cases if even[case[1:]] == (case[0] == "plain")])


@pytest.mark.parametrize(("options", "mask", "given"), states_masks_and_options())
@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients_are_those_of_keras(name, options, mask, given):
    found, expected = (
        outputs_and_gradients(layer, MASKS[mask], state_of(layer) if given else None, compute=compute)
        for layer, compute in computations(name, options)
    )
    assert_same(found[0], expected[0], 1e-6)
    assert_same(found[1], expected[1], 1e-5)


@pytest.mark.parametrize("as_given", [np.int32, np.float32, lambda mask: mask[..., None]], ids=["int", "float", "3-D"])
@pytest.mark.parametrize("name", PAIRS)
def test_masks_as_keras_takes_them(name, as_given):
    ours, theirs = pair(name)
    mask = as_given(MASKS["holes"])
    assert_same(arrays(ours(X, mask=mask)), arrays(theirs(X, mask=mask)), 1e-6)


@pytest.mark.parametrize("name", quick(PAIRS, few=["gru", "lstm"]))
@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5, "seed": 3},
        {"recurrent_dropout": 0.5, "seed": 3},
        {"dropout": 0.5, "recurrent_dropout": 0.5, "seed": 3},
        {"unroll": True},
        {"activation": "relu"},
        {"activation": "softplus"},
        {"zero_output_for_mask": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option_gives_what_keras_gives(name, options):
    found, expected = (outputs_and_gradients(layer, MASKS["holes"]) for layer in pair(name, **options))
    assert_same(found, expected, 1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gru", {"reset_after": False}),
        ("gru", {"recurrent_activation": "hard_sigmoid"}),
        ("lstm", {"implementation": 1}),
        ("rnn", {"activation": None}),
        ("rnn", {"activation": "sigmoid"}),
    ],
)
def test_options_of_one_layer(name, options):
    found, expected = (outputs_and_gradients(layer) for layer in pair(name, **options))
    assert_same(found, expected, 1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_which_options_take_the_fast_loop(name):
    layer = PAIRS[name][0]
    assert layer(UNITS)._fast_step() is not None
    assert layer(UNITS, dropout=0.5, go_backwards=True, use_bias=False)._fast_step() is not None
    assert layer(UNITS, recurrent_dropout=0.5)._fast_step() is not None
    assert (layer(UNITS, recurrent_dropout=0.5, dropout=0.5)._fast_step() is not None) == (name == "rnn")
    slow = [{"unroll": True}, {"activation": "softplus"}, {"zero_output_for_mask": True}]
    slow += {"gru": [{"reset_after": False}], "lstm": [{"implementation": 1}, {"use_cudnn": True}], "rnn": []}[name]
    for options in slow:
        assert layer(UNITS, **options)._fast_step() is None, options


def loops_of(gradients):
    """The number of loops in the graph of a function without arguments."""
    import tensorflow as tf

    graph = tf.function(gradients, autograph=False).get_concrete_function().graph
    return sum(operation.type in ("While", "StatelessWhile") for operation in graph.get_operations())


@pytest.mark.parametrize("name", PAIRS)
def test_under_a_tape_an_inference_call_keeps_what_its_gradient_needs(name):
    import tensorflow as tf

    ours, _ = pair(name)
    mask, state = MASKS["holes"], state_of(ours)
    found = outputs_and_gradients(ours, mask, state, training=False)
    assert_same(found, outputs_and_gradients(ours, mask, state, training=True, graph=False), 1e-6)
    x = tf.constant(X)

    def taped():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ours(x)
        return tape.gradient(y, x)

    assert loops_of(taped) == 2 and loops_of(lambda: ours(x)) == 1


@pytest.mark.parametrize("name", quick(PAIRS, few=["lstm"]))
def test_a_gradient_without_a_tape_runs_the_loop_again(name):
    import tensorflow as tf

    ours, _ = pair(name)
    x = tf.constant(X)

    def gradient(training=False):
        return tf.gradients(ours(x, training=training), x)

    again, at_once = tf.function(gradient)(), tf.function(lambda: gradient(training=True))()
    assert_same(arrays(again), arrays(at_once), 1e-6)
    assert loops_of(gradient) == 3 and loops_of(lambda: gradient(training=True)) == 2


@pytest.mark.parametrize("mask", ["none", "holes"])
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_are_finite_differences(name, mask):
    """In float64, along one direction through all that the result depends on at once."""
    layer, _ = pair(name, dtype="float64")
    x, state = X.astype("float64"), [s.astype("float64") for s in state_of(layer)]
    start = layer.get_weights()
    _, gradients = outputs_and_gradients(layer, MASKS[mask], state, x=x, graph=False)
    direction = [np.cos(3 * i + np.arange(g.size)).reshape(g.shape) for i, g in enumerate(gradients)]

    def value(step):
        moved = [a + step * d for a, d in zip([x, *state, *start], direction, strict=True)]
        layer.set_weights(moved[1 + len(state) :])
        outputs = arrays(layer(moved[0], mask=MASKS[mask], initial_state=moved[1 : 1 + len(state)]))
        return sum((y * spread(y.shape, start=9 * i)).sum() for i, y in enumerate(outputs))

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    assert slope == pytest.approx(sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)), rel=1e-8)


@pytest.mark.long
@pytest.mark.parametrize("name", PAIRS)
def test_under_xla_too(name):
    import tensorflow as tf

    ours, theirs = pair(name)

    def results(layer, jit_compile):
        @tf.function(jit_compile=jit_compile)
        def compute(x):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(layer(x, training=True)[0] * spread((B, T, UNITS)))
            return tape.gradient(total, [v.value for v in layer.trainable_variables])

        return arrays(compute(tf.constant(X)))

    assert_same(results(ours, True), results(theirs, False), 1e-5)


def test_a_second_derivative_is_refused():
    import tensorflow as tf

    layer, x = LSTM(UNITS), tf.constant(X)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layer(x)
        first = inner.gradient(y, x)
    with pytest.raises(NotImplementedError, match=r"not support second-order gradients. Use those of keras\.layers"):
        outer.gradient(first, x)


@pytest.mark.parametrize("name", PAIRS)
def test_promises_of_a_layer(name):
    check_layer(PAIRS[name][0](UNITS, return_sequences=True, return_state=True), X[:2, :3])


@pytest.mark.parametrize("name", PAIRS)
def test_only_the_last_output_where_that_is_asked_for(name):
    for options in ({}, {"go_backwards": True}):
        ours, theirs = pair(name, return_sequences=False, return_state=False, **options)
        for mask in MASKS.values():
            np.testing.assert_allclose(array(ours(X, mask=mask)), array(theirs(X, mask=mask)), atol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_a_stateful_layer_goes_on(name):
    ours, theirs = pair(name, stateful=True)
    for _ in range(2):
        assert_same(arrays(ours(X)), arrays(theirs(X)), 1e-6)
    assert np.abs(array(ours.states[0])).max() > 0
    ours.reset_state()
    assert (array(ours.states[0]) == 0).all()


@pytest.mark.parametrize("name", PAIRS)
def test_weight_files_go_both_ways(name, tmp_path):
    for first, second in (PAIRS[name], PAIRS[name][::-1]):
        models = [keras.Sequential([keras.Input((None, D)), each(UNITS)]) for each in (first, second)]
        models[0].save_weights(tmp_path / "model.weights.h5")
        models[1].load_weights(tmp_path / "model.weights.h5")
        a, b = (array(model(X)) for model in models)
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_model_of_keras_becomes_ours(tmp_path):
    inputs = keras.Input((None, D))
    both = keras.layers.Bidirectional(keras.layers.LSTM(UNITS, dropout=0.1, return_sequences=True))
    inner = keras.Sequential([keras.layers.GRU(UNITS, return_sequences=True), keras.layers.SimpleRNN(UNITS)])
    model = keras.Model(inputs, inner(both(inputs)))
    model.compile("adam", "mse", run_eagerly=True)  # which is quicker than to trace a step, of the copy too
    model.fit(X, spread((B, UNITS)), verbose=0)
    model.save(tmp_path / "model.keras")

    copy = with_fast_recurrent_layers(keras.saving.load_model(tmp_path / "model.keras"))
    assert type(copy.layers[1].forward_layer) is type(copy.layers[1].backward_layer) is LSTM
    assert [type(layer) for layer in copy.layers[2].layers[-2:]] == [GRU, SimpleRNN]
    np.testing.assert_allclose(array(copy(X)), array(model(X)), atol=1e-6)
    copy.fit(X, spread((B, UNITS)), verbose=0)


@keras.saving.register_keras_serializable("tests")
def twice(x):
    return 2 * x


def test_a_lambda_comes_along_if_its_function_is_registered():
    inputs = keras.Input((T, D))
    x = keras.layers.LSTM(UNITS)(inputs)
    model = keras.Model(inputs, keras.layers.Lambda(twice)(x))
    np.testing.assert_allclose(array(with_fast_recurrent_layers(model)(X)), array(model(X)), atol=1e-6)
    with pytest.raises(ValueError, match="`with_fast_recurrent_layers` copies.*register_keras_serializable"):
        with_fast_recurrent_layers(keras.Model(inputs, keras.layers.Lambda(lambda y: 2 * y)(x)))


def test_whole_numbers_are_taken():
    ours, theirs = pair("rnn")
    whole = np.arange(B * T * D).reshape(B, T, D) % 3
    assert_same(arrays(ours(whole)), arrays(theirs(whole)), 1e-6)


def test_an_error_that_is_not_of_a_lambda_stays_as_it_is(monkeypatch):
    def fails(config):
        raise ValueError(told)

    monkeypatch.setattr(keras.saving, "deserialize_keras_object", fails)
    model, told = keras.Sequential([keras.Input((2,))]), "no such class"
    with pytest.raises(ValueError, match="^no such class$"):
        with_fast_recurrent_layers(model)
    told = "a Lambda of Python code"
    with pytest.raises(ValueError, match="^`with_fast_recurrent_layers` copies the model by its configuration"):
        with_fast_recurrent_layers(model)
