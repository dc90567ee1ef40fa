"""Forced decoding of texts that are too long for it."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from keras_seq import tasks, text
from keras_seq.tasks.scoring import scoring
from tests.tasks.stand_ins import Model

WORDS = text.Words(["red", "blue"])


def test_texts_that_are_too_long_never_reach_the_model():
    found = scoring(tasks.Generation(Model(), WORDS), max_source_length=3)(["red blue red", "blue " * 9])
    assert [one.reason for one in found] == [
        "4 tokens are more than `max_source_length` 3",
        "10 tokens are more than `max_source_length` 3",
    ]
    (pair,) = scoring(tasks.Translation(Model(), WORDS), max_source_length=3)([("red " * 5, "red")])
    assert pair.reason == "6 tokens are more than `max_source_length` 3"  # the longer side counts
