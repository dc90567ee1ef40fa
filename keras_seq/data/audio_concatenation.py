"""Makes recordings from others, one after the other, with pauses and changes of speed, volume and noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_seq.data.audio import Audio, resampled

SPEED_STEPS = 20  # speeds are multiples of 1 / 20, since `resampled` is fast for ratios of small whole numbers


@dataclass(frozen=True)
class AudioAugmentation:
    """Random changes of the takes in a recording. By default there are none.

    Args:
        speeds: slowest and fastest speed, as factors. The pitch changes with the speed, as on a tape.
        decibels: lowest and highest gain, drawn for each take.
        noise: quietest and loudest white noise, in decibels below full scale, drawn for each recording. None: no noise.
    Raises:
        ValueError: if a range is reversed, or a speed is not positive.
    """

    speeds: tuple[float, float] = (1.0, 1.0)
    decibels: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, float] | None = None

    def __post_init__(self):
        for name in ("speeds", "decibels", "noise"):
            low, high = getattr(self, name) or (0, 0)
            if low > high or (name == "speeds" and low <= 0):
                raise ValueError(f"`{name}` must be (lowest, highest), speeds positive. Received: {(low, high)}")


UNCHANGED = AudioAugmentation()


def concatenate_recordings(
    takes: Audio,
    counts: Sequence[int] | np.ndarray,
    *,
    seed: int,
    pauses: tuple[float, float] = (0.0, 0.3),
    end_pause: float = 0.0,
    augmentation: AudioAugmentation = UNCHANGED,
) -> Audio:
    """Makes recordings of randomly drawn takes, one after the other, with silence before each.

    Takes are dealt like cards: no take is repeated before each has been used once.

    Args:
        takes: recordings, each with a whole number as its label.
        counts: number of takes in each new recording.
        seed: random seed. The same seed gives the same recordings.
        pauses: shortest and longest silence before a take, in seconds.
        end_pause: longest silence after the last take, in seconds.
        augmentation: changes of the takes and of the whole recording.
    Returns:
        `Audio` in memory. The label of each recording is the list of the labels of its takes.
    Raises:
        ValueError: if a count is not positive, there is no take, or pauses are negative or reversed.
    """
    fine = 0 <= pauses[0] <= pauses[1] and end_pause >= 0
    if not len(takes) or takes.labels is None or min(counts, default=1) < 1 or not fine:
        raise ValueError(
            "Needs takes with labels, counts of at least 1, and pauses (shortest, longest) of at least 0. "
            f"Received: {len(takes)} takes, {min(counts, default=1)} as the least count, {pauses=}, {end_pause=}"
        )
    random, deck, waveforms, labels = np.random.default_rng(seed), [], [], []
    for count in counts:
        parts, label = [], []
        for _ in range(count):
            deck = deck or random.permutation(len(takes)).tolist()
            take = deck.pop()
            pause = round(random.uniform(*pauses) * takes.sampling_rate)
            parts += [np.zeros(pause, np.float32), _varied(takes.waveform(take), augmentation, random)]
            label.append(int(takes.labels[take]))
        if end_pause:
            parts.append(np.zeros(round(random.uniform(0, end_pause) * takes.sampling_rate), np.float32))
        waveforms.append(_with_noise(np.concatenate(parts), augmentation, random))
        labels.append(label)
    return Audio(takes.sampling_rate, waveforms, labels)


def _varied(waveform: np.ndarray, augmentation: AudioAugmentation, random: np.random.Generator) -> np.ndarray:
    slowest, fastest = (round(speed * SPEED_STEPS) for speed in augmentation.speeds)
    # A faster recording has fewer samples: n samples become n * SPEED_STEPS / speed.
    waveform = resampled(waveform, int(random.integers(slowest, fastest + 1)), SPEED_STEPS)
    gain = 10 ** (random.uniform(*augmentation.decibels) / 20)
    return np.clip(gain * waveform, -1, 1).astype(np.float32)


def _with_noise(waveform: np.ndarray, augmentation: AudioAugmentation, random: np.random.Generator) -> np.ndarray:
    if augmentation.noise is None:
        return waveform
    deviation = 10 ** (random.uniform(*augmentation.noise) / 20)
    return np.clip(waveform + deviation * random.standard_normal(len(waveform), np.float32), -1, 1).astype(np.float32)
