import keras
import numpy as np
import pytest

from keras_seq.layers import (
    JoinFeatures,
    MeanPooling,
    TrailingPaddingMask,
    causal_mask,
    get_keras_mask,
    padding_mask,
    reverse_tokens,
)
from keras_seq.layers.masks import sliding_window_mask
from tests.checks import check_layer
from tests.reference import array, spread

PAD, END, A, B, C = 0, 3, 4, 5, 6


def test_padding_mask():
    tokens = np.array([[A, B, PAD], [PAD, PAD, PAD]])
    assert array(padding_mask(tokens)).tolist() == [[True, True, False], [False] * 3]
    assert array(padding_mask(tokens, pad_id=A)).tolist() == [[False, True, True], [True] * 3]


def test_causal_mask():
    """Two rows that stand at different places: each query sees its own place and what came before."""
    mask = array(causal_mask(np.array([[0, 1], [2, 3]]), np.arange(4)[None, :]))
    assert mask.astype(int).tolist() == [[[1, 0, 0, 0], [1, 1, 0, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]]]


def test_sliding_window_mask():
    """Both ways; with the causal mask, only back."""
    queries, keys = np.array([[0, 1], [2, 3]]), np.arange(5)[None, :]
    near = array(sliding_window_mask(queries, keys, 1))
    assert near.astype(int).tolist() == [[[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]]
    back = near & array(causal_mask(queries, keys))
    assert back.astype(int).tolist() == [[[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]], [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]]]
    assert array(sliding_window_mask(keys, keys, 0))[0].tolist() == np.eye(5, dtype="bool").tolist()
    with pytest.raises(ValueError, match="`window` must not be negative. Received: -1"):
        sliding_window_mask(keys, keys, -1)


def test_reversal_by_hand():
    tokens = np.array([[A, B, C, END, PAD], [A, END, PAD, PAD, PAD], [END, PAD, PAD, PAD, PAD], [PAD] * 5])
    reverse = [[C, B, A, END, PAD], [A, END, PAD, PAD, PAD], [END, PAD, PAD, PAD, PAD], [PAD] * 5]
    assert array(reverse_tokens(tokens, tokens != PAD)).tolist() == reverse
    with_end = array(reverse_tokens(tokens, tokens != PAD, keep_last=False))
    assert with_end[:2].tolist() == [[END, C, B, A, PAD], [END, A, PAD, PAD, PAD]]


@pytest.mark.parametrize("keep_last", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_reversal_undoes_itself(shape, keep_last):
    tokens = spread(shape)
    mask = np.arange(6) < np.array([0, 1, 4, 6])[:, None]
    once = array(reverse_tokens(tokens, mask, keep_last))
    assert (once != tokens).any()
    np.testing.assert_array_equal(once[~mask], tokens[~mask])
    np.testing.assert_array_equal(array(reverse_tokens(once, mask, keep_last)), tokens)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 2), (3, 5, 2, 2, 1)])
def test_trailing_padding_mask_masks_the_end_alone(shape):
    x = np.ones(shape, "float32")
    x[0, 3:] = x[0, 1] = 0  # silence inside is no padding
    x[2] = 0
    if len(shape) > 2:
        x[1, 4, 1:] = 0  # a step is real where a part of it is
    outputs = TrailingPaddingMask()(x)
    np.testing.assert_array_equal(array(outputs), x)
    real = np.arange(5) < np.array([3, 5, 0])[:, None]
    np.testing.assert_array_equal(array(get_keras_mask(outputs)), real)
    if len(shape) == 3:
        np.testing.assert_allclose(array(MeanPooling()(outputs))[:2], x[:2].sum(1) / [[3], [5]], rtol=1e-6)


def test_trailing_padding_mask_leaves_the_tensor_that_it_is_given_alone():
    x = keras.ops.convert_to_tensor(np.array([[1.0, 0.0]], "float32"))
    assert array(get_keras_mask(TrailingPaddingMask()(x))).tolist() == [[True, False]]
    assert array(get_keras_mask(x)).tolist() == [[True, True]]


def test_trailing_padding_mask_keeps_what_keras_promises():
    check_layer(lambda: TrailingPaddingMask(mask_value=1.0), (spread((2, 4)),), weights=False, half_tolerance=None)


def test_joined_features_have_the_mask_of_the_first():
    x, more = spread((2, 3, 2)), spread((2, 3, 1), start=5.0)
    joined = JoinFeatures()(
        [TrailingPaddingMask()(x * np.array([[[1], [1], [0]], [[1], [0], [0]]])), TrailingPaddingMask()(more)]
    )
    np.testing.assert_array_equal(array(joined)[..., 2:], more)
    np.testing.assert_array_equal(array(get_keras_mask(joined)), [[True, True, False], [True, False, False]])
    check_layer(JoinFeatures, ([x, more],), weights=False)


def test_a_tensor_without_a_mask_is_real_all_over():
    assert array(get_keras_mask(spread((2, 3, 4)))).tolist() == [[True] * 3] * 2
