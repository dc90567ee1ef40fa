import keras
import numpy as np
import pytest

from keras_seq.layers import LastSteps, MovingAverage, Patches, ReversibleNormalization
from tests.checks import check_layer
from tests.reference import array, fill, spread

PAST = 10 + 3 * spread((3, 6, 2))
MASK = np.array([[1, 1, 1, 1, 0, 0], [1] * 6, [0] * 6], "bool")


def normalization(**options):
    layer = ReversibleNormalization(**options)
    layer.build(PAST.shape)
    return fill(layer) if layer.affine else layer


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("center", "scale"), [("mean", True), ("last", False), ("last", True)])
def test_normalizes_by_the_real_steps(center, scale, affine):
    layer = normalization(center=center, scale=scale, affine=affine)
    slope, shift = layer.get_weights() if affine else (1, 0)
    outputs = array(layer(PAST, mask=MASK))
    for row, length in enumerate((4, 6)):
        real = PAST[row, :length].astype("float64")
        middle = real.mean(0) if center == "mean" else real[-1]
        expected = (real - middle) / (np.sqrt(real.var(0) + 1e-5) if scale else 1) * slope + shift
        np.testing.assert_allclose(outputs[row, :length], expected, rtol=1e-4, atol=1e-5)
    assert (outputs[~MASK] == 0).all()


@pytest.mark.parametrize("center", ["mean", "last"])
def test_the_reverse_takes_forecasts_to_where_the_past_is(center):
    layer = normalization(center=center)
    there = layer(PAST)
    np.testing.assert_allclose(array(layer(there, past=PAST, reverse=True)), PAST, rtol=1e-5)
    quantiles = np.stack([array(there)[:, :4]] * 3, axis=-1)  # (B, H, C, Q), another length than the past's
    back = array(layer(quantiles, past=PAST, reverse=True))
    np.testing.assert_allclose(back, np.repeat(PAST[:, :4, :, None], 3, axis=-1), rtol=1e-5)
    masked = array(layer(layer(PAST, mask=MASK), past=PAST, past_mask=MASK, reverse=True))
    np.testing.assert_allclose(masked[MASK], PAST[MASK], rtol=1e-5)


def test_a_high_level_costs_no_digits_and_padding_none_either():
    past = (1e3 + np.random.default_rng(0).normal(size=(50, 300, 1))).astype("float32")
    wide, mask = np.pad(past, ((0, 0), (0, 101), (0, 0))), np.arange(401) < np.full((50, 1), 300)
    exact = past.astype("float64")
    exact = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    layer = ReversibleNormalization(affine=False)
    normalized, padded = array(layer(past)), array(layer(wide, mask=mask))[:, :300]
    np.testing.assert_allclose(normalized, exact, atol=6e-5)  # floats near 1,000 are 6e-5 apart
    np.testing.assert_allclose(padded, normalized, atol=2e-6)


def test_no_gradient_goes_through_the_statistics():
    """Without one, the sum of (x - mean) / deviation goes up by 1 / deviation as any x does; with it, it stays 0."""
    inputs = keras.Input((6, 2))
    moved = keras.layers.Dense(2, kernel_initializer="identity", name="moved")(inputs)
    outputs = ReversibleNormalization(affine=False)(moved)
    model = keras.Model(inputs, keras.ops.sum(outputs, axis=(1, 2)))
    model.compile(keras.optimizers.SGD(1.0), lambda y_true, y_pred: keras.ops.sum(y_pred))
    model.train_on_batch(PAST[:2], np.zeros(2))
    expected = -(6 / PAST[:2].std(axis=1)).sum(axis=0)
    np.testing.assert_allclose(array(model.get_layer("moved").bias), expected, rtol=1e-4)


def test_layers_keep_what_keras_promises():
    check_layer(lambda: ReversibleNormalization(), {"inputs": PAST, "mask": MASK}, half_tolerance=None)
    check_layer(lambda: ReversibleNormalization("last", affine=False), (PAST,), weights=False, half_tolerance=None)
    check_layer(lambda: MovingAverage(3), (PAST,), weights=False)
    assert check_layer(lambda: LastSteps(4), (PAST,), weights=False).shape == (3, 4, 2)


def test_the_last_steps_of_each_row_and_never_another_rows():
    np.testing.assert_array_equal(array(LastSteps(4)(PAST)), PAST[:, 2:])
    with pytest.raises(ValueError, match="at least 8 steps. Received: 6"):
        LastSteps(8)(PAST)


@pytest.mark.parametrize(
    ("length", "stride", "starts"), [(4, 2, [0, 2, 4]), (4, 3, [2, 5]), (2, None, [0, 2, 4]), (6, None, [0])]
)
def test_patches_end_with_the_newest_step(length, stride, starts):
    """An overlapping patch more begins with the newest steps: the last one is repeated."""
    layer = Patches(length, stride)
    outputs = array(layer(PAST))
    longer = np.concatenate([PAST, np.repeat(PAST[:, -1:], 4, axis=1)], axis=1)
    expected = np.stack([longer[:, start : start + length].reshape(3, -1) for start in starts], axis=1)
    np.testing.assert_array_equal(outputs, expected)
    assert layer.compute_output_shape((None, 6, 2)) == (None, *expected.shape[1:])
    reloaded = Patches.from_config(layer.get_config())
    np.testing.assert_array_equal(array(reloaded(PAST)), expected)


def test_the_trend_is_a_mean_with_the_ends_repeated():
    longer = np.concatenate([np.repeat(PAST[:, :1], 2, axis=1), PAST, np.repeat(PAST[:, -1:], 2, axis=1)], axis=1)
    expected = np.stack([longer[:, t : t + 5].mean(axis=1) for t in range(6)], axis=1)
    np.testing.assert_allclose(array(MovingAverage(5)(PAST)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReversibleNormalization("median"), "'mean' or 'last'. Received: 'median'"),
        (lambda: ReversibleNormalization()(PAST, reverse=True), "needs `past`.* Received: None"),
        (lambda: Patches(4, 5), "from 1 to `length`=4. Received: 5"),
        (lambda: Patches(8)(PAST), "at least `length`=8 steps. Received: 6"),
        (lambda: MovingAverage(4), "must be odd. Received: 4"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
