"""The baselines of piano rolls, beside numbers that a reader can compute."""

import numpy as np
import pytest

from recipes.baselines import note_statistics

ROLL = np.array([[1, 0], [1, 0], [0, 0], [1, 0], [1, 0]], np.uint8)  # the first frame is not predicted


def test_frequencies_have_half_a_frame_more_of_each_kind():
    np.testing.assert_allclose(note_statistics.frequencies([ROLL]), [3.5 / 5, 0.5 / 5])
    np.testing.assert_allclose(note_statistics.frequencies([ROLL, ROLL[:3]]), [4.5 / 7, 0.5 / 7])


def test_losses_by_hand():
    expected = -(3 * np.log(0.7) + np.log(0.3)) / 4 - np.log(0.9)
    assert note_statistics.frequency_loss([ROLL], [ROLL]) == pytest.approx(expected)
    # After frames with the note (3): it sounds twice. After the one without it: it sounds.
    sounding, silent = 2.5 / 4, 1.5 / 2
    expected = -(2 * np.log(sounding) + np.log(1 - sounding) + np.log(silent)) / 4 - np.log(0.9)
    assert note_statistics.persistence_loss([ROLL], [ROLL]) == pytest.approx(expected)


def test_held_notes_persist():
    random = np.random.default_rng(0)
    train, test = ([(random.random((9, 5)) < 0.5).repeat(8, axis=0).astype(np.uint8)] * 3 for _ in range(2))
    frequency, persistence = (
        loss(train, test) for loss in (note_statistics.frequency_loss, note_statistics.persistence_loss)
    )
    assert frequency == pytest.approx(5 * np.log(2), rel=0.1)
    assert persistence < frequency / 1.5


def test_frames_of_two_pieces_do_not_follow_each_other():
    apart = note_statistics.persistence_loss([ROLL], [ROLL[:2], ROLL[3:]])
    assert apart == pytest.approx(-np.log(2.5 / 4) - np.log(0.9))
