"""Synthetic piano rolls: a scale over broken chords, in any key.

    C  E  G  E | F  A  C  A | G  B  D  B | C  E  G  E | ...     the left hand, one note of the chord a frame
    C  D  E  F   G  A  B  C   B  A  G  F   E  D  C  D ...       the right hand, up and down the scale

Each piece has a random key, number of bars and first note of the scale, and a random progression of three chords, which
it repeats. The root of each chord is held below. So everything in a piece follows from its first three bars: a model
that remembers twelve frames can predict all later ones.
"""

from __future__ import annotations

import numpy as np

KEYS = 88
TONIC = 39  # key of middle C, counted from the lowest one
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones of a major scale
DEGREES = (0, 1, 3, 4, 5)  # on which chords stand: I, ii, IV, V, vi
PROGRESSION = 3  # chords
BAR = 4  # frames
BARS = (4, 12)  # least and greatest number


def pitch(degree: np.ndarray | int) -> np.ndarray:
    """The semitones from the tonic to a degree of the scale, 0 for the tonic and 7 for its octave."""
    octave, step = np.divmod(degree, len(SCALE))
    return 12 * octave + SCALE[step]


def piece(draw: np.random.Generator) -> np.ndarray:
    """A random piece, uint8 `(T, 88)`."""
    tonic, bars = TONIC + draw.integers(-6, 6), draw.integers(BARS[0], BARS[1] + 1)
    chords = draw.choice(DEGREES, PROGRESSION)
    roll = np.zeros((bars * BAR, KEYS), np.uint8)
    frames = np.arange(len(roll))
    roots = chords[frames // BAR % PROGRESSION] - len(SCALE)  # an octave below the scale
    roll[frames, tonic + pitch(roots) - 12] = 1  # the bass holds its note for the whole bar
    roll[frames, tonic + pitch(roots + np.array([0, 2, 4, 2])[frames % BAR])] = 1
    turn = len(SCALE)  # up an octave and down again
    steps = (frames + draw.integers(0, 2 * turn)) % (2 * turn)
    roll[frames, tonic + 12 + pitch(turn - np.abs(turn - steps))] = 1
    return roll


def rolls(count: int = 300, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """`count` pieces for "train", and a quarter as many for "valid" and for "test", at least one."""
    draws = zip(("train", "valid", "test"), (count, max(1, count // 4), max(1, count // 4)), strict=True)
    return {
        split: [piece(draw) for _ in range(number)]
        for index, (split, number) in enumerate(draws)
        for draw in [np.random.default_rng([seed, index])]
    }
