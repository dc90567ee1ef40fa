import keras
import numpy as np
import pytest

from keras_seq.layers import positions_from, sinusoidal_positions
from keras_seq.layers.positions import LearnedPositions, distance_bias, rotate
from tests.checks import check_layer
from tests.reference import array, fill, spread


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


def test_learned_positions():
    positions = np.array([[0, 1, 2], [2, 3, 3]], "int32")
    check_layer(LearnedPositions(4, 3), positions)
    layer = LearnedPositions(4, 3)
    layer(positions)
    table = array(fill(layer).table)
    np.testing.assert_array_equal(array(layer(positions)), table[positions])
    np.testing.assert_array_equal(array(layer(np.array([[3, 4, 900]])))[0], table[[3, 3, 3]])  # beyond the table
    with pytest.raises(ValueError, match="positions for 4 steps. Received: 5 steps"):
        layer(np.arange(5)[None, :])
    with pytest.raises(ValueError, match="`max_length` must be positive. Received: 0"):
        LearnedPositions(0, 3)


@pytest.mark.parametrize("units", [2, 6])
def test_rotation_in_complex_numbers(units):
    """Su et al. 2021, equation 34: pair i turns by p / 10000^(2i / D)."""
    x, positions = spread((2, 3, 2, units)), np.array([[0, 1, 2], [7, 30, 400]])
    pairs = x[..., : units // 2] + 1j * x[..., units // 2 :]
    turns = np.exp(1j * positions[:, :, None, None] / 10000 ** (2 * np.arange(units // 2) / units))
    rotated = array(rotate(keras.ops.convert_to_tensor(x), positions))
    np.testing.assert_allclose(rotated, np.concatenate([(pairs * turns).real, (pairs * turns).imag], -1), atol=1e-4)
    np.testing.assert_array_equal(rotated[0, 0], x[0, 0])
    with pytest.raises(ValueError, match="must be even to be rotated. Received: 3"):
        rotate(x[..., :3] if units > 3 else spread((1, 1, 1, 3)), positions)


def test_products_of_rotated_vectors_know_the_distance_only():
    query, key = spread((1, 1, 1, 8)), spread((1, 1, 1, 8), start=9)

    def product(p, q):
        return array(rotate(query, np.array([[p]])) * rotate(key, np.array([[q]]))).sum()

    assert abs(product(12, 7) - product(5, 0)) < 1e-4
    assert abs(product(12, 7) - product(12, 8)) > 1e-2


def test_half_precision_rotates_as_far_as_float32():
    x = spread((1, 1, 1, 2))
    half = array(rotate(keras.ops.cast(x, "float16"), np.array([[2049]])))  # 2049 is not a float16
    assert half.dtype == "float16"
    np.testing.assert_allclose(half, array(rotate(keras.ops.cast(x, "float32"), np.array([[2049]]))), atol=2e-3)


@pytest.mark.parametrize(
    ("num_heads", "slopes"),
    [
        (1, [2**-8]),
        (2, [2**-4, 2**-8]),
        (8, [2.0**-h for h in range(1, 9)]),  # the paper's own example
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),  # the odd ones of eight heads' after those of four
    ],
)
def test_distance_bias(num_heads, slopes):
    queries, keys = np.array([[0, 1], [3, 4]]), np.arange(6)[None, :]
    distance = np.abs(keys[:, None, :] - queries[:, :, None])
    expected = -np.array(slopes)[None, :, None, None] * distance[:, None]
    np.testing.assert_allclose(array(distance_bias(queries, keys, num_heads)), expected, rtol=1e-6)
