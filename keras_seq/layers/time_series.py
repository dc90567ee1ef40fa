"""Layers for time series: normalization by their past, patches, and decomposition into trend and season."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_seq")
class ReversibleNormalization(keras.layers.Layer):
    """Normalizes each channel of each row to mean 0 and deviation 1, and reverses that for the forecast.

        norm = ReversibleNormalization()
        forecast = norm(model(norm(past)), past=past, reverse=True)

    So a model does not depend on the level of a series, which drifts. Mean and deviation are computed from the row's
    real steps, without gradients.

    Args:
        center: value that is moved to 0: the "mean" of the steps, or the "last" one (Zeng et al. 2023,
            arXiv:2205.13504).
        scale: whether to divide by the deviation.
        affine: whether to learn a slope and a shift for each channel, which the reverse undoes.
        epsilon: number added to the variance.
    Call arguments:
        inputs: float `(B, T, C)`. To reverse, `(B, H, C)` or, for Q quantiles of each channel, `(B, H, C, Q)`.
        past: float `(B, T, C)`, the series from which mean and deviation are computed. None: `inputs`.
        reverse: whether to reverse the normalization.
        mask, past_mask: bool `(B, T)`. True marks a real step. They default to the Keras masks of the tensors.
    Returns:
        float, with the shape of `inputs`. A row without real steps is normalized to zeros.
    Raises:
        ValueError: if `center` is not one of these, or if `reverse=True` without `past`.
    Source: Kim et al. 2022, openreview.net/forum?id=cGDAkQo1C0p.
    """

    def __init__(self, center="mean", scale=True, affine=True, epsilon=1e-5, **kwargs):
        super().__init__(autocast=False, **kwargs)  # float16 is too imprecise for the sum of squares
        if center not in ("mean", "last"):
            raise ValueError(f"`center` must be 'mean' or 'last'. Received: {center!r}")
        self.center = center
        self.scale = scale
        self.affine = affine
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape):
        if self.affine:
            C = input_shape[-1]
            self.slope = self.add_weight(shape=(C,), initializer="ones", autocast=False, name="slope")
            self.shift = self.add_weight(shape=(C,), initializer="zeros", autocast=False, name="shift")

    def call(self, inputs, past=None, reverse=False, mask=None, past_mask=None):
        if reverse and past is None:
            raise ValueError("`reverse=True` needs `past`, from which mean and deviation are computed. Received: None")
        if past is None:
            past, past_mask = inputs, mask
        x = ops.cast(inputs, self.variable_dtype)
        center, deviation = self._statistics(ops.cast(past, self.variable_dtype), past_mask)  # (B, 1, C)
        slope, shift = (ops.convert_to_tensor(w) for w in (self.slope, self.shift)) if self.affine else (None, None)
        if not reverse:
            x = (x - center) / deviation
            if self.affine:
                x = x * slope + shift
            if mask is not None:
                x = ops.where(mask[:, :, None], x, 0.0)
            return ops.cast(x, self.compute_dtype)
        quantiles = len(x.shape) == 4
        x = ops.swapaxes(x, 2, 3) if quantiles else x[:, :, None]  # (B, H, Q or 1, C)
        if self.affine:
            x = (x - shift) / (slope + self.epsilon**2)  # as in the authors' code
        x = x * deviation[:, :, None] + center[:, :, None]
        return ops.cast(ops.swapaxes(x, 2, 3) if quantiles else x[:, :, 0], self.compute_dtype)

    def _statistics(self, past, mask):
        real = ops.ones_like(past[..., :1]) if mask is None else ops.cast(mask, past.dtype)[:, :, None]  # (B, T, 1)
        past = ops.where(real > 0, past, 0.0)
        count = ops.maximum(ops.sum(real, axis=1, keepdims=True), 1)
        mean = ops.sum(past, axis=1, keepdims=True) / count  # (B, 1, C)
        # The rounding error of the sum grows with the level and depends on the padding. A second pass reduces it.
        mean = mean + ops.sum(real * (past - mean), axis=1, keepdims=True) / count
        center, deviation = mean, ops.ones_like(mean)
        if self.center == "last":
            steps = ops.arange(ops.shape(past)[1], dtype="int32")[None, :, None]
            last = ops.max(ops.where(real > 0, steps, 0), axis=1, keepdims=True, initial=0)  # (B, 1, 1)
            center = ops.take_along_axis(past, last, axis=1)
        if self.scale:
            squares = ops.sum(real * ops.square(past - mean), axis=1, keepdims=True)
            deviation = ops.sqrt(squares / count + self.epsilon)
        return ops.stop_gradient(center), ops.stop_gradient(deviation)

    def compute_mask(self, inputs, mask=None):
        # Keras passes one mask for each tensor. The first is that of `inputs`.
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def compute_output_shape(self, inputs_shape, past_shape=None):
        return inputs_shape

    def get_config(self):
        return {
            **super().get_config(),
            "center": self.center,
            "scale": self.scale,
            "affine": self.affine,
            "epsilon": self.epsilon,
        }


@keras.saving.register_keras_serializable("keras_seq")
class LastSteps(keras.layers.Layer):
    """Takes the last steps of a series of any length.

    Args:
        steps: number of steps, L.
    Call arguments:
        inputs: float `(B, T, C)`.
    Returns:
        float `(B, L, C)`.
    Raises:
        ValueError: if a series has fewer steps.
    """

    def __init__(self, steps, **kwargs):
        super().__init__(autocast=False, **kwargs)  # nothing is computed
        self.steps = steps

    def call(self, inputs):
        given = inputs.shape[1]
        if isinstance(given, int) and given < self.steps:
            raise ValueError(f"A series must have at least {self.steps} steps. Received: {given}")
        # With the real size of the batch, so that missing steps are not taken from the next row.
        return ops.reshape(inputs[:, -self.steps :], (ops.shape(inputs)[0], self.steps, inputs.shape[2]))

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.steps, input_shape[2]

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


@keras.saving.register_keras_serializable("keras_seq")
class Patches(keras.layers.Layer):
    """Cuts a series into patches of consecutive steps, which may overlap. Each patch becomes one step.

    The last step is first repeated `stride` times, so that the last patch starts with the newest steps. Steps at the
    beginning that do not fill a patch are dropped.

    Args:
        length: number of steps in a patch.
        stride: number of steps from one patch to the next. None: `length`, and nothing is repeated.
    Call arguments:
        inputs: float `(B, T, D)`, with static T.
    Returns:
        float `(B, P, length * D)`.
    Raises:
        ValueError: if a number is not positive, the stride exceeds the length, or a series is shorter than a patch.
    Source: Nie et al. 2023, section 3.1, arXiv:2211.14730.
    """

    def __init__(self, length=16, stride=None, **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.stride = stride or length
        if not 1 <= self.stride <= length:
            raise ValueError(f"`stride` must be from 1 to `length`={length}. Received: {stride}")

    def _places(self, steps):
        """The steps of each patch, `(P, length)`, of a series of `steps`."""
        if steps is None or steps < self.length:
            raise ValueError(f"A series must have at least `length`={self.length} steps. Received: {steps}")
        repeated = self.stride if self.stride < self.length else 0
        first = (steps + repeated - self.length) % self.stride
        starts = np.arange(first, steps + repeated - self.length + 1, self.stride)
        return np.minimum(starts[:, None] + np.arange(self.length), steps - 1)

    def call(self, inputs):
        places = self._places(inputs.shape[1])
        x = ops.take(inputs, places, axis=1)  # (B, P, length, D)
        return ops.reshape(x, (-1, len(places), self.length * inputs.shape[2]))

    def compute_output_shape(self, input_shape):
        return input_shape[0], len(self._places(input_shape[1])), self.length * input_shape[2]

    def get_config(self):
        return {**super().get_config(), "length": self.length, "stride": self.stride}


@keras.saving.register_keras_serializable("keras_seq")
class MovingAverage(keras.layers.Layer):
    """The trend of a series: at each step the mean of the steps around it. The ends are padded with the end values.

    Args:
        window: number of steps in the mean, odd.
    Call arguments:
        inputs: float `(B, T, C)`.
    Returns:
        float `(B, T, C)`.
    Raises:
        ValueError: if `window` is not odd.
    Source: Wu et al. 2021, section 3.1, arXiv:2106.13008; Zeng et al. 2023, arXiv:2205.13504.
    """

    def __init__(self, window=25, **kwargs):
        super().__init__(**kwargs)
        if window < 1 or window % 2 == 0:
            raise ValueError(f"`window` must be odd. Received: {window}")
        self.window = window

    def call(self, inputs):
        side = self.window // 2
        first, last = (ops.repeat(step, side, axis=1) for step in (inputs[:, :1], inputs[:, -1:]))
        x = ops.concatenate([first, inputs, last], axis=1)
        return ops.average_pool(x, self.window, strides=1, padding="valid", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "window": self.window}


@keras.saving.register_keras_serializable("keras_seq")
class QuantileOffsets(keras.layers.Layer):
    """Adds a separate offset to each quantile of each step. `models.calibrate` sets the offsets, and training does not.

    Call arguments:
        inputs: float `(B, H, C, Q)`.
    Returns:
        float `(B, H, C, Q)`, float32 at least. The initial offsets are zero.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape):
        _, H, _, Q = input_shape
        self.offsets = self.add_weight(shape=(H, 1, Q), initializer="zeros", trainable=False, name="offsets")

    def call(self, inputs):
        return ops.cast(inputs, self.variable_dtype) + self.offsets

    def compute_output_shape(self, input_shape):
        return input_shape
