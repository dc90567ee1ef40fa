"""Layers for video frames: they map frames to vectors, to frames, to pairs with the previous frame or to patches, and
vectors to frames."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_seq.labels import of_some_rows
from keras_seq.layers.composite import CompositeLayer


@keras.saving.register_keras_serializable("keras_seq")
class FrameDecoder(CompositeLayer):
    """Generates a frame from each vector of a sequence: the inverse of `FrameCNN`.

    A dense layer produces the smallest picture. Each transposed convolution doubles its height and width.

    Args:
        frame_shape: `(height, width, channels)` of the frames. The output is cropped to it.
        filters: number of channels before each transposed convolution.
        kernel_size: kernel size of the convolutions.
        activation: activation after each convolution except the last, which has none.
    Call arguments:
        inputs: float `(B, T, D)`.
        mask: bool `(B, T)`, passed on.
    Returns:
        float `(B, T, height, width, channels)`.
    """

    def __init__(
        self,
        frame_shape,
        filters: Sequence[int] = (32, 16),
        kernel_size=4,
        activation: str | Callable | None = "relu",
        **kwargs,
    ):
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

    def build(self, input_shape):
        self.dense.build(input_shape)
        height, width, channels = self.smallest
        for convolution in self.convolutions:
            convolution.build((None, height, width, channels))
            height, width, channels = 2 * height, 2 * width, convolution.filters

    def call(self, inputs, mask=None):
        B, T = ops.shape(inputs)[:2]
        x = ops.reshape(self.dense(inputs), (-1, *self.smallest))  # (B, T, D) -> (B * T, h, w, filters)
        for convolution in self.convolutions:
            x = of_some_rows(convolution, x)
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
    """Concatenates each frame's channels with those of the frame before. The first frame is paired with itself.

    So a convolution sees movement, in the same way at every place. From vectors of single frames a network must learn
    movement separately for each place.

    Call arguments:
        inputs: `(B, T, height, width, channels)`.
        mask: bool `(B, T)`, passed on.
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
    """Applies `keras.layers.Conv2D` to each frame of a clip. Height and width do not change.

    Args:
        filters: number of output channels.
        kernel_size: side of the kernel, in pixels.
        activation: activation after the convolution.
    Call arguments:
        inputs: float `(B, T, height, width, channels)`.
        mask: bool `(B, T)`, passed on.
    Returns:
        float `(B, T, height, width, filters)`.
    """

    def __init__(self, filters, kernel_size=3, activation: str | Callable | None = "relu", **kwargs):
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

    def build(self, input_shape):
        self.convolution.build((None, *input_shape[2:]))

    def call(self, inputs, mask=None):
        B, T = ops.shape(inputs)[:2]
        x = ops.reshape(inputs, (-1, *inputs.shape[2:]))  # (B, T, ...) -> (B * T, ...)
        x = of_some_rows(self.convolution, x)
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
class FramePatches(keras.layers.Layer):
    """Turns each square of a frame into one pixel with the channels of all pixels in the square, or the inverse.

    Args:
        size: side of a square, in pixels, P.
        reverse: whether to make frames from patches.
    Call arguments:
        inputs: `(B, T, height, width, channels)`.
        mask: bool `(B, T)`, passed on.
    Returns:
        `(B, T, height / P, width / P, P * P * channels)`. In reverse, the frames of such patches.
    Raises:
        ValueError: if `size` does not divide height and width or, in reverse, its square not the number of channels.
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
            x = ops.reshape(inputs, (-1, height, P, width, channels // P))  # rows of patches, and the rows within them
        return ops.reshape(ops.swapaxes(x, 2, 3), shape)

    def compute_output_shape(self, input_shape):
        B, T, height, width, channels = input_shape
        P = self.size
        if None in (height, width) or (channels % P**2 if self.reverse else (height % P or width % P)):
            raise ValueError(
                f"Squares of {P} pixels a side must fill the frame"
                f"{', and the number of channels must fit such squares' if self.reverse else ''}. "
                f"Received: {height} x {width} pixels, {channels} channels"
            )
        if self.reverse:
            return B, T, height * P, width * P, channels // P**2
        return B, T, height // P, width // P, channels * P**2

    def get_config(self):
        return {**super().get_config(), "size": self.size, "reverse": self.reverse}


@keras.saving.register_keras_serializable("keras_seq")
class FrameCNN(keras.layers.Layer):
    """A small convolutional network applied to each frame of a video.

    Convolutions of stride 2, then a dense layer. All frames are processed in one batch. `keras.layers.ConvLSTM2D` is
    the alternative: recurrence from frame to frame, whose outputs are frames.

    Args:
        filters: number of channels of each convolution.
        units: width of the output.
        pooling: input of the dense layer. "flatten": every place separately, so nothing learned at one place applies to
            others. Requires frames of a fixed size. "mean" or "max": the mean or largest value of each channel over all
            places. "where": the largest value, and the mean vertical and horizontal position of the values, from -1 to
            1, weighted by their softmax.
        kernel_size: kernel size of the convolutions.
        activation: activation after each convolution.
    Call arguments:
        inputs: `(B, T, height, width, channels)`. Integers are not scaled, so divide by 255 first.
        mask: bool `(B, T)`, passed on, since frames do not affect each other.
    Returns:
        float `(B, T, units)`.
    Raises:
        ValueError: if `pooling` is not one of these, or if it is "flatten" and height or width is not fixed.
    Source: "where": Finn et al. 2016, "spatial soft arg-max", arXiv:1509.06113.
    """

    POOLINGS = {"flatten": 1, "mean": 1, "max": 1, "where": 3}  # numbers per channel

    def __init__(
        self,
        filters: Sequence[int] = (16, 32),
        units=64,
        pooling="flatten",
        kernel_size=3,
        activation: str | Callable | None = "relu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if pooling not in self.POOLINGS:
            raise ValueError(f"`pooling` must be one of {tuple(self.POOLINGS)}. Received: {pooling!r}")
        self.filters = tuple(filters)
        self.units = units
        self.pooling = pooling
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.supports_masking = True
        self.convolutions = [
            keras.layers.Conv2D(
                channels,
                kernel_size,
                strides=2,
                padding="same",
                activation=self.activation,
                data_format="channels_last",
                name=f"convolution_{i}",
                dtype=self.dtype_policy,
            )
            for i, channels in enumerate(self.filters)
        ]
        self.dense = keras.layers.Dense(units, name="dense", dtype=self.dtype_policy)

    def build(self, input_shape):
        *_, height, width, channels = input_shape
        if self.pooling == "flatten" and None in (height, width):
            raise ValueError(f'`pooling="flatten"` needs frames of a fixed size. Received: shape {tuple(input_shape)}')
        for convolution in self.convolutions:
            convolution.build((None, None, None, channels))
            channels = convolution.filters
        halvings = 2 ** len(self.filters)
        places = -(-height // halvings) * -(-width // halvings) if self.pooling == "flatten" else 1
        self.dense.build((None, places * channels * self.POOLINGS[self.pooling]))

    def call(self, inputs, mask=None):
        B, T, height, width, channels = ops.shape(inputs)
        x = ops.reshape(inputs, (-1, height, width, channels))  # (B, T, ...) -> (B * T, ...)
        x = ops.cast(x, self.compute_dtype)
        for convolution in self.convolutions:
            x = of_some_rows(convolution, x)
        if self.pooling == "flatten":
            x = ops.reshape(x, (-1, self.dense.kernel.shape[0]))
        elif self.pooling == "mean":
            x = ops.mean(x, axis=(1, 2))
        else:
            largest = ops.max(x, axis=(1, 2), initial=-float("inf"))
            x = ops.concatenate([largest, *_mean_places(x)], axis=-1) if self.pooling == "where" else largest
        return ops.reshape(self.dense(x), (B, T, self.units))  # (B * T, units) -> (B, T, units)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "units": self.units,
            "pooling": self.pooling,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
        }


def _mean_places(x):
    """Mean vertical and horizontal position of the values `(N, h, w, C)`, by softmax: two `(N, C)`, from -1 to 1."""
    _, height, width, channels = ops.shape(x)
    weights = ops.softmax(ops.reshape(x, (-1, height * width, channels)), axis=1)
    weights = ops.reshape(weights, (-1, height, width, channels))
    places, exact = [], keras.backend.result_type(x.dtype, "float32")
    for axis, size in ((1, height), (2, width)):
        steps = 2 * ops.arange(size, dtype=exact) - ops.cast(size - 1, exact)  # from 1 - size to size - 1
        steps = ops.cast(steps / ops.cast(ops.maximum(size - 1, 1), exact), x.dtype)
        places.append(ops.sum(ops.sum(weights, axis=3 - axis) * steps[None, :, None], axis=1))
    return places


@keras.saving.register_keras_serializable("keras_seq")
class ConvLSTM2D(keras.layers.ConvLSTM2D):
    """`keras.layers.ConvLSTM2D` whose outputs have the mask of its inputs. Those of Keras 3.16 have none."""

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape)
        self.supports_masking = True
