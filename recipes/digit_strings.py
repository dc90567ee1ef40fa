"""Recordings of digit strings, concatenated from takes of single digits."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_seq.lazy import data

# Copies of a take differ from it in speed, loudness and noise, which do not change the digit.
SPEECH = {"speeds": (0.85, 1.15), "decibels": (-20.0, 10.0), "noise": (-80.0, -35.0)}
TONES = {"decibels": (-12.0, 6.0), "noise": (-80.0, -45.0)}  # no change of speed: another pitch is another digit
PAUSES = (0.0, 0.3)  # seconds of silence before each digit of a string
ALONE = 0.1  # greatest silence in seconds around a single training digit, since the silence in files varies
HELD_OUT = {"valid": 300, "test": 500}  # greatest number of strings; validation: at most a quarter of those in training
LONG = 100  # number of strings twice as long as any in training


def copies(takes: data.Audio, count: int, seed: int, augmentation: data.AudioAugmentation) -> data.Audio:
    """Augmented copies of takes, `count` of each, with a single label each."""
    pauses = {"pauses": (0.0, ALONE), "end_pause": ALONE}
    audio = data.concatenate_recordings(
        takes, [1] * (count * len(takes)), seed=seed, augmentation=augmentation, **pauses
    )
    return dataclasses.replace(audio, labels=[label for (label,) in audio.labels])


def strings(
    takes: dict[str, data.Audio], count: int, max_digits: int, seed: int, augmentation: data.AudioAugmentation
) -> dict[str, data.Audio]:
    """Strings of 1 to `max_digits` digits for "train", "valid" and "test", each from the takes of that split, and
    "long": strings of twice as many digits from the takes of "test".

    Args:
        takes: takes of each split.
        count: number of strings of "train".
        max_digits: longest string in training.
        seed: random seed.
        augmentation: augmentation of the training takes.
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
