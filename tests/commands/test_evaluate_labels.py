"""Inputs and labels of a classifier, before any model runs."""

import pathlib
import types

import numpy as np
import pytest

from keras_seq.commands import evaluate_labels, evaluate_sound
from keras_seq.commands.evaluate import Evaluate

CLASSES = types.SimpleNamespace(where="saved", folder=None, rank=None)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["good", "bad", "good"], ["good", "bad", "good"]),
        (["10", "9", "10", "-1"], ["so so", "good", "so so", "bad"]),  # as numbers, not as text
        (["+2", "0", "1"], ["so so", "bad", "good"]),
    ],
)
def test_labels_are_names_or_numbers_in_their_order(labels, expected):
    assert evaluate_labels.named(labels, ["bad", "good", "so so"], pathlib.Path("a.tsv"), CLASSES) == expected


@pytest.mark.parametrize(
    ("labels", "unknown"),
    [
        (["good", "superb"], "superb"),
        (["0", "1"], "0"),  # one of three is missing
        (["0", "1", "2", "3"], "0"),
        (["0", "1", "good"], "0"),
        (["1", "2", "+-3"], "+-3"),
        (["1", "2", "²"], "1"),
    ],
)
def test_labels_that_are_no_classes(labels, unknown):
    with pytest.raises(ValueError) as refused:
        evaluate_labels.named(labels, ["bad", "good", "so so"], pathlib.Path("a.tsv"), CLASSES)
    assert str(refused.value) == (
        f"a.tsv: the label {unknown!r} is not a class of saved: bad, good, so so. Does --label-column name the column "
        "of the labels?"
    )


def test_a_classifier_of_waveforms_gets_recordings(monkeypatch):
    recordings = evaluate_sound.Recordings([np.zeros(3)], ["low"])
    monkeypatch.setattr(evaluate_sound, "read_recordings", lambda options, task: recordings)
    found = evaluate_labels._labeled_inputs(Evaluate(files=()), types.SimpleNamespace(rank=1))
    assert found == (recordings.waveforms, recordings.texts)


def test_clips_come_in_a_folder(tmp_path):
    (tmp_path / "a.npy").touch()
    with pytest.raises(ValueError, match="a.npy is not a folder. Give a folder with a folder of clips for each class."):
        evaluate_labels._clips(Evaluate(files=(tmp_path / "a.npy",)), CLASSES)
