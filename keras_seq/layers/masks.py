"""Boolean masks and a masked softmax. As everywhere in Keras, True marks positions that take part."""

from typing import Any

import keras
from keras import ops
from keras.src.backend.common import masking


def padding_mask(tokens, pad_id=0) -> Any:
    """Marks the real tokens: `(B, T)` ids to `(B, T)` bool.

    Example:
        >>> np.array(layers.padding_mask(np.array([[5, 6, 0]]))).tolist()
        [[True, True, False]]
    """
    return ops.not_equal(tokens, pad_id)


def at_least_float32(dtype):
    """The dtype of sums: float64 for float64, else float32."""
    return "float64" if dtype == "float64" else "float32"


def carried_mask(x, mask=None):
    """`mask` if it is given, else the Keras mask of x, bool `(B, T)`, else None.

    For layers that take other tensors besides x: Keras (3.15) passes a layer the mask of x only if x is its only input.
    """
    return masking.get_keras_mask(x) if mask is None else mask


def with_mask(x, mask):
    """Attaches a mask to x and returns x. With None, all steps are real."""
    masking.set_keras_mask(x, mask)
    return x


def without_padding(x, mask):
    """Sets x `(B, T, ...)` to zero where the mask `(B, T)` is False, so a NaN there reaches no sum and no gradient."""
    if mask is None:
        return x
    mask = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(x.shape) - 2)))
    return ops.where(mask, x, ops.zeros_like(x))


def get_keras_mask(x) -> Any:
    """The Keras mask of x, bool `(B, T)`. All True if x has none."""
    mask = masking.get_keras_mask(x)
    return ops.ones(ops.shape(x)[:2], "bool") if mask is None else mask


def causal_mask(query_positions, key_positions) -> Any:
    """Allows each query to attend to keys no later than itself.

    Args:
        query_positions: int `(B, T)`.
        key_positions: int `(B or 1, S)`.
    Returns:
        bool `(B, T, S)`.
    Example:
        >>> positions = np.arange(3)[None]
        >>> np.array(layers.causal_mask(positions, positions)).astype(int).reshape(3, 3).tolist()
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return ops.less_equal(key_positions[:, None, :], query_positions[:, :, None])


def sliding_window_mask(query_positions, key_positions, window) -> Any:
    """Allows each query to attend to itself and to keys at most `window` positions before or after it.

    Args:
        query_positions: int `(B, T)`.
        key_positions: int `(B or 1, S)`.
        window: largest distance; 0 for the query's position alone.
    Returns:
        bool `(B, T, S)`. Combined with `causal_mask` by `ops.logical_and`, at most `window + 1` keys.
    Raises:
        ValueError: if `window` is negative.
    Source: Beltagy et al. 2020, section 3.1, arXiv:2004.05150, whose window counts both sides together.
    """
    if window < 0:
        raise ValueError(f"`window` must not be negative. Received: {window}")
    distance = ops.abs(ops.subtract(key_positions[:, None, :], query_positions[:, :, None]))
    return ops.less_equal(distance, window)


def masked_softmax(scores, mask) -> Any:
    """Softmax over the last axis, with zero weight at positions that `mask` excludes.

    Args:
        scores: float `(B, ..., S)`.
        mask: bool, broadcastable to `scores`, or None. A row without real positions gets uniform weights.
    Example:
        >>> np.array(layers.masked_softmax(np.zeros((1, 3)), np.array([[True, True, False]]))).tolist()
        [[0.5, 0.5, 0.0]]
    """
    if mask is not None:
        # Below any score, and finite, so that a row of padding does not give NaN.
        least = -65504.0 if keras.backend.standardize_dtype(scores.dtype) == "float16" else -3e38
        scores = ops.where(mask, scores, ops.cast(least, scores.dtype))
    return ops.softmax(scores, axis=-1)


def reverse_tokens(tokens, mask, keep_last=True) -> Any:
    """Reverses the real tokens of each row. Padding keeps its place.

    A second call restores the order. "a b c <end> <pad>" becomes "c b a <end> <pad>".

    Args:
        tokens: `(B, T)` ids or `(B, T, D)` features.
        mask: bool `(B, T)`, padding on the right.
        keep_last: whether the last real token, the end of the sentence, stays last.
    Source: Sutskever et al. 2014, section 3.3, arXiv:1409.3215.
    """
    steps = ops.arange(ops.shape(mask)[1], dtype="int32")[None, :]  # (1, T)
    lengths = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)  # (B, 1)
    count = lengths - 1 if keep_last else lengths  # number of tokens that are reversed
    indices = ops.where(steps < count, count - 1 - steps, steps)  # (B, T)
    if len(tokens.shape) == 3:
        indices = indices[:, :, None]
    return ops.take_along_axis(tokens, indices, axis=1)


@keras.saving.register_keras_serializable("keras_seq")
class TrailingPaddingMask(keras.layers.Layer):
    """Masks trailing padding: every step after the last one that differs from `mask_value`.

    `keras.layers.Masking` also masks such steps inside a sequence, for example silence in a recording. Floats are
    padded with 0, so a model can find the length of each waveform or clip with this layer. It is harmless if a
    recording itself ends in samples that are exactly 0.

    Args:
        mask_value: value of padding.
    Call arguments:
        inputs: `(B, T)` or `(B, T, ...)`.
    Returns:
        the inputs, with their mask.
    """

    def __init__(self, mask_value=0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)  # float16 would change a waveform
        self.mask_value = mask_value
        self.supports_masking = True

    def call(self, inputs):
        return ops.copy(inputs)  # Keras attaches the mask to the output, and the caller's tensor must not get one

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def compute_mask(self, inputs, mask=None):
        real = ops.not_equal(inputs, self.mask_value)
        if len(inputs.shape) > 2:
            real = ops.any(real, axis=tuple(range(2, len(inputs.shape))))  # (B, T)
        # By sums, since the number of steps may be unknown here.
        from_the_end = ops.cumsum(ops.flip(ops.cast(real, "int32"), axis=1), axis=1)
        return ops.flip(from_the_end, axis=1) > 0

    def get_config(self):
        return {**super().get_config(), "mask_value": self.mask_value}


@keras.saving.register_keras_serializable("keras_seq")
class JoinFeatures(keras.layers.Layer):
    """Concatenates more features to those of each step. The mask is that of the first input.

    `keras.layers.Concatenate` (3.15) takes a step as real if any of its inputs does. Values under the padding of the
    other inputs would then change the outputs of the real steps.

    Call arguments:
        inputs: `[x, more]`, float `(B, T, D)` and `(B, T, E)`.
    Returns:
        float `(B, T, D + E)`, with the mask of x.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return ops.concatenate(inputs, axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[0]
