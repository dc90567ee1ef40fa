"""Clips of a recipe: the splits in a folder, and their frames as arrays."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_seq import data

HELD_OUT = 10  # without a validation folder, every tenth training clip is held out
_BATCH = 64  # clips in memory


def read_clips(folder: pathlib.Path, **arguments: Any) -> dict[str, data.Video]:
    """Reads the folders train, valid and test of a folder, each with a folder of clips for each class. The result
    always has "train" and "valid".

    Args:
        arguments: arguments of `data.read_video`.
    Raises:
        ValueError: if there are too few clips to hold out some, or one cannot be read.
    """
    parts, names = {}, None
    for part in ("train", "valid", "test"):
        if part == "train" or (folder / part).is_dir():
            parts[part] = data.read_video(folder / part, class_names=names, **arguments)
            names = parts[part].class_names
            print(f"{folder / part}: {parts[part].report}; {', '.join(names)}.")
    return parts if "valid" in parts else {**parts, **_divided(parts["train"], folder)}


def _divided(whole: data.Video, folder: pathlib.Path) -> dict[str, data.Video]:
    held_out = np.arange(len(whole)) % HELD_OUT == HELD_OUT - 1
    if not held_out.any():
        raise ValueError(
            f"{folder / 'train'} has {len(whole)} clips, too few to hold out some. Add {folder / 'valid'}."
        )
    return {"train": whole.select(np.flatnonzero(~held_out)), "valid": whole.select(np.flatnonzero(held_out))}


def frame_batches(part: data.Video) -> Iterator[list[np.ndarray]]:
    """All clips of a split in order, a list for each batch: float32 `(T, H, W, C)` in [0, 1]."""
    dataset = dataclasses.replace(part, labels=None).dataset().batch(_BATCH)
    yield from (list(batch) for batch in dataset.as_numpy_iterator())


def frames_of(part: data.Video) -> np.ndarray:
    """All clips of a split, float32 `(N, T, H, W, C)`."""
    return np.concatenate([np.stack(batch) for batch in frame_batches(part)])
