import inspect

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers import CELLS, RecurrentStack, TokenEmbedding
from keras_seq.layers.initializers import seeded_copies
from tests.cells import LeakyCell
from tests.checks import check_layer
from tests.reference import array, arrays, backend_cases, compiled, fill, like, long_on_jax, program, spread

X = spread((3, 6, 4))
LENGTHS = np.array([6, 1, 4])
MASK = np.arange(6) < LENGTHS[:, None]


def filled(*args, **kwargs):
    layer = RecurrentStack(*args, **kwargs)
    layer(like(X[:, :2]))
    return fill(layer)


def keras_layer(make, units):
    """The layer of a recurrent layer's class, or of a cell's."""
    options = {"return_sequences": True, "return_state": True}
    is_layer = "return_sequences" in inspect.signature(make.__init__).parameters
    return make(units, **options) if is_layer else keras.layers.RNN(make(units), **options)


def run(layer, x, state=None, mask=None):
    return arrays(program(layer)(x, initial_state=state, mask=mask))


def assert_close(ours, theirs, tolerance=1e-6):
    for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"cell": "lstm", "num_layers": 2, "bidirectional": True}, marks=pytest.mark.long),
        {"cell": "gru", "dropout": 0.1},
        pytest.param({"cell": "rnn", "num_layers": 2, "initializer": "glorot_uniform"}, marks=pytest.mark.long),
    ],
    ids=lambda options: options["cell"],
)
def test_promises_of_a_layer(options):
    check_layer(RecurrentStack(units=4, **options), X[:2, :3], graph=options["cell"] == "lstm")


@pytest.mark.parametrize("cell", backend_cases(CELLS, on_jax=["lstm", "mingru"]))
def test_a_stack_is_keras_layers_one_above_the_other(cell):
    stack = filled(cell, 3, num_layers=2)
    layers = [keras_layer(CELLS[cell], 3) for _ in range(2)]
    weights = stack.get_weights()

    def by_hand(x, mask):
        states = []
        for layer in layers:
            x, *state = layer(x, mask=mask)
            states.append(state)
        return x, states

    by_hand(like(X[:, :2]), None)
    each = len(weights) // 2
    for i, layer in enumerate(layers):
        layer.set_weights(weights[each * i : each * i + each])
    assert_close(run(stack, X, mask=MASK), arrays(compiled(by_hand)(X, MASK)))


@pytest.mark.parametrize("cell", backend_cases(CELLS, on_jax=["lstm", "mingru"]))
def test_both_ways_are_two_runs(cell):
    """The second reads each sentence from its last real step to its first."""
    both = filled(cell, 6, bidirectional=True)
    x, states = run(both, X, mask=MASK)
    weights = both.get_weights()
    one_way = filled(cell, 3)
    half = len(weights) // 2
    for offset, part, name in ((0, slice(0, 3), "forward"), (half, slice(3, 6), "backward")):
        one_way.set_weights(weights[offset : offset + half])
        turned = X.copy()
        if name == "backward":
            for row, length in zip(turned, LENGTHS, strict=True):
                row[:length] = row[:length][::-1]
        expected, expected_states = run(one_way, turned, mask=MASK)
        for row, length in enumerate(LENGTHS):
            sentence = expected[row, :length]
            sentence = sentence[::-1] if name == "backward" else sentence
            np.testing.assert_allclose(x[row, :length, part], sentence, atol=1e-6, err_msg=name)
        assert_close([state[:, part] for state in states[0]], expected_states[0])


@pytest.mark.parametrize("bidirectional", backend_cases([False, True], on_jax=[True]))
@pytest.mark.parametrize("cell", backend_cases(CELLS, on_jax=["lstm", "mingru"]))
def test_padding_changes_nothing(cell, bidirectional):
    stack = filled(cell, 4, num_layers=2, bidirectional=bidirectional)
    x, states = run(stack, X, mask=MASK)
    noise = np.where(MASK[:, :, None], X, 7.0).astype("float32")
    wider = np.pad(noise, ((0, 0), (0, 2), (0, 0)), constant_values=-7.0)
    padded, padded_states = run(stack, wider, mask=np.pad(MASK, ((0, 0), (0, 2))))
    np.testing.assert_allclose(padded[:, :6][MASK], x[MASK], atol=1e-6)
    assert_close(padded_states, states)


@pytest.mark.parametrize("cell", backend_cases(CELLS, on_jax=["lstm", "mingru"]))
def test_the_second_half_goes_on_where_the_first_ended(cell):
    stack = filled(cell, 3, num_layers=2)
    whole, states = run(stack, X)
    first, middle = run(stack, X[:, :3])
    second, end = run(stack, X[:, 3:], middle)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-6)
    assert_close(end, states)
    assert [len(layer) for layer in states] == [2 if cell == "lstm" else 1] * 2


@pytest.mark.parametrize("cell", backend_cases(CELLS, on_jax=["lstm", "mingru"]))
def test_step_by_step_is_all_at_once(cell):
    """With and without the shortcut for a single step, which a mask forbids."""
    stack = filled(cell, 3, num_layers=2)
    whole, states = run(stack, X)
    state = stack.get_initial_state(3)
    slow = stack.get_initial_state(3)
    for t in range(6):
        x, state = run(stack, X[:, t : t + 1], state)
        np.testing.assert_allclose(x[:, 0], whole[:, t], atol=1e-6)
        if t < 2:
            x, slow = run(stack, X[:, t : t + 1], slow, np.ones((3, 1), "bool"))
            np.testing.assert_allclose(x[:, 0], whole[:, t], atol=1e-6)
    assert_close(state, states)


def test_a_state_for_both_ways_is_split_between_them():
    """A padded row has no step of its own: out comes the state that went in."""
    stack = filled("gru", 4, bidirectional=True)
    state = [[spread((3, 4))]]
    _, after = run(stack, X, state, np.arange(6) < np.array([[6], [0], [0]]))
    np.testing.assert_allclose(after[0][0][1:], state[0][0][1:], atol=1e-6)
    assert (after[0][0][0] != state[0][0][0]).all()


def test_the_mask_of_an_embedding_arrives_and_goes_on():
    tokens = np.array([[4, 5, 0, 0], [4, 5, 6, 7]], "int32")
    embedding, stack = TokenEmbedding(8, 4), filled("gru", 3)
    x, states = stack(embedding(tokens))
    short, short_states = stack(embedding(tokens[:1, :2]))
    np.testing.assert_allclose(array(states[0][0])[0], array(short_states[0][0])[0], atol=1e-6)
    np.testing.assert_array_equal(array(x._keras_mask), tokens != 0)


def test_the_initializer_reaches_every_weight():
    stack = RecurrentStack("lstm", 4, initializer=keras.initializers.RandomUniform(0.05, 0.08))
    stack(like(X[:, :2]))
    assert all(((w >= 0.05) & (w <= 0.08)).all() for w in stack.get_weights())
    default = RecurrentStack("lstm", 4)
    default(like(X[:, :2]))
    assert default.get_weights()[2].tolist() == [0] * 4 + [1] * 4 + [0] * 8  # gates i, f, c, o


@pytest.mark.parametrize("seed", [None, 7])
def test_no_two_weights_begin_as_one(seed):
    def weights(seed):
        initializer = keras.initializers.RandomUniform(-0.08, 0.08, seed=seed)
        stack = RecurrentStack("lstm", 8, num_layers=2, bidirectional=True, initializer=initializer)
        stack(like(spread((3, 2, 8))))
        return [w.flatten()[:16] for w in stack.get_weights()]

    first = weights(seed)
    assert len({w.tobytes() for w in first}) == len(first) == 12
    again = weights(seed)
    assert all((a == b).all() == (seed is not None) for a, b in zip(first, again, strict=True))


def test_any_initializer_will_do():
    generator = keras.random.SeedGenerator(3)
    for initializer in ("ones", {"class_name": "Ones", "config": {}}, lambda shape, dtype=None: ops.ones(shape, dtype)):
        assert (array(next(seeded_copies(initializer))((2, 3))) == 1).all()
    assert next(seeded_copies(None)) is None
    drawn = seeded_copies(keras.initializers.RandomNormal(seed=generator))
    assert np.abs(array(next(drawn)((4,))) - array(next(drawn)((4,)))).min() > 0


def test_dropout_is_between_the_layers_only():
    x = X[:2]
    one = filled("rnn", 3, dropout=0.9)
    assert_close(arrays(one(x, training=True)), arrays(one(x, training=False)))
    two = filled("rnn", 3, num_layers=2, dropout=0.9)
    assert np.abs(array(two(x, training=True)[0]) - array(two(x, training=False)[0])).max() > 1e-3


def test_residuals_and_norms_are_what_they_say():
    stack = filled("gru", 4, num_layers=3, residual_from=1, layer_norm=True)
    expected, states = X, []
    for i, (norm, layer) in enumerate(zip(stack.norms, stack.forward_layers, strict=True)):
        below = expected
        expected, state = layer(norm(below), mask=MASK)
        expected = expected + below if i >= 1 else expected
        states.append([state])
    assert_close(run(stack, X, mask=MASK), arrays((expected, states)))


def test_recurrent_dropout_is_for_training_only_and_the_same_at_all_steps():
    kernel, half = 0.3 * spread((4, 16)), 0.5 * np.eye(16, dtype="float32")
    stack, plain = filled("rnn", 16, recurrent_dropout=0.5), filled("rnn", 16)
    for each in (stack, plain):
        each.set_weights([kernel, half, np.zeros(16, "float32")])
    # Not compiled: under JAX the seeds of Keras's own masks may not be drawn while tracing.
    np.testing.assert_allclose(array(stack(X)[0]), array(plain(X)[0]), atol=1e-6)

    # h' = tanh(x kernel + mask * h / 2), from which the mask of each step can be told: nothing, or two.
    h = array(stack(X, training=True)[0]).astype("float64")
    mask = 2 * (np.arctanh(h[:, 1:]) - X[:, 1:] @ kernel) / h[:, :-1]
    np.testing.assert_allclose(mask, np.broadcast_to(np.round(mask[:, :1]), mask.shape), atol=1e-2)
    assert set(np.abs(np.round(mask)).ravel()) == {0.0, 2.0}


@pytest.mark.parametrize(
    "cell", [pytest.param(LeakyCell, id="class", marks=pytest.mark.long), pytest.param("tests>LeakyCell", id="name")]
)
@long_on_jax
def test_a_cell_of_ones_own(cell):
    stack = filled(cell, 4, num_layers=2, cell_options={"leak": 0.5})
    x, states = run(stack, X, mask=MASK)
    layers = [keras.layers.RNN(LeakyCell(4, 0.5), return_sequences=True, return_state=True) for _ in range(2)]
    weights, expected = stack.get_weights(), X
    for i, layer in enumerate(layers):
        layer(like(X[:, :2]))
        layer.set_weights(weights[3 * i : 3 * i + 3])
        expected, *state = layer(expected, mask=MASK)
        assert_close(states[i], arrays(state))
    np.testing.assert_allclose(x, array(expected), atol=1e-6)
    assert [s.shape for s in states[0]] == [(3, 4), (3, 2)]
    assert [tuple(s.shape) for s in stack.get_initial_state(3)[0]] == [(3, 4), (3, 2)]
    options = {"units": 4, "num_layers": 2, "bidirectional": True, "residual_from": 0, "name": "stack"}
    if cell is LeakyCell:
        check_layer(RecurrentStack(cell, **options), X[:2, :3])
    else:
        assert RecurrentStack(cell, **options).get_config() == RecurrentStack(LeakyCell, **options).get_config()
        check_layer(RecurrentStack(cell, 4, residual_from=0), X[:2, :3], graph=True)


def test_a_recurrent_layer_of_ones_own():
    @keras.saving.register_keras_serializable("tests")
    class Slow(keras.layers.GRU):
        pass

    assert_close(run(filled(Slow, 3), X, mask=MASK), run(filled("gru", 3), X, mask=MASK))


def test_a_class_that_is_not_registered_is_refused():
    class Unknown(keras.layers.Layer):
        pass

    with pytest.raises(ValueError, match="register_keras_serializable.*Received: .*Unknown"):
        RecurrentStack(Unknown, 4)


def test_a_residual_needs_equal_widths():
    with pytest.raises(ValueError, match="layer 0's input to be as wide as its output, 3. Received: 4"):
        filled("gru", 3, residual_from=0)


@pytest.mark.parametrize("cell", [keras.layers.GRUCell, keras.layers.LSTMCell])
def test_a_cell_class_of_keras(cell):
    stack = RecurrentStack(cell, 3)
    stack(like(X))
    x, states = program(stack)(X)
    reference = keras.layers.RNN(cell(3), return_sequences=True)
    reference.build(X.shape)
    reference.set_weights(stack.get_weights())
    assert_close(x, program(reference)(X))
    again = RecurrentStack.from_config(stack.get_config())
    assert again.cell == cell.__name__ and len(states[0]) == len(again.get_initial_state(3)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cell": LeakyCell, "units": 4, "recurrent_dropout": 0.5},
            "needs a cell that supports it. 'tests>LeakyCell' does not",
        ),
        ({"cell": "elman", "units": 4}, "must be one of .* Received: 'elman'$"),
        ({"cell": "GRU", "units": 4}, "must be one of .* Received: 'GRU'. Did you mean 'gru'?"),
        ({"cell": keras.layers.GRUCell(4), "units": 4}, "a name or a class.*: `cell=GRUCell, units=...`.* an instance"),
        ({"cell": "gru", "units": 5, "bidirectional": True}, "`units` must be even .* Received: 5"),
        ({"cell": "gru", "units": 4, "num_layers": 0}, "`num_layers` must be at least 1. Received: 0"),
    ],
)
def test_errors_name_the_rule_and_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        RecurrentStack(**options)
