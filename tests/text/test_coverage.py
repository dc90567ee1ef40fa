from collections import Counter

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.text.byte_vocabulary import Bytes
from keras_seq.text.characters import Characters
from keras_seq.text.coverage import coverage
from keras_seq.text.subwords import Subwords
from keras_seq.text.words import Words


@settings(max_examples=15)
@given(st.lists(st.text("abcd \n"), max_size=12))
def test_words_against_counting(lines):
    report = coverage(Words(["a", "ab", "cd"]), lines, most_common=1000)
    words = [line.split() for line in lines]
    unknown = Counter(word for line in words for word in line if word not in ("a", "ab", "cd"))
    assert report.lines == len(lines)
    assert report.words == report.tokens == sum(map(len, words))
    assert report.unknown_tokens == unknown.total()
    assert report.lines_with_unknown == sum(any(word in unknown for word in line) for line in words)
    assert report.used == len({word for line in words for word in line} & {"a", "ab", "cd"})
    assert report.size == 3
    assert dict(report.unknown_words) == unknown
    assert report.unknown_characters == []  # all letters are known, only not these words
    assert 0 <= report.unknown_share <= 1 and 0 <= report.lines_with_unknown_share <= 1


@settings(max_examples=15)
@given(st.lists(st.text("abxyß \n"), max_size=12))
def test_characters_against_counting(lines):
    report = coverage(Characters("ab \n"), lines, most_common=1000)
    text = "".join(lines)
    assert report.tokens == len(text)
    assert report.unknown_tokens == sum(character in "xyß" for character in text)
    assert dict(report.unknown_characters) == Counter(character for character in text if character in "xyß")
    assert dict(report.unknown_words) == Counter(word for word in text_words(lines) if set(word) & set("xyß"))
    assert report.used_share == len(set(text) & set("ab \n")) / 4


def text_words(lines):
    return [word for line in lines for word in line.split()]


def test_subwords_name_the_characters_they_lack():
    lines = ["the cat sat on the mat", "a fine cat"] * 5
    subwords = Subwords.train(lines, 30, hard_vocab_limit=False)
    text = ["the ﬁne cat", "a щcat щ 漢щ", "", "mat"]
    report = coverage(subwords, text)
    rows = subwords.tokenize(text).to_list()
    assert report.tokens == sum(map(len, rows))
    assert report.unknown_tokens == sum(row.count(1) for row in rows) > 0
    assert report.lines_with_unknown == 1 and report.lines_with_unknown_share == 0.25
    assert report.words == 8 and report.fertility == report.tokens / 8
    assert report.unknown_words == [("щ", 1), ("щcat", 1), ("漢щ", 1)]
    # The ligature is no piece, and yet not unknown: SentencePiece makes two letters of it.
    assert report.unknown_characters == [("щ", 3), ("漢", 1)]


def test_lowered_words_and_bytes():
    words = Words(["größe", "horse"], lowercase=True)
    report = coverage(words, ["GRÖßE HORSE", "HORS Щ"])
    assert report.unknown_words == [("HORS", 1), ("Щ", 1)]
    assert report.unknown_characters == [("Щ", 1)]
    report = coverage(Bytes(), ["größe Щ\n", b"\xff"])
    assert report.unknown_tokens == 0 and report.unknown_words == []
    assert report.size == 256


def test_a_word_that_lowercasing_removes_is_no_token():
    """Lowercasing removes NUL, so a word of NULs alone leaves nothing to count."""
    words = Words(["a", "b"], lowercase=True)
    report = coverage(words, ["A \0 b", "a"])
    assert (report.tokens, report.unknown_tokens) == (len(words.tokenize(["A \0 b", "a"]).values), 0) == (3, 0)


def test_a_dataset_of_pairs_more_than_one_batch_and_the_longest_list():
    pairs = tf.data.Dataset.from_tensors(("a b", "b c")).repeat(1500)
    report = coverage(Words(["a"]), pairs, most_common=1)
    assert report.lines == 3000 and report.words == 6000 and report.unknown_tokens == 4500
    assert report.unknown_words == [("b", 3000)]
    with pytest.raises(ValueError, match="not one string"):
        coverage(Words(["a"]), "a b")


def test_the_table():
    written = str(coverage(Words(["a"]), ["a b", "a \x07b b", "a"])).splitlines()
    table = {line[:23].strip(): line[23:].strip() for line in written}
    assert table["lines"] == "3"
    assert table["tokens per word"] == "1.00"
    assert table["unknown tokens"] == "3 (50.00%)"
    assert table["lines with an unknown"] == "2 (66.67%)"
    assert table["vocabulary used"] == "1 of 1 (100.0%)"
    assert table["unknown words"] == "b 2 '\\x07b' 1"
    assert "unknown" not in str(coverage(Bytes(), ["a"])).replace("unknown tokens", "").replace("an unknown", "")
    assert str(coverage(Bytes(), []))
