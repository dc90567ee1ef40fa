"""From sound to the sequences of vectors that the other layers work on.

    x = LogMel(sampling_rate=8000)(waveform, mask=real_samples)     # (B, samples) -> (B, frames, mels)
    x = SpecAugment()(x)                                             # only in training
    x = ConvSubsampling(units=256)(x)                               # (B, frames / 4, units)

Each hands the mask on in its own rate.
"""

import keras
from keras import ops

from keras_seq.losses import of_some_rows


@keras.saving.register_keras_serializable("keras_seq")
class LogMel(keras.layers.Layer):
    """Log-mel features: the energy of each frame in bands as wide as the ear's, in natural logarithms.

    `keras.layers.MelSpectrogram` with time before frequency and with frames that do not depend on what else is in the
    batch: there, the quietest value follows from the loudest of the batch, and the end of a waveform is mirrored, which
    looks different once there is padding. Frame f is centerd at sample `f * stride`; it is real where that sample is.
    What lies under the padding is taken for silence. Computed in float32 whatever the policy.

    Args:
        sampling_rate: samples per second.
        window_ms, stride_ms: width of a frame, and from one frame to the next, in milliseconds.
        num_mel_bins: number of bands.
        min_freq, max_freq: the lowest and the highest frequency, in Hertz; the latter by default half the rate.
        floor: the least energy, so that silence has a logarithm.
    Call arguments:
        waveform: float `(B, samples)`, usually from -1 to 1.
        mask: bool `(B, samples)`; True marks a real sample.
    Returns:
        float `(B, ceil(samples / stride), num_mel_bins)`, with the mask of the frames attached.
    Raises:
        ValueError: if the window or the stride is less than one sample.
    Source: Davis and Mermelstein 1980; the mel scale is that of HTK.
    """

    def __init__(
        self,
        sampling_rate=8000,
        window_ms=25,
        stride_ms=10,
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
        # Keras mirrors the end of what it gets; so that it mirrors silence, with or without padding, some is added.
        x = ops.pad(x, ((0, 0), (0, self.fft_length)))
        energies = ops.transpose(of_some_rows(self.mel, x), (0, 2, 1))  # (B, frames, mels)
        frames = (ops.shape(waveform)[1] + self.stride - 1) // self.stride
        return ops.cast(ops.log(ops.maximum(energies[:, :frames], self.floor)), self.compute_dtype)

    def compute_mask(self, waveform, mask=None):
        return None if mask is None else mask[:, :: self.stride]

    def compute_output_shape(self, input_shape):  # JAX cannot infer it where the number of samples is unknown
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
    """Convolutions of stride 2 over time and frequency, which make frames fewer before the costly layers.

    Each layer pads with zeros on both sides alike and takes padded frames for zeros: Keras's `padding="same"` shifts by
    a frame as the number of frames, padding included, is even or odd.

    Args:
        units: width of the output.
        num_layers: number of convolutions; each halves the frames.
        filters: channels of the convolutions, by default `units`.
        kernel_size: frames and bands that a convolution looks at, odd.
        activation: after each convolution.
    Call arguments:
        inputs: float `(B, frames, mels)`.
        mask: bool `(B, frames)`; True marks a real frame. Comes by itself with inputs that carry a Keras mask.
    Returns:
        float `(B, T, units)`, T being `frames / 2`, rounded up, once for each layer; with the mask of these steps
        attached: a step is real where the frame in its middle is.
    Raises:
        ValueError: if `kernel_size` is not odd.
    Source: Dong et al. 2018, doi:10.1109/ICASSP.2018.8462506; Gulati et al. 2020, arXiv:2005.08100.
    """

    def __init__(self, units, num_layers=2, filters=None, kernel_size=3, activation="relu", **kwargs):
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

    def compute_output_shape(self, input_shape):  # JAX cannot infer it where the number of frames is unknown
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
    """Hides some stretches of time and some bands of frequency, in training only. There is no time warping.

    What is hidden takes the mean of the row's real frames, the paper's zero where features are normalized. The paper
    bounds each time mask by a share of the frames; here the bound is for all of a row's time masks together.

    Args:
        num_time_masks, time_mask: how many stretches of time, and the most frames that each of them hides.
        num_frequency_masks, frequency_mask: how many stretches of bands, and the most bands that each of them hides.
        max_share: the largest share of the real frames that the time masks of a row hide.
        seed: for the random numbers, or None.
    Call arguments:
        inputs: float `(B, frames, mels)`.
        training: whether to hide anything.
        mask: bool `(B, frames)`; True marks a real frame. Comes by itself with inputs that carry a Keras mask.
    Returns:
        float `(B, frames, mels)`; padding stays as it is.
    Raises:
        ValueError: if `max_share` is not in [0, 1], or `frequency_mask` exceeds the number of bands.
    Source: Park et al. 2019, arXiv:1904.08779; the defaults are those of LibriSpeech double, but for `max_share`.
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
        """Random whole numbers from 0 to `most`, int32."""
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        numbers = ops.cast(uniform * (ops.cast(most, "float32") + 1), "int32")
        return ops.minimum(numbers, most)  # a product just below the next number may be rounded to it

    def _stretches(self, places, sizes, number, widest):
        """Marks in each row `number` random stretches, up to `widest` `(B, 1)` wide, of `sizes` `(B, 1)` places.

        places: int `(B or 1, n)`, which of these places each frame or band is.
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
        # In float32, because float16 does not hold the sum of all features.
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
