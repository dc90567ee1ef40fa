"""The largest of many numbers, and the log of the sum of their exponentials, faster on a CPU than Keras does it."""

from keras import ops

from keras_seq.decoding.protocol import along

BLOCK = 32


def blockwise_top_k(x, k):
    """The k largest of each row in falling order, and their indices: a faster `keras.ops.top_k` for small k.

    They are in the k blocks with the largest maxima, so only block maxima and k blocks are sorted. Among equal values
    the first ones are chosen, as `top_k` does.

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
    best = ops.sort(ops.top_k(ops.max(x, axis=2), k)[1], axis=1)  # (N, k)
    rows = ops.expand_dims(ops.arange(ops.shape(x)[0], dtype="int32"), 1)
    inside = ops.take(ops.reshape(x, (-1, BLOCK)), rows * blocks + best, axis=0)  # (N, k, BLOCK)
    values, index = ops.top_k(ops.reshape(inside, (-1, k * BLOCK)), k)
    block = along(best, index // BLOCK)
    # The padding of the last block is -inf, and chosen only if a row has nothing else. Then any index will do.
    return values, ops.minimum(ops.cast(block * BLOCK + index % BLOCK, "int32"), V - 1)


def logsumexp_from_max(x, most):
    """`keras.ops.logsumexp` of each row, `(N, 1)`, computed through the softmax, which has a dedicated kernel.

    Args:
        x: float `(N, V)`.
        most: largest value of each row, `(N, 1)`. If it is -inf, the result is NaN.
    """
    return most - ops.log(ops.max(ops.softmax(x, axis=1), axis=1, keepdims=True))  # that maximum is at least 1 / V
