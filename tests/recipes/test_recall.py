"""The tasks of memory: what is shown and what is right, recomputed from the text."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

from recipes import recall


def right(task, shown):
    """The answers, by another way than generating them."""
    words = shown.split()
    if task == "copy":
        return [word for word in words if word in recall.SYMBOLS]
    return [str(sum(int(word[0]) for word in words if word.endswith("*")))]


@pytest.mark.parametrize("task", recall.TASKS)
@pytest.mark.parametrize("length", [2, 3, 17])
def test_answers_are_right_and_asked_where_they_can_be_known(task, length):
    examples = recall.examples(task, length, 200, np.random.default_rng(1))
    for tokens, answers, asked in zip(*examples, strict=True):
        shown = recall.written(task, tokens).split()
        places = [place for place, word in enumerate(shown) if word in (recall.RECALL, recall.SUM)]
        assert places == np.flatnonzero(asked).tolist()
        assert [recall.ANSWERS[task][answer] for answer in answers[places]] == right(task, " ".join(shown))
    assert (examples.answers[examples.asked == 0] == 0).all()
    assert len({tuple(row) for row in examples.tokens}) > (190 if length == 17 else 50)


def test_letters_are_anywhere():
    examples = recall.examples("copy", 7, 500, np.random.default_rng(2))
    letters = np.isin(examples.tokens, recall.vocabulary("copy").lookup(list(recall.SYMBOLS)).numpy())
    assert (letters.sum(axis=1) == recall.COPIED).all()
    assert letters.mean(axis=0)[: 7 + recall.COPIED] == pytest.approx(recall.COPIED / (7 + recall.COPIED), abs=0.1)


@pytest.mark.parametrize("length", [2, 5, 16])
def test_two_numbers_are_marked_one_in_each_half(length):
    examples = recall.examples("addition", length, 300, np.random.default_rng(2))
    marked = np.array(
        [[word.endswith("*") for word in recall.written("addition", row).split()] for row in examples.tokens]
    )
    half = length // 2
    assert (marked[:, :half].sum(axis=1) == 1).all() and (marked[:, half:].sum(axis=1) == 1).all()
    assert marked[:, :length].any(axis=0).all(), "each place must be marked now and then"


def test_what_stands_between_says_nothing():
    examples = recall.examples("copy", 30, 2_000, np.random.default_rng(3))
    answers = examples.answers[:, -recall.COPIED :]
    for digit in recall.vocabulary("copy").lookup(list(recall.DIGITS)).numpy():
        seen = (examples.tokens == digit).any(axis=1)
        counts = np.bincount(answers[seen].ravel(), minlength=len(recall.SYMBOLS))
        assert counts / counts.sum() == pytest.approx(1 / len(recall.SYMBOLS), abs=0.02)


def test_a_length_without_a_place_is_refused():
    with pytest.raises(ValueError, match="at least 2. Received: 1"):
        recall.examples("addition", 1, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 1. Received: 0"):
        recall.examples("copy", 0, 1, np.random.default_rng(0))
