"""The generated sentences: what they are, and that their words alone say nothing."""

import collections
import random

import numpy as np
import pytest

from recipes import moods


def mood_of(sentence):
    """What the grammar says, by another way than generating it."""
    words = sentence.split()
    clauses = sentence.removeprefix("although ").replace(" .", "").split(" , ")
    decides = 1 if words[0] == "although" or clauses[1].startswith("but ") else 0
    *_, before, last = clauses[decides].split()
    good = last in moods.WORDS["positive"]
    return moods.LABELS[good != (before in moods.NEGATIONS)]


def test_sentences_have_the_mood_that_they_are_asked_for():
    draw = random.Random(1)
    for mood in moods.LABELS * 100:
        assert mood_of(moods.sentence(mood, draw)) == mood
    assert mood_of("although the plot was never good , the ending was not dull .") == "positive"
    assert mood_of("the ending was never good , although the plot was not dull .") == "negative"


def test_parts_share_no_sentence_and_have_each_mood_alike_often():
    parts = moods.labelled_text(400, 100, seed=3)
    texts = [text for part in parts.values() for text in part.texts]
    assert len(set(texts)) == len(texts) == 600
    for part in parts.values():
        assert set(part.class_counts().values()) == {len(part) // 2}
        assert [mood_of(text) for text in part.texts] == [part.label_names[label] for label in part.labels]
    assert moods.labelled_text(400, 100, seed=3)["train"].texts == parts["train"].texts
    assert moods.labelled_text(400, 100, seed=4)["train"].texts != parts["train"].texts


def test_no_word_is_more_often_in_one_mood():
    draw = random.Random(2)
    counts = {mood: collections.Counter() for mood in moods.LABELS}
    for mood in moods.LABELS * 3000:
        counts[mood].update(set(moods.sentence(mood, draw).split()))
    for word in counts["positive"]:
        both = np.array([counts[mood][word] for mood in moods.LABELS])
        assert both / 3000 == pytest.approx(both.mean() / 3000, abs=0.05), word
