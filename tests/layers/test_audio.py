import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.audio import ConvSubsampling, LogMel, SpecAugment
from keras_seq.layers.pooling import MeanPooling
from keras_seq.optimizers import Adam
from tests.checks import check_layer
from tests.reference import array, backend_cases, fill, long_on_jax, spread, tensorflow_only

RATE = 8000
WAVEFORMS = 0.3 * spread((2, 1600))  # 0.2 seconds
REAL = np.arange(1600) < np.array([[1600], [900]])
FRAMES = spread((3, 9, 6))  # (B, frames, mels)
FRAME_MASK = np.arange(9) < np.array([[9], [4], [0]])


def called(layer, x, mask=None):
    """Outputs and their mask, `(array, array or None)`."""
    outputs = layer(x, mask=mask)
    mask = getattr(outputs, "_keras_mask", None)
    return array(outputs), None if mask is None else array(mask)


def in_hertz(layer):
    """The center of each band, from the formula mel = 2595 log10(1 + f / 700)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (layer.min_freq, layer.sampling_rate / 2))
    mels = np.linspace(low, high, layer.num_mel_bins + 2)[1:-1]
    return 700 * (10 ** (mels / 2595) - 1)


@pytest.mark.parametrize("frequency", [300.0, 1000.0, 3100.0])
def test_a_tone_lights_its_band(frequency):
    layer = LogMel(RATE, num_mel_bins=40)
    tone = np.sin(2 * np.pi * frequency * np.arange(4000) / RATE)[None].astype("float32")
    features = array(layer(tone))
    assert features.shape == (1, 50, 40)
    nearest = np.abs(in_hertz(layer) - frequency).argmin()
    assert (np.abs(features[0, 2:-2].argmax(-1) - nearest) <= 1).all()


@long_on_jax
def test_the_energies_by_hand():
    """A frame in the middle: the Hann window, the Fourier transform and triangles on the mel scale."""
    layer = LogMel(RATE, num_mel_bins=20)
    window, stride, size = 200, 80, 256
    assert (layer.stride, layer.fft_length) == (stride, size)
    start = 5 * stride - window // 2
    frame = WAVEFORMS[0, start : start + window] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window))
    power = np.abs(np.fft.rfft(frame, size)) ** 2

    edges = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (20, RATE / 2)), 22)
    places = 2595 * np.log10(1 + np.arange(size // 2 + 1) * RATE / size / 700)
    triangles = [np.interp(places, edges[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(20)]
    expected = np.log(np.maximum(np.array(triangles) @ power, layer.floor))
    np.testing.assert_allclose(array(layer(WAVEFORMS))[0, 5], expected, atol=1e-3)


@pytest.mark.parametrize("samples", backend_cases([79, 80, 81, 159, 160, 400], on_jax=[79, 160]))
def test_frames_and_their_mask(samples):
    """Among the lengths, some where Keras's own static shape is one frame too long, and some shorter than a window."""
    features, mask = called(LogMel(RATE), WAVEFORMS[:, :samples], REAL[:, :samples])
    assert features.shape == (2, -(-samples // 80), 80)
    assert mask.shape == features.shape[:2]
    assert mask.all()
    symbolic = LogMel(RATE)(keras.Input((samples,)))
    assert symbolic.shape == (None, *features.shape[1:])


@long_on_jax
def test_neither_padding_nor_its_noise_nor_the_rest_of_the_batch_changes_a_frame():
    layer = LogMel(RATE)
    features, mask = called(layer, WAVEFORMS, REAL)
    assert mask.sum(1).tolist() == [20, 12]  # 900 samples: frames centerd at 0, 80, ... 880
    alone = array(layer(WAVEFORMS[1:, :900]))
    np.testing.assert_allclose(features[1, :12], alone[0], atol=1e-4)
    longer = np.pad(WAVEFORMS, ((0, 0), (0, 333)), constant_values=0.9)
    padded, mask = called(layer, longer, np.pad(REAL, ((0, 0), (0, 333))))
    assert mask.sum(1).tolist() == [20, 12]
    np.testing.assert_allclose(padded[:, :20], features, atol=1e-4)
    loud = array(layer(np.stack([1e4 * WAVEFORMS[0], WAVEFORMS[1]])))
    np.testing.assert_allclose(loud[1], array(layer(WAVEFORMS))[1], atol=1e-4)


@long_on_jax
def test_silence_has_a_logarithm():
    layer = LogMel(RATE, floor=1e-5)
    np.testing.assert_allclose(array(layer(np.zeros((1, 800), "float32"))), np.log(1e-5), rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_only_rounds_the_result(policy):
    layer = LogMel(RATE, dtype=policy)
    features = layer(WAVEFORMS)
    assert keras.backend.standardize_dtype(features.dtype) == layer.compute_dtype
    expected = ops.cast(LogMel(RATE)(WAVEFORMS), layer.compute_dtype)
    difference = array(ops.cast(features, "float32")) - array(ops.cast(expected, "float32"))
    np.testing.assert_allclose(difference, 0, atol=0.05)


def same(size, length):
    return np.arange(-(size // 2), size // 2 + 1) + 2 * np.arange(-(-length // 2))[:, None]


def test_subsampling_by_hand():
    """One layer: at step t it sees frames 2 t - 1 to 2 t + 1, and zeros beyond the end."""
    layer = ConvSubsampling(4, num_layers=1, filters=2)
    layer.build(FRAMES.shape)
    kernel, bias, dense, offset = fill(layer).get_weights()
    padded = np.pad(FRAMES.astype("float64"), ((0, 0), (1, 1), (1, 1)))
    windows = padded[:, 1 + same(3, 9)][..., 1 + same(3, 6)]  # (B, T, 3, bands, 3)
    hidden = np.maximum(np.einsum("bthmw,hwc->btmc", windows, kernel[:, :, 0]) + bias, 0)
    expected = hidden.reshape(3, 5, -1) @ dense + offset
    np.testing.assert_allclose(array(layer(FRAMES)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("num_layers", "kernel_size"), backend_cases([(1, 5), (2, 3), (2, 5), (3, 3)], on_jax=[(2, 3)])
)
@long_on_jax
def test_subsampling_gives_the_same_steps_with_and_without_padding(num_layers, kernel_size):
    layer = ConvSubsampling(4, num_layers, filters=3, kernel_size=kernel_size)
    layer.build(FRAMES.shape)
    fill(layer)
    dirty = np.where(FRAME_MASK[:, :, None], FRAMES, 99.0).astype("float32")
    for more in (0, 1, 2):  # even and odd lengths
        x = np.pad(dirty, ((0, 0), (0, more), (0, 0)), constant_values=-99.0)
        outputs, mask = called(layer, x, np.pad(FRAME_MASK, ((0, 0), (0, more))))
        assert outputs.shape == (3, -(-(9 + more) // 2**num_layers), 4)
        assert mask.sum(1).tolist() == [-(-9 // 2**num_layers), -(-4 // 2**num_layers), 0]
        for b, length in ((0, 9), (1, 4)):
            alone = array(layer(FRAMES[b : b + 1, :length]))[0]
            np.testing.assert_allclose(outputs[b, : len(alone)], alone, atol=1e-5)


AUGMENT = {"num_time_masks": 2, "time_mask": 7, "num_frequency_masks": 1, "frequency_mask": 4, "max_share": 0.25}


@long_on_jax
def test_spec_augment_hides_no_more_than_it_may():
    x = 10 + spread((64, 50, 20))
    lengths = np.arange(64) % 51
    mask = np.arange(50) < lengths[:, None]
    mask[::2] = mask[::2, ::-1]  # padding on the left
    layer = SpecAugment(**AUGMENT, seed=1)
    seen_frames, seen_bands = set(), set()
    for _ in range(4):
        y = array(layer(x, training=True, mask=mask))
        hidden = y != x
        assert not hidden[~mask].any()
        for b in np.flatnonzero(lengths):
            row = hidden[b, mask[b]]
            frames, bands = row.all(1), row.all(0)
            np.testing.assert_array_equal(row, frames[:, None] | bands)  # whole frames, whole bands
            assert frames.sum() <= min(0.25 * lengths[b], 14)
            assert bands.sum() <= 4
            assert (np.diff(bands.astype(int)) == 1).sum() <= 1  # one stretch
            np.testing.assert_allclose(y[b][hidden[b]], x[b, mask[b]].mean(), rtol=1e-5)
            seen_frames |= {int(frames.sum())}
            seen_bands |= {int(bands.sum())}
    assert seen_frames >= set(range(11))  # 50 frames: twice 6 at the most
    assert seen_bands == {0, 1, 2, 3, 4}


@long_on_jax
def test_spec_augment_reaches_all_frames_and_bands():
    x = spread((500, 12, 5))
    options = {**AUGMENT, "max_share": 1.0, "time_mask": 3, "frequency_mask": 2}
    frames = array(SpecAugment(**{**options, "num_frequency_masks": 0}, seed=1)(x, training=True)) != x
    bands = array(SpecAugment(**{**options, "num_time_masks": 0}, seed=1)(x, training=True)) != x
    assert frames.any((0, 2)).all()
    assert bands.any((0, 1)).all()
    # Widths from 0 to 2 are equally likely: a band is hidden in one fifth of the rows.
    assert bands.mean() == pytest.approx(0.2, abs=0.04)


@long_on_jax
def test_spec_augment_is_for_training_and_seeded():
    x = spread((4, 40, 10))
    layer, twin = (SpecAugment(**AUGMENT, seed=5) for _ in range(2))
    np.testing.assert_array_equal(array(layer(x)), x)
    np.testing.assert_array_equal(array(layer(x, training=False)), x)
    first, second = (array(layer(x, training=True)) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(array(twin(x, training=True)), first)
    nothing = SpecAugment(num_time_masks=0, num_frequency_masks=0)
    np.testing.assert_array_equal(array(nothing(x, training=True)), x)


@pytest.mark.parametrize(
    ("layer", "inputs", "weights"),
    [
        (LogMel(RATE, num_mel_bins=8), {"waveform": WAVEFORMS[:, :240], "mask": REAL[:, :240]}, False),
        (ConvSubsampling(4, filters=2), {"inputs": FRAMES, "mask": FRAME_MASK}, True),
        (ConvSubsampling(4, 1, kernel_size=5, activation="tanh"), FRAMES, True),
        (SpecAugment(frequency_mask=2), {"inputs": FRAMES, "mask": FRAME_MASK}, False),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_promises_of_a_layer(layer, inputs, weights):
    check_layer(layer, inputs, weights=weights)


@tensorflow_only("each of these layers takes a training step there, too")
def test_from_a_waveform_to_a_label(tmp_path):
    """High tones against low ones, of many lengths; the mask goes through all layers."""
    random = np.random.default_rng(0)
    labels = np.arange(32) % 2
    lengths = random.integers(800, 1600, (32, 1))
    steps = np.arange(1600)
    real = steps < lengths
    noise = 0.1 * random.normal(size=(32, 1600))
    x = (np.sin(2 * np.pi * np.where(labels, 1500, 500)[:, None] * steps / RATE) * real + noise).astype("float32")

    waveform, mask = keras.Input((None,)), keras.Input((None,), dtype="bool")
    features = LogMel(RATE, num_mel_bins=20)(waveform, mask=mask)
    features = SpecAugment(frequency_mask=4)(features)
    features = ConvSubsampling(8)(features)
    model = keras.Model([waveform, mask], keras.layers.Dense(2)(MeanPooling()(features)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(0.01), loss)
    model.optimizer.build(model.trainable_variables)
    model.fit([x, real], labels, batch_size=16, epochs=8, verbose=0)
    assert (array(model([x, real])).argmax(-1) == labels).all()
    expected = array(model([x[:2], real[:2]]))
    longer = [np.pad(each, ((0, 0), (0, 100))) for each in (x[:2], real[:2])]
    np.testing.assert_allclose(array(model(longer)), expected, atol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded([x[:2], real[:2]])), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(10), "at least one sample at `sampling_rate`=10. Received: 25 and 10"),
        (lambda: ConvSubsampling(4, kernel_size=2), "`kernel_size` must be odd. Received: 2"),
        (lambda: SpecAugment(max_share=1.5), r"`max_share` must be in \[0, 1\]. Received: 1.5"),
        (lambda: SpecAugment(frequency_mask=7)(FRAMES), "the number of bands, 6. Received: 7"),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
