"""The tasks of memory: what is shown and what is right, recomputed from the text."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

from recipes.synthetic import copy_and_addition


def right(task, shown):
    """The answers, by another way than generating them."""
    words = shown.split()
    if task == "copy":
        return [word for word in words if word in copy_and_addition.SYMBOLS]
    return [str(sum(int(word[0]) for word in words if word.endswith("*")))]


@pytest.mark.parametrize("task", copy_and_addition.TASKS)
@pytest.mark.parametrize("length", [2, 3, 17])
def test_answers_are_right_and_asked_where_they_can_be_known(task, length):
    examples = copy_and_addition.examples(task, length, 200, np.random.default_rng(1))
    for tokens, answers, asked in zip(*examples, strict=True):
        shown = copy_and_addition.written(task, tokens).split()
        places = [
            place for place, word in enumerate(shown) if word in (copy_and_addition.RECALL, copy_and_addition.SUM)
        ]
        assert places == np.flatnonzero(asked).tolist()
        assert [copy_and_addition.ANSWERS[task][answer] for answer in answers[places]] == right(task, " ".join(shown))
    assert (examples.answers[examples.asked == 0] == 0).all()
    assert len({tuple(row) for row in examples.tokens}) > (190 if length == 17 else 50)


def test_letters_are_anywhere():
    examples = copy_and_addition.examples("copy", 7, 500, np.random.default_rng(2))
    letters = np.isin(
        examples.tokens, copy_and_addition.vocabulary("copy").lookup(list(copy_and_addition.SYMBOLS)).numpy()
    )
    assert (letters.sum(axis=1) == copy_and_addition.COPIED).all()
    assert letters.mean(axis=0)[: 7 + copy_and_addition.COPIED] == pytest.approx(
        copy_and_addition.COPIED / (7 + copy_and_addition.COPIED), abs=0.1
    )


@pytest.mark.parametrize("length", [2, 5, 16])
def test_two_numbers_are_marked_one_in_each_half(length):
    examples = copy_and_addition.examples("addition", length, 300, np.random.default_rng(2))
    marked = np.array(
        [[word.endswith("*") for word in copy_and_addition.written("addition", row).split()] for row in examples.tokens]
    )
    half = length // 2
    assert (marked[:, :half].sum(axis=1) == 1).all() and (marked[:, half:].sum(axis=1) == 1).all()
    assert marked[:, :length].any(axis=0).all(), "each place must be marked now and then"


def test_what_stands_between_says_nothing():
    examples = copy_and_addition.examples("copy", 30, 2_000, np.random.default_rng(3))
    answers = examples.answers[:, -copy_and_addition.COPIED :]
    for digit in copy_and_addition.vocabulary("copy").lookup(list(copy_and_addition.DIGITS)).numpy():
        seen = (examples.tokens == digit).any(axis=1)
        counts = np.bincount(answers[seen].ravel(), minlength=len(copy_and_addition.SYMBOLS))
        assert counts / counts.sum() == pytest.approx(1 / len(copy_and_addition.SYMBOLS), abs=0.02)


def test_a_length_without_a_place_is_refused():
    with pytest.raises(ValueError, match="at least 2. Received: 1"):
        copy_and_addition.examples("addition", 1, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 1. Received: 0"):
        copy_and_addition.examples("copy", 0, 1, np.random.default_rng(0))
