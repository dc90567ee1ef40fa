"""Baselines of piano rolls: the frequency of each note, alone or given whether the note sounds in the last frame.

Both are fitted by counting, with half a frame added to each count. All notes of a frame are independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PRIOR = 0.5  # frames added to each count (Krichevsky and Trofimov 1981, doi:10.1109/TIT.1981.1056331)


def frequencies(rolls: Sequence[np.ndarray]) -> np.ndarray:
    """The share of frames in which each note sounds, float `(F,)`, without the first frame of each piece."""
    return _shares(np.concatenate([roll[1:] for roll in rolls]))


def frequency_loss(train: Sequence[np.ndarray], test: Sequence[np.ndarray]) -> float:
    """The loss per frame of the frequencies in `train`, in nats, on frames of `test` but the first of each piece."""
    return _loss(np.concatenate([roll[1:] for roll in test]), frequencies(train))


def persistence_loss(train: Sequence[np.ndarray], test: Sequence[np.ndarray]) -> float:
    """The loss per frame of the frequencies of each note after frames with and without it. See `frequency_loss`."""
    before, after = (np.concatenate([roll[part] for roll in train]) for part in (slice(-1), slice(1, None)))
    silent, sounding = (_shares(after, before == state) for state in (0, 1))
    before, after = (np.concatenate([roll[part] for roll in test]) for part in (slice(-1), slice(1, None)))
    return _loss(after, np.where(before, sounding, silent))


def _shares(frames: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    counted = np.ones_like(frames) if counted is None else counted
    return ((frames * counted).sum(axis=0) + PRIOR) / (counted.sum(axis=0) + 2 * PRIOR)


def _loss(frames: np.ndarray, shares: np.ndarray) -> float:
    """The negative log-likelihood of frames `(N, F)`, summed over the notes, per frame."""
    return float(-np.log(np.where(frames, shares, 1 - shares)).sum() / len(frames))
