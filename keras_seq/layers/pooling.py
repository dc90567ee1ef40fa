"""Pools a sequence of vectors into one vector, from its real steps only."""

from typing import Any

import keras
from keras import ops

from keras_seq.layers.masks import masked_softmax, without_padding


class Pooling(keras.layers.Layer):
    """Base class of the pooling layers, which map `(B, T, D)` and its mask to `(B, D)` without a mask.

    Padding may be anywhere. A row without real steps gives zeros.

    Call arguments:
        inputs: float `(B, T, D)`.
        mask: bool `(B, T)`. True marks a real step. Defaults to the Keras mask of the inputs.
    Returns:
        float `(B, D)`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is None:
            mask = ops.ones(ops.shape(inputs)[:2], "bool")
        return self.pool(inputs, mask)

    def pool(self, inputs, mask):
        raise TypeError(f"{type(self).__name__} must define `pool(inputs, mask)`")

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])


@keras.saving.register_keras_serializable("keras_seq")
class LastPooling(Pooling):
    """Takes the last real step of each row. A row without real steps gives zeros.

    Call arguments, returns: as for `MeanPooling`.
    Example:
        >>> x = np.array([[[1.0], [3.0], [100.0]]])
        >>> np.array(layers.LastPooling()(x, mask=np.array([[True, True, False]]))).tolist()
        [[3.0]]
    """

    def pool(self, inputs, mask):
        steps = ops.arange(ops.shape(inputs)[1], dtype="int32")[None, :]  # (1, T)
        last = ops.max(ops.where(mask, steps, 0), axis=1, initial=0)  # (B,)
        vectors = ops.take_along_axis(inputs, last[:, None, None], axis=1)[:, 0]  # (B, D)
        return ops.where(ops.any(mask, axis=1)[:, None], vectors, ops.zeros_like(vectors))


@keras.saving.register_keras_serializable("keras_seq")
class MeanPooling(Pooling):
    """Takes the mean of the real steps. A row without real steps gives zeros.

    Padding may be anywhere.

    Call arguments:
        inputs: float `(B, T, D)`.
        mask: bool `(B, T)`. True marks a real step. Defaults to the Keras mask of the inputs.
    Returns:
        float `(B, D)`, without a mask.
    Example:
        >>> x = np.array([[[1.0], [3.0], [100.0]]])
        >>> np.array(layers.MeanPooling()(x, mask=np.array([[True, True, False]]))).tolist()
        [[2.0]]
    """

    def pool(self, inputs, mask):
        # The sum of some thousand steps overflows float16.
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        x = ops.where(mask[:, :, None], x, ops.zeros_like(x))
        counts = ops.cast(ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True), x.dtype)  # (B, 1)
        return ops.cast(ops.sum(x, axis=1) / ops.maximum(counts, 1), inputs.dtype)


@keras.saving.register_keras_serializable("keras_seq")
class MaxPooling(Pooling):
    """Takes the largest value of each feature over the real steps. A row without real steps gives zeros.

    Call arguments, returns: as for `MeanPooling`.
    Example:
        >>> x = np.array([[[1.0], [3.0], [100.0]]])
        >>> np.array(layers.MaxPooling()(x, mask=np.array([[True, True, False]]))).tolist()
        [[3.0]]
    """

    def pool(self, inputs, mask):
        # The second `where` removes minus infinity before arithmetic could turn it into NaN.
        largest = ops.where(mask[:, :, None], inputs, ops.cast(float("-inf"), inputs.dtype))
        largest = ops.max(largest, axis=1, initial=-float("inf"))
        return ops.where(ops.any(mask, axis=1)[:, None], largest, ops.zeros_like(largest))


@keras.saving.register_keras_serializable("keras_seq")
class AttentionPooling(Pooling):
    """Takes the mean of the real steps, each weighted by a learned score.

        score(x) = v . tanh(W x + b)

    Padding may be anywhere. A row without real steps gives zeros.

    Args:
        units: width of the hidden layer, by default D.
    Call arguments:
        inputs: float `(B, T, D)`.
        mask: bool `(B, T)`. True marks a real step. Defaults to the Keras mask of the inputs.
    Returns:
        float `(B, D)`. `weights_for(inputs, mask)` returns the weights, `(B, T)`.
    Raises:
        ValueError: if `units` is not positive.
    Example:
        >>> tuple(layers.AttentionPooling()(np.ones((4, 10, 3), "float32")).shape)
        (4, 3)
    Source: Yang et al. 2016, section 2.2, aclanthology.org/N16-1174. With several scores at once: Lin et al. 2017,
        arXiv:1703.03130.
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        if units is not None and units <= 0:
            raise ValueError(f"`units` must be positive. Received: {units}")
        self.units = units

    def build(self, input_shape):
        D = input_shape[-1]
        units = self.units or D
        self.hidden_dense = keras.layers.Dense(units, activation="tanh", name="hidden", dtype=self.dtype_policy)
        self.score_dense = keras.layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)
        self.hidden_dense.build((None, None, D))
        self.score_dense.build((None, None, units))

    def weights_for(self, inputs, mask) -> Any:
        """Weight of each step: `(B, T)`, zero for padding. The weights of a row with a real step add up to one."""
        scores = ops.squeeze(self.score_dense(self.hidden_dense(inputs)), axis=-1)  # (B, T)
        weights = masked_softmax(ops.cast(scores, keras.backend.result_type(scores.dtype, "float32")), mask)
        return ops.cast(ops.where(mask, weights, ops.zeros_like(weights)), inputs.dtype)

    def pool(self, inputs, mask):
        inputs = without_padding(inputs, mask)
        return ops.squeeze(ops.matmul(self.weights_for(inputs, mask)[:, None, :], inputs), axis=1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


POOLINGS = {"last": LastPooling, "mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}
