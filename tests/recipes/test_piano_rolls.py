"""Collections of piano rolls: both formats, what is refused, and transposition."""

import json

import numpy as np
import pytest
import scipy.io

from recipes.public import piano_rolls

SPLITS = piano_rolls.SPLITS


def rolls(count=3, seed=0):
    random = np.random.default_rng(seed)
    return [(random.random((random.integers(2, 9), 88)) < 0.05).astype(np.uint8) for _ in range(count)]


def save_mat(path, parts):
    content = {}
    for split, pieces in parts.items():
        content[f"{split}data"] = np.empty((1, len(pieces)), object)
        content[f"{split}data"][0, :] = pieces
    scipy.io.savemat(path, content)


def save_json(path, parts):
    notes = {split: [[(np.flatnonzero(row) + 21).tolist() for row in x] for x in part] for split, part in parts.items()}
    path.write_text(json.dumps(notes))


@pytest.mark.parametrize(("name", "save"), [("JSB_Chorales.mat", save_mat), ("jsb.json", save_json)])
def test_both_formats_give_the_same_pieces(tmp_path, name, save):
    parts = {split: rolls(seed=seed) for seed, split in enumerate(SPLITS)}
    save(tmp_path / name, parts)
    (tmp_path / "README.md").write_text("about the files")
    path = piano_rolls.find(tmp_path, "jsb")
    assert path.name == name
    found = piano_rolls.read(path)
    assert tuple(found) == SPLITS
    for split in SPLITS:
        for ours, theirs in zip(found[split], parts[split], strict=True):
            assert ours.dtype == np.uint8
            np.testing.assert_array_equal(ours, theirs)


def test_notes_of_json_are_midi_numbers(tmp_path):
    piece = [[60, -1], [], [21, 108.0]]
    (tmp_path / "a.json").write_text(json.dumps(dict.fromkeys(SPLITS, [piece])))
    (roll,) = piano_rolls.read(tmp_path / "a.json")["test"]
    assert [np.flatnonzero(row).tolist() for row in roll] == [[39], [], [0, 87]]


def test_a_file_must_be_the_only_one_of_its_name(tmp_path):
    with pytest.raises(ValueError, match="begins with --collection jsb. It has: none"):
        piano_rolls.find(tmp_path, "jsb")
    for name in ("Nottingham.mat", "JSB_Chorales.mat", "jsb-quarter.json"):
        (tmp_path / name).touch()
    assert piano_rolls.find(tmp_path, "nottingham").name == "Nottingham.mat"
    with pytest.raises(ValueError, match="It has: JSB_Chorales.mat, Nottingham.mat, jsb-quarter.json"):
        piano_rolls.find(tmp_path, "jsb")
    assert piano_rolls.find(tmp_path, "jsb_").name == "JSB_Chorales.mat"


def test_what_is_no_collection_is_named(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"no matrix")
    with pytest.raises(ValueError, match="a.mat cannot be read as a collection of piano rolls"):
        piano_rolls.read(path)
    save_mat(path, {"train": rolls(), "valid": rolls()})
    with pytest.raises(ValueError, match="has no pieces for 'test'. It must have all of train, valid, test"):
        piano_rolls.read(path)
    for wrong in (np.zeros((1, 88)), np.zeros((4, 80)), np.full((4, 88), 64)):
        save_mat(path, {"train": rolls(), "valid": [*rolls(), wrong], "test": rolls()})
        with pytest.raises(ValueError, match="piece 3 of 'valid' must have at least two frames of 88 keys, 0 or 1"):
            piano_rolls.read(path)
    path = tmp_path / "a.json"
    for note in (20, 109, 60.5, "C4"):
        path.write_text(json.dumps(dict.fromkeys(SPLITS, [[[60], [note]]])))
        with pytest.raises(ValueError, match="a.json cannot be read"):
            piano_rolls.read(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="must be an object with train, valid, test"):
        piano_rolls.read(path)


def test_transposed_pieces_stay_on_the_keyboard():
    inner, low, silent = np.zeros((3, 2, 88), np.uint8)
    inner[:, [40, 44]], low[:, 1] = 1, 1
    copies = piano_rolls.transposed([inner, low, silent], 3)
    notes = [np.flatnonzero(copy[0]).tolist() for copy in copies]
    assert sorted(x for x in notes if len(x) == 2) == [[40 + i, 44 + i] for i in range(-3, 4)]
    assert sorted(x for x in notes if len(x) == 1) == [[0], [1], [2], [3], [4]]  # not 2 or 3 lower
    assert all(copy.sum() in (0, 2, 4) for copy in copies)
    np.testing.assert_array_equal(piano_rolls.transposed([inner, low], 0), [inner, low])
