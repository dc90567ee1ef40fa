"""The generated sentences: what they are, and that their words alone say nothing."""

import collections
import random

import numpy as np
import pytest

from recipes.synthetic import sentiment_sentences


def mood_of(sentence):
    """What the grammar says, by another way than generating it."""
    words = sentence.split()
    clauses = sentence.removeprefix("although ").replace(" .", "").split(" , ")
    decides = 1 if words[0] == "although" or clauses[1].startswith("but ") else 0
    *_, before, last = clauses[decides].split()
    good = last in sentiment_sentences.WORDS["positive"]
    return sentiment_sentences.LABELS[good != (before in sentiment_sentences.NEGATIONS)]


def test_sentences_have_the_mood_that_they_are_asked_for():
    draw = random.Random(1)
    for mood in sentiment_sentences.LABELS * 100:
        assert mood_of(sentiment_sentences.sentence(mood, draw)) == mood
    assert mood_of("although the plot was never good , the ending was not dull .") == "positive"
    assert mood_of("the ending was never good , although the plot was not dull .") == "negative"


def test_parts_share_no_sentence_and_have_each_mood_alike_often():
    parts = sentiment_sentences.labeled_text(400, 100, seed=3)
    texts = [text for part in parts.values() for text in part.texts]
    assert len(set(texts)) == len(texts) == 600
    for part in parts.values():
        assert set(part.class_counts().values()) == {len(part) // 2}
        assert [mood_of(text) for text in part.texts] == [part.label_names[label] for label in part.labels]
    assert sentiment_sentences.labeled_text(400, 100, seed=3)["train"].texts == parts["train"].texts
    assert sentiment_sentences.labeled_text(400, 100, seed=4)["train"].texts != parts["train"].texts


def test_no_word_is_more_often_in_one_mood():
    draw = random.Random(2)
    counts = {mood: collections.Counter() for mood in sentiment_sentences.LABELS}
    for mood in sentiment_sentences.LABELS * 3000:
        counts[mood].update(set(sentiment_sentences.sentence(mood, draw).split()))
    for word in counts["positive"]:
        both = np.array([counts[mood][word] for mood in sentiment_sentences.LABELS])
        assert both / 3000 == pytest.approx(both.mean() / 3000, abs=0.05), word


def test_pairs_have_the_same_words_and_opposite_moods():
    pairs = sentiment_sentences.order_pairs(50, seed=3)
    assert len(pairs) == len(set(pairs)) == 50
    for negative, positive in pairs:
        assert sorted(negative.split()) == sorted(positive.split())
        assert (mood_of(negative), mood_of(positive)) == ("negative", "positive")
    assert sentiment_sentences.order_pairs(50, seed=3) == pairs != sentiment_sentences.order_pairs(50, seed=4)
