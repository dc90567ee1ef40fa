"""Reads video clips as checked frames, from arrays, folders of images or animated GIF files."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_choice
from keras_seq.data.autotune import without_autotune
from keras_seq.data.reports import Report, count, read_files

_DAMAGED = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, tf.errors.InvalidArgumentError)


@dataclass(frozen=True)
class VideoReport(Report):
    """Counts of all clips: `read` = `kept` + `bad`. `skipped` has the error of each bad clip.

    `short` clips have fewer frames than requested, so some of their frames are repeated. `frames` is the total number
    of frames, before some were chosen. `shortest` and `longest` are numbers of frames of one clip.
    """

    bad: int = count("bad", "")
    short: int = count("short", "")
    frames: int = 0
    shortest: int = 0
    longest: int = 0
    skipped: tuple[str, ...] = field(default=(), repr=False)
    unit = "clip"

    def _details(self) -> str:
        return f": {self.frames:,} frames, from {self.shortest:,} to {self.longest:,}"


@dataclass(frozen=True, eq=False)
class Video:
    """Clips of frames.

    Args:
        paths: path of each clip.
        labels: number of each clip's class in `class_names`, or None.
        size: (height, width) that frames are resized to, or None.
        shape: (T, H, W, C) of all clips, with None where they differ.
        choose: function that reads the chosen frames of a path, uint8 `(T, H, W, C)`.
        clips: results of `choose`, if they are held in memory.
    """

    paths: Sequence[Path] = field(repr=False)
    labels: Sequence[int] | None = field(repr=False)
    class_names: tuple[str, ...]
    size: tuple[int, int] | None
    shape: tuple[int | None, ...]
    choose: Callable[[Path], np.ndarray] = field(repr=False)
    clips: Sequence[np.ndarray] | None = field(repr=False)
    report: VideoReport

    def __len__(self) -> int:
        return len(self.paths)

    def clip(self, number: int) -> np.ndarray:
        """The chosen frames of a clip, uint8 `(T, H, W, C)`, in their original size."""
        return self.choose(self.paths[number]) if self.clips is None else self.clips[number]

    def select(self, indices: Iterable[int]) -> "Video":
        """Only those clips, in that order. The report still covers all clips."""
        numbers = [int(index) for index in indices]
        return dataclasses.replace(
            self,
            paths=[self.paths[number] for number in numbers],
            labels=None if self.labels is None else [self.labels[number] for number in numbers],
            clips=None if self.clips is None else [self.clips[number] for number in numbers],
        )

    def dataset(self, order: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None) -> tf.data.Dataset:
        """A dataset of `(frames, label)`, or of frames without labels.

        Frames are float32 `(T, H, W, C)` in [0, 1], labels int32 `()`.

        Args:
            order: a step such as `shuffled(seed)`, applied to the numbers of the clips, so no frames are shuffled.
        """
        with tf.device("CPU:0"):  # where the dataset needs them
            labels = None if self.labels is None else tf.constant(self.labels, tf.int32)

        def frames_of(number):
            frames = tf.numpy_function(self.clip, [number], tf.uint8, stateful=False)
            frames.set_shape(self.shape)
            if self.size is not None:
                frames = tf.image.resize(frames, self.size, antialias=True)
            frames = tf.cast(frames, tf.float32) / 255
            return frames if labels is None else (frames, labels[number])

        numbers = tf.data.Dataset.range(len(self))
        numbers = numbers if order is None else numbers.apply(order)
        return numbers.map(frames_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).apply(without_autotune)


def read_video(
    clips: str | PathLike | Sequence[str | PathLike],
    *,
    every: int = 1,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    label: Callable[[Path], str] | None = None,
    class_names: Sequence[str] | None = None,
    on_bad_file: str = "error",
    in_memory: bool = True,
) -> Video:
    """Reads all clips once and checks them.

    A clip is an array `(T, H, W, C)` or `(T, H, W)` of uint8 (`.npy`, or `.npz` with only that array), a folder of
    images (PNG, JPEG or BMP, in the order of the numbers in their names), or an animated GIF.

    Args:
        clips: a folder with a folder of clips for each class, or a list of clips.
        every: stride between frames: 2 takes every second frame.
        num_frames: number of frames to take, evenly spaced, after `every`. Shorter clips repeat some. None takes all.
        size: (height, width) to resize frames to.
        channels: 3 for color, or 1. Images and GIFs are converted.
        label: function of a clip's path that returns the name of its class. None: the name of its folder for a
            folder of classes, and no labels for a list.
        class_names: names of the classes in the order of their numbers. None takes all names that occur, sorted.
        on_bad_file: "error", or "skip" to drop clips that cannot be read, and count them.
        in_memory: whether to keep clips in memory. False reads a clip again each time it is used.

    Raises:
        FileNotFoundError: if there is no such clip or folder.
        ValueError: if a clip is bad and `on_bad_file="error"`, none is left, or a class is not in `class_names`.
    """
    check_choice("error", "skip", on_bad_file=on_bad_file)
    if every < 1 or (num_frames is not None and num_frames < 1) or channels not in (1, 3):
        raise ValueError(
            "`every` and `num_frames` must be positive, and `channels` 1 or 3. "
            f"Received: {every=}, {num_frames=}, {channels=}"
        )
    if isinstance(clips, (str, PathLike)):
        label = label or (lambda path: path.parent.name)
        paths = _clips_of_classes(Path(clips))
    else:
        paths = [Path(path) for path in clips]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist.")

    def choose(frames: np.ndarray) -> np.ndarray:
        frames = frames[::every]
        if num_frames is not None:
            frames = frames[np.linspace(0, len(frames) - 1, num_frames).round().astype(int)]
        return np.ascontiguousarray(frames)

    def read(path: Path) -> tuple:
        frames = read_frames(path, channels)
        clip = choose(frames)
        return path, len(frames), clip.shape, clip if in_memory else None

    found, errors = read_files(clips, paths, read, on_bad_file)
    kept, lengths, shapes, chosen = map(list, zip(*found, strict=True))
    labels, names = None, ()
    if label is not None:
        classes = [str(label(path)) for path in kept]
        names = tuple(sorted(set(classes)) if class_names is None else class_names)
        for path, name in zip(kept, classes, strict=True):
            if name not in names:
                raise ValueError(f"{path}: its class {name!r} is not among `class_names`: {', '.join(names)}")
        labels = [names.index(name) for name in classes]
    shape = tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True))
    short = 0 if num_frames is None else sum(-(-length // every) < num_frames for length in lengths)
    skipped = tuple(map(str, errors))
    report = VideoReport(len(paths), len(kept), len(skipped), short, sum(lengths), min(lengths), max(lengths), skipped)

    def reread(path: Path) -> np.ndarray:
        return choose(read_frames(path, channels))

    return Video(kept, labels, names, size, shape, reread, chosen if in_memory else None, report)


def read_frames(path: str | PathLike, channels: int = 3) -> np.ndarray:
    """All frames of a clip, uint8 `(T, H, W, channels)`.

    Raises:
        ValueError: if the clip cannot be read or has no frames. The message names the file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            frames = _images(path, channels)
        elif path.suffix.lower() in (".npy", ".npz"):
            frames = _array(path)
        elif path.suffix.lower() == ".gif":
            frames = _gif(path, channels)
        else:
            raise ValueError("a clip is a .npy, .npz or .gif file or a folder of images")
        if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[3] != channels:
            raise ValueError(f"expected uint8 (T, H, W, {channels}), not {frames.dtype} {frames.shape}")
        if not frames.size:
            raise ValueError("it has no frames")
    except _DAMAGED as error:
        raise ValueError(f"{path} cannot be read: {error}. Recreate the clip, or omit it.") from error
    return frames


def _clips_of_classes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Pass a folder with a folder for each class, or a list.")
    classes = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in classes:
        if not path.is_dir():
            raise ValueError(f"{path} is not in the folder of a class. Move it into one, or pass a list of clips.")
    clips = [clip for path in classes for clip in sorted(path.iterdir(), key=_by_number)]
    return [clip for clip in clips if not clip.name.startswith(".")]


def _by_number(path: Path) -> list:
    """A sort key that puts frame 2 before frame 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _images(folder: Path, channels: int) -> np.ndarray:
    frames = []
    for path in sorted(folder.iterdir(), key=_by_number):
        if path.name.startswith("."):
            continue
        try:
            frame = tf.io.decode_image(path.read_bytes(), channels=channels, expand_animations=False).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"{path.name} is not a complete image") from error
        if frames and frame.shape != frames[0].shape:
            raise ValueError(f"{path.name} has the shape {frame.shape}, but the first image has {frames[0].shape}")
        frames.append(frame)
    if not frames:
        raise ValueError("it has no frames")
    return np.stack(frames)


def _array(path: Path) -> np.ndarray:
    frames = np.load(path, allow_pickle=False)
    if path.suffix.lower() == ".npz":
        with frames as arrays:
            if len(arrays.files) != 1:
                raise ValueError(f"it has {len(arrays.files)} arrays, not one")
            frames = arrays[arrays.files[0]]
    return frames[..., None] if frames.ndim == 3 else frames


def _gif(path: Path, channels: int) -> np.ndarray:
    content = path.read_bytes()
    count = _count_gif_frames(content)
    frames = tf.io.decode_gif(content)
    if len(frames) != count:  # TensorFlow returns the frames before the place where decoding failed
        raise ValueError(f"only {len(frames)} of its {count} frames can be decoded")
    return (frames if channels == 3 else tf.image.rgb_to_grayscale(frames)).numpy()


def _count_gif_frames(content: bytes) -> int:
    """Counts the frames of a GIF, and detects truncated files, which TensorFlow accepts."""

    def colors(flags: int) -> int:
        return 3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0

    try:
        place, count = 13 + colors(content[10]), 0
        while content[place] != 0x3B:  # the trailer
            if content[place] == 0x2C:  # an image: its descriptor, colors, code size
                count += 1
                place += 11 + colors(content[place + 9])
            elif content[place] == 0x21:  # an extension
                place += 2
            else:
                raise ValueError(f"byte {place:,} is not the start of a GIF block")
            while content[place]:  # blocks of data, each after its length
                place += 1 + content[place]
            place += 1
    except IndexError as error:
        raise ValueError(f"it ends after {len(content):,} bytes, in the middle of a block") from error
    return count
