import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import crossentropy, labels, layers, losses
from keras_seq.losses import (
    CTCLoss,
    FrameCrossentropy,
    QuantileLoss,
    SequenceCrossentropy,
    TokenCrossentropy,
    frame_crossentropy,
    pinball,
    token_crossentropy,
)
from tests.reference import array, long_on_jax, softmax, spread, tensorflow_only

# OpenNMT-tf, opennmt/tests/losses_test.py; its losses are sums over tokens, ours means.
LOGITS = np.array(
    [
        [[0.1, 0.2, 0.9], [-1.2, 2.1, 0.0], [0.6, 0.3, 0.4]],
        [[-2.2, -0.2, -1.2], [2.3, 0.2, -0.1], [0.0, 0.1, 0.7]],
    ],
    "float32",
)
LABELS = np.array([[2, 1, 0], [1, 0, 2]], "int32")


def weights_of(lengths, sentences=(1.0, 1.0)):
    return (np.arange(3) < np.array(lengths)[:, None]) * np.array(sentences, "float32")[:, None]


def reference(labels, logits, label_smoothing):
    """Per token: the cross-entropy with the smoothed distribution itself."""
    V = logits.shape[-1]
    wanted = (1 - label_smoothing) * np.eye(V)[labels] + label_smoothing / V
    return -(wanted * np.log(softmax(logits.astype("float64")))).sum(-1)


@pytest.mark.parametrize(
    ("weights", "total"),
    [
        (None, 3.06985),
        (weights_of([2, 1]), 1.22118),
        (weights_of([3, 2], [0.6, 1.2]), 1.77306),
    ],
)
def test_published_values(weights, total):
    value = TokenCrossentropy()(LABELS, LOGITS, weights)
    tokens = 6 if weights is None else weights.sum()
    assert float(value) * tokens == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize(
    ("weights", "total", "sequences"),
    [
        (None, 3.06985, 2),
        (weights_of([2, 1]), 1.22118, 2),
        (weights_of([3, 2], [0.6, 1.2]), 1.77306, 2),
        (weights_of([3, 0]), 3 * float(TokenCrossentropy()(LABELS[:1], LOGITS[:1])), 1),
    ],
)
def test_published_sums_per_sequence(weights, total, sequences):
    assert float(SequenceCrossentropy()(LABELS, LOGITS, weights)) == pytest.approx(total / sequences, abs=1e-5)
    assert float(SequenceCrossentropy()(LABELS, LOGITS, np.zeros((2, 3)))) == 0


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_spreads_mass_over_all_classes(label_smoothing):
    logits, labels = 3 * spread((2, 4, 5)), np.array([[0, 1, 2, 3], [4, 4, 0, 1]], "int32")
    expected = reference(labels, logits, label_smoothing)
    np.testing.assert_allclose(array(token_crossentropy(labels, logits, label_smoothing)), expected, rtol=1e-5)
    weights = spread((2, 4)) ** 2
    value = TokenCrossentropy(label_smoothing)(labels, logits, weights)
    assert float(value) == pytest.approx((expected * weights).sum() / weights.sum(), rel=1e-5)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_weights_of_whole_sequences(shape):
    sentences = np.array([0.6, 1.2], "float32")
    each = np.broadcast_to(sentences[:, None], (2, 3))
    loss = TokenCrossentropy()
    assert float(loss(LABELS, LOGITS, sentences.reshape(shape))) == pytest.approx(
        float(loss(LABELS, LOGITS, each)), rel=1e-6
    )


def test_padding_counts_nothing():
    padded_labels = np.pad(LABELS, ((0, 0), (0, 4)))
    padded_logits = np.pad(LOGITS, ((0, 0), (0, 4), (0, 0)), constant_values=5.0)
    weights = np.pad(np.ones((2, 3), "float32"), ((0, 0), (0, 4)))
    loss = TokenCrossentropy(0.1)
    assert float(loss(padded_labels, padded_logits, weights)) == pytest.approx(float(loss(LABELS, LOGITS)), rel=1e-6)


def test_without_weights_the_keras_mask_counts():
    tokens = np.array([[5, 4, 0], [3, 0, 0]], "int32")
    different = keras.initializers.RandomUniform(-3, 3, seed=1)
    logits = keras.layers.Embedding(6, 3, different, mask_zero=True)(tokens)
    with_mask = TokenCrossentropy()(LABELS, logits)
    with_weights = TokenCrossentropy()(LABELS, array(logits), tokens != 0)
    assert float(with_mask) == pytest.approx(float(with_weights), rel=1e-6)
    assert float(with_mask) != pytest.approx(float(TokenCrossentropy()(LABELS, array(logits))), rel=1e-4)


def test_no_real_token_at_all_costs_nothing():
    assert float(TokenCrossentropy()(LABELS, LOGITS, np.zeros((2, 3)))) == 0.0


def test_an_ignored_class_has_the_weight_0():
    ignored = np.where(weights_of([2, 1]), LABELS, -100)
    expected = float(TokenCrossentropy(0.1)(LABELS, LOGITS, weights_of([2, 1])))
    assert float(TokenCrossentropy(0.1, ignore_class=-100)(ignored, LOGITS)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_are_computed_in_float32(dtype):
    # In half precision 512 classes of logit 6 or so would be off in the third digit.
    logits = ops.cast(6 + spread((1, 2, 512)), dtype)
    labels = np.array([[3, 500]], "int32")
    value = TokenCrossentropy(0.1)(labels, logits)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    expected = reference(labels, array(ops.cast(logits, "float32")), 0.1).mean()
    assert float(value) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_label_whose_probability_is_no_float_has_its_loss(label_smoothing):
    logits = spread((2, 3, 5))
    logits[0, 1] = [300.0, -200.0, 0.0, 1.0, 2.0]
    labels = np.array([[3, 1, 0], [4, 2, 1]], "int32")
    values = array(token_crossentropy(labels, logits, label_smoothing))
    exact = logits.astype("float64")
    log_probs = exact - exact.max(-1, keepdims=True)
    log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
    wanted = (1 - label_smoothing) * np.eye(5)[labels] + label_smoothing / 5
    np.testing.assert_allclose(values, -(wanted * log_probs).sum(-1), rtol=1e-5)
    assert label_smoothing or values[0, 1] == pytest.approx(500.0)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_one_step_of_fit_is_gradient_descent_on_the_mean_over_real_tokens(label_smoothing):
    """Logits are x W, so the gradient is x^T (softmax - wanted) * weight / sum of the weights."""
    x, kernel = spread((2, 3, 4)), spread((4, 3), start=3)
    weights = weights_of([3, 1])
    model = keras.Sequential([keras.Input((3, 4)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([kernel])
    model.compile(keras.optimizers.SGD(0.5), TokenCrossentropy(label_smoothing))
    logged = model.train_on_batch(x, LABELS, weights)

    wanted = (1 - label_smoothing) * np.eye(3)[LABELS] + label_smoothing / 3
    slopes = (softmax(x @ kernel) - wanted) * weights[:, :, None] / weights.sum()  # (B, T, V)
    expected = kernel - 0.5 * np.einsum("btd,btv->dv", x, slopes)
    np.testing.assert_allclose(array(model.get_weights()[0]), expected, atol=1e-6)
    loss = (reference(LABELS, x @ kernel, label_smoothing) * weights).sum() / weights.sum()
    assert float(logged) == pytest.approx(loss, rel=1e-5)


def test_serialization():
    loss = TokenCrossentropy(0.2, name="mine")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is TokenCrossentropy
    assert (copy.label_smoothing, copy.name) == (0.2, "mine")
    assert copy.get_config() == loss.get_config()


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_smoothing_out_of_range_is_named(value):
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\)\. Received: {value}"):
        TokenCrossentropy(value)


@pytest.mark.parametrize("argument", ["chunk_size", "num_sampled"])
def test_parts_have_at_least_one_token(argument):
    assert getattr(TokenCrossentropy(**{argument: 1}), argument) == 1
    with pytest.raises(ValueError, match=f"`{argument}` must be at least 1, or None. Received: 0"):
        TokenCrossentropy(**{argument: 0})


QUANTILES = (0.1, 0.5, 0.9)
FORECASTS = spread((2, 3, 2, 3), start=5)
FUTURE = spread((2, 3, 2))


def pinball_reference(y_true, y_pred):
    error = y_true[..., None].astype("float64") - y_pred
    return np.where(error > 0, error * QUANTILES, -error * (1 - np.array(QUANTILES))).mean(-1)


def test_pinball_is_least_at_the_quantile():
    values = spread((1, 999))[0]
    for q in QUANTILES:
        candidates = np.linspace(-1, 1, 41, dtype="float32")
        losses = [float(ops.mean(pinball(values, np.full((999, 1), c), [q]))) for c in candidates]
        assert abs(candidates[np.argmin(losses)] - np.quantile(values, q)) < 0.05


@pytest.mark.parametrize("shape", [None, (2,), (2, 3), (2, 3, 2)])
def test_quantile_loss_is_a_weighted_mean(shape):
    expected = pinball_reference(FUTURE, FORECASTS)
    weights = None if shape is None else spread(shape) ** 2
    each = (
        np.ones((2, 3, 2)) if shape is None else weights.reshape(shape + (1,) * (3 - len(shape))) * np.ones((2, 3, 2))
    )
    value = QuantileLoss(QUANTILES)(FUTURE, FORECASTS, weights)
    assert float(value) == pytest.approx((expected * each).sum() / each.sum(), rel=1e-5)


def test_quantile_loss_serializes_and_names_bad_values():
    assert QuantileLoss().quantiles == (0.1, 0.5, 0.9)
    copy = keras.losses.deserialize(keras.losses.serialize(QuantileLoss(QUANTILES, name="mine")))
    assert type(copy) is QuantileLoss and copy.get_config() == QuantileLoss(QUANTILES, name="mine").get_config()
    with pytest.raises(ValueError, match=r"between 0 and 1. Received: \(0.5, 1.0\)"):
        QuantileLoss((0.5, 1.0))
    with pytest.raises(ValueError, match=r"must be \(\.\.\., 2\).* Received: shape \(2, 3, 2, 3\)"):
        QuantileLoss((0.1, 0.9))(FUTURE, FORECASTS)


NOTES = np.random.default_rng(0).integers(0, 2, (2, 3, 4)).astype("float32")
SCORES = 3 * spread((2, 3, 4), start=2)


def frame_reference(y_true, logits):
    """Per frame: the negative log-likelihood of independent notes."""
    probabilities = 1 / (1 + np.exp(-logits.astype("float64")))
    return -np.log(np.where(y_true > 0, probabilities, 1 - probabilities)).sum(-1)


@pytest.mark.parametrize("shape", [None, (2,), (2, 1), (2, 3)])
def test_frame_crossentropy_is_a_sum_over_notes_and_a_mean_over_frames(shape):
    expected = frame_reference(NOTES, SCORES)
    np.testing.assert_allclose(array(frame_crossentropy(NOTES, SCORES)), expected, rtol=1e-5)
    weights = None if shape is None else spread(shape) ** 2
    each = np.ones((2, 3)) if shape is None else weights.reshape(2, -1) * np.ones((2, 3))
    value = FrameCrossentropy()(NOTES, SCORES, weights)
    assert float(value) == pytest.approx((expected * each).sum() / each.sum(), rel=1e-5)
    assert float(FrameCrossentropy()(NOTES.astype("int32"), SCORES, weights)) == float(value)


def test_even_odds_cost_the_logarithm_of_two_for_each_note():
    assert float(FrameCrossentropy()(NOTES, 0 * SCORES)) == pytest.approx(4 * np.log(2), rel=1e-6)
    sure = np.where(NOTES > 0, 200.0, -200.0).astype("float32")  # without an overflow
    assert float(FrameCrossentropy()(NOTES, sure)) == pytest.approx(0, abs=1e-6)
    assert float(FrameCrossentropy()(1 - NOTES, sure)) == pytest.approx(800, rel=1e-6)


def test_frame_crossentropy_serializes_and_names_bad_values():
    copy = keras.losses.deserialize(keras.losses.serialize(FrameCrossentropy(name="mine")))
    assert type(copy) is FrameCrossentropy and copy.get_config() == FrameCrossentropy(name="mine").get_config()
    for wrong in (NOTES[0], NOTES[:, :, :1], NOTES[:, :2]):
        with pytest.raises(ValueError, match=r"shape of the logits, \(2, 3, 4\).*Received: shape"):
            FrameCrossentropy()(wrong, SCORES)
    velocities = NOTES.copy()
    velocities[0, 1, 2] = 64
    assert np.isnan(float(FrameCrossentropy()(velocities, SCORES)))
    weights = np.array([[1, 0, 1], [1, 1, 1]], "float32")
    expected = frame_reference(NOTES, SCORES)[weights > 0].mean()
    assert float(FrameCrossentropy()(velocities, SCORES, weights)) == pytest.approx(expected, rel=1e-5)


SAID = np.array([[1, 2, 0], [2, 2, 1]], "int32")
FRAMES = 2 * spread((2, 5, 3))


def ctc_reference(labels, logits):
    """The sum over all alignments, one by one."""
    probabilities = softmax(logits.astype("float64"))
    total = 0.0
    for alignment in itertools.product(range(logits.shape[-1]), repeat=len(logits)):
        merged = [a for a, before in zip(alignment, (None, *alignment), strict=False) if a != before and a]
        if merged == [label for label in labels if label]:
            total += np.prod([p[a] for p, a in zip(probabilities, alignment, strict=True)])
    return -np.log(total)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0]])
def test_ctc_loss_sums_over_all_alignments_and_divides_by_labels(weights):
    nats = np.array([ctc_reference(labels, logits) for labels, logits in zip(SAID, FRAMES, strict=True)])
    rows = np.ones(2) if weights is None else np.array(weights)
    value = CTCLoss()(SAID, FRAMES, None if weights is None else rows.astype("float32"))
    assert float(value) == pytest.approx((nats * rows).sum() / (np.array([2, 3]) * rows).sum(), rel=1e-5)
    np.testing.assert_allclose(array(CTCLoss().call(SAID, FRAMES)), nats, rtol=1e-5)


def test_ctc_loss_has_an_own_blank():
    """Another place for the blank: the classes moved round by one."""
    moved, labels = np.roll(FRAMES, -1, axis=-1), np.where(SAID > 0, SAID - 1, 2)
    assert float(CTCLoss(blank_id=2)(labels, moved)) == pytest.approx(float(CTCLoss()(SAID, FRAMES)), rel=1e-5)


@long_on_jax
def test_padding_costs_nothing_in_ctc_loss():
    """Frames that say the blank for certain, and blanks after the labels."""
    padding = np.zeros((2, 3, 3), "float32")
    padding[..., 1:] = -1e9
    padded = np.concatenate([FRAMES, padding], axis=1)
    labels = np.pad(SAID, ((0, 0), (0, 2)))
    assert float(CTCLoss()(labels, padded)) == pytest.approx(float(CTCLoss()(SAID, FRAMES)), rel=1e-5)


@long_on_jax
def test_a_row_with_more_labels_than_frames_costs_nothing():
    """Three labels need four frames where two of them are alike; its padding does not count as frames."""
    short = FRAMES.copy()
    short[1, 3:] = [0, -1e9, -1e9]
    expected = ctc_reference(SAID[0], FRAMES[0]) / 2
    assert float(CTCLoss()(SAID, short)) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(array(CTCLoss().call(SAID, short))).all()
    short = FRAMES[:, :3]
    expected = ctc_reference(SAID[0], FRAMES[0, :3]) / 2
    model = keras.Sequential([keras.Input((3, 3)), keras.layers.Dense(3, kernel_initializer="identity")])
    model.compile(keras.optimizers.SGD(0.1), CTCLoss(), jit_compile=False)
    assert float(model.train_on_batch(short, SAID)) == pytest.approx(expected, rel=1e-5)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_only_equal_neighbors_need_a_blank_between_them():
    """Labels 1 2 1 fit three frames, in one alignment; 1 1 does not fit two."""
    logits = spread((1, 3, 3))
    expected = -np.log(softmax(logits.astype("float64")))[0, [0, 1, 2], [1, 2, 1]].sum()
    assert float(CTCLoss().call(np.array([[1, 2, 1]]), logits)[0]) == pytest.approx(expected, rel=1e-5)
    rows = array(CTCLoss()(np.array([[1, 1], [1, 2]]), np.concatenate([logits[:, :2]] * 2)))
    second = -np.log(softmax(logits.astype("float64")))[0, [0, 1], [1, 2]].sum()
    assert float(rows) == pytest.approx(second / 2, rel=1e-5)


def test_frames_that_cannot_be_blank_are_frames():
    certain = FRAMES.copy()
    certain[1, 2:, 0] = -1e9
    nats = np.array([ctc_reference(labels, logits) for labels, logits in zip(SAID, certain, strict=True)])
    assert float(CTCLoss()(SAID, certain)) == pytest.approx(nats.sum() / 5, rel=1e-5)


def test_ctc_loss_serializes():
    copy = keras.losses.deserialize(keras.losses.serialize(CTCLoss(2, name="mine")))
    assert (type(copy), copy.blank_id, copy.name) == (CTCLoss, 2, "mine")


@tensorflow_only("elsewhere the other ways are the ones that all tests run")
def test_the_ways_of_other_backends(monkeypatch):
    x, weights = np.array([[1.0, np.nan], [3.0, -4.0]]), np.array([[2.0, 0.0], [0.5, 0.0]])
    ours = array(crossentropy._product(ops.convert_to_tensor(x), ops.convert_to_tensor(weights)))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    np.testing.assert_array_equal(array(crossentropy._product(x, weights)), ours)
    np.testing.assert_array_equal(ours, [[2.0, 0.0], [1.5, 0.0]])
    counted = np.array([[True, False, True]])
    checked = labels.checked_labels(np.array([[1, 9, 7]]), counted, 3, "the loss")
    assert array(checked).tolist() == [[1, 0, 7]]  # nothing is raised: the loss is NaN there
    assert np.isnan(array(labels.or_nan(np.ones((1, 3)), checked, 3))).tolist() == [[False, False, True]]
    assert labels.of_some_rows(len, np.zeros((0, 2))) == 0


def test_the_cross_entropy_of_each_token():
    expected = token_crossentropy(LABELS, LOGITS, 0.1)
    np.testing.assert_array_equal(array(TokenCrossentropy(0.1).call(LABELS, LOGITS)), array(expected))


def test_the_cross_entropy_of_each_frame():
    notes = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    found = array(losses.FrameCrossentropy().call(notes, np.zeros((1, 2, 2), "float32")))
    np.testing.assert_allclose(found, np.full((1, 2), 2 * np.log(2)), rtol=1e-6)  # even odds for two notes


def test_a_loss_must_define_its_values():
    with pytest.raises(TypeError, match="WeightedLoss must define `values_and_weights"):
        losses.WeightedLoss()(LABELS, LOGITS)


def test_labels_with_an_axis_of_one_and_one_hot_ones():
    random = np.random.default_rng(0)
    labels, weights = np.array([[1, 2, 0], [2, 0, 1]]), np.array([[1.0, 1.0, 0.5], [1.0, 0.0, 0.0]])
    logits, potentials = random.normal(size=(2, 3, 4)), random.normal(size=(2, 3, 4, 4))
    for loss, outputs in ((TokenCrossentropy(), logits), (layers.CRFLoss(), potentials)):
        expected = array(loss(labels, outputs, weights))
        for given in (weights, weights[..., None]):
            np.testing.assert_allclose(array(loss(labels[..., None], outputs, given)), expected, rtol=1e-6)
        with pytest.raises(ValueError, match=r"argmax.*\(2, 3, 4\)"):
            loss(np.eye(4)[labels], outputs, weights)
    with pytest.raises(ValueError, match=r"argmax.*\(2, 3, 4\)"):
        CTCLoss()(np.eye(4)[labels], logits)


def test_a_target_of_another_shape_is_not_spread_over_the_forecasts():
    random = np.random.default_rng(0)
    target, forecasts = random.normal(size=(2, 2)), random.normal(size=(2, 2, 1, 3))
    loss = QuantileLoss((0.1, 0.5, 0.9))
    errors = target[..., None] - forecasts[:, :, 0]
    levels = np.array([0.1, 0.5, 0.9])
    expected = np.maximum(levels * errors, (levels - 1) * errors).mean()
    assert float(loss(target, forecasts)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(target[..., None], forecasts)) == pytest.approx(expected, rel=1e-5)
    for wrong in (random.normal(size=(2, 1, 1)), random.normal(size=(2, 2, 2)), random.normal(size=(2,))):
        with pytest.raises(ValueError, match="must have the shape of the forecasts"):
            loss(wrong, forecasts)


@tensorflow_only("a batch without a row is a replica's share")
def test_no_rows_cost_nothing():
    nothing = np.zeros((0, 3), "int32")
    given = {
        TokenCrossentropy(): np.zeros((0, 3, 4), "float32"),
        CTCLoss(): np.zeros((0, 6, 4), "float32"),
        layers.CRFLoss(): np.zeros((0, 3, 4, 4), "float32"),
    }
    for loss, outputs in given.items():
        value = loss(nothing, ops.convert_to_tensor(outputs))
        assert value.shape == () and float(value) == 0.0
