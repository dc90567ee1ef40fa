"""The generated clips: how they move, and that what is tested was never trained on."""

import numpy as np
import pytest

from recipes.synthetic import moving_digits
from recipes.synthetic.moving_digits import DIRECTIONS, PARTS, STEPS


def test_no_handwriting_is_in_two_parts():
    parts = [moving_digits.samples_of(part) for part in PARTS]
    assert sorted(np.concatenate(parts)) == list(range(1797))
    assert [len(part) for part in parts] == [1258, 270, 269]
    _, digits = moving_digits.handwriting()
    for part in parts:
        assert (np.bincount(digits[part], minlength=10) > 0.06 * len(part)).all()


def test_a_part_shows_its_own_handwriting_only():
    images, digits = moving_digits.handwriting()
    known = {images[sample].tobytes(): (sample, digits[sample]) for sample in range(len(images))}
    for part in PARTS:
        clips, _, digit = moving_digits.clips(part, 60, 3, walls=True)
        own = set(moving_digits.samples_of(part))
        for clip, told in zip(clips, digit, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(clip[0, ..., 0], (8, 8)).reshape(-1, 8, 8)
            found = [known[window.tobytes()] for window in windows if window.tobytes() in known]
            assert found and all(sample in own and true == told for sample, true in found)


def test_on_an_open_field_it_comes_back_on_the_other_side():
    clips, direction, _ = moving_digits.clips("train", 200, 20, seed=1)
    for clip, way in zip(clips[..., 0], direction, strict=True):
        step = STEPS[way]
        speeds = [
            speed
            for speed in moving_digits.SPEEDS
            if all((np.roll(clip[t], speed * step, axis=(0, 1)) == clip[t + 1]).all() for t in range(19))
        ]
        assert len(speeds) == 1
    assert len(np.unique(direction)) == len(DIRECTIONS)
    assert DIRECTIONS[2] == "east" and STEPS[2].tolist() == [0, 1]  # to the right


def test_in_a_walled_field_it_turns_back():
    clips, _, _ = moving_digits.clips("train", 200, 20, size=12, walls=True, seed=1)
    assert (clips.sum(axis=(2, 3, 4)) == clips[:, :1].sum(axis=(2, 3, 4))).all()  # all of it is there, always
    # The room is 4 points: at any speed, 8 pictures or 4 later it is where it was.
    np.testing.assert_array_equal(clips[:, 8:], clips[:, :12])


def test_clips_are_a_function_of_part_and_seed():
    one, *labels = moving_digits.clips("valid", 20, 5, seed=3)
    longer, *same = moving_digits.clips("valid", 20, 10, seed=3)
    np.testing.assert_array_equal(longer[:, :5], one)
    np.testing.assert_array_equal(labels, same)
    assert (moving_digits.clips("valid", 20, 5, seed=4)[0] != one).any()
    assert (moving_digits.clips("test", 20, 5, seed=3)[0] != one).any()


def test_tasks_have_their_labels():
    for task, names in {"direction": DIRECTIONS, "digit": tuple("0123456789"), "next_frame": ()}.items():
        video = moving_digits.video(task, "valid", 12, frames=4, size=12)
        assert (len(video), video.shape, video.class_names) == (12, (4, 12, 12, 1), names)
        assert (video.labels is None) == (task == "next_frame")
        np.testing.assert_array_equal(video.clip(5), video.clips[5])


def test_a_field_without_room_is_named():
    with pytest.raises(ValueError, match="needs a field of 10 to move. Received: 9"):
        moving_digits.clips("train", 1, 2, size=9)
