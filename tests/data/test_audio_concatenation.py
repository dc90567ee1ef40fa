import numpy as np
import pytest

from keras_seq import data

if __import__("keras").backend.backend() != "tensorflow":
    pytest.skip("data needs TensorFlow", allow_module_level=True)

RATE = 100
TAKES = data.Audio(RATE, [np.full(size, 0.1 * size / 10, np.float32) for size in (10, 20, 30)], [7, 8, 9])
SIZE_OF = {7: 10, 8: 20, 9: 30}


def test_takes_stand_one_after_the_other_with_silence_before_each():
    audio = data.concatenate_recordings(TAKES, [1, 2, 3, 3], seed=1, pauses=(0.05, 0.2))
    assert [len(label) for label in audio.labels] == [1, 2, 3, 3] and audio.sampling_rate == RATE
    for waveform, label in zip(audio.waveforms, audio.labels, strict=True):
        rest = waveform
        for digit in label:
            pause = int((rest != 0).argmax())
            assert 5 <= pause <= 20
            size = SIZE_OF[digit]
            np.testing.assert_allclose(rest[pause : pause + size], size / 100, atol=1e-6)
            rest = rest[pause + size :]
        assert not len(rest)


def test_silence_may_follow_the_last_take():
    audio = data.concatenate_recordings(TAKES, [2] * 20, seed=1, pauses=(0, 0), end_pause=0.2)
    rests = []
    for waveform, label in zip(audio.waveforms, audio.labels, strict=True):
        spoken = sum(SIZE_OF[digit] for digit in label)
        assert waveform[:spoken].all() and not waveform[spoken:].any()
        rests.append(len(waveform) - spoken)
    assert 0 <= min(rests) < 5 and 15 < max(rests) <= 20


def test_no_take_comes_again_before_all_have_come():
    audio = data.concatenate_recordings(TAKES, [3] * 5, seed=2)
    assert all(sorted(label) == [7, 8, 9] for label in audio.labels)
    assert len({tuple(label) for label in audio.labels}) > 1


def test_the_seed_alone_says_what_is_drawn():
    varied = data.AudioAugmentation(speeds=(0.8, 1.2), decibels=(-6, 0), noise=(-60, -40))
    one, same, other = (
        data.concatenate_recordings(TAKES, [3] * 4, seed=seed, augmentation=varied) for seed in (1, 1, 2)
    )
    for ours, theirs in zip(one.waveforms, same.waveforms, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert one.labels == same.labels and one.labels != other.labels
    assert all(np.abs(waveform).max() <= 1 and waveform.dtype == np.float32 for waveform in one.waveforms)


def test_speed_shortens_and_loudness_scales():
    time = np.arange(8000) / 8000
    tone = data.Audio(8000, [(0.1 * np.sin(2 * np.pi * 500 * time)).astype(np.float32)], [3])

    def changed(**augmentation):
        return data.concatenate_recordings(
            tone, [1], seed=1, pauses=(0, 0), augmentation=data.AudioAugmentation(**augmentation)
        ).waveforms[0]

    fast = changed(speeds=(1.25, 1.25))
    assert len(fast) == 6400
    assert np.abs(np.fft.rfft(fast)).argmax() * 8000 / len(fast) == pytest.approx(625, abs=2)
    assert np.abs(changed(decibels=(6, 6))).max() == pytest.approx(0.1 * 10**0.3, rel=1e-3)
    assert np.std(changed(noise=(-40, -40)) - tone.waveforms[0]) == pytest.approx(0.01, rel=0.05)
    np.testing.assert_array_equal(changed(), tone.waveforms[0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"counts": [0]}, "0 as the least"),
        ({"pauses": (0.2, 0.1)}, "pauses="),
        ({"end_pause": -0.1}, "end_pause=-0.1"),
        ({"takes": data.Audio(8, [])}, "0 takes"),
    ],
)
def test_what_cannot_be_joined_is_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        data.concatenate_recordings(**{"takes": TAKES, "counts": [1], "seed": 1, **arguments})


@pytest.mark.parametrize("ranges", [{"speeds": (0, 1)}, {"speeds": (1.2, 0.8)}, {"noise": (-10, -20)}])
def test_ranges_have_the_lowest_first(ranges):
    with pytest.raises(ValueError, match=f"`{next(iter(ranges))}` must be"):
        data.AudioAugmentation(**ranges)
