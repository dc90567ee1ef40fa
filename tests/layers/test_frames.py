import keras
import numpy as np
import pytest

from keras_seq.layers import FrameCNN, FrameConvolution, FrameDecoder, FramePairs, FramePatches
from tests.checks import check_layer
from tests.reference import array, fill, long_on_jax, spread

CLIP = spread((2, 3, 4, 6, 2))


def test_patches_are_squares_and_turn_back():
    patches = array(FramePatches(2)(CLIP))
    assert patches.shape == (2, 3, 2, 3, 8)
    np.testing.assert_array_equal(patches[1, 2, 1, 2], CLIP[1, 2, 2:4, 4:6].reshape(-1))
    np.testing.assert_array_equal(array(FramePatches(2, reverse=True)(patches)), CLIP)


def test_pairs_have_the_picture_before_beside_each():
    pairs = array(FramePairs()(CLIP))
    np.testing.assert_array_equal(pairs[..., :2], CLIP)
    np.testing.assert_array_equal(pairs[:, 1:, ..., 2:], CLIP[:, :-1])
    np.testing.assert_array_equal(pairs[:, 0, ..., 2:], CLIP[:, 0])


@pytest.mark.parametrize("pooling", FrameCNN.POOLINGS)
@long_on_jax
def test_a_network_sees_each_picture_by_itself(pooling):
    video = spread((2, 3, 8, 6, 2))
    layer = FrameCNN((3, 4), units=5, pooling=pooling)
    layer.build(video.shape)
    fill(layer)
    mask = np.array([[1, 1, 1], [1, 0, 0]], "bool")
    outputs = layer(video, mask=mask)
    np.testing.assert_array_equal(array(outputs._keras_mask), mask)
    outputs = array(outputs)
    for b in range(2):
        for t in range(3):
            alone = array(layer(video[b : b + 1, t : t + 1]))[0, 0]
            np.testing.assert_allclose(outputs[b, t], alone, atol=1e-5)
    whole = (10 * video).astype("int32")
    np.testing.assert_allclose(array(layer(whole)), array(layer(whole.astype("float32"))), atol=1e-6)


def test_where_tells_the_largest_value_and_its_place():
    layer = FrameCNN((), units=3, pooling="where")
    layer.build((1, 1, 5, 9, 1))
    layer.set_weights([np.eye(3), np.zeros(3)])
    picture = np.zeros((1, 1, 5, 9, 1), "float32")
    picture[0, 0, 4, 2] = 50  # all of the softmax
    np.testing.assert_allclose(array(layer(picture))[0, 0], [50, 1, -0.5], atol=1e-6)
    np.testing.assert_allclose(array(layer(0 * picture))[0, 0], [0, 0, 0], atol=1e-6)  # in the middle, if anywhere


def test_layers_keep_what_keras_promises():
    check_layer(lambda: FramePatches(2), (CLIP,), weights=False)
    check_layer(FramePairs, (CLIP,), weights=False)
    for filters, pooling in (((2,), "flatten"), ((2, 3), "mean"), ((2,), "max"), ((2,), "where")):
        check_layer(FrameCNN(filters, units=3, pooling=pooling), CLIP)
    assert check_layer(lambda: FrameConvolution(3), (CLIP,)).shape == (2, 3, 4, 6, 3)
    check_layer(lambda: FramePatches(2, reverse=True), (spread((2, 3, 2, 3, 8)),), weights=False)
    assert check_layer(lambda: FrameDecoder((5, 6, 1), (4, 3)), (spread((2, 3, 4)),)).shape == (2, 3, 5, 6, 1)
    assert check_layer(lambda: FrameDecoder((5, 6, 3), (4,)), (spread((2, 3, 4)),)).shape == (2, 3, 5, 6, 3)


def test_pictures_do_not_see_each_other():
    for layer, x in ((FrameDecoder((5, 6, 1), (4, 3)), spread((2, 3, 4))), (FrameConvolution(3), CLIP)):
        layer(x)
        fill(layer)
        np.testing.assert_allclose(array(layer(x))[1, 2], array(layer(x[1:, 2:]))[0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrameCNN(pooling="middle"), "`pooling` must be one of .*'where'.*. Received: 'middle'"),
        (lambda: FrameCNN()(keras.Input((3, None, 8, 1))), r"fixed size. Received: shape \(None, 3, None, 8, 1\)"),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("size", "reverse", "message"), [(3, False, "Squares of 3 .* 4 x 6 pixels"), (2, True, "4 x 6 pixels, 2 channels")]
)
def test_what_does_not_fit_is_named(size, reverse, message):
    with pytest.raises(ValueError, match=message):
        FramePatches(size, reverse)(CLIP)
