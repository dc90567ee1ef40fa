"""Whatever stands under a mask, NaN included, changes no output, no gradient, no loss and no metric."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import layers, losses, metrics
from tests.cells import LeakyCell
from tests.reference import array, quick

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are taken by TensorFlow's tape", allow_module_level=True)

import tensorflow as tf

B, T, D = 3, 5, 4
FILLERS = [0.0, 7.0, 1e30, np.nan, np.inf, -np.inf]


def attended(attention):
    def call(x, mask):
        return attention(x[:, :1] * 0 + 0.3, attention.project_memory(x, mask))[0]

    call.weights_of = attention
    return call


def masked(layer, first=False):
    def call(x, mask):
        y = layer(x, mask=mask)
        return y[0] if first else y

    call.weights_of = layer
    return call


# What gives a vector for each step, and what gives one for all.
STEPS = {
    "LSTM": lambda: masked(layers.LSTM(D, return_sequences=True)),
    "GRU": lambda: masked(layers.GRU(D, return_sequences=True)),
    "GRU, not reset after": lambda: masked(layers.GRU(D, return_sequences=True, reset_after=False)),
    "SimpleRNN": lambda: masked(layers.SimpleRNN(D, return_sequences=True)),
    "MinGRU": lambda: masked(layers.MinGRU(D, return_sequences=True)),
    "MinLSTM": lambda: masked(layers.MinLSTM(D, return_sequences=True)),
    "RGLRU": lambda: masked(layers.RGLRU(D, return_sequences=True)),
    "RecurrentStack": lambda: masked(layers.RecurrentStack("gru", D, 2, bidirectional=True, layer_norm=True), True),
    "RecurrentStack, own cell": lambda: masked(layers.RecurrentStack(LeakyCell, D), True),
    "TransformerStack": lambda: masked(layers.TransformerStack(D, 2, 1, bidirectional=True), True),
    "TransformerStack, causal": lambda: masked(layers.TransformerStack(D, 2, 1), True),
    "TransformerEncoderLayer": lambda: masked(layers.TransformerEncoderLayer(D, 2, 6)),
    "TransformerEncoderLayer, alibi": lambda: masked(
        layers.TransformerEncoderLayer(D, 2, 6, relative_positions="alibi")
    ),
    "MaskedConv1D": lambda: masked(layers.MaskedConv1D(D, 3)),
}
WHOLE = {
    **{f"{name} pooling": lambda kind=kind: masked(kind()) for name, kind in layers.POOLINGS.items()},
    "LSTM, last": lambda: masked(layers.LSTM(D)),
    "MinGRU, last": lambda: masked(layers.MinGRU(D)),
    "additive attention": lambda: attended(layers.AdditiveAttention(D)),
    "general attention": lambda: attended(layers.GeneralAttention(D)),
    "scaled dot attention": lambda: attended(layers.ScaledDotAttention(D)),
    "location-sensitive attention": lambda: attended(layers.LocationSensitiveAttention(D)),
}


# They run the code of others that are quick: of another cell, of one layer, of all steps.
LONG = {"SimpleRNN", "MinLSTM", "TransformerStack", "TransformerStack, causal", "LSTM, last", "MinGRU, last"}


@pytest.fixture(scope="module", params=quick([*STEPS, *WHOLE], few={*STEPS, *WHOLE} - LONG))
def function(request):
    keras.utils.set_random_seed(1)
    call = {**STEPS, **WHOLE}[request.param]()
    call(tf.zeros((B, T, D)), tf.ones((B, T), "bool"))  # builds it
    call.for_each_step = request.param in STEPS
    return call


@settings(max_examples=8)
@given(st.lists(st.integers(1, T), min_size=B, max_size=B), st.sampled_from(FILLERS))
def test_a_layer(function, lengths, filler):
    mask = np.arange(T) < np.array(lengths)[:, None]
    x = np.random.default_rng(0).normal(size=(B, T, D)).astype("float32")

    def outcome(x):
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, tf.constant(mask))
            y = tf.boolean_mask(y, mask) if function.for_each_step else y
            loss = tf.reduce_sum(y * tf.sin(1.0 + tf.range(tf.size(y), dtype=y.dtype)).numpy().reshape(y.shape))
        slopes = tape.gradient(loss, [x, *function.weights_of.trainable_variables])
        return [array(y), array(slopes[0])[mask], *map(array, slopes[1:])]

    for expected, found in zip(outcome(x), outcome(np.where(mask[..., None], x, filler)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def tokens_of(filler):
    mask = np.arange(T) < np.array([5, 2, 3])[:, None]
    random = np.random.default_rng(2)
    logits = np.where(mask[..., None], random.normal(size=(B, T, 6)), filler).astype("float32")
    labels = np.where(mask, random.integers(0, 6, (B, T)), random.choice([-100, -1, 0, 99]))
    return labels, logits, mask


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("how", ["weights", "mask", "mask and rows", "ignored"])
def test_losses_and_metrics_of_tokens(filler, how):
    labels, logits, mask = tokens_of(filler)
    rows = np.array([1.0, 3.0, 0.5], "float32")
    weights = {"weights": mask.astype("float32"), "mask and rows": rows}.get(how)
    counted = mask * (rows[:, None] if how == "mask and rows" else 1.0)
    ignored = -100 if how == "ignored" else None
    if ignored:
        labels = np.where(mask, labels, ignored)
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.identity(x)
        if how.startswith("mask"):
            y._keras_mask = tf.constant(mask)
        loss = losses.TokenCrossentropy(0.1, ignore_class=ignored)(labels, y, weights)
    slopes = array(tape.gradient(loss, x))
    p = np.exp(np.where(mask[..., None], logits, 0.0))
    log_p = np.log(p / p.sum(-1, keepdims=True))
    right = np.take_along_axis(log_p, np.where(mask, labels, 0)[..., None], -1)[..., 0]
    values = -0.9 * right - 0.1 * log_p.mean(-1)
    assert float(loss) == pytest.approx((values * counted).sum() / counted.sum(), rel=1e-5)
    assert np.isfinite(slopes).all() and not slopes[~mask].any()
    for metric, value in ((metrics.TokenLoss, -right), (metrics.TokenAccuracy, log_p.argmax(-1) == labels)):
        metric = metric(ignore_class=ignored)
        metric.update_state(labels, y, weights)
        assert float(metric.result()) == pytest.approx((value * counted).sum() / counted.sum(), rel=1e-5)


@pytest.mark.parametrize("filler", FILLERS)
def test_a_gap_in_what_is_forecast(filler):
    random = np.random.default_rng(3)
    target, forecast = random.normal(size=(2, 3, 1)), random.normal(size=(2, 3, 1, 3))
    weights = np.ones((2, 3), "float32")
    target[0, 1], weights[0, 1] = filler, 0.0
    error = target[..., None] - forecast
    levels = np.array([0.1, 0.5, 0.9])
    each = np.maximum(levels * error, (levels - 1) * error).mean(-1)[..., 0]
    x = tf.constant(forecast, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = losses.QuantileLoss((0.1, 0.5, 0.9))(target.astype("float32"), x, weights)
    assert float(loss) == pytest.approx(each[weights > 0].mean(), rel=1e-5)
    assert np.isfinite(array(tape.gradient(loss, x))).all()


@pytest.mark.parametrize("filler", FILLERS)
def test_a_frame_that_does_not_count(filler):
    frames, logits = np.eye(3)[[[0, 1], [2, 0]]], np.random.default_rng(3).normal(size=(2, 2, 3))
    weights = np.array([[1, 0], [1, 1]], "float32")
    each = np.log1p(np.exp(np.where(frames > 0, -logits, logits))).sum(-1)
    frames[0, 1], logits[0, 1] = filler, filler
    x = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = losses.FrameCrossentropy()(frames.astype("float32"), x, weights)
    assert float(loss) == pytest.approx(each[weights > 0].mean(), rel=1e-5)
    slopes = array(tape.gradient(loss, x))
    assert np.isfinite(slopes).all() and (slopes[0, 1] == 0).all() and (slopes[1] != 0).all()


@pytest.mark.parametrize("label", [-1, 6, -100])
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_a_label_that_counts_and_is_no_class(label, graph):
    labels, logits, mask = tokens_of(0.0)
    labels = np.where(mask, labels, 0)
    labels[2, 1] = label
    call = tf.function(losses.TokenCrossentropy()) if graph else losses.TokenCrossentropy()
    error = tf.errors.InvalidArgumentError if graph else ValueError
    with pytest.raises(error, match=f"0 to 5.*ignore_class.*{label}" if not graph else "0 to 5.*ignore_class"):
        call(labels, tf.constant(logits), mask.astype("float32"))
    compiled = tf.function(losses.TokenCrossentropy(), jit_compile=True)  # where nothing can be raised
    assert np.isnan(float(compiled(labels, tf.constant(logits), mask.astype("float32"))))


def test_labels_of_ctc_and_of_a_crf():
    logits = tf.constant(np.random.default_rng(1).normal(size=(2, 6, 4)), tf.float32)
    for label in (-1, 4):
        with pytest.raises(ValueError, match="0 to 3.*blank, 0"):
            losses.CTCLoss()(np.array([[1, label], [2, 0]]), logits)
        with pytest.raises(ValueError, match="0 to 3"):
            layers.CRFLoss()(np.array([[1, 2, label, 0, 0, 0]] * 2), layers.CRF(4)(logits))
    expected = losses.CTCLoss()(np.array([[1, 2]]), logits[:1])  # a row of weight 0 may hold anything
    found = losses.CTCLoss()(np.array([[1, 2], [9, -1]]), logits, np.array([1.0, 0.0]))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@functools.cache
def crf():
    return layers.CRF(4)


WRONG = st.one_of(st.integers(-(2**31), -1), st.integers(4, 2**31 - 1))
OF_STEPS = {  # each takes labels (2, 3), scores of 4 classes, and weights (2, 3)
    "TokenCrossentropy": lambda *inputs: losses.TokenCrossentropy(0.1)(*inputs),
    "CRFLoss": lambda labels, logits, weights: layers.CRFLoss()(labels, crf()(logits), weights),
    "TokenAccuracy": lambda *inputs: metrics.TokenAccuracy()(*inputs),
    "TokenLoss": lambda *inputs: metrics.TokenLoss()(*inputs),
    "Perplexity": lambda *inputs: metrics.Perplexity()(*inputs),
}


@pytest.mark.parametrize("name", OF_STEPS)
@settings(max_examples=25)
@given(wrong=WRONG, place=st.tuples(st.integers(0, 1), st.integers(0, 2)), seed=st.integers(0, 99))
def test_a_value_out_of_range_is_an_error_where_it_counts_and_nothing_elsewhere(name, wrong, place, seed):
    random = np.random.default_rng(seed)
    logits = tf.constant(random.normal(size=(2, 3, 4)), tf.float32)
    labels, weights = random.integers(0, 4, (2, 3)), np.ones((2, 3), "float32")
    if name == "CRFLoss":  # a CRF's padding is at the end of a row
        place = (place[0], 2)
    changed = labels.copy()
    changed[place] = wrong
    with pytest.raises(ValueError, match=f"0 to 3.* {wrong}( |$)" if wrong < 0 else f"0 to 3.* to {wrong}$"):
        OF_STEPS[name](changed, logits, weights)
    weights[place] = 0.0
    expected = float(OF_STEPS[name](labels, logits, weights))
    assert float(OF_STEPS[name](changed, logits, weights)) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25)
@given(wrong=WRONG, place=st.tuples(st.integers(0, 1), st.integers(0, 2)), seed=st.integers(0, 99))
def test_a_label_of_ctc_out_of_range_is_an_error_where_its_row_counts(wrong, place, seed):
    random = np.random.default_rng(seed)
    logits = tf.constant(random.normal(size=(2, 7, 4)), tf.float32)
    labels, weights = random.integers(1, 4, (2, 3)), np.ones(2, "float32")
    changed = labels.copy()
    changed[place] = wrong
    with pytest.raises(ValueError, match=f"0 to 3.*blank, 0.*{wrong}"):
        losses.CTCLoss()(changed, logits, weights)
    weights[place[0]] = 0.0
    expected = float(losses.CTCLoss()(labels, logits, weights))
    assert float(losses.CTCLoss()(changed, logits, weights)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN, layers.MinGRU, layers.RGLRU])
def test_the_mask_that_is_carried_holds_beside_an_initial_state(kind):
    embedding, layer = layers.TokenEmbedding(9, D), kind(D, return_state=True)
    state = [tf.fill((1, D), 0.5)] * (2 if kind is layers.LSTM else 1)
    short, padded = (layer(embedding(np.array(ids)), initial_state=state)[0] for ids in ([[3, 4]], [[3, 4, 0, 0]]))
    np.testing.assert_allclose(short, padded, atol=1e-6)
    both = keras.layers.Bidirectional(kind(D))
    short, padded = (both(embedding(np.array(ids)), initial_state=state * 2) for ids in ([[3, 4]], [[3, 4, 0, 0]]))
    np.testing.assert_allclose(short, padded, atol=1e-6)


@pytest.mark.parametrize("name", ["gru", "rglru"])
def test_a_stack_goes_on_from_what_padding_left_alone(name):
    embedding, stack = layers.TokenEmbedding(9, D), layers.RecurrentStack(name, D, 2)
    state = stack(tf.ones((1, 2, D)))[1]
    (_, short), (_, padded) = (stack(embedding(np.array(x)), initial_state=state) for x in ([[3, 4]], [[3, 4, 0]]))
    for one, other in zip(keras.tree.flatten(short), keras.tree.flatten(padded), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("labels", [[[0, 1, 2], [2, 2, 1]], [[0, 0, 0], [1, 1, 1]]])
def test_class_weight_of_steps_is_refused(labels):
    model = keras.Sequential([keras.layers.Embedding(9, 3)])
    model.compile("sgd", losses.TokenCrossentropy())
    x, y = np.ones((2, 3), "int32"), np.array(labels)
    with pytest.raises(ValueError, match="sample_weight=np.vectorize"):
        model.fit(x, y, class_weight={0: 1.0, 1: 2.0, 2: 3.0}, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="sample_weight=np.vectorize"):
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
        model.fit(dataset, class_weight={0: 1.0, 1: 2.0, 2: 3.0}, verbose=0)


def test_class_weight_of_one_hot_rows_is_keras_own():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.0), keras.losses.CategoricalCrossentropy(from_logits=True))
    x, y = np.ones((4, 2)), np.eye(3)[[0, 1, 2, 0]]
    weights = {0: 1.0, 1: 2.0, 2: 3.0}
    of_arrays = model.fit(x, y, batch_size=4, class_weight=weights, verbose=0).history["loss"]
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    assert model.fit(dataset, class_weight=weights, verbose=0).history["loss"] == pytest.approx(of_arrays)
    expected = model.evaluate(x, y, sample_weight=np.array([1.0, 2.0, 3.0, 1.0]), verbose=0)
    assert of_arrays[0] == pytest.approx(expected)
