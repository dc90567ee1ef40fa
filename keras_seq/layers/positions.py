"""Token positions: as a vector added to the token, as a rotation of queries and keys, or as a bias on their scores."""

import math
from typing import Any

import keras
from keras import ops

POSITIONS = ("sinusoidal", "learned", "rotary", "alibi")  # the ways to encode positions


def check_positions(positions, units):
    """Raises a `ValueError` if a name is not in `POSITIONS`, or if the width is unsuitable for sines and cosines."""
    if positions not in POSITIONS:
        raise ValueError(f"`positions` must be one of {POSITIONS}. Received: {positions!r}")
    if positions == "sinusoidal" and units % 2:
        raise ValueError(f"With `positions='sinusoidal'` `units` must be even. Received: {units}")


def positions_from(start, length):
    """`length` positions for each row, counted from `start`: int `(B,)` to int `(B, length)`."""
    return start[:, None] + ops.arange(length, dtype="int32")[None, :]


def _angles(positions, units, max_wavelength, dtype):
    """The position times each of `units / 2` rates, `(B, T, units / 2)`. float16 is exact only for integers to 2048."""
    steps = ops.arange(units // 2, dtype=dtype) / (units // 2)
    rates = ops.exp(-math.log(max_wavelength) * steps)  # (D / 2,)
    return ops.cast(positions, dtype)[:, :, None] * rates


def sinusoidal_positions(positions, units, dtype="float32", max_wavelength: float = 10_000) -> Any:
    """Encodes positions as sines and cosines, the sines first. There is no table, so the length is unlimited.

    Args:
        positions: int `(B, T)`.
        units: width, D (even).
    Returns:
        float `(B, T, D)`.
    Raises:
        ValueError: if `units` is odd.
    Source: Vaswani et al. 2017, section 3.5, arXiv:1706.03762.
    """
    if units % 2:
        raise ValueError(f"`units` must be even. Received: {units}")
    angles = _angles(positions, units, max_wavelength, keras.backend.result_type(dtype, "float32"))
    return ops.cast(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1), dtype)


@keras.saving.register_keras_serializable("keras_seq")
class LearnedPositions(keras.layers.Layer):
    """Looks up positions in a learned table.

    Args:
        max_length: number of positions in the table.
        units: width, D.
        initializer: initializer of the table.
    Call arguments:
        positions: int `(B, T)`. Those beyond the table get its last vector, so a sentence that is too long is processed
            less accurately, but does not fail.
    Returns:
        float `(B, T, D)`.
    Raises:
        ValueError: if `max_length` is not positive, or less than T, if T is static.
    Source: Gehring et al. 2017, section 3.1, arXiv:1705.03122.
    """

    def __init__(self, max_length, units, initializer: Any = "normal", **kwargs):
        super().__init__(**kwargs)
        if max_length <= 0:
            raise ValueError(f"`max_length` must be positive. Received: {max_length}")
        self.max_length = max_length
        self.units = units
        self.initializer = keras.initializers.get(initializer)

    def build(self, positions_shape):
        self.table = self.add_weight(
            shape=(self.max_length, self.units), initializer=self.initializer, name="positions"
        )

    def call(self, positions):
        self.compute_output_shape(positions.shape)
        rows = ops.clip(positions, 0, self.max_length - 1)
        return ops.take(ops.cast(self.table, self.compute_dtype), rows, axis=0)

    def compute_output_shape(self, positions_shape):
        steps = positions_shape[1]
        if isinstance(steps, int) and steps > self.max_length:  # None and JAX's symbols are not static
            raise ValueError(f"There are positions for {self.max_length} steps. Received: {steps} steps")
        return (*positions_shape, self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "units": self.units,
            "initializer": keras.initializers.serialize(self.initializer),
        }


def rotate(x, positions, max_wavelength: float = 10_000) -> Any:
    """Rotates queries or keys by their positions, so that their products depend only on the distance.

    Feature i is paired with feature i + D / 2, like sines and cosines above. The paper pairs neighbors, which is the
    same up to the order of the projection's columns.

    Args:
        x: float `(B, T, H, D)`, D even.
        positions: int `(B or 1, T)`.
    Returns:
        float `(B, T, H, D)`.
    Raises:
        ValueError: if D is odd.
    Source: Su et al. 2021, section 3.4.2, arXiv:2104.09864.
    """
    units = x.shape[-1]
    if units % 2:
        raise ValueError(f"The width of a head must be even to be rotated. Received: {units}")
    dtype = keras.backend.result_type(x.dtype, "float32")
    angles = _angles(positions, units, max_wavelength, dtype)[:, :, None, :]  # (B, T, 1, D / 2)
    sines, cosines = ops.sin(angles), ops.cos(angles)
    first, second = ops.split(ops.cast(x, dtype), 2, axis=-1)
    rotated = [first * cosines - second * sines, second * cosines + first * sines]
    return ops.cast(ops.concatenate(rotated, axis=-1), x.dtype)


def distance_bias(query_positions, key_positions, num_heads, dtype="float32") -> Any:
    """Attention with linear biases (ALiBi): scores fall with the distance of the key, at a fixed rate for each head.

    Nothing is learned, and the length is unlimited. Keys after the query, which the paper's decoder does not see, are
    penalized by their distance too.

    Args:
        query_positions: int `(B, T)`.
        key_positions: int `(B or 1, S)`.
        num_heads: number of heads, H.
    Returns:
        float `(B, H, T, S)`, for the `bias` of `MultiHeadAttention`.
    Source: Press et al. 2022, section 3, arXiv:2108.12409. If H is not a power of two, as in the authors' code.
    """
    power = 2 ** int(math.log2(num_heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    slopes += [2 ** (-4 * (2 * h + 1) / power) for h in range(num_heads - power)]
    distance = ops.abs(ops.subtract(key_positions[:, None, :], query_positions[:, :, None]))  # (B, T, S)
    exact = keras.backend.result_type(dtype, "float32")
    bias = -ops.cast(distance, exact)[:, None] * ops.reshape(ops.convert_to_tensor(slopes, exact), (-1, 1, 1))
    return ops.cast(bias, dtype)
