"""Audio: wav files, checked, as waveforms. The log-mel is a layer, `LogMel`, so that exported models contain it."""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_seq.data.accounts import with_counts

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# A size from here on, or 0, is what programs give that write to a pipe: SoX, espeak, libsndfile.
_TO_THE_END = 0x7FFF0000
_FARTHEST = 100  # times: farther rates are those of a damaged header, and would be resampled to gigabytes
_GUARD = 64  # zeros, in samples of the lower rate, between the end of a waveform and its beginning when resampling

Label = int | str | Sequence[int]


@dataclass(frozen=True)
class AudioReport:
    """An account of every file: `read` = `kept` + `damaged` + `empty` + `other_rate` + `stereo` + `out_of_range`.

    `skipped` says of each file that was not kept what is wrong with it. `resampled` and `mixed_down` are kept.
    Durations are in seconds.
    """

    read: int
    kept: int
    damaged: int = 0
    empty: int = 0
    other_rate: int = 0
    stereo: int = 0
    out_of_range: int = 0
    resampled: int = 0
    mixed_down: int = 0
    seconds: float = 0.0
    shortest: float = 0.0
    longest: float = 0.0
    skipped: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        text = f"{self.read:,} files read, {self.kept:,} kept: {self.seconds:,.1f} s, "
        text += f"from {self.shortest:.2f} to {self.longest:.2f} s"
        names = ("damaged", "empty", "other_rate", "stereo", "out_of_range", "resampled", "mixed_down")
        counts = [(getattr(self, name), name.replace("_", " ")) for name in names]
        return with_counts(text, counts)


class BadWav(ValueError):
    """A wav file that is not as it should be; `reason` is a field of `AudioReport`."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def _is_chunk(file, there: int) -> bool:
    """Whether the rest of the file, `there` bytes, is another chunk, or nothing."""
    head = file.read(8)
    if len(head) < 8:
        return True
    name, length = struct.unpack("<4sI", head)
    return name.isalnum() and 8 + length <= there


@dataclass(frozen=True)
class Wav:
    """What the header of a wav file says: `frames` samples for each channel, from byte `offset` of the file on."""

    path: Path
    sample_rate: int
    channels: int
    frames: int
    offset: int
    is_float: bool
    sample_bytes: int

    @classmethod
    def of(cls, path: str | PathLike) -> "Wav":
        """Reads and checks the header. Linear PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 bits are known.

        Raises:
            BadWav: if the file is no such wav, is damaged or has no samples.
        """
        path = Path(path)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            start = file.read(12)
            if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
                raise BadWav("damaged", f"{path} is not a wav file: it begins with {start!r}. Convert it to wav.")
            form = None
            while len(head := file.read(8)) == 8:
                name, length = struct.unpack("<4sI", head)
                place = file.tell()
                if name == b"data" and form is not None:
                    there = size - place
                    if (length >= _TO_THE_END and length > there) or (length == 0 and not _is_chunk(file, there)):
                        length = None
                    return cls._checked(path, form, place, length, there)
                if name == b"fmt ":
                    form = file.read(min(length, 40))
                file.seek(place + length + length % 2)  # chunks begin at even places
        missing = "samples" if form else "a description of its format"
        raise BadWav("damaged", f"{path} is damaged: its {size:,} bytes end before {missing}. Make it again.")

    @classmethod
    def _checked(cls, path: Path, form: bytes, offset: int, length: int | None, there: int) -> "Wav":
        if len(form) < 16:
            raise BadWav("damaged", f"{path} is damaged: {len(form)} bytes describe its format. Make it again.")
        code, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", form[:16])
        if code == _EXTENSIBLE and len(form) >= 26:  # the code proper begins the GUID of the format
            code = struct.unpack("<H", form[24:26])[0]
        if (code, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
            raise BadWav(
                "damaged",
                f"{path} has samples of format {code}, {bits} bits. Linear PCM of 8, 16, 24 or 32 bits and floats are "
                "read: convert it, with `sox IN.wav -b 16 -e signed-integer OUT.wav` say.",
            )
        if not rate or not channels or frame_bytes != channels * bits // 8:
            raise BadWav(
                "damaged",
                f"{path} is damaged: {channels} channels of {bits} bits at {rate} Hz in frames of {frame_bytes} bytes. "
                "Make it again.",
            )
        if length is None:  # all there is
            length = there - there % frame_bytes
        if length > there or length % frame_bytes:
            raise BadWav(
                "damaged",
                f"{path} is truncated: its header promises {length:,} bytes of samples, {frame_bytes} a frame, and "
                f"there are {there:,}. Make it again.",
            )
        if not length:
            raise BadWav("empty", f"{path} has no samples. Leave it out.")
        return cls(path, rate, channels, length // frame_bytes, offset, code == _FLOAT, bits // 8)

    def samples(self) -> np.ndarray:
        """The samples, float32 `(frames, channels)` in [-1, 1]: those of a PCM file divided by 2^(bits - 1).

        Raises:
            BadWav: if floats are not finite or lie beyond [-1, 1].
        """
        count, width = self.frames * self.channels, self.sample_bytes
        raw = np.fromfile(self.path, np.uint8, count * width, offset=self.offset)
        if len(raw) < count * width:
            raise BadWav("damaged", f"{self.path} has become shorter since it was checked.")
        if self.is_float:
            samples = raw.view(f"<f{width}")
            fine = np.abs(samples) <= 1
            if not fine.all():
                place = int(fine.argmin())
                raise BadWav(
                    "out_of_range",
                    f"{self.path}: sample {place // self.channels:,} is {samples[place]}, not in [-1, 1]. Mend it, or "
                    "scale the file.",
                )
            samples = samples.astype(np.float32)
        elif width == 1:  # alone without a sign
            samples = (raw.astype(np.float32) - 128) / 128
        else:
            whole = np.zeros((count, 4), np.uint8)  # little-endian: the highest byte comes last
            whole[:, 4 - width :] = raw.reshape(count, width)
            samples = whole.view("<i4").astype(np.float32) / np.float32(2**31)
        return samples.reshape(self.frames, self.channels)


def resampled(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """A waveform `(T,)` at another rate, float32 `(ceil(T * to_rate / from_rate),)`.

    Band-limited: its spectrum is cut off, or continued with zeros, at half of the lower rate. A jump rings on both
    sides of it, so values a little beyond [-1, 1] are cut off.
    """
    if from_rate < 1 or to_rate < 1:
        raise ValueError(f"Rates must be positive. Received: {from_rate=}, {to_rate=}")
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
    """Recordings with one sample rate and one channel.

    Recordings that are made of others are such an object too: two digits said one after the other are
    `Audio(8000, [np.concatenate([digits.waveform(3), digits.waveform(8)])], [[3, 8]])`.

    Args:
        sample_rate: samples a second.
        waveforms: float32 `(T,)` each; or None, and files are read when their turn comes.
        labels: a whole number or a string each, or a list of whole numbers each; or None.
        files: where each recording is from.
        report: how the files were read.
    """

    sample_rate: int
    waveforms: Sequence[np.ndarray] | None = field(repr=False)
    labels: Sequence[Label] | None = field(default=None, repr=False)
    files: Sequence[Wav] = field(default=(), repr=False)
    report: AudioReport = AudioReport(0, 0)

    def __post_init__(self):
        if self.labels is not None and len(self.labels) != len(self):
            raise ValueError(f"One label each. Received: {len(self)} recordings, {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.files if self.waveforms is None else self.waveforms)

    def waveform(self, number: int) -> np.ndarray:
        """A recording, float32 `(T,)`."""
        if self.waveforms is not None:
            return self.waveforms[number]
        wav = self.files[number]
        return resampled(wav.samples().mean(axis=1), wav.sample_rate, self.sample_rate)

    def dataset(self, order: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None) -> tf.data.Dataset:
        """A dataset of `(waveform, label)`, or of waveforms where there are no labels.

        Waveforms are float32 `(T,)`; labels int32 `()`, strings or int32 `(L,)`.

        Args:
            order: a step such as `shuffled(seed)`, applied to the numbers of the recordings: those are shuffled, not
                waveforms.
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
    sample_rate: int,
    *,
    label: Callable[[Path], Label] | None = None,
    resample: bool = False,
    mix_down: bool = False,
    on_bad_file: str = "error",
    in_memory: bool = True,
) -> Audio:
    """Reads and checks wav files. A split is a choice of files, by their names say:

        files = sorted(Path("fsdd").glob("*.wav"))                       # DIGIT_SPEAKER_TAKE.wav
        train = [file for file in files if int(file.stem.split("_")[2]) >= 15]
        digits = read_audio(train, 8000, label=lambda file: int(file.name[0]))

    Args:
        files: a folder, whose wav files are taken in the order of their paths, those in its folders too; or files.
        sample_rate: samples a second, that all files are to have.
        label: gives a file's label by its path: a whole number, a string or a list of whole numbers.
        resample: convert files with another rate, up to 100 times as high or low, rather than take them as bad.
        mix_down: take the mean of the channels where there are several, rather than take such files as bad.
        on_bad_file: "error", or "skip" to drop such files, and count them by reason.
        in_memory: False reads headers alone (and files of floats) beforehand, and waveforms when their turn comes.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if a file is bad and `on_bad_file="error"`, or if none is left.
    """
    if on_bad_file not in ("error", "skip"):
        raise ValueError(f'`on_bad_file` must be "error" or "skip". Received: {on_bad_file!r}')
    if sample_rate < 1:
        raise ValueError(f"`sample_rate` must be positive. Received: {sample_rate}")
    paths = _wav_files(files)
    kept, waveforms, reasons, skipped, seconds = [], [], [], [], []
    for path in paths:
        try:
            wav = Wav.of(path)
            if wav.channels > 1 and not mix_down:
                raise BadWav("stereo", f"{path} has {wav.channels} channels. Take their mean with mix_down=True.")
            if wav.sample_rate != sample_rate and not resample:
                raise BadWav(
                    "other_rate",
                    f"{path} has {wav.sample_rate:,} samples a second, not {sample_rate:,}. Convert it, with "
                    "resample=True say.",
                )
            if not 1 / _FARTHEST <= wav.sample_rate / sample_rate <= _FARTHEST:
                raise BadWav(
                    "other_rate",
                    f"{path} has {wav.sample_rate:,} samples a second, too far from {sample_rate:,} to be resampled. "
                    "Is its header damaged? Make it again.",
                )
            if in_memory:
                waveform = resampled(wav.samples().mean(axis=1), wav.sample_rate, sample_rate)
                waveforms.append(waveform)
            elif wav.is_float:
                wav.samples()
        except BadWav as error:
            if on_bad_file == "error":
                raise
            reasons.append(error.reason)
            skipped.append(str(error))
            continue
        kept.append(wav)
        seconds.append(wav.frames / wav.sample_rate)
    if not kept:
        raise ValueError(f"{files}: no file is left of {len(paths):,}. The first: {skipped[0]}")
    report = AudioReport(
        read=len(paths),
        kept=len(kept),
        **{reason: reasons.count(reason) for reason in set(reasons)},
        resampled=sum(wav.sample_rate != sample_rate for wav in kept),
        mixed_down=sum(wav.channels > 1 for wav in kept),
        seconds=sum(seconds),
        shortest=min(seconds),
        longest=max(seconds),
        skipped=tuple(skipped),
    )
    labels = None if label is None else [_label_of(wav.path, label) for wav in kept]
    return Audio(sample_rate, waveforms if in_memory else None, labels, kept, report)


def _wav_files(files: str | PathLike | Sequence[str | PathLike]) -> list[Path]:
    if not isinstance(files, (str, PathLike)):
        paths = [Path(file) for file in files]
    elif Path(files).is_dir():
        paths = sorted(path for path in Path(files).rglob("*") if path.suffix.lower() == ".wav")
    else:
        paths = [Path(files)]
    if not paths:
        raise ValueError(f"There is no wav file in {files}.")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.")
    return paths


def _label_of(path: Path, label: Callable[[Path], Label]) -> Label:
    try:
        return label(path)
    except Exception as error:  # whatever the user's function stumbles over: which file was it?
        raise ValueError(f"{path}: `label` gives none for it: {error!r}. Mend it, or leave the file out.") from error


def _ragged(rows: Sequence, dtype: type) -> tf.RaggedTensor:
    flat = np.concatenate([np.zeros(0, dtype), *(np.asarray(row, dtype) for row in rows)])
    return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])


def _label_tensor(labels: Sequence[Label]) -> tf.Tensor | tf.RaggedTensor:
    if any(np.ndim(label) for label in labels):
        return _ragged(labels, np.int32)
    return tf.constant(labels, tf.string if isinstance(labels[0], str) else tf.int32)
