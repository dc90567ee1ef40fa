"""Recordings of strings of digits, joined of takes of single ones."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_seq.lazy import data

# A copy of a take differs from it in speed, loudness and noise, none of which is a matter of the digit.
SPEECH = {"speeds": (0.85, 1.15), "decibels": (-20.0, 10.0), "noise": (-80.0, -35.0)}
TONES = {"decibels": (-12.0, 6.0), "noise": (-80.0, -45.0)}  # another pitch is another digit there
PAUSES = (0.0, 0.3)  # seconds of silence before each digit of a string
ALONE = 0.1  # seconds of silence at most around a single training digit, as files begin and end differently
HELD_OUT = {"valid": 300, "test": 500}  # strings at most; for validation a quarter of the training strings
LONG = 100  # strings twice as long as any in training


def copies(takes: data.Audio, count: int, seed: int, augmentation: data.AudioAugmentation) -> data.Audio:
    """So many varied copies of each take, each with its one label."""
    pauses = {"pauses": (0.0, ALONE), "end_pause": ALONE}
    audio = data.concatenate_recordings(
        takes, [1] * (count * len(takes)), seed=seed, augmentation=augmentation, **pauses
    )
    return dataclasses.replace(audio, labels=[label for (label,) in audio.labels])


def strings(
    takes: dict[str, data.Audio], count: int, max_digits: int, seed: int, augmentation: data.AudioAugmentation
) -> dict[str, data.Audio]:
    """Strings of 1 to `max_digits` digits for "train", "valid" and "test", each of the takes of that part; and "long",
    strings of twice as many digits, of the takes of "test".

    Args:
        count: strings of "train".
        augmentation: of the takes in training.
    """
    random = np.random.default_rng(seed)
    valid, test = min(HELD_OUT["valid"], max(1, count // 4)), min(HELD_OUT["test"], count)
    sizes = {"train": count, "valid": valid, "test": test}
    digits = {part: random.integers(1, max_digits + 1, size) for part, size in sizes.items()}
    digits["long"] = np.full(min(LONG, count), 2 * max_digits)
    parts = {}
    for number, part in enumerate(digits):
        varied = {"augmentation": augmentation} if part == "train" else {}
        source = takes["test" if part == "long" else part]
        parts[part] = data.concatenate_recordings(source, digits[part], seed=seed + number, pauses=PAUSES, **varied)
    return parts
