"""The dialled digits: what they are, and that one tone alone does not say which."""

import collections

import numpy as np

from recipes.synthetic import dial_tones


def heard(wave):
    """Which digit has these tones, by another way than making them: the strongest in each half of the spectrum."""
    power = np.abs(np.fft.rfft(wave, dial_tones.RATE))  # a bin is one Hertz
    low, high = 600 + power[600:1050].argmax(), 1100 + power[1100:1600].argmax()
    row = np.abs(np.array(dial_tones.ROWS) - low).argmin()
    column = np.abs(np.array(dial_tones.COLUMNS) - high).argmin()
    return dial_tones.KEYS[row][column]


def test_takes_have_the_tones_of_their_digits():
    parts = dial_tones.takes(100, 50, seed=3)
    assert {part: len(audio) for part, audio in parts.items()} == {"train": 100, "valid": 50, "test": 50}
    for audio in parts.values():
        assert set(collections.Counter(audio.labels).values()) == {len(audio) // 10}
        assert [heard(wave) for wave in audio.waveforms] == list(audio.labels)
        assert all(0.12 <= len(wave) / dial_tones.RATE <= 0.2 and np.abs(wave).max() <= 1 for wave in audio.waveforms)


def test_one_seed_one_set_of_takes():
    one, same, other = (dial_tones.takes(10, 10, seed=seed)["train"].waveforms for seed in (1, 1, 2))
    assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_no_tone_is_of_one_digit_alone_but_zeros():
    counts = collections.Counter(tone for tones in dial_tones.TONES.values() for tone in tones)
    assert len(dial_tones.TONES) == 10
    assert {tone for tone, count in counts.items() if count == 1} == {941.0}
