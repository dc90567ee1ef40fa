"""Synthetic speech: digits as a telephone dials them.

A digit is two tones, here one after the other: first the tone of its row on the keypad, then the tone of its column.
A single tone does not identify the digit, and the change between the tones is a moment that CTC can detect:

            1209 Hz  1336 Hz  1477 Hz
    697 Hz     1        2        3
    770 Hz     4        5        6
    852 Hz     7        8        9
    941 Hz              0

Takes vary in length and tuning, and contain noise.
"""

from __future__ import annotations

import numpy as np

from keras_seq.lazy import data

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000  # samples a second, as on the telephone
ROWS, COLUMNS = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0)
KEYS = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (None, 0, None))
TONES = {key: (ROWS[r], COLUMNS[c]) for r, row in enumerate(KEYS) for c, key in enumerate(row) if key is not None}


def take(digit: int, random: np.random.Generator) -> np.ndarray:
    """A digit dialled once, float32 `(samples,)`: 0.12 to 0.2 seconds, the tone of its row, then of its column."""
    time = np.arange(random.integers(RATE * 12 // 100, RATE // 5)) / RATE
    tune = random.uniform(0.985, 1.015)  # telephones keep to 1.5%
    row, column = (np.sin(2 * np.pi * (tune * tone * time + random.random())) for tone in TONES[digit])
    wave = np.where(np.arange(len(time)) < len(time) // 2, row, column)  # the change identifies the digit
    fade = np.minimum(1, np.minimum(np.arange(len(time)), np.arange(len(time))[::-1]) / 80)  # no click
    wave = random.uniform(0.1, 0.6) * fade * wave + 0.02 * random.standard_normal(len(time))
    return np.clip(wave, -1, 1).astype(np.float32)


def takes(count: int = 400, held_out_count: int = 100, seed: int = 0) -> dict[str, data.Audio]:
    """Takes for "train", "valid" and "test", with each digit equally often."""
    random, parts = np.random.default_rng(seed), {}
    for part, size in {"train": count, "valid": held_out_count, "test": held_out_count}.items():
        digits = [number % len(NAMES) for number in range(size)]
        parts[part] = data.Audio(RATE, [take(digit, random) for digit in digits], digits)
    return parts
