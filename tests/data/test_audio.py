import dataclasses
import struct
import sys
import wave

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.data.audio import Audio, AudioReport, BadSound, Sound, read_audio, resampled
from keras_seq.data.shuffling import shuffled


def chunk(name, content, length=None):
    return struct.pack("<4sI", name, len(content) if length is None else length) + content + b"\0" * (len(content) % 2)


def wav_bytes(raw, *, code=1, channels=1, rate=8000, bits=16, before=b"", length=None, extensible=False):
    """Written out here, so that it can be wrong in every way."""
    frame = channels * bits // 8
    tag = 0xFFFE if extensible else code
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if extensible:
        guid = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack("<HHI", 22, bits, 0) + guid
    body = b"WAVE" + chunk(b"fmt ", form) + before + chunk(b"data", raw, length)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def tone(frequency, rate, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(np.float32) / 2


def pcm(waveform):
    return np.round(np.asarray(waveform) * 32767).astype("<i2").tobytes()


def float_wav(*numbers, bits=32):
    return wav_bytes(np.array(numbers, f"<f{bits // 8}").tobytes(), code=3, bits=bits)


def elements(dataset):
    return list(dataset.as_numpy_iterator())


# The format.


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width(tmp_path, width, channels):
    """The standard library writes, Python's whole numbers tell what is right."""
    path = tmp_path / "a.wav"
    low, high = (0, 255) if width == 1 else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    numbers = [low, high, 0, 1, low // 2, high // 3, 7, 100, 5, 17, 3, 2]
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(n.to_bytes(width, "little", signed=width > 1) for n in numbers))
    wav = Sound.open(path)
    assert (wav.channels, wav.frames, wav.sampling_rate) == (channels, 12 // channels, 8000)
    expected = [(n - 128) / 128 if width == 1 else n / 2 ** (8 * width - 1) for n in numbers]
    samples = wav.samples()
    assert samples.dtype == np.float32 and samples.shape == (12 // channels, channels)
    assert samples.ravel() == pytest.approx(np.array(expected), abs=1e-7)


def test_sixteen_bits_are_tensorflows_own(write):
    content = wav_bytes(np.random.default_rng(0).integers(-32768, 32768, 1000).astype("<i2").tobytes())
    expected, rate = tf.audio.decode_wav(content)
    assert (Sound.open(write(content)).samples() == expected.numpy()).all() and rate == 8000


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floats(write, dtype, extensible):
    numbers = np.array([-1, 1, 0, 0.25, 1e-9])
    bits = 8 * np.dtype(dtype).itemsize
    path = write(wav_bytes(numbers.astype(dtype).tobytes(), code=3, bits=bits, extensible=extensible))
    assert (Sound.open(path).samples()[:, 0] == numbers.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("form", "subtype", "off"),
    [
        ("WAV", "ULAW", 0.02),
        ("WAV", "ALAW", 0.02),
        ("FLAC", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 0.05),
        ("AIFF", "PCM_16", 1e-4),
        ("AU", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4),
    ],
)
def test_other_formats(form, subtype, off, tmp_path):
    """Written by soundfile, compared with what was written."""
    path, expected = tmp_path / f"a.{form.lower()}", tone(440, 8000)
    soundfile.write(path, expected, 8000, format=form, subtype=subtype)
    audio = read_audio(tmp_path, 8000)
    assert audio.waveform(0) == pytest.approx(expected, abs=off) and audio.report.kept == 1


def test_without_soundfile(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r'pip install "keras-seq\[audio\]"'):
        read_audio(write(GOOD), 8000)


def test_other_chunks_and_sizes_not_known(write):
    raw = pcm([0.5, -0.5, 0.25])
    expected = Sound.open(write(wav_bytes(raw))).samples()
    other = chunk(b"LIST", b"odd") + chunk(b"fact", b"1234")
    for content in (
        wav_bytes(raw, before=other),
        wav_bytes(raw, extensible=True),
        wav_bytes(raw) + chunk(b"LIST", b"after"),
        wav_bytes(raw, length=0xFFFFFFFF),  # as ffmpeg writes to a pipe
        wav_bytes(raw, length=0xFFFFFFFF) + b"\1",
        wav_bytes(raw, length=0x7FFFF000),  # as SoX and espeak do
        wav_bytes(raw, length=0),
    ):
        assert (Sound.open(write(content)).samples() == expected).all()


GOOD = wav_bytes(pcm(tone(440, 8000)))

BAD = {
    "no sound": (
        b"ID4\4 this is no mp3",
        "damaged",
        "is not a sound file, or is damaged: .* begins with b'ID4.* convert it",
    ),
    "nothing": (b"", "damaged", "is not a sound file, or is damaged: .* begins with b''"),
    "truncated": (GOOD[:-100], "damaged", "truncated: its header declares 8,000 bytes of samples, .* 7,900"),
    "header alone": (GOOD[:36], "damaged", "is not a sound file, or is damaged"),
    "half a header": (GOOD[:20], "damaged", "is not a sound file, or is damaged"),
    "no format": (GOOD[:12] + chunk(b"data", b"1234"), "damaged", "is not a sound file, or is damaged"),
    "no channels": (wav_bytes(b"1234", channels=0), "damaged", "is not a sound file, or is damaged"),
    "zero length": (wav_bytes(b""), "empty", "has no samples. Omit the file"),
    "another rate": (wav_bytes(b"12", rate=16000), "other_rate", "16,000 samples per second, not 8,000.*resample=True"),
    "stereo": (wav_bytes(pcm([0.1, 0.2]), channels=2), "stereo", "has 2 channels.*mix_down=True"),
    "NaN": (float_wav(0, np.nan), "out_of_range", "sample 1 is nan, not in"),
    "loud": (float_wav(0, 3e4), "out_of_range", "sample 1 is 30000.0, not"),
    "infinite": (float_wav(1e300, bits=64), "out_of_range", r"sample 0 is 1e\+300"),
}


@pytest.mark.parametrize("rate", [79, 800_001, 2**31 - 1])
def test_a_rate_that_nobody_resamples(rate, write):
    path = write(wav_bytes(b"12", rate=rate))
    with pytest.raises(BadSound, match=f"{rate:,} samples per second, too far from 8,000 to be resampled"):
        read_audio(path, 8000, resample=True)
    with pytest.raises(BadSound, match="Convert it"):
        read_audio(path, 8000)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_or_skipped(write, kind, in_memory):
    content, reason, message = BAD[kind]
    bad, good = write(content, "bad.wav"), write(GOOD, "good.wav")
    with pytest.raises(ValueError, match=f"bad.wav.*{message}") as error:
        read_audio([good, bad], 8000, in_memory=in_memory)
    audio = read_audio([bad, good, bad], 8000, on_bad_file="skip", in_memory=in_memory, label=lambda path: path.stem)
    assert audio.report == AudioReport(
        3, 1, **{reason: 2}, seconds=0.5, shortest=0.5, longest=0.5, skipped=(str(error.value),) * 2
    )
    [(waveform, label)] = elements(audio.dataset())
    assert waveform == pytest.approx(tone(440, 8000), abs=1e-4) and label == b"good"
    with pytest.raises(ValueError, match="none of 1 files can be used.*bad.wav"):
        read_audio(bad, 8000, on_bad_file="skip", in_memory=in_memory)


@settings(max_examples=200)
@given(data=st.data())
def test_any_bytes_give_samples_or_an_error(tmp_path_factory, data):
    content = bytearray(wav_bytes(pcm([0.5, -0.25, 0.125, 1]), extensible=data.draw(st.booleans())))
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=3)):
        content[place] = value
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.getbasetemp() / "any.wav"
    path.write_bytes(content)
    try:
        wav = Sound.open(path)
        samples = wav.samples()
    except BadSound as error:
        assert "any.wav" in str(error) and error.reason in AudioReport.__dataclass_fields__
    else:
        assert samples.shape == (wav.frames, wav.channels) and samples.size and (np.abs(samples) <= 1).all()


# Rates and channels.


@pytest.mark.parametrize(
    "from_rate, to_rate", [(8000, 16000), (16000, 8000), (44100, 8000), (11025, 8000), (8000, 8001)]
)
def test_tones_stay_what_they_are(from_rate, to_rate):
    for frequency in (200, 1234.5, 3300):
        found = resampled(tone(frequency, from_rate), from_rate, to_rate)
        expected = tone(frequency, to_rate)
        assert found.dtype == np.float32 and abs(len(found) - len(expected)) <= 1
        middle = slice(len(expected) // 4, 3 * len(expected) // 4)  # the tone begins and ends with a jump
        assert found[middle] == pytest.approx(expected[middle], abs=2e-3)


def test_what_the_lower_rate_cannot_hold_is_gone():
    found = resampled(tone(6000, 16000), 16000, 8000)  # would come back as 2,000 Hz
    assert len(found) == 4000 and np.abs(found[1000:3000]).max() < 2e-3


@given(length=st.integers(1, 300), from_rate=st.integers(1, 40), to_rate=st.integers(1, 40))
def test_length_and_level(length, from_rate, to_rate):
    found = resampled(np.full(length, 0.25), from_rate, to_rate)
    assert len(found) == int(np.ceil(length * to_rate / from_rate)) and np.abs(found).max() <= 1
    if length >= 100 and len(found) >= 100:
        assert found[len(found) // 2] == pytest.approx(0.25, abs=0.02)


def test_there_and_back():
    smooth = np.random.default_rng(0).normal(size=2000) * np.hanning(2000) / 5
    smooth = np.convolve(smooth, np.hanning(40) / 20, "same")  # little above a tenth of the rate
    again = resampled(resampled(smooth, 8000, 11025), 11025, 8000)
    assert len(again) == 2001 and again == pytest.approx(np.append(smooth, 0), abs=1e-4)  # both lengths rounded up
    assert (resampled(smooth, 8000, 8000) == smooth.astype(np.float32)).all()
    with pytest.raises(ValueError, match="`to_rate` must be positive"):
        resampled(smooth, 8000, 0)


@pytest.mark.parametrize("in_memory", [True, False])
def test_conversion_when_asked_for(write, in_memory):
    both = np.stack([tone(300, 16000), tone(500, 16000)], axis=1)
    path = write(wav_bytes(pcm(both.ravel()), channels=2, rate=16000))
    audio = read_audio(path, 8000, resample=True, mix_down=True, in_memory=in_memory)
    [waveform] = elements(audio.dataset())
    expected = (tone(300, 8000) + tone(500, 8000)) / 2
    assert waveform.shape == (4000,) and waveform[1000:3000] == pytest.approx(expected[1000:3000], abs=2e-3)
    assert audio.report == AudioReport(1, 1, resampled=1, mixed_down=1, seconds=0.5, shortest=0.5, longest=0.5)
    assert str(audio.report) == "1 files read, 1 kept: 0.5 s, from 0.50 to 0.50 s; 1 resampled, 1 mixed down"


# Datasets.


@pytest.fixture
def folder(write):
    """Files of 1 to 6 samples, whose number is in each of them."""
    for number in range(1, 7):
        path = write(wav_bytes(np.full(number, number, "<i2").tobytes()), f"{number % 3}/{number}.WAV")
    (path.parent / "notes.txt").write_text("no wav")
    return path.parent.parent


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_folder_with_labels(folder, in_memory):
    audio = read_audio(folder, 8000, label=lambda path: int(path.parent.name), in_memory=in_memory)
    dataset = audio.dataset()
    assert dataset.element_spec == (tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32))
    assert len(audio) == dataset.cardinality() == 6
    found = [((32768 * waveform).tolist(), label) for waveform, label in elements(dataset)]
    assert found == [([n] * n, n % 3) for n in (3, 6, 1, 4, 2, 5)]
    assert audio.report.seconds == pytest.approx(21 / 8000)
    assert (audio.report.shortest, audio.report.longest) == (1 / 8000, 6 / 8000)

    orders = [[len(waveform) for waveform, _ in elements(audio.dataset(shuffled(2, first_epoch=e)))] for e in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == [1, 2, 3, 4, 5, 6] and orders[0] != orders[1]
    waveforms, labels = elements(dataset.padded_batch(4))[0]
    assert waveforms.shape == (4, 6) and labels.tolist() == [0, 0, 1, 1]


def test_joined_recordings(folder):
    single = read_audio(folder, 8000, label=lambda path: int(path.stem))
    chosen = [[0, 2], [1], [5, 4, 3]]
    waveforms = [np.concatenate([single.waveform(i) for i in numbers]) for numbers in chosen]
    joined = Audio(8000, waveforms, [[single.labels[i] for i in numbers] for numbers in chosen])
    found = [((32768 * waveform).tolist(), label.tolist()) for waveform, label in elements(joined.dataset())]
    assert found == [([3, 3, 3, 1], [3, 1]), ([6] * 6, [6]), ([5] * 5 + [2, 2] + [4] * 4, [5, 2, 4])]
    assert joined.dataset().element_spec == (tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32))


def test_what_is_not_there(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.wav does not exist"):
        read_audio(tmp_path / "gone.wav", 8000)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_audio([folder], 8000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="There is no sound file"):
        read_audio(tmp_path / "empty", 8000)
    with pytest.raises(ValueError, match="Name at least one file"):
        read_audio([], 8000)
    with pytest.raises(ValueError, match="1.WAV: `label` fails for this file"):
        read_audio(folder / "1" / "1.WAV", 8000, label=lambda path: int("x"))
    with pytest.raises(ValueError, match="`on_bad_file` must be"):
        read_audio(folder, 8000, on_bad_file="ignore")
    with pytest.raises(ValueError, match="`sampling_rate` must be positive"):
        read_audio(folder, 0)
    with pytest.raises(ValueError, match="One label per recording. Received: 1 recordings, 2 labels"):
        Audio(8000, [np.zeros(3)], [1, 2])


def test_a_file_that_shrinks_later_is_named(folder):
    audio = read_audio(folder, 8000, in_memory=False)
    path = folder / "0" / "3.WAV"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(tf.errors.OpError, match="3.WAV .*(ends after|truncated)"):
        elements(audio.dataset())


def test_spoken_digits(real_data):
    files = sorted(real_data("fsdd").glob("*.wav"))
    takes = {"train": range(15, 50), "valid": range(10, 15), "test": range(5, 10)}
    splits = {
        name: read_audio(
            [file for file in files if int(file.stem.split("_")[2]) in chosen],
            8000,
            label=lambda path: int(path.name[0]),
            in_memory=name == "train",
        )
        for name, chosen in takes.items()
    }
    assert {name: audio.report.kept for name, audio in splits.items()} == {"train": 2100, "valid": 300, "test": 300}
    for audio in splits.values():
        assert np.bincount(audio.labels).tolist() == [len(audio) // 10] * 10
        for number, (waveform, label) in enumerate(audio.dataset().take(20).as_numpy_iterator()):
            path = audio.files[number].path
            expected, rate = tf.audio.decode_wav(path.read_bytes(), desired_channels=1)
            assert rate == 8000 and (waveform == expected[:, 0].numpy()).all() and label == int(path.name[0])


def test_a_file_that_was_cut_after_it_was_looked_at(write):
    sound = Sound.open(write(wav_bytes(pcm([0.5, 0.25]))))
    assert sound.samples().shape == (2, 1)
    with pytest.raises(BadSound, match=r"a.wav ends after 2 of 1,000 samples. Recreate it.") as refused:
        dataclasses.replace(sound, frames=1000).samples()
    assert refused.value.reason == "damaged"
