"""A task of clips without a download: handwritten digits that move.

The digits are real, the 1,797 of scikit-learn, 8 x 8 points each; how they move is drawn by chance: in one of eight
directions, one or two points a picture. There are two kinds of fields. On an open one, what leaves on one side comes
back on the other: one picture alone says nothing about the direction, and all of them, whatever their order, cannot
tell it from the opposite one. In a walled one the digit turns back where it meets a wall, so that what comes next
depends on what was before the last picture.

Each digit is in one of the three parts only: what is tested was never seen in training, wherever it stood.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Literal

import numpy as np

from keras_seq.lazy import data

DIRECTIONS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
STEPS = np.array([[-1, 0], [-1, 1], [0, 1], [1, 1], [1, 0], [1, -1], [0, -1], [-1, -1]])  # down, right
SPEEDS = (1, 2)  # points a picture
SIDE = 8  # points of a digit
PARTS = {"train": 0.7, "valid": 0.15, "test": 0.15}  # of the handwritten digits


@functools.lru_cache(1)
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """All handwritten digits: uint8 `(1797, 8, 8)`, and which digits they are, ints `(1797,)`.

    Raises:
        ImportError: if scikit-learn is not installed.
    Source: Alpaydin and Kaynak 1998, doi:10.24432/C50P49; scikit-learn has the test part of it.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError('The handwritten digits come from scikit-learn: pip install "keras-seq[recipes]"') from None
    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target


def samples_of(part: Literal["train", "valid", "test"]) -> np.ndarray:
    """The numbers of the handwritten digits of a part, ints. They are the same whatever the seed of a run."""
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
    """Clips of digits that move, drawn by chance.

    Longer clips of the same seed begin like shorter ones.

    Args:
        part: whose handwriting.
        count: how many clips, N.
        frames: pictures of each, T.
        size: points of a side of the field.
        walls: whether digits turn back at the walls; else they come back on the other side.
        seed: of the draw.
    Returns:
        The pictures, uint8 `(N, T, size, size, 1)`; of each clip the direction in which it sets out, a number of
        `DIRECTIONS`, and the digit, ints `(N,)`.
    Raises:
        ValueError: if the field is too small for a digit to move in.
    """
    if size < SIDE + max(SPEEDS):
        raise ValueError(f"A digit of {SIDE} points needs a field of {SIDE + max(SPEEDS)} to move. Received: {size}")
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
    """Clips as `data.read_video` gives them, with the labels of a task; for "next_frame" none, and there are walls."""
    pictures, direction, digit = clips(part, count, walls=task == "next_frame", **options)
    labels, names = {
        "direction": (direction, DIRECTIONS),
        "digit": (digit, tuple("0123456789")),
        "next_frame": (None, ()),
    }[task]
    paths = [pathlib.Path(f"{part}-{number}") for number in range(count)]  # where they would be
    clip_of = dict(zip(paths, pictures, strict=True))
    frames = pictures.shape[1]
    report = data.VideoReport(count, count, frames=count * frames, shortest=frames, longest=frames)
    shape = tuple(pictures.shape[1:])
    return data.Video(
        paths, None if labels is None else labels.tolist(), names, None, shape, clip_of.__getitem__, pictures, report
    )
