"""Boolean masks, and the softmax that heeds them. True marks what may be looked at, as everywhere in Keras."""

import keras
from keras import ops
from keras.src.backend.common import masking


def padding_mask(tokens, pad_id=0):
    """Marks the real tokens: `(B, T)` ids to `(B, T)` bool."""
    return ops.not_equal(tokens, pad_id)


def at_least_float32(dtype):
    """What sums are taken in: float64 stays float64, and half precision becomes float32."""
    return "float64" if dtype == "float64" else "float32"


def carried_mask(x, mask=None):
    """The mask that was given, else the one that x carries, bool `(B, T)`, else None.

    For layers that take other tensors beside x: Keras (3.15) hands a layer the mask of x only where x stands alone.
    """
    return masking.get_keras_mask(x) if mask is None else mask


def with_mask(x, mask):
    """x, which from now on carries this mask; with None, all of it is real."""
    masking.set_keras_mask(x, mask)
    return x


def without_padding(x, mask):
    """x `(B, T, ...)` with zeros where the mask `(B, T)` excludes it: a NaN there reaches no sum and no gradient."""
    if mask is None:
        return x
    mask = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(x.shape) - 2)))
    return ops.where(mask, x, ops.zeros_like(x))


def get_keras_mask(x):
    """The Keras mask that x carries, bool `(B, T)`; all True where it carries none."""
    mask = masking.get_keras_mask(x)
    return ops.ones(ops.shape(x)[:2], "bool") if mask is None else mask


def causal_mask(query_positions, key_positions):
    """Lets each query look at keys no later than itself.

    Args:
        query_positions: int `(B, T)`.
        key_positions: int `(B or 1, S)`.
    Returns:
        bool `(B, T, S)`.
    """
    return ops.less_equal(key_positions[:, None, :], query_positions[:, :, None])


def sliding_window_mask(query_positions, key_positions, window):
    """Lets each query look at keys no further away than `window`, before it or after it, and at itself.

    Args:
        query_positions: int `(B, T)`.
        key_positions: int `(B or 1, S)`.
        window: how far; 0 for itself alone.
    Returns:
        bool `(B, T, S)`; together with `causal_mask`, by `ops.logical_and`, at most `window + 1` keys.
    Raises:
        ValueError: if `window` is negative.
    Source: Beltagy et al. 2020, section 3.1, arXiv:2004.05150, whose window counts both sides together.
    """
    if window < 0:
        raise ValueError(f"`window` must not be negative. Received: {window}")
    distance = ops.abs(ops.subtract(key_positions[:, None, :], query_positions[:, :, None]))
    return ops.less_equal(distance, window)


def masked_softmax(scores, mask):
    """Softmax over the last axis, with nothing on the positions that `mask` excludes.

    Args:
        scores: float `(B, ..., S)`.
        mask: bool, broadcastable to `scores`, or None. A row without a single real position gives even weights.
    """
    if mask is not None:
        # Below any score, and finite, so that a row that is all padding gives numbers.
        least = -65504.0 if keras.backend.standardize_dtype(scores.dtype) == "float16" else -3e38
        scores = ops.where(mask, scores, ops.cast(least, scores.dtype))
    return ops.softmax(scores, axis=-1)


def reverse_tokens(tokens, mask, keep_last=True):
    """Reverses the real tokens of each row and leaves the padding where it is.

    The same call undoes it. "a b c <end> <pad>" becomes "c b a <end> <pad>".

    Args:
        tokens: `(B, T)` ids or `(B, T, D)` features.
        mask: bool `(B, T)`, padding on the right.
        keep_last: whether the last real token, the end of the sentence, stays last.
    Source: Sutskever et al. 2014, section 3.3, arXiv:1409.3215.
    """
    steps = ops.arange(ops.shape(mask)[1], dtype="int32")[None, :]  # (1, T)
    lengths = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)  # (B, 1)
    count = lengths - 1 if keep_last else lengths  # how many turn round
    indices = ops.where(steps < count, count - 1 - steps, steps)  # (B, T)
    if len(tokens.shape) == 3:
        indices = indices[:, :, None]
    return ops.take_along_axis(tokens, indices, axis=1)


@keras.saving.register_keras_serializable("keras_seq")
class TrailingPaddingMask(keras.layers.Layer):
    """Takes what a row ends in for padding: all steps after the last one with another value than `mask_value`.

    `keras.layers.Masking` takes such steps inside a sequence for padding too, silence in a recording say. What floats
    are padded with is 0, so here is how a model tells by itself how long each waveform or clip is; that a recording
    itself ends in samples that are exactly 0 does it no harm.

    Args:
        mask_value: what padding consists of.
    Call arguments:
        inputs: `(B, T)` or `(B, T, ...)`.
    Returns:
        the inputs, with their mask.
    """

    def __init__(self, mask_value=0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)  # a waveform is no longer the same in float16
        self.mask_value = mask_value
        self.supports_masking = True

    def call(self, inputs):
        return ops.copy(inputs)  # Keras hangs the mask on what is returned, and the caller's tensor must stay without

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def compute_mask(self, inputs, mask=None):
        real = ops.not_equal(inputs, self.mask_value)
        if len(inputs.shape) > 2:
            real = ops.any(real, axis=tuple(range(2, len(inputs.shape))))  # (B, T)
        # By sums, because the number of steps need not be known here.
        from_the_end = ops.cumsum(ops.flip(ops.cast(real, "int32"), axis=1), axis=1)
        return ops.flip(from_the_end, axis=1) > 0

    def get_config(self):
        return {**super().get_config(), "mask_value": self.mask_value}


@keras.saving.register_keras_serializable("keras_seq")
class JoinFeatures(keras.layers.Layer):
    """Puts more features beside those of each step. The first input alone tells which steps are padding.

    `keras.layers.Concatenate` (3.15) takes a step for real as soon as one of its inputs does, so that whatever stands
    under the padding of the others changes the answer for the real steps.

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
