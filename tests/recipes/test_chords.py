"""The synthetic pieces: in a major key, and determined by their first three bars."""

import numpy as np
import pytest

from recipes.synthetic import chords


def test_pieces_are_in_a_major_key():
    for roll in chords.rolls(40)["train"]:
        assert roll.dtype == np.uint8 and roll.shape[1] == 88 and set(np.unique(roll)) == {0, 1}
        assert 16 <= len(roll) <= 48 and len(roll) % 4 == 0
        assert (roll.sum(axis=1) == 3).all()
        classes = np.unique(np.nonzero(roll)[1] % 12)
        assert any(np.isin((classes - tonic) % 12, chords.SCALE).all() for tonic in range(12))


@pytest.mark.parametrize("seed", range(5))
def test_the_left_hand_repeats_three_bars_and_the_right_hand_its_scale(seed):
    (roll,) = chords.rolls(1, seed)["train"]
    bass = roll.argmax(axis=1)
    np.testing.assert_array_equal(bass[12:], bass[:-12])
    assert (bass.reshape(-1, 4) == bass[::4, None]).all()  # held for the whole bar
    scale = 87 - roll[:, ::-1].argmax(axis=1)
    np.testing.assert_array_equal(scale[14:], scale[:-14])
    assert set(np.abs(np.diff(scale))) <= {1, 2}  # step by step


def test_pieces_are_a_function_of_the_seed_and_the_splits_differ():
    one, same, other = chords.rolls(8, 3), chords.rolls(8, 3), chords.rolls(8, 4)
    assert [len(one[split]) for split in ("train", "valid", "test")] == [8, 2, 2]
    for split in one:
        assert all((a == b).all() for a, b in zip(one[split], same[split], strict=True))
    joined = [np.concatenate(x["train"]).tobytes() for x in (one, other)]
    assert joined[0] != joined[1]
    assert one["valid"][0].tobytes() != one["test"][0].tobytes() != one["train"][0].tobytes()
