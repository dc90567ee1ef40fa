"""Matrix products of training in bfloat16, where the processor is faster at them. All other numbers stay float32.

    products.set_dtype("auto")

A processor with AMX multiplies in bfloat16 two to four times as fast as in float32. A mixed policy of Keras computes
everything in bfloat16, also outside of training. Here the two matrices of a product are rounded, the products are added
up in float32, and the result is rounded once. Weights, activations, softmax, loss and
optimizer are untouched. Only calls with `training=True` and their gradients do this, so that validation, decoding and
exports give float32's numbers.
"""

import functools
import pathlib
from typing import Any

import keras
from keras import ops

DTYPES = ("float32", "bfloat16", "auto")

# Elements of the weight below which the casts take longer than they save: for 32 rows and a recurrent kernel of
# (64, 256) 1.05 of float32's time, of (128, 512) 0.79, of (256, 1024) 0.58.
SMALLEST = 2**15

_dtype = "float32"


def set_dtype(dtype: str) -> None:
    """Sets the dtype of the large matrix products of training, for functions that are traced from now on.

    Args:
        dtype: "float32"; "bfloat16"; or "auto": bfloat16 where the processor has AMX and TensorFlow has no GPU.
    Raises:
        ValueError: if the name is unknown.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}. Received: {dtype!r}")
    global _dtype
    _dtype = dtype


def in_bfloat16(training: Any, dtype: Any, size: int) -> bool:
    """Whether a product is computed in bfloat16.

    Args:
        training: the argument of a layer's call.
        dtype: dtype of the matrices.
        size: number of elements of the weight.
    """
    if _dtype == "float32" or training is not True or size < SMALLEST or keras.backend.backend() != "tensorflow":
        return False
    return keras.backend.standardize_dtype(dtype) == "float32" and (_dtype == "bfloat16" or is_faster())


@functools.cache
def is_faster() -> bool:
    """Whether products in bfloat16 are faster here: TensorFlow has no GPU, and the processor has AMX."""
    import tensorflow as tf

    info = pathlib.Path("/proc/cpuinfo")
    return not tf.config.list_logical_devices("GPU") and info.exists() and " amx_bf16" in info.read_text()


def rounded_matmul(a, b, transpose_b: bool = False) -> Any:
    """The product of a and a matrix b in float32, computed in bfloat16 on TensorFlow, as its gradient is.

    Args:
        a: float32 `(..., K)`.
        b: float32 `(K, N)` or, with `transpose_b`, `(N, K)`.
    Returns:
        float32 `(..., N)`.
    """
    import tensorflow as tf

    shape = tf.shape(a)
    a, b = (tf.cast(x, tf.bfloat16) for x in (tf.reshape(a, (-1, a.shape[-1])), ops.convert_to_tensor(b)))
    product = tf.cast(tf.matmul(a, b, transpose_b=transpose_b), tf.float32)
    width = product.shape[-1]
    return tf.reshape(product, tf.concat([shape[:-1], [width]], 0))
