"""Where a token stands, as a vector."""

import math

from keras import ops


def positions_from(start, length):
    """`length` positions for each row, counted from `start`: int `(B,)` to int `(B, length)`."""
    return start[:, None] + ops.arange(length)[None, :]


def sinusoidal_positions(positions, units, dtype="float32", max_wavelength=10_000):
    """Encodes positions as sines and cosines, the sines first. There is no table, so no length is too long.

    Args:
        positions: int `(B, T)`.
        units: width, D; even.
    Returns:
        float `(B, T, D)`.
    Raises:
        ValueError: if `units` is odd.
    Source: Vaswani et al. 2017, section 3.5, arXiv:1706.03762.
    """
    if units % 2:
        raise ValueError(f"`units` must be even. Received: {units}")
    steps = ops.arange(units // 2, dtype="float32") / (units // 2)
    rates = ops.exp(-math.log(max_wavelength) * steps)  # (D / 2,)
    angles = ops.cast(positions, "float32")[:, :, None] * rates  # (B, T, D / 2)
    return ops.cast(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1), dtype)
