import math
import random
import sys

import keras
import numpy as np
import pytest

from keras_seq import data, scores

HYPOTHESES = ["The cat is on the mat .", "A man rides a horse through snow ."]
REFERENCES = ["The cat sat on the mat .", "A man rides a horse through deep snow ."]


def test_exact_match_is_a_fraction():
    assert scores.exact_match(["a", " b ", "c", "D"], ["a", "b", "x", "d"]) == 0.5


def test_bleu_of_equal_lines_is_100_and_of_strangers_0():
    assert scores.bleu(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert scores.chrf(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert scores.bleu(["x y z u v"], ["a b c d e"], "none").value < 1e-6


def test_bleu_by_hand():
    # The geometric mean of the shares of matching n-grams, counted here without the library.
    def grams(line, n):
        words = line.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    def matches(n):
        found = total = 0
        for hypothesis, reference in zip(HYPOTHESES, REFERENCES, strict=True):
            ours, theirs = grams(hypothesis, n), grams(reference, n)
            total += len(ours)
            found += sum(min(ours.count(gram), theirs.count(gram)) for gram in set(ours))
        return found / total

    lengths = [sum(len(line.split()) for line in lines) for lines in (HYPOTHESES, REFERENCES)]
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    expected = 100 * penalty * (matches(1) * matches(2) * matches(3) * matches(4)) ** 0.25
    assert scores.bleu(HYPOTHESES, REFERENCES, "none").value == pytest.approx(expected)


def test_signatures_say_what_was_done():
    assert "tok:13a" in scores.bleu(HYPOTHESES, REFERENCES).signature
    assert "tok:none" in scores.bleu(HYPOTHESES, REFERENCES, tokenize="none").signature
    assert "case:lc" in scores.bleu(HYPOTHESES, REFERENCES, lowercase=True).signature
    assert "nc:6|nw:0" in scores.chrf(HYPOTHESES, REFERENCES).signature


def test_spans_by_hand():
    # The example of seqeval's documentation, whose F1 is that of conlleval.pl: 0.5.
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    sides = [[data.spans(tags) for tags in rows] for rows in (found, true)]
    assert scores.span_f1(*sides) == (0.5, 0.5, 0.5, 2, 2, 1)
    assert scores.span_f1(*sides, kind="MISC") == (0, 0, 0, 1, 1, 0)
    assert scores.span_f1(*sides, kind="PER") == (1, 1, 1, 1, 1, 1)
    assert scores.span_f1(*sides, kind="LOC") == (0, 0, 0, 0, 0, 0)


def test_a_span_is_right_as_a_whole_and_in_its_sentence():
    # Found 4, true 3; right: PER in the first sentence. Of another type, one word too long, in another sentence: wrong.
    true = [["B-PER", "O", "B-LOC"], ["B-ORG", "I-ORG", "O"]]
    found = [["B-PER", "O", "B-ORG"], ["B-ORG", "I-ORG", "I-ORG"]]
    sides = [[data.spans(tags) for tags in rows] for rows in (found, true)]
    sides[0][1].append((2, 3, "LOC"))
    score = scores.span_f1(*sides)
    assert (score.right, score.found, score.true) == (1, 4, 3)
    assert (score.precision, score.recall) == (0.25, pytest.approx(1 / 3))
    assert score.f1 == pytest.approx(2 * 0.25 * (1 / 3) / (0.25 + 1 / 3))


@pytest.mark.parametrize("score", [scores.exact_match, scores.bleu, scores.chrf, scores.span_f1])
def test_unequal_or_empty_lists_are_refused(score):
    with pytest.raises(ValueError, match="2 hypotheses, 1 references"):
        score(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="0 hypotheses"):
        score([], [])
    with pytest.raises(TypeError, match="lists"):
        score("ab", "ab")


@pytest.mark.parametrize(
    ("score", "library"),
    [(scores.bleu, "sacrebleu"), (scores.bleu, "sacrebleu.metrics"), (scores.word_error_rate, "jiwer")],
)
def test_without_a_library_the_extra_is_named(monkeypatch, score, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"keras-seq\[recipes\]"):
        score(["a"], ["a"])


@pytest.mark.parametrize(
    ("hypotheses", "references", "rate"),
    [
        (["one two three"], ["one two three"], 0),
        (["one three"], ["one two three"], 1 / 3),  # left out
        (["one two two three"], ["one two three"], 1 / 3),  # put in
        (["one nine three"], ["one two three"], 1 / 3),  # taken for another
        (["", "one two"], ["one", "one two three"], 2 / 4),  # of all texts together
        (["two three one"], ["one two three"], 2 / 3),
        (["one one one"], ["one"], 2.0),
        (["one"], [""], 1.0),
        (["one two", "three"], ["", ""], 3.0),
        ([""], [""], 0),
        ([" one\ttwo\nthree"], ["one  two three "], 0),
    ],
)
def test_word_error_rate(hypotheses, references, rate):
    assert scores.word_error_rate(hypotheses, references) == pytest.approx(rate)


def test_word_error_rate_is_that_of_an_exhaustive_search():
    def distance(one, other):
        if not one or not other:
            return len(one) + len(other)
        swap = distance(one[1:], other[1:]) + (one[0] != other[0])
        return min(swap, distance(one[1:], other) + 1, distance(one, other[1:]) + 1)

    draw = random.Random(1)
    for _ in range(50):
        one, other = ([draw.choice("abc") for _ in range(draw.randint(1, 5))] for _ in range(2))
        found = scores.word_error_rate([" ".join(one)], [" ".join(other)])
        assert found == pytest.approx(distance(one, other) / len(other))


@pytest.mark.parametrize("classes", [2, 5])
def test_accuracy_and_macro_f1_are_those_of_keras(classes):
    random = np.random.default_rng(classes)
    true, predicted = random.integers(0, classes, (2, 50))
    names = [f"class {number}" for number in range(classes)]
    sides = [names[number] for number in predicted], [names[number] for number in true]
    assert scores.accuracy(*sides) == pytest.approx(np.mean(true == predicted))
    f1 = keras.metrics.F1Score(average="macro")
    f1.update_state(np.eye(classes)[true], np.eye(classes)[predicted])
    assert scores.macro_f1(*sides, names) == pytest.approx(float(f1.result()), abs=1e-6)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (true, predicted), 1)
    assert scores.confusions(*sides, names) == counts.tolist()


def test_a_class_that_does_not_occur_has_f1_0():
    assert scores.macro_f1(["a", "a"], ["a", "a"], ["a", "b"]) == 0.5


def test_character_error_rate():
    assert scores.character_error_rate(["abd", "x"], ["abc", "xy"]) == pytest.approx(
        2 / 5
    )  # a substitution, a deletion
    assert scores.character_error_rate(["a  b"], [" a b "]) == 0
    with pytest.raises(ValueError, match="numbers of hypotheses and references must be equal"):
        scores.character_error_rate(["a"], [])
