"""Convolutions over the real steps of a sequence."""

import keras
from keras import ops

from keras_seq.labels import of_some_rows


@keras.saving.register_keras_serializable("keras_seq")
class MaskedConv1D(keras.layers.Conv1D):
    """`keras.layers.Conv1D` that sets padding to zero and passes the mask on. Each step keeps its position.

    Args:
        filters: width of the output, D.
        kernel_size: number of steps that each convolution covers.
        padding: "same": steps on both sides, with one more after the step if `kernel_size` is even. "causal": the step
            itself and earlier ones.
        kwargs: arguments of `keras.layers.Conv1D`, except `strides` and `data_format`.
    Call arguments:
        inputs: float `(B, T, Dx)`.
        mask: bool `(B, T)`. True marks a real step. Defaults to the Keras mask of the inputs.
    Returns:
        float `(B, T, D)`, with the mask of the inputs.
    Raises:
        ValueError: if `padding` is not one of these, a stride is not 1, or channels do not come last.
    """

    def __init__(self, filters, kernel_size, padding="same", **kwargs):
        super().__init__(filters, kernel_size, padding=padding, **{"data_format": "channels_last", **kwargs})
        if self.padding not in ("same", "causal"):
            raise ValueError(f"`padding` must be 'same' or 'causal'. Received: {padding!r}")
        if self.strides != (1,) or self.data_format != "channels_last":
            raise ValueError(
                "Each step must keep its position: `strides` must be 1 and `data_format` 'channels_last'. "
                f"Received: {kwargs.get('strides', 1)} and {self.data_format!r}"
            )
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is not None:
            inputs = ops.where(mask[:, :, None], inputs, ops.zeros_like(inputs))
        return of_some_rows(super().call, inputs)
