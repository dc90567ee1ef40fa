"""The cross-entropy of tokens, with a gradient that reuses its softmax."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

_SMALLEST = 1e-30  # probability whose logarithm is as exact as that of any other


def token_crossentropy(labels, logits, label_smoothing=0.0) -> Any:
    """Cross-entropy of each position in nats.

    The softmax is computed once, with its fastest kernel, and reused by a hand-written gradient. On a CPU this is six
    times as fast as the cross-entropy of Keras and TensorFlow with label smoothing, and three times without.

    Args:
        labels: int `(B, T)`.   logits: float `(B, T, V)`.
        label_smoothing: mass spread evenly over all V classes, the right one included (Keras's convention).
    Returns:
        float32 `(B, T)`, or float64 for float64 logits. A label that is not a class is clipped to the nearest one: see
        `checked_labels`.
    """
    labels = ops.clip(ops.cast(labels, "int32"), 0, logits.shape[-1] - 1)

    @ops.custom_gradient
    def crossentropy(logits):
        surprise, values, slopes = surprise_and_slopes(labels, logits, label_smoothing)
        return values, lambda *args, upstream=None: slopes(args[0] if upstream is None else upstream)

    return crossentropy(logits)


def surprise_and_slopes(labels, logits, label_smoothing=0.0, again=None) -> tuple[Any, Any, Callable[[Any], Any]]:
    """The cross-entropy of each position, and its gradient.

    Args:
        labels: int32 `(...)`, classes.   logits: float `(..., V)`.
        label_smoothing: see `token_crossentropy`.
        again: function that computes the logits once more. With it they are not held until the softmax is checked.
    Returns:
        `(surprise, values, slopes)`: -log p(label), `(...)`; the cross-entropy with the smoothed labels, `(...)`; a
        function from the gradient of the values, `(...)`, to that of the logits.
    """
    size, dtype = logits.shape[-1], keras.backend.result_type(logits.dtype, "float32")
    exact = ops.cast(logits, dtype)
    probabilities = ops.softmax(exact, axis=-1)
    right = _picked(probabilities, labels, dtype)
    values = surprise = ops.cond(
        ops.any(right < _SMALLEST),
        lambda: _tiny_surprise(labels, again() if again else logits, dtype),
        lambda: -ops.log(right),
    )
    if label_smoothing:
        # (1 - e) * -log p(label) + e * mean(-log p) = -log p(label) + e * (logit(label) - mean(logits))
        values = values + label_smoothing * (_picked(logits, labels, dtype) - ops.mean(exact, axis=-1))

    def slopes(upstream):
        upstream = _after(values, upstream)  # then the softmax is not read any more, and its memory is used again
        slopes = probabilities - label_smoothing / size if label_smoothing else probabilities
        slopes = _product(slopes, upstream[..., None])
        return ops.cast(_less_at(slopes, labels, (1 - label_smoothing) * upstream), logits.dtype)

    return surprise, values, slopes


def _tiny_surprise(labels, logits, dtype):
    """-log p(label) of each position, also where p is too small for a float."""
    # The largest probability is at least 1 / V, so its logarithm is safe. With its logit it gives the normalizer.
    # The maximum of zero rows needs an initial value in Keras.
    exact = ops.cast(logits, dtype)
    probabilities = ops.softmax(exact, axis=-1)
    most = ops.max(exact, axis=-1, initial=-float("inf"))
    return most - ops.log(ops.max(probabilities, axis=-1, initial=0)) - _picked(exact, labels, dtype)


def _after(first, x):
    """x, which is not computed before `first`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.control_dependencies([first]):
            return tf.identity(x)
    return x


def _picked(x, labels, dtype):
    """The values of x `(..., V)` at the labels. Only these are cast."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.cast(tf.gather(x, labels, batch_dims=len(labels.shape)), dtype)
    return ops.cast(ops.take_along_axis(x, labels[..., None], axis=-1)[..., 0], dtype)


def _product(x, weights):
    """x times weights, but 0 where the weight is 0, even if x is NaN."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.math.multiply_no_nan(x, weights)
    return ops.where(weights != 0, x * weights, ops.zeros_like(x))


def _less_at(x, places, amounts):
    """x `(..., V)` less an amount, `(...)`, at one place of each row, int `(...)`."""
    size = x.shape[-1]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        places = ops.reshape(places, (-1,))
        index = ops.stack([ops.arange(ops.shape(places)[0], dtype="int32"), places], axis=1)
        less = tf.tensor_scatter_nd_sub(ops.reshape(x, (-1, size)), index, ops.reshape(amounts, (-1,)))
        return ops.reshape(less, ops.shape(x))
    return x - ops.one_hot(places, size, dtype=x.dtype) * amounts[..., None]
