import functools

import keras
import numpy as np
from keras import ops

from keras_seq import decoding
from keras_seq.layers import BlankPadding
from tests.checks import check_layer
from tests.reference import array, arrays, compiled, long_on_jax, spread

LOGITS = 3 * spread((2, 6, 4))
MASK = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], "bool")


@long_on_jax
def test_frames_of_padding_change_no_probability_and_no_labeling():
    padded = BlankPadding()(LOGITS, mask=MASK)
    labels, lengths = np.array([[1, 2, 2], [3, 1, 0]]), np.array([3, 2])
    theirs = ops.ctc_loss(labels, LOGITS, lengths, MASK.sum(1), mask_index=0)
    np.testing.assert_allclose(
        array(ops.ctc_loss(labels, padded, lengths, [6, 6], mask_index=0)), array(theirs), rtol=1e-5
    )
    for options in ({}, {"search": "beam", "num_beams": 8, "num_return": 2}):
        find = compiled(functools.partial(decoding.ctc, **options))
        with_lengths, without = find(LOGITS, MASK.sum(1)), find(padded, np.array([6, 6]))
        for ours, expected in zip(arrays(without), arrays(with_lengths), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_another_blank_and_no_mask():
    padded = array(BlankPadding(blank_id=3)(LOGITS, mask=MASK))
    np.testing.assert_array_equal(padded[0, 4:].argmax(-1), 3)
    np.testing.assert_array_equal(padded[MASK], LOGITS[MASK])
    np.testing.assert_array_equal(array(BlankPadding()(LOGITS)), LOGITS)


def test_keeps_what_keras_promises():
    check_layer(lambda: BlankPadding(), {"logits": LOGITS}, weights=False, half_tolerance=None)


def test_is_float32_under_half_precision():
    layer = BlankPadding(dtype="mixed_float16")
    padded = layer(ops.cast(LOGITS, "float16"), mask=MASK)
    assert keras.backend.standardize_dtype(padded.dtype) == "float32"
    assert np.isfinite(array(padded)).all()
