import numpy as np
import pytest

from keras_seq.layers import positions_from, sinusoidal_positions
from tests.reference import array


def test_positions_are_counted_from_each_row_s_start():
    assert array(positions_from(np.array([0, 5]), 3)).tolist() == [[0, 1, 2], [5, 6, 7]]


@pytest.mark.parametrize("units", [2, 6, 8])
def test_the_formula(units):
    """PE(p, 2i) = sin(p / 10000^(2i / D)), PE(p, 2i + 1) = cos(the same); the sines come first here."""
    positions = np.array([[0, 1, 2], [7, 100, 4000]])
    expected = np.zeros((2, 3, units))
    for i in range(units // 2):
        angle = positions / 10000 ** (2 * i / units)
        expected[:, :, i], expected[:, :, units // 2 + i] = np.sin(angle), np.cos(angle)
    # float32 angles of some thousands are known to a few 1e-4.
    np.testing.assert_allclose(array(sinusoidal_positions(positions, units)), expected, atol=5e-4)
    np.testing.assert_allclose(array(sinusoidal_positions(positions, units))[0], expected[0], atol=1e-6)


def test_the_angle_is_float32_in_half_precision_too():
    half = array(sinusoidal_positions(np.array([[2049]]), 2, "float16"))  # 2049 is not a float16
    assert half.dtype == "float16"
    np.testing.assert_allclose(half[0, 0], [np.sin(2049), np.cos(2049)], atol=1e-3)


def test_odd_units():
    with pytest.raises(ValueError, match="`units` must be even. Received: 5"):
        sinusoidal_positions(np.zeros((1, 1), "int32"), 5)
