"""Maps sound to sequences of vectors for the other layers.

    x = LogMel(sampling_rate=8000)(waveform, mask=real_samples)     # (B, samples) -> (B, frames, mels)
    x = SpecAugment()(x)                                             # only in training
    x = ConvSubsampling(units=256)(x)                               # (B, frames / 4, units)

Each layer returns the mask at the rate of its output.
"""

from collections.abc import Callable

import keras
from keras import ops

from keras_seq.labels import of_some_rows


@keras.saving.register_keras_serializable("keras_seq")
class LogMel(keras.layers.Layer):
    """Log-mel features: the natural logarithm of each frame's energy in the bands of the mel scale.

    Like `keras.layers.MelSpectrogram`, with time before frequency, and with frames that do not depend on the rest of
    the batch. The Keras layer derives its smallest value from the largest of the batch, and mirrors the end of a
    waveform, so its results change with padding. Frame f is centered at sample `f * stride`, and is real if that sample
    is. Padding counts as silence. Computed in float32 under any policy.

    Args:
        sampling_rate: samples per second.
        window_ms, stride_ms: width of a frame and distance between frames, in milliseconds.
        num_mel_bins: number of bands.
        min_freq, max_freq: lowest and highest frequency, in Hertz. The default of the latter is half the rate.
        floor: smallest energy, which gives silence a finite logarithm.
    Call arguments:
        waveform: float `(B, samples)`, usually from -1 to 1.
        mask: bool `(B, samples)`. True marks a real sample.
    Returns:
        float `(B, ceil(samples / stride), num_mel_bins)`, with the mask of the frames.
    Raises:
        ValueError: if the window or the stride is less than one sample.
    Source: Davis and Mermelstein 1980. The mel scale is that of HTK.
    """

    def __init__(
        self,
        sampling_rate=8000,
        window_ms: float = 25,
        stride_ms: float = 10,
        num_mel_bins=80,
        min_freq=20.0,
        max_freq=None,
        floor=1e-6,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float16 has too few digits for a waveform
        self.sampling_rate = sampling_rate
        self.window_ms = window_ms
        self.stride_ms = stride_ms
        self.num_mel_bins = num_mel_bins
        self.min_freq = min_freq
        self.max_freq = max_freq
        self.floor = floor
        self.supports_masking = True
        window, self.stride = (round(sampling_rate * ms / 1000) for ms in (window_ms, stride_ms))
        if window < 1 or self.stride < 1:
            raise ValueError(
                f"`window_ms` and `stride_ms` must be at least one sample at `sampling_rate`={sampling_rate}. "
                f"Received: {window_ms} and {stride_ms}"
            )
        self.fft_length = 2 ** max(1, (window - 1).bit_length())
        self.mel = keras.layers.MelSpectrogram(
            fft_length=self.fft_length,
            sequence_stride=self.stride,
            sequence_length=window,
            sampling_rate=sampling_rate,
            num_mel_bins=num_mel_bins,
            min_freq=min_freq,
            max_freq=max_freq,
            power_to_db=False,
            dtype="float32",
        )

    def build(self, input_shape):
        self.mel.build(input_shape)

    def call(self, waveform, mask=None):
        x = ops.cast(waveform, "float32")
        if mask is not None:
            x = ops.where(mask, x, 0.0)
        # Keras mirrors the end of its input. Added silence makes that the same with or without padding.
        x = ops.pad(x, ((0, 0), (0, self.fft_length)))
        energies = ops.transpose(of_some_rows(self.mel, x), (0, 2, 1))  # (B, frames, mels)
        frames = (ops.shape(waveform)[1] + self.stride - 1) // self.stride
        return ops.cast(ops.log(ops.maximum(energies[:, :frames], self.floor)), self.compute_dtype)

    def compute_mask(self, waveform, mask=None):
        return None if mask is None else mask[:, :: self.stride]

    def compute_output_shape(self, input_shape):  # JAX cannot infer it if the number of samples is unknown
        B, samples = input_shape
        return B, None if samples is None else -(-samples // self.stride), self.num_mel_bins

    def get_config(self):
        return {
            **super().get_config(),
            "sampling_rate": self.sampling_rate,
            "window_ms": self.window_ms,
            "stride_ms": self.stride_ms,
            "num_mel_bins": self.num_mel_bins,
            "min_freq": self.min_freq,
            "max_freq": self.max_freq,
            "floor": self.floor,
        }


@keras.saving.register_keras_serializable("keras_seq")
class ConvSubsampling(keras.layers.Layer):
    """Convolutions of stride 2 over time and frequency, which reduce the number of frames before the costly layers.

    Each layer pads with zeros, equally on both sides, and sets padded frames to zero. With Keras's `padding="same"` the
    result shifts by one frame, depending on whether the number of frames, including padding, is even or odd.

    Args:
        units: width of the output.
        num_layers: number of convolutions. Each halves the number of frames.
        filters: number of channels of the convolutions, by default `units`.
        kernel_size: number of frames and bands that a convolution covers, odd.
        activation: activation after each convolution.
    Call arguments:
        inputs: float `(B, frames, mels)`.
        mask: bool `(B, frames)`. True marks a real frame. Defaults to the Keras mask of the inputs.
    Returns:
        float `(B, T, units)`. T is `frames` halved once for each layer, each time rounded up. Has the mask of these
        steps: a step is real if its middle frame is.
    Raises:
        ValueError: if `kernel_size` is not odd.
    Source: Dong et al. 2018, doi:10.1109/ICASSP.2018.8462506; Gulati et al. 2020, arXiv:2005.08100.
    """

    def __init__(
        self, units, num_layers=2, filters=None, kernel_size=3, activation: str | Callable | None = "relu", **kwargs
    ):
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd. Received: {kernel_size}")
        self.units = units
        self.num_layers = num_layers
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.supports_masking = True
        self.convolutions = [
            keras.layers.Conv2D(
                filters or units,
                kernel_size,
                strides=2,
                activation=self.activation,
                data_format="channels_last",
                name=f"convolution_{i}",
                dtype=self.dtype_policy,
            )
            for i in range(num_layers)
        ]
        self.dense = keras.layers.Dense(units, name="dense", dtype=self.dtype_policy)

    def build(self, input_shape):
        bands, channels = input_shape[-1], 1
        for convolution in self.convolutions:
            convolution.build((None, None, bands + 2 * (self.kernel_size // 2), channels))
            bands, channels = (bands + 1) // 2, convolution.filters
        self.dense.build((None, None, bands * channels))

    def call(self, inputs, mask=None):
        side = self.kernel_size // 2
        x = inputs[..., None]  # (B, frames, mels) -> one channel
        for convolution in self.convolutions:
            if mask is not None:
                x = ops.where(mask[:, :, None, None], x, ops.zeros_like(x))
                mask = mask[:, ::2]
            x = of_some_rows(convolution, ops.pad(x, ((0, 0), (side, side), (side, side), (0, 0))))
        B, T = ops.shape(x)[:2]
        return self.dense(ops.reshape(x, (B, T, x.shape[2] * x.shape[3])))  # bands and channels -> features

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[:, :: 2**self.num_layers]

    def compute_output_shape(self, input_shape):  # JAX cannot infer it if the number of frames is unknown
        B, frames, _ = input_shape
        return B, None if frames is None else -(-frames // 2**self.num_layers), self.units

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_layers": self.num_layers,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable("keras_seq")
class SpecAugment(keras.layers.Layer):
    """Masks random ranges of time and frequency, in training only. There is no time warping.

    Masked values become the mean of the row's real frames. That is zero, as in the paper, if features are normalized.
    The paper limits each time mask to a share of the frames. Here the limit applies to a row's time masks together.

    Args:
        num_time_masks, time_mask: number of time masks, and the largest number of frames in each.
        num_frequency_masks, frequency_mask: number of frequency masks, and the largest number of bands in each.
        max_share: largest share of a row's real frames that its time masks cover.
        seed: seed of the random numbers, or None.
    Call arguments:
        inputs: float `(B, frames, mels)`.
        training: whether to mask anything.
        mask: bool `(B, frames)`. True marks a real frame. Defaults to the Keras mask of the inputs.
    Returns:
        float `(B, frames, mels)`. Padding is unchanged.
    Raises:
        ValueError: if `max_share` is not in [0, 1], or `frequency_mask` exceeds the number of bands.
    Source: Park et al. 2019, arXiv:1904.08779. The defaults are those of LibriSpeech double, except `max_share`.
    """

    def __init__(
        self,
        num_time_masks=2,
        time_mask=100,
        num_frequency_masks=2,
        frequency_mask=27,
        max_share=0.2,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0.0 <= max_share <= 1.0:
            raise ValueError(f"`max_share` must be in [0, 1]. Received: {max_share}")
        self.num_time_masks = num_time_masks
        self.time_mask = time_mask
        self.num_frequency_masks = num_frequency_masks
        self.frequency_mask = frequency_mask
        self.max_share = max_share
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape):
        if self.num_frequency_masks and self.frequency_mask > input_shape[-1]:
            raise ValueError(
                f"`frequency_mask` must not exceed the number of bands, {input_shape[-1]}. "
                f"Received: {self.frequency_mask}"
            )

    def _whole(self, shape, most):
        """Random integers from 0 to `most`, int32."""
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        numbers = ops.cast(uniform * (ops.cast(most, "float32") + 1), "int32")
        return ops.minimum(numbers, most)  # a product just below the next integer may be rounded up to it

    def _stretches(self, places, sizes, number, widest):
        """Marks `number` random ranges in each row, up to `widest` `(B, 1)` wide, of `sizes` `(B, 1)` places.

        places: int `(B or 1, n)`, the place of each frame or band.
        """
        shape = (ops.shape(sizes)[0], number)
        widths = self._whole(shape, widest)
        starts = self._whole(shape, sizes - widths)
        distances = places[:, :, None] - starts[:, None, :]  # (B, n, number)
        return ops.any(ops.logical_and(distances >= 0, distances < widths[:, None, :]), axis=-1)

    def call(self, inputs, training=False, mask=None):
        if not training:
            return inputs
        bands = inputs.shape[-1]
        if mask is None:
            mask = ops.ones(ops.shape(inputs)[:2], "bool")
        counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)  # (B, frames)
        lengths = counts[:, -1:]
        hidden = ops.zeros_like(mask[:, :1, None])
        if self.num_time_masks:
            share = ops.cast(ops.cast(lengths, "float32") * self.max_share, "int32") // self.num_time_masks
            widest = ops.minimum(share, self.time_mask)
            hidden_frames = self._stretches(counts - 1, lengths, self.num_time_masks, widest)
            hidden = ops.logical_or(hidden, hidden_frames[:, :, None])
        if self.num_frequency_masks:
            every = ops.full_like(lengths, bands)
            widest = ops.full_like(lengths, self.frequency_mask)
            hidden_bands = self._stretches(
                ops.arange(bands, dtype="int32")[None, :], every, self.num_frequency_masks, widest
            )
            hidden = ops.logical_or(hidden, hidden_bands[:, None, :])
        hidden = ops.logical_and(hidden, mask[:, :, None])
        # In float32, because the sum of all features overflows float16.
        x = ops.where(mask[:, :, None], ops.cast(inputs, "float32"), 0.0)
        real = ops.cast(ops.maximum(lengths, 1) * bands, "float32")
        mean = ops.sum(x, axis=(1, 2))[:, None] / real  # (B, 1)
        return ops.where(hidden, ops.cast(mean[:, :, None], inputs.dtype), inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_time_masks": self.num_time_masks,
            "time_mask": self.time_mask,
            "num_frequency_masks": self.num_frequency_masks,
            "frequency_mask": self.frequency_mask,
            "max_share": self.max_share,
            "seed": self.seed,
        }
