"""Pictures that stay pictures: beside those before them, convolved, as patches; and pictures drawn from vectors."""

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer


@keras.saving.register_keras_serializable("keras_seq")
class FrameDecoder(CompositeLayer):
    """Draws a picture from each vector of a sequence: the way of `FrameCNN` back.

    A dense layer gives the smallest picture; each transposed convolution doubles its height and width.

    Args:
        frame_shape: `(height, width, channels)` of the pictures. What is drawn is cut to it.
        filters: channels before each transposed convolution.
        kernel_size: of the convolutions.
        activation: after each of them but the last, which has none.
    Call arguments:
        inputs: float `(B, T, D)`.
        mask: bool `(B, T)`, handed on.
    Returns:
        float `(B, T, height, width, channels)`.
    """

    def __init__(self, frame_shape, filters=(32, 16), kernel_size=4, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.frame_shape = tuple(frame_shape)
        self.filters = tuple(filters)
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.supports_masking = True
        height, width, channels = self.frame_shape
        times = 2 ** len(self.filters)
        self.smallest = (-(-height // times), -(-width // times), self.filters[0])
        self.dense = keras.layers.Dense(
            self.smallest[0] * self.smallest[1] * self.filters[0],
            activation=self.activation,
            name="dense",
            dtype=self.dtype_policy,
        )
        above = (*self.filters[1:], channels)
        self.convolutions = [
            keras.layers.Conv2DTranspose(
                out,
                kernel_size,
                strides=2,
                padding="same",
                activation=None if i + 1 == len(above) else self.activation,
                data_format="channels_last",
                name=f"convolution_{i}",
                dtype=self.dtype_policy,
            )
            for i, out in enumerate(above)
        ]

    def call(self, inputs, mask=None):
        B, T = ops.shape(inputs)[:2]
        x = ops.reshape(self.dense(inputs), (-1, *self.smallest))  # (B, T, D) -> (B * T, h, w, filters)
        for convolution in self.convolutions:
            x = convolution(x)
        height, width, channels = self.frame_shape
        return ops.reshape(x[:, :height, :width], (B, T, height, width, channels))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], *self.frame_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "frame_shape": self.frame_shape,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable("keras_seq")
class FramePairs(keras.layers.Layer):
    """Puts each picture's channels beside those of the picture before it; the first has itself.

    So a convolution sees what moves, and alike wherever it does. From vectors of single pictures a network has to learn
    that of each place anew.

    Call arguments:
        inputs: `(B, T, height, width, channels)`.
        mask: bool `(B, T)`, handed on.
    Returns:
        `(B, T, height, width, 2 * channels)`.
    Source: Karpathy et al. 2014, "early fusion", doi:10.1109/CVPR.2014.223.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        before = ops.concatenate([inputs[:, :1], inputs[:, :-1]], axis=1)
        return ops.concatenate([inputs, before], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@keras.saving.register_keras_serializable("keras_seq")
class FrameConvolution(CompositeLayer):
    """`keras.layers.Conv2D` of each picture of a clip by itself; height and width stay.

    Args:
        filters: channels of the output.
        kernel_size: points that a side of the kernel has.
        activation: after the convolution.
    Call arguments:
        inputs: float `(B, T, height, width, channels)`.
        mask: bool `(B, T)`, handed on.
    Returns:
        float `(B, T, height, width, filters)`.
    """

    def __init__(self, filters, kernel_size=3, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.supports_masking = True
        self.convolution = keras.layers.Conv2D(
            filters,
            kernel_size,
            padding="same",
            activation=self.activation,
            data_format="channels_last",
            name="convolution",
            dtype=self.dtype_policy,
        )

    def call(self, inputs, mask=None):
        B, T = ops.shape(inputs)[:2]
        x = self.convolution(ops.reshape(inputs, (-1, *inputs.shape[2:])))  # (B, T, ...) -> (B * T, ...)
        return ops.reshape(x, (B, T, *inputs.shape[2:4], self.filters))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable("keras_seq")
class PicturePatches(keras.layers.Layer):
    """Makes squares of a picture its points, which have the channels of all that is in them; and the other way round.

    Args:
        size: points of a square's side, P.
        reverse: whether to make pictures of patches.
    Call arguments:
        inputs: `(B, T, height, width, channels)`.
        mask: bool `(B, T)`, handed on.
    Returns:
        `(B, T, height / P, width / P, P * P * channels)`; in reverse the picture of such patches.
    Raises:
        ValueError: if `size` divides not height and width, or to reverse not the channels by its square.
    Source: Shi et al. 2015, section 4.1, arXiv:1506.04214.
    """

    def __init__(self, size, reverse=False, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.reverse = reverse
        self.supports_masking = True

    def call(self, inputs, mask=None):
        P = self.size
        shape = self.compute_output_shape((*ops.shape(inputs)[:2], *inputs.shape[2:]))
        if self.reverse:
            height, width, channels = inputs.shape[2:]
            x = ops.reshape(inputs, (-1, height, width, P, P * channels // P**2))
        else:
            height, width, channels = shape[2:]
            x = ops.reshape(inputs, (-1, height, P, width, channels // P))  # rows of patches, and the rows in them
        return ops.reshape(ops.swapaxes(x, 2, 3), shape)

    def compute_output_shape(self, input_shape):
        B, T, height, width, channels = input_shape
        P = self.size
        if None in (height, width) or (channels % P**2 if self.reverse else (height % P or width % P)):
            raise ValueError(
                f"Squares of {P} points a side must fill the picture"
                f"{', and its channels be those of such squares' if self.reverse else ''}. "
                f"Received: {height} x {width} points, {channels} channels"
            )
        if self.reverse:
            return B, T, height * P, width * P, channels // P**2
        return B, T, height // P, width // P, channels * P**2

    def get_config(self):
        return {**super().get_config(), "size": self.size, "reverse": self.reverse}
