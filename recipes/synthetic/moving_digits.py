"""Synthetic clips: handwritten digits that move.

The digits are the 1,797 handwritten ones of scikit-learn, 8 x 8 pixels each. Their motion is random: in one of eight
directions, by one or two pixels a frame. There are two kinds of fields. On an open field, a digit that leaves on one
side comes back on the opposite side. A single frame does not show the direction, and neither do all frames without
their order, which fit the opposite direction too. In a walled field, the digit turns back at a wall, so the next frame
depends on more than the last one.

Each handwritten digit is in only one of the three splits, so that test digits were never seen in training.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Literal

import numpy as np

from keras_seq.lazy import data

DIRECTIONS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
STEPS = np.array([[-1, 0], [-1, 1], [0, 1], [1, 1], [1, 0], [1, -1], [0, -1], [-1, -1]])  # down, right
SPEEDS = (1, 2)  # pixels a frame
SIDE = 8  # height and width of a digit in pixels
PARTS = {"train": 0.7, "valid": 0.15, "test": 0.15}  # shares of the handwritten digits


@functools.lru_cache(1)
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """All handwritten digits, uint8 `(1797, 8, 8)`, and their labels, ints `(1797,)`.

    Raises:
        ImportError: if scikit-learn is not installed.
    Source: Alpaydin and Kaynak 1998, doi:10.24432/C50P49. scikit-learn has its test part.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError('The handwritten digits come from scikit-learn: pip install "keras-seq[recipes]"') from None
    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target


def samples_of(part: Literal["train", "valid", "test"]) -> np.ndarray:
    """Indices of the handwritten digits of a split, ints, independent of the seed of a run."""
    order = np.random.default_rng(0).permutation(len(handwriting()[0]))
    ends = np.cumsum([round(share * len(order)) for share in PARTS.values()])
    first = dict(zip(PARTS, [0, *ends], strict=False))[part]
    return order[first : first + round(PARTS[part] * len(order))]


def clips(
    part: Literal["train", "valid", "test"],
    count: int,
    frames: int,
    *,
    size: int = 16,
    walls: bool = False,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws random clips of moving digits.

    Longer clips of the same seed begin like shorter ones.

    Args:
        part: split of the handwritten digits.
        count: number of clips, N.
        frames: number of frames of each clip, T.
        size: height and width of the field in pixels.
        walls: whether digits turn back at the walls. Otherwise they come back on the other side.
        seed: random seed.
    Returns:
        The clips, uint8 `(N, T, size, size, 1)`, the initial direction of each as an index into `DIRECTIONS`, and the
        digit of each, ints `(N,)`.
    Raises:
        ValueError: if the field is too small for a digit to move in.
    """
    if size < SIDE + max(SPEEDS):
        raise ValueError(f"A digit of {SIDE} pixels needs a field of {SIDE + max(SPEEDS)} to move. Received: {size}")
    random = np.random.default_rng([seed, list(PARTS).index(part)])
    sample = random.choice(samples_of(part), count)
    direction = random.integers(0, len(DIRECTIONS), count)
    speed = random.choice(SPEEDS, (count, 1))
    begin = random.integers(0, size - SIDE + 1 if walls else size, (count, 2))

    images, digits = handwriting()
    places = begin[:, None] + np.arange(frames)[:, None] * (speed * STEPS[direction])[:, None]  # (N, T, 2)
    if walls:
        room = size - SIDE
        places = room - np.abs(room - places % (2 * room))  # there and back again
    corners = places[..., None] + np.arange(SIDE)  # (N, T, 2, SIDE)
    rows, columns = corners[:, :, 0] % size, corners[:, :, 1] % size
    pictures = np.zeros((count, frames, size, size, 1), np.uint8)
    clip, picture = np.arange(count)[:, None, None, None], np.arange(frames)[:, None, None]
    pictures[clip, picture, rows[..., None], columns[..., None, :], 0] = images[sample][:, None]
    return pictures, direction, digits[sample]


def video(
    task: Literal["direction", "digit", "next_frame"], part: Literal["train", "valid", "test"], count: int, **options
) -> data.Video:
    """Clips as returned by `data.read_video`, with the labels of a task. "next_frame" has walls and no labels."""
    pictures, direction, digit = clips(part, count, walls=task == "next_frame", **options)
    labels, names = {
        "direction": (direction, DIRECTIONS),
        "digit": (digit, tuple("0123456789")),
        "next_frame": (None, ()),
    }[task]
    paths = [pathlib.Path(f"{part}-{number}") for number in range(count)]  # names in place of files
    clip_of = dict(zip(paths, pictures, strict=True))
    frames = pictures.shape[1]
    report = data.VideoReport(count, count, frames=count * frames, shortest=frames, longest=frames)
    shape = tuple(pictures.shape[1:])
    return data.Video(
        paths, None if labels is None else labels.tolist(), names, None, shape, clip_of.__getitem__, pictures, report
    )
