"""The largest few of many numbers."""

from keras import ops

BLOCK = 64


def largest(x, k):
    """The k largest of each row, falling, and where they stand: `keras.ops.top_k` for few of many, and faster.

    They are in the k blocks whose largest are largest, so that sorting looks at block maxima and at k blocks only.

    Args:
        x: float `(N, V)`, V static.
        k: an int, at most V.
    Returns:
        `(values, indices)`, `(N, k)` and int32 `(N, k)`.
    """
    V = x.shape[1]
    if 4 * k * BLOCK > V:
        values, index = ops.top_k(x, k)
        return values, ops.cast(index, "int32")
    blocks = -(-V // BLOCK)
    if blocks * BLOCK > V:
        x = ops.pad(x, [[0, 0], [0, blocks * BLOCK - V]], constant_values=-float("inf"))
    x = ops.reshape(x, (-1, blocks, BLOCK))
    _, best = ops.top_k(ops.max(x, axis=2), k)  # (N, k)
    inside = ops.take_along_axis(x, ops.expand_dims(best, 2), axis=1)  # (N, k, BLOCK)
    values, index = ops.top_k(ops.reshape(inside, (-1, k * BLOCK)), k)
    block = ops.take_along_axis(best, index // BLOCK, axis=1)
    # What fills the last block up is -inf, and chosen only where a row has nothing else; then any place will do.
    return values, ops.minimum(ops.cast(block * BLOCK + index % BLOCK, "int32"), V - 1)
