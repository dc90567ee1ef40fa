"""The Free Spoken Digit Dataset: recordings DIGIT_SPEAKER_TAKE.wav, 8 kHz, each speaker's takes split by take number.

github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import pathlib
import re

from keras_seq.lazy import data

RATE = 8000
# Takes are numbered by speaker and digit, so all speakers are in all splits. Takes 0 to 4 are unused.
TAKES = {"train": range(15, 50), "valid": range(10, 15), "test": range(5, 10)}
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)")


def takes(folder: pathlib.Path, sampling_rate: int = RATE) -> dict[str, data.Audio]:
    """Reads the recordings of "train", "valid" and "test", converts them to the sampling rate and to one channel, and
    labels them with their digits.

    Raises:
        ValueError: for a file with another name or without a recording, and for a split without files.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in data.SOUND_SUFFIXES)
    numbers, parts = [_of(path)[1] for path in files], {}
    for part, chosen in TAKES.items():
        paths = [path for path, number in zip(files, numbers, strict=True) if number in chosen]
        if not paths:
            raise ValueError(
                f"{folder} has no recording for {part!r}, DIGIT_SPEAKER_TAKE.wav with a TAKE from {chosen[0]} to "
                f"{chosen[-1]}, among {len(files):,} sound files. Name another folder."
            )
        wanted = {"resample": True, "mix_down": True, "label": lambda path: _of(path)[0]}
        parts[part] = data.read_audio(paths, sampling_rate, **wanted)
        print(f"{part}: {parts[part].report}.")
    return parts


def _of(path: pathlib.Path) -> tuple[int, int]:
    """The digit and the take of a file."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ValueError(f"{path}: the name must be DIGIT_SPEAKER_TAKE.wav, as 3_anna_17.wav. Rename it, or move it.")
    return int(match[1]), int(match[3])
