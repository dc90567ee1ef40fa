"""Gradients through time against closed formulas, products of Jacobians, and Keras's layers."""

import keras
import numpy as np
import pytest
from keras import ops

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import layers, losses
from keras_seq.inspection import gradients
from tests.cells import LeakyCell

B, T, D = 3, 12, 4


def inputs(seed=0, shape=(B, T, 3), dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def orthogonal(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def linear_rnn(make, matrix, x):
    layer = make(len(matrix), activation="linear", dtype="float64")
    layer(x)
    layer.cell.recurrent_kernel.assign(matrix)
    return layer


@pytest.mark.parametrize("make", [keras.layers.SimpleRNN, layers.SimpleRNN])
@pytest.mark.parametrize("radius", [0.9, 1.0, 1.1])
def test_a_linear_rnn_has_the_slope_of_its_spectral_radius(make, radius):
    x = inputs(shape=(2, 40, 3), dtype="float64")
    layer = linear_rnn(make, radius * orthogonal(8), x)
    (norms,) = gradients.gradient_norms(layer, x).values()
    assert norms.slope() == pytest.approx(np.log(radius), abs=1e-6)
    np.testing.assert_allclose(norms.rows, norms.rows[:, -1:] * radius ** np.arange(39, -1, -1.0))
    np.testing.assert_allclose(norms.rows[:, -1], 2 * np.linalg.norm(layer(x), axis=1))


@pytest.mark.parametrize("radius", [0.9, 1.05])
def test_the_largest_eigenvalue_decides_far_from_the_loss(radius):
    vectors, values = orthogonal(6), radius * np.array([1.0, 0.8, -0.7, 0.5, 0.3, -0.1])
    x = inputs(shape=(2, 80, 3), dtype="float64")
    layer = linear_rnn(layers.SimpleRNN, vectors @ np.diag(values) @ vectors.T, x)
    (norms,) = gradients.gradient_norms(layer, x).values()
    assert norms.slope(first=30) == pytest.approx(np.log(radius), rel=0.01)


@pytest.mark.parametrize("forget", [1.0, 0.9])
def test_the_forget_gate_of_an_lstm_is_the_factor_of_its_cell(forget):
    """The input gate is shut, and no gate depends on h: dL/dc_t is multiplied by f at each step back."""
    x, h, c = inputs(dtype="float64"), np.ones((B, D)), inputs(1, (B, D), "float64")
    layer = layers.LSTM(D, dtype="float64")
    sequences, state = keras.Input((T, 3), dtype="float64"), keras.Input((D,), dtype="float64")
    before = keras.Input((D,), dtype="float64")
    model = keras.Model([sequences, before, state], layer(sequences, initial_state=[before, state]))
    bias = 50.0 if forget == 1.0 else np.log(forget / (1 - forget))
    layer.set_weights([np.zeros((3, 16)), np.zeros((4, 16)), np.repeat([-50.0, bias, 0.0, 0.0], D)])
    norms = gradients.gradient_norms(model, [x, h, c])
    assert list(norms) == [f"{layer.name}/h", f"{layer.name}/c"]
    curve = norms[f"{layer.name}/c"]
    assert curve.slope() == pytest.approx(np.log(forget), abs=1e-9)
    np.testing.assert_allclose(curve.rows, curve.rows[:, -1:] * forget ** np.arange(T - 1, -1, -1.0))
    assert (norms[f"{layer.name}/h"].rows[:, :-1] == 0).all()


@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM"])
def test_our_layers_have_the_gradients_of_keras(name):
    x, mask = inputs(), np.arange(T) < np.array([[T], [7], [3]])
    norms = []
    for module in (layers, keras.layers):
        layer = getattr(module, name)(D, return_sequences=True, name="same")
        model = keras.Sequential([keras.layers.Masking(name="mask"), layer, keras.layers.GlobalAveragePooling1D()])
        model(x)
        for seed, weight in enumerate(layer.weights):
            weight.assign(inputs(seed, weight.shape))
        norms.append(gradients.gradient_norms(model, np.where(mask[:, :, None], x, 0)))
    assert list(norms[0]) == list(norms[1])
    for part in norms[0]:
        np.testing.assert_allclose(norms[0][part].rows, norms[1][part].rows, rtol=1e-4)
        np.testing.assert_array_equal(np.isnan(norms[0][part].rows), ~mask)


def test_a_simple_rnn_has_the_product_of_its_jacobians():
    x = inputs(dtype="float64")
    layer = layers.SimpleRNN(D, dtype="float64", return_sequences=True)
    h = np.array(layer(x))
    (norms,) = gradients.gradient_norms(layer, x).values()
    slopes = 2 * h[:, -1]
    for t in reversed(range(T)):
        np.testing.assert_allclose(norms.rows[:, t], np.linalg.norm(slopes, axis=1))
        np.testing.assert_allclose(norms.units[t], np.sqrt(np.square(slopes).mean(axis=0)))
        slopes = (slopes * (1 - h[:, t] ** 2)) @ np.array(layer.cell.recurrent_kernel).T


CELLS = {
    **{name: (lambda make=make: make(D, dtype="float64")) for name, make in layers.CELLS.items()},
    "gru, reset before": lambda: layers.GRU(D, reset_after=False, dtype="float64"),
    "custom": lambda: keras.layers.RNN(LeakyCell(D, dtype="float64"), dtype="float64"),
    "stacked": lambda: keras.layers.RNN(
        [keras.layers.LSTMCell(3, dtype="float64"), keras.layers.GRUCell(D, dtype="float64")], dtype="float64"
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_the_product_of_its_step_jacobians(name):
    """Compared for the state that is the output. The other states of a step act on it within the step too."""
    x, layer = inputs(dtype="float64"), CELLS[name]()
    output = np.array(layer(x))
    states, jacobians = list(layer.get_initial_state(B)), []
    for t in range(T):
        jacobians.append(gradients.step_jacobian(layer, x[:, t], states))
        _, states = layer.cell(tf.constant(x[:, t]), states)
    begin = 6 if name == "stacked" else 0  # the states of the LSTM below come first
    place = slice(begin, begin + D)
    slopes = np.zeros((B, jacobians[0].shape[1]))
    slopes[:, place] = 2 * output
    rows = gradients.gradient_norms(layer, x)[f"{layer.name}/{'state 2' if begin else 'h'}"].rows
    for t in reversed(range(T)):
        np.testing.assert_allclose(rows[:, t], np.linalg.norm(slopes[:, place], axis=1), rtol=1e-6)
        slopes = np.einsum("bi,bij->bj", slopes, jacobians[t])


@pytest.mark.parametrize("architecture", ["rnn", "lstm", "mingru"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(architecture, side):
    x, stack = inputs(), layers.RecurrentStack(architecture, D, bidirectional=True, return_state=False)
    model = keras.Sequential([keras.layers.Masking(), stack, layers.MeanPooling()])
    short = gradients.gradient_norms(model, x)
    pads = ((0, 0), (0, 5) if side == "right" else (5, 0), (0, 0))
    padded = gradients.gradient_norms(model, np.pad(x, pads))
    places = slice(0, T) if side == "right" else slice(5, None)
    for name, norms in short.items():
        np.testing.assert_allclose(padded[name].rows[:, places], norms.rows, rtol=1e-4)
        np.testing.assert_allclose(padded[name].units[places], norms.units, rtol=1e-4)
        np.testing.assert_allclose(padded[name].by_steps_back(), norms.by_steps_back(), rtol=1e-4)
        assert np.isnan(padded[name].mean).sum() == 5


def test_rows_of_different_lengths_are_aligned_at_their_last_step():
    lengths = np.array([T, 5, 1])
    x, mask = inputs(dtype="float64"), np.arange(T) < lengths[:, None]
    layer = linear_rnn(
        lambda *args, **kwargs: layers.SimpleRNN(*args, return_sequences=True, **kwargs), 0.5 * np.eye(D), x
    )
    (norms,) = gradients.gradient_norms(layer, x, mask=mask).values()
    assert norms.steps_back[np.arange(B), lengths - 1].tolist() == [0, 0, 0]
    assert norms.slope() != 0 and len(norms.by_steps_back()) == T
    last = 2 * np.linalg.norm(np.array(layer(x))[np.arange(B), lengths - 1], axis=1)
    np.testing.assert_allclose(norms.by_steps_back()[0], last.mean())
    np.testing.assert_allclose(norms.by_steps_back()[1], 0.5 * last[:2].mean())


def test_a_layer_that_goes_backwards_counts_from_its_first_step():
    x = inputs(dtype="float64")
    layer = linear_rnn(lambda *args, **kwargs: layers.SimpleRNN(*args, go_backwards=True, **kwargs), 0.7 * np.eye(D), x)
    (norms,) = gradients.gradient_norms(layer, x).values()
    np.testing.assert_allclose(norms.rows, norms.rows[:, :1] * 0.7 ** np.arange(T))
    assert norms.slope() == pytest.approx(np.log(0.7)) and norms.steps_back[0].tolist() == list(range(T))


def tagger(**options):
    tokens = keras.Input((None,), dtype="int32")
    x = layers.TokenEmbedding(9, D)(tokens)
    x = layers.RecurrentStack("gru", D, return_state=False, name="stack", **options)(x)
    return keras.Model(tokens, keras.layers.Dense(5)(x))


LABELS = np.random.default_rng(1).integers(1, 5, (B, T))
TOKENS = np.random.default_rng(2).integers(1, 9, (B, T)) * (np.arange(T) < np.array([[T], [8], [3]]))
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_every_form_of_a_loss_gives_the_same_gradients():
    model = tagger()

    def of_logits(y, logits):
        return ops.logsumexp(logits, axis=-1) - ops.take_along_axis(logits, ops.cast(y, "int32")[..., None], -1)[..., 0]

    forms = [gradients.gradient_norms(model, TOKENS, LABELS, each) for each in (of_logits, CROSSENTROPY)]
    forms.append(gradients.gradient_norms(model, TOKENS, LABELS, losses.TokenCrossentropy()))
    model.compile("sgd", CROSSENTROPY)
    forms.append(gradients.gradient_norms(model, TOKENS, LABELS))
    model.compile("sgd", losses.TokenCrossentropy())
    forms.append(gradients.gradient_norms(model, TOKENS, LABELS))
    (name,) = forms[0]
    assert name == "stack/forward_0/h" and np.nanmin(forms[0][name].rows) > 0
    for form in forms[1:]:
        np.testing.assert_allclose(form[name].rows, forms[0][name].rows, rtol=1e-4)


def test_the_step_of_the_loss():
    model = tagger()

    def rows(at):
        return gradients.gradient_norms(model, TOKENS, LABELS, CROSSENTROPY, at=at)["stack/forward_0/h"]

    last, third, second_last = rows(-1), rows(2), rows(-2)
    assert (third.rows[:2, 3:8] == 0).all() and (third.rows[:2, :3] > 0).all()  # no later state has an effect
    np.testing.assert_allclose(third.rows[2], last.rows[2], rtol=1e-5)  # the row of three steps
    np.testing.assert_array_equal(third.steps_back[0, :4], [2, 1, 0, -1])
    assert (second_last.rows[:, 1] > 0).all() and second_last.rows[2, 2] == 0
    # Only the first row has a step 10. The others take no part.
    assert np.isnan(rows(10).rows[1:]).all() and (rows(10).rows[0, :11] > 0).all()
    every = rows(None)
    assert (every.rows[~np.isnan(every.rows)] > 0).all()
    with pytest.raises(ValueError, match="`at` must be a real step of at least one row. Received: 12, for 12 steps"):
        rows(12)


def test_the_sum_over_all_steps_has_the_sum_of_their_gradients():
    """With one unit gradients have signs, and L is linear in the output."""
    x, layer = np.abs(inputs(dtype="float64")), layers.SimpleRNN(1, return_sequences=True, dtype="float64")
    layer(x)
    layer.set_weights([np.full((3, 1), 0.1), np.full((1, 1), 0.5), np.zeros(1)])

    def rows(at):
        (norms,) = gradients.gradient_norms(
            layer, x, np.zeros((B, T)), lambda y, output: output[..., 0], at=at
        ).values()
        return norms.rows

    np.testing.assert_allclose(rows(None), sum(rows(t) for t in range(T)))


def test_frames_have_steps_and_images_have_none():
    x = inputs(shape=(2, 3, 4, 4, 1))
    frames, image = (
        layers.ConvLSTM2D(1, 3, padding="same", return_sequences=each, name="it") for each in (True, False)
    )
    frames(x), image(x)
    image.set_weights(frames.get_weights())

    def rows(layer, y, **options):
        loss = lambda y, output: ops.square(output - y)[..., 0]  # noqa: E731
        return gradients.gradient_norms(layer, x, y, loss, **options)["it/h"].rows

    np.testing.assert_allclose(rows(frames, x)[:, -1], 2 * np.linalg.norm((frames(x) - x)[:, -1, ..., 0], axis=(1, 2)))
    assert (rows(frames, x, at=1)[:, 2] == 0).all() and (rows(frames, x, at=1)[:, :2] > 0).all()
    whole = [next(iter(gradients.gradient_norms(layer, x).values())).rows for layer in (frames, image)]
    np.testing.assert_allclose(*whole, rtol=1e-4)


def test_half_precision_is_measured():
    layer = layers.GRU(D, dtype="mixed_float16")
    (norms,) = gradients.gradient_norms(layer, inputs()).values()
    assert norms.rows.dtype == np.float64 and (norms.rows > 0).all()


def test_a_slope_needs_two_norms():
    x = np.zeros((B, T, 3), "float32")
    (norms,) = gradients.gradient_norms(layers.GRU(D), x).values()  # the state stays zero
    assert np.isnan(norms.slope()) and (norms.mean == 0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss": "mse"}, "`loss` needs labels: give `y`"),
        ({"y": LABELS}, "`y` needs one loss: give `loss`, or compile"),
        ({"y": LABELS, "loss": lambda y, output: ops.mean(output)}, r"not their mean. Received: .*the shape \(\)"),
        ({"mask": np.ones((B, 4))}, r"`mask` must be \(B, T\) = \(3, 12\).*Received: \(3, 4\)"),
        ({"y": LABELS, "loss": lambda y, output: output[:, 0, 0], "at": 3}, "`at` must be -1 or None.* Received: 3"),
    ],
)
def test_losses_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gradients.gradient_norms(tagger(), TOKENS, **options)
