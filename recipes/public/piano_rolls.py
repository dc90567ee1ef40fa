"""Collections of piano rolls: the published .mat files, or lists of MIDI notes in JSON.

A roll is a piece of music as a matrix: a row for each frame, equally long, and a column for each of the 88 keys of a
piano, 1 while its note sounds. The chorales of J. S. Bach have a frame for each quarter or eighth note.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KEYS = 88
LOWEST = 21  # MIDI number of the lowest key, A0
ENDINGS = (".mat", ".json")
SPLITS = ("train", "valid", "test")


def find(folder: pathlib.Path, collection: str) -> pathlib.Path:
    """The file of a collection: the only .mat or .json file in the folder whose name begins with `collection`, in upper
    or lower case.

    Raises:
        ValueError: if there is none, or more than one.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    named = [path for path in files if path.name.lower().startswith(collection.lower())]
    if len(named) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise ValueError(
            f"{folder} must hold one .mat or .json file whose name begins with --collection {collection}. It has: "
            f"{names}."
        )
    return named[0]


def read(path: pathlib.Path) -> dict[str, list[np.ndarray]]:
    """Reads the splits of a collection.

    Args:
        path: a .mat file with `traindata`, `validdata` and `testdata`, or a .json file with "train", "valid" and
            "test". In JSON a piece is a list of frames, and a frame is a list of MIDI numbers, of which negative ones
            are silence.
    Returns:
        `{"train", "valid", "test"}`, each a list of pieces, uint8 `(T, 88)`.
    Raises:
        ValueError: if the file cannot be read, a split is missing, or a piece is no roll of at least two frames.
    """
    try:
        content = _read_mat(path) if path.suffix.lower() == ".mat" else _read_json(path)
    except ImportError:
        raise
    except Exception as error:  # of any kind, since the file may be damaged anywhere
        raise ValueError(f"{path} cannot be read as a collection of piano rolls: {error}") from error
    for split in SPLITS:
        if not content.get(split):
            raise ValueError(f"{path} has no pieces for {split!r}. It must have all of {', '.join(SPLITS)}.")
        for number, roll in enumerate(content[split]):
            _check(roll, f"{path}: piece {number} of {split!r}")
    return {split: [roll.astype(np.uint8) for roll in content[split]] for split in SPLITS}


def _read_mat(path: pathlib.Path) -> dict[str, list[np.ndarray]]:
    try:
        import scipy.io
    except ImportError:
        raise ImportError('Files in the format of MATLAB need SciPy: pip install "keras-seq[recipes]"') from None
    content = scipy.io.loadmat(path)
    return {split: list(content[f"{split}data"].ravel()) for split in SPLITS if f"{split}data" in content}


def _read_json(path: pathlib.Path) -> dict[str, list[np.ndarray]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, Mapping):
        raise ValueError(f"it must be an object with {', '.join(SPLITS)}")
    return {split: [_roll(frames) for frames in content[split]] for split in SPLITS if split in content}


def _roll(frames: Sequence[Sequence[Any]]) -> np.ndarray:
    roll = np.zeros((len(frames), KEYS), np.uint8)
    for row, notes in zip(roll, frames, strict=True):
        keys = np.array([note for note in notes if note >= 0], float) - LOWEST
        if (keys % 1).any() or ((keys < 0) | (keys >= KEYS)).any():
            raise ValueError(f"notes must be MIDI numbers from {LOWEST} to {LOWEST + KEYS - 1}. Received: {notes}")
        row[keys.astype(int)] = 1
    return roll


def _check(roll: np.ndarray, where: str) -> None:
    if roll.ndim != 2 or roll.shape[1] != KEYS or len(roll) < 2 or not np.isin(roll, (0, 1)).all():
        raise ValueError(
            f"{where} must have at least two frames of {KEYS} keys, 0 or 1. Received: shape {roll.shape}"
            + (f", {roll.min()} to {roll.max()}" if roll.size and roll.ndim == 2 else "")
        )


def transposed(rolls: Sequence[np.ndarray], semitones: int) -> list[np.ndarray]:
    """The pieces, and copies of each that are up to `semitones` higher and lower, without copies that leave the
    keyboard."""
    copies = []
    for shift in range(-semitones, semitones + 1):
        for roll in rolls:
            (keys,) = np.nonzero(roll.any(axis=0))
            if not shift or not keys.size or (keys[0] + shift >= 0 and keys[-1] + shift < roll.shape[1]):
                copies.append(np.roll(roll, shift, axis=1))
    return copies
