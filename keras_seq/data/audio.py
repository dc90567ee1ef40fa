"""Reads sound files as checked waveforms. The log-mel is a layer, `LogMel`, so that exported models contain it."""

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_choice, check_positive
from keras_seq.data.lines import as_paths
from keras_seq.data.reports import Report, count, read_files

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
# Programs that write to a pipe (SoX, espeak) declare a size of at least this one; others declare 0.
_TO_THE_END = 0x7FFF0000
_FARTHEST = 100  # ratio of rates: larger ones come from damaged headers, and would be resampled to gigabytes
_GUARD = 64  # zeros, in samples of the lower rate, between the end of a waveform and its beginning when resampling

Label = int | str | Sequence[int]


@dataclass(frozen=True)
class AudioReport(Report):
    """Counts of all files: `read` = `kept` + `damaged` + `empty` + `other_rate` + `stereo` + `out_of_range`.

    `skipped` has the error of each file that was not kept. `resampled` and `mixed_down` files are kept.
    Durations are in seconds.
    """

    damaged: int = count("damaged", "")
    empty: int = count("empty", "")
    other_rate: int = count("other rate", "")
    stereo: int = count("stereo", "")
    out_of_range: int = count("out of range", "")
    resampled: int = count("resampled", "")
    mixed_down: int = count("mixed down", "")
    seconds: float = 0.0
    shortest: float = 0.0
    longest: float = 0.0
    skipped: tuple[str, ...] = field(default=(), repr=False)
    unit = "file"

    def _details(self) -> str:
        return f": {self.seconds:,.1f} s, from {self.shortest:.2f} to {self.longest:.2f} s"


class BadSound(ValueError):
    """An invalid sound file. `reason` is a field of `AudioReport`."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Sound:
    """The header of a sound file: `frames` samples for each channel, of a `subtype` of libsndfile."""

    path: Path
    sampling_rate: int
    channels: int
    frames: int
    subtype: str

    @classmethod
    def open(cls, path: str | PathLike) -> "Sound":
        """Reads and checks the header: WAV of every kind, FLAC, Ogg, MP3, AIFF and other formats of libsndfile.

        Raises:
            BadSound: if the file has another format, is damaged or has no samples.
            ImportError: if the package soundfile is not installed.
        """
        path = Path(path)
        with _opened(path) as file:
            promised = re.search(r"data *: (\d+) \(should be (\d+)\)", file.extra_info)
            if promised and int(promised[1]) < _TO_THE_END and int(promised[1]) > int(promised[2]):
                raise BadSound(
                    "damaged",
                    f"{path} is truncated: its header declares {int(promised[1]):,} bytes of samples, but there are "
                    f"{int(promised[2]):,}. Recreate it.",
                )
            if not file.frames:
                raise BadSound("empty", f"{path} has no samples. Omit the file.")
            return cls(path, file.samplerate, file.channels, file.frames, file.subtype)

    @property
    def is_float(self) -> bool:
        """Whether samples are floats, which may have any value."""
        return self.subtype in ("FLOAT", "DOUBLE")

    def samples(self) -> np.ndarray:
        """The samples, float32 `(frames, channels)` in [-1, 1]: whole numbers divided by 2^(bits - 1).

        Raises:
            BadSound: if floats are not finite or lie beyond [-1, 1], or the file ends too early.
        """
        with _opened(self.path) as file:
            samples = file.read(dtype="float64" if self.subtype == "DOUBLE" else "float32", always_2d=True)
        if len(samples) < self.frames:
            raise BadSound(
                "damaged", f"{self.path} ends after {len(samples):,} of {self.frames:,} samples. Recreate it."
            )
        beyond = np.argwhere(~(np.abs(samples) <= 1)) if self.is_float else ()
        if len(beyond):
            place, channel = beyond[0]
            raise BadSound(
                "out_of_range",
                f"{self.path}: sample {place:,} is {samples[place, channel]}, not in [-1, 1]. Correct it, or scale the "
                "file.",
            )
        return np.clip(samples, -1, 1).astype(np.float32)  # a lossy codec may decode to values slightly beyond


def _opened(path: Path) -> Any:
    """A `soundfile.SoundFile`. If the header of a wav file gives no size, the samples extend to the end of the file."""
    try:
        import soundfile
    except ImportError as error:
        raise ImportError('Sound files need the package soundfile: pip install "keras-seq[audio]"') from error
    try:
        file = soundfile.SoundFile(str(path))
        if file.frames or file.format not in ("WAV", "WAVEX"):
            return file
        head, mark, rest = path.read_bytes().partition(b"data\0\0\0\0")
        if mark and rest and not rest[:4].isalnum():  # not another chunk
            return soundfile.SoundFile(io.BytesIO(head + b"data\xff\xff\xff\xff" + rest))
        return file
    except soundfile.LibsndfileError as error:
        with path.open("rb") as raw:
            start = raw.read(12)
        reason = str(error).partition(": ")[2]
        raise BadSound(
            "damaged",
            f"{path} is not a sound file, or is damaged: {reason} It begins with {start!r}. Recreate or convert it.",
        ) from error


def resampled(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resamples a waveform `(T,)`, float32 `(ceil(T * to_rate / from_rate),)`.

    Band-limited: its spectrum is cut off, or extended with zeros, at half of the lower rate. A jump rings on both
    sides, so values slightly beyond [-1, 1] are clipped.
    """
    check_positive(from_rate=from_rate, to_rate=to_rate)
    if from_rate == to_rate or not len(waveform):
        return np.asarray(waveform, np.float32)
    common = math.gcd(from_rate, to_rate)
    down, up = from_rate // common, to_rate // common
    guard = _GUARD * max(1, math.ceil(down / up))
    blocks = -(-(len(waveform) + guard) // down)  # `down` samples become `up` samples
    spectrum = np.fft.rfft(waveform, blocks * down)
    bins = blocks * min(down, up) // 2 + 1
    kept = np.zeros(blocks * up // 2 + 1, complex)
    kept[:bins] = spectrum[:bins]
    if blocks * min(down, up) % 2 == 0:
        kept[bins - 1] = 0  # half of the lower rate itself, whose phase is lost
    longer = np.fft.irfft(kept, blocks * up) * (up / down)
    return np.clip(longer[: -(-len(waveform) * up // down)], -1, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Audio:
    """Recordings with one sampling rate and one channel.

    Also for recordings made of others: two digits spoken one after the other are
    `Audio(8000, [np.concatenate([digits.waveform(3), digits.waveform(8)])], [[3, 8]])`.

    Args:
        sampling_rate: samples per second.
        waveforms: float32 `(T,)` each. None: files are read on demand.
        labels: a whole number or a string each, or a list of whole numbers each. Or None.
        files: file of each recording.
        report: report of reading the files.
    """

    sampling_rate: int
    waveforms: Sequence[np.ndarray] | None = field(repr=False)
    labels: Sequence[Label] | None = field(default=None, repr=False)
    files: Sequence[Sound] = field(default=(), repr=False)
    report: AudioReport = AudioReport()

    def __post_init__(self):
        if self.labels is not None and len(self.labels) != len(self):
            raise ValueError(f"One label per recording. Received: {len(self)} recordings, {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.files if self.waveforms is None else self.waveforms)

    def waveform(self, number: int) -> np.ndarray:
        """A recording, float32 `(T,)`."""
        if self.waveforms is not None:
            return self.waveforms[number]
        sound = self.files[number]
        return resampled(sound.samples().mean(axis=1), sound.sampling_rate, self.sampling_rate)

    def dataset(self, order: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None) -> tf.data.Dataset:
        """A dataset of `(waveform, label)`, or of waveforms without labels.

        Waveforms are float32 `(T,)`, labels int32 `()`, strings or int32 `(L,)`.

        Args:
            order: a step such as `shuffled(seed)`, applied to the numbers of the recordings. It shuffles numbers
                instead of waveforms.
        """
        with tf.device("CPU:0"):  # where a dataset needs them
            waveforms = None if self.waveforms is None else _ragged(self.waveforms, np.float32)
            labels = None if self.labels is None else _label_tensor(self.labels)

        def recording(number):
            if waveforms is None:
                waveform = tf.numpy_function(self.waveform, [number], tf.float32, stateful=False)
                waveform.set_shape([None])
            else:
                waveform = waveforms[number]
            return waveform if labels is None else (waveform, labels[number])

        numbers = tf.data.Dataset.range(len(self))
        numbers = numbers if order is None else numbers.apply(order)
        return numbers.map(recording, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def read_audio(
    files: str | PathLike | Sequence[str | PathLike],
    sampling_rate: int,
    *,
    label: Callable[[Path], Label] | None = None,
    resample: bool = False,
    mix_down: bool = False,
    on_bad_file: str = "error",
    in_memory: bool = True,
) -> Audio:
    """Reads and checks sound files. A split is a choice of files, for example by their names:

        files = sorted(Path("fsdd").glob("*.wav"))                       # DIGIT_SPEAKER_TAKE.wav
        train = [file for file in files if int(file.stem.split("_")[2]) >= 15]
        digits = read_audio(train, 8000, label=lambda file: int(file.name[0]))

    Args:
        files: one or more files, or a folder, whose sound files are read in the order of their paths, including
            subfolders.
        sampling_rate: samples per second that all files must have.
        label: function of a file's path that returns its label: a whole number, a string or a list of whole numbers.
        resample: whether to convert files with another rate, up to 100 times as high or low, instead of rejecting them.
        mix_down: whether to take the mean of several channels instead of rejecting the file.
        on_bad_file: "error", or "skip" to drop invalid files, and count them by reason.
        in_memory: whether to keep waveforms in memory. False reads only headers (and files of floats) beforehand, and
            waveforms on demand.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if a file is invalid and `on_bad_file="error"`, or if none is left.
    """
    check_choice("error", "skip", on_bad_file=on_bad_file)
    check_positive(sampling_rate=sampling_rate)
    paths = _sound_files(files)

    def read(path: Path) -> tuple[Sound, np.ndarray | None]:
        sound = Sound.open(path)
        if sound.channels > 1 and not mix_down:
            raise BadSound("stereo", f"{path} has {sound.channels} channels. Take their mean with mix_down=True.")
        if sound.sampling_rate != sampling_rate and not resample:
            raise BadSound(
                "other_rate",
                f"{path} has {sound.sampling_rate:,} samples per second, not {sampling_rate:,}. Convert it, for "
                "example with resample=True.",
            )
        if not 1 / _FARTHEST <= sound.sampling_rate / sampling_rate <= _FARTHEST:
            raise BadSound(
                "other_rate",
                f"{path} has {sound.sampling_rate:,} samples per second, too far from {sampling_rate:,} to be "
                "resampled. Its header may be damaged. Recreate the file.",
            )
        samples = sound.samples() if in_memory or sound.is_float else None
        if not in_memory:
            return sound, None
        return sound, resampled(samples.mean(axis=1), sound.sampling_rate, sampling_rate)

    found, errors = read_files(files, paths, read, on_bad_file)
    kept, waveforms = map(list, zip(*found, strict=True))
    seconds = [sound.frames / sound.sampling_rate for sound in kept]
    report = AudioReport(
        read=len(paths),
        kept=len(kept),
        **Counter(error.reason for error in errors),
        resampled=sum(sound.sampling_rate != sampling_rate for sound in kept),
        mixed_down=sum(sound.channels > 1 for sound in kept),
        seconds=sum(seconds),
        shortest=min(seconds),
        longest=max(seconds),
        skipped=tuple(map(str, errors)),
    )
    labels = None if label is None else [_label_of(sound.path, label) for sound in kept]
    return Audio(sampling_rate, waveforms if in_memory else None, labels, kept, report)


def _sound_files(files: str | PathLike | Sequence[str | PathLike]) -> list[Path]:
    if isinstance(files, (str, PathLike)) and Path(files).is_dir():
        paths = sorted(path for path in Path(files).rglob("*") if path.suffix.lower() in SOUND_SUFFIXES)
        if not paths:
            raise ValueError(f"There is no sound file in {files}.")
        return paths
    return as_paths(files)


def _label_of(path: Path, label: Callable[[Path], Label]) -> Label:
    try:
        return label(path)
    except Exception as error:  # an error of the user's function: name the file
        raise ValueError(f"{path}: `label` fails for this file: {error!r}. Correct it, or omit the file.") from error


def _ragged(rows: Sequence, dtype: type) -> tf.RaggedTensor:
    flat = np.concatenate([np.zeros(0, dtype), *(np.asarray(row, dtype) for row in rows)])
    return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])


def _label_tensor(labels: Sequence[Label]) -> tf.Tensor | tf.RaggedTensor:
    if any(np.ndim(label) for label in labels):
        return _ragged(labels, np.int32)
    return tf.constant(labels, tf.string if isinstance(labels[0], str) else tf.int32)
