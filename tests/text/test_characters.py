import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.text.byte_vocabulary import Bytes
from keras_seq.text.characters import Characters

KNOWN = "ab \n\t\x00\u00a0é漢🐎"
CHARACTERS = Characters(KNOWN)
BYTES = Bytes()
# Control characters, byte order marks, the last code points; no surrogates, which UTF-8 cannot hold.
LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(KNOWN)), min_size=1, max_size=8)


@settings(max_examples=40)
@given(st.lists(st.text(KNOWN), min_size=1, max_size=8))
def test_known_characters_come_back_exactly(lines):
    ids = CHARACTERS.tokenize(lines)
    assert ids.to_list() == [[4 + KNOWN.index(character) for character in line] for line in lines]
    assert [line.decode() for line in CHARACTERS.detokenize(ids).numpy()] == lines


@settings(max_examples=40)
@given(LINES)
def test_every_other_character_is_one_unknown_id(lines):
    ids = CHARACTERS.tokenize(lines)
    expected = [[4 + KNOWN.index(c) if c in KNOWN else CHARACTERS.unknown_id for c in line] for line in lines]
    assert ids.to_list() == expected
    written = ["".join(c if c in KNOWN else "\ufffd" for c in line) for line in lines]
    assert [line.decode() for line in CHARACTERS.detokenize(ids).numpy()] == written


@settings(max_examples=40)
@given(st.lists(st.binary(), min_size=1, max_size=8))
def test_bytes_lose_nothing(lines):
    ids = BYTES.tokenize(tf.constant(lines, tf.string))
    assert ids.to_list() == [[4 + byte for byte in line] for line in lines]
    expected = [line.decode("utf-8", "replace") for line in lines]
    assert [line.decode() for line in BYTES.detokenize(ids).numpy()] == expected


@settings(max_examples=40)
@given(LINES)
def test_bytes_write_any_text(lines):
    assert [line.decode() for line in BYTES.detokenize(BYTES.tokenize(lines)).numpy()] == lines


def test_bytes_that_are_not_utf8_are_unknown_characters():
    assert CHARACTERS.tokenize(tf.constant([b"a\xffb"])).to_list() == [[4, 1, 5]]


def test_all_bytes_have_a_written_form():
    pieces = BYTES.pieces(range(260))
    assert len(set(pieces)) == 260
    assert pieces[4 + ord("a")] == "a" and pieces[4 + 0xE4] == "<0xE4>" and pieces[4 + ord(" ")] == "<0x20>"


def test_the_most_frequent_characters_are_kept():
    lines = ["ccc\nbb", "aadd"]
    characters = Characters.train(lines)
    assert characters.pieces(range(4, characters.size)) == ["c", "a", "b", "d", "\n"]
    assert Characters.train(lines, 6).pieces([4, 5]) == ["c", "a"]
    assert Characters.train(lines, minimum_count=3).size == 4 + 1


@pytest.mark.parametrize("bad", ["", "aba", ["ab"], ["a", ""], ["\ud800"]])
def test_characters_refuse(bad):
    with pytest.raises(ValueError, match="`characters` must hold"):
        Characters(bad)


def test_no_text_no_characters():
    with pytest.raises(ValueError, match="minimum_count=2"):
        Characters.train(["abc"], minimum_count=2)
    with pytest.raises(ValueError, match="No character"):
        Characters.train(["", ""])
