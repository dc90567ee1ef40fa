"""The Free Spoken Digit Dataset: recordings DIGIT_SPEAKER_TAKE.wav, 8 kHz, each speaker's takes split by their number.

github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import pathlib
import re

from keras_seq.lazy import data

RATE = 8000
# Each take is of one speaker and one digit: all speakers are in all parts. Takes 0 to 4 are left alone.
TAKES = {"train": range(15, 50), "valid": range(10, 15), "test": range(5, 10)}
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)")


def takes(folder: pathlib.Path, sampling_rate: int = RATE) -> dict[str, data.Audio]:
    """The recordings of "train", "valid" and "test", converted to that rate and to one channel; digits as labels.

    Raises:
        ValueError: for a file that has another name or is no such recording, or a part without files.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in data.SOUND_SUFFIXES)
    numbers, parts = [_of(path)[1] for path in files], {}
    for part, chosen in TAKES.items():
        own = [path for path, number in zip(files, numbers, strict=True) if number in chosen]
        if not own:
            raise ValueError(
                f"{folder}: there is no recording for {part!r}, DIGIT_SPEAKER_TAKE.wav with a TAKE from {chosen[0]} to "
                f"{chosen[-1]}, among {len(files):,} sound files. Is it another folder?"
            )
        wanted = {"resample": True, "mix_down": True, "label": lambda path: _of(path)[0]}
        parts[part] = data.read_audio(own, sampling_rate, **wanted)
        print(f"{part}: {parts[part].report}.")
    return parts


def _of(path: pathlib.Path) -> tuple[int, int]:
    """Digit and take."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        raise ValueError(f"{path}: the name must be DIGIT_SPEAKER_TAKE.wav, 3_anna_17.wav say. Rename it, or move it.")
    return int(found[1]), int(found[3])
