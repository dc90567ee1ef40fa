"""Convolutions over the real steps of a sequence."""

import keras
from keras import ops

from keras_seq.losses import of_some_rows


@keras.saving.register_keras_serializable("keras_seq")
class MaskedConv1D(keras.layers.Conv1D):
    """`keras.layers.Conv1D` that takes padding for zeros and hands the mask on: each step keeps its place.

    Args:
        filters: width of the output, D.
        kernel_size: steps that each convolution looks at.
        padding: "same": steps on both sides, one more of those after where `kernel_size` is even; "causal": the step
            itself and those before.
        kwargs: of `keras.layers.Conv1D`, but for `strides` and `data_format`.
    Call arguments:
        inputs: float `(B, T, Dx)`.
        mask: bool `(B, T)`; True marks a real step. Comes by itself with inputs that carry a Keras mask.
    Returns:
        float `(B, T, D)`, with the mask of the inputs.
    Raises:
        ValueError: for another `padding`, another stride than 1, and channels that do not come last.
    """

    def __init__(self, filters, kernel_size, padding="same", **kwargs):
        super().__init__(filters, kernel_size, padding=padding, **{"data_format": "channels_last", **kwargs})
        if self.padding not in ("same", "causal"):
            raise ValueError(f"`padding` must be 'same' or 'causal'. Received: {padding!r}")
        if self.strides != (1,) or self.data_format != "channels_last":
            raise ValueError(
                "Steps must keep their places: `strides` must be 1 and `data_format` 'channels_last'. "
                f"Received: {kwargs.get('strides', 1)} and {self.data_format!r}"
            )
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is not None:
            inputs = ops.where(mask[:, :, None], inputs, ops.zeros_like(inputs))
        return of_some_rows(super().call, inputs)
