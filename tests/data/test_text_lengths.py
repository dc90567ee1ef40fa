"""Lengths of texts in their files, against plain Python."""

import gzip

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import text
from keras_seq.data.text_lengths import TextFile, measure

LINES = st.lists(st.text(st.sampled_from("ab \u00a0\t\x0cß"), min_size=0, max_size=12), min_size=1, max_size=9)


@settings(max_examples=5)
@given(lines=LINES)
def test_measure_against_plain_python(lines):
    lines = [line for line in lines if line.strip()] or ["a"]
    words = [line.encode().split() for line in lines]
    counted = [len(line) + 1 for line in words]
    lengths, unknown = measure(tf.data.Dataset.from_tensor_slices(lines))
    assert lengths.tolist() == counted and unknown is None

    seen = []
    pairs = tf.data.Dataset.from_tensor_slices((lines, lines[::-1]))
    vocabulary = text.Words(["a", "ab"])
    lengths, unknown = measure(pairs, vocabulary, seen.append)
    assert lengths.tolist() == [list(pair) for pair in zip(counted, counted[::-1], strict=True)]
    strange = [sum(word not in (b"a", b"ab") for word in line) for line in words]
    assert unknown.tolist() == [a + b for a, b in zip(strange, strange[::-1], strict=True)]
    assert seen == [len(lines)]
    assert measure(pairs.take(0))[0].shape == (0, 2)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_text_file(tmp_path, name):
    path = tmp_path / name
    content = b"\xef\xbb\xbfone two\r\n\n \t\nthree\x0bfour\nlast"
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    lines = TextFile(path)
    for _ in range(2):  # each pass reads anew
        assert list(lines.dataset().as_numpy_iterator()) == [b"one two", b"three\x0bfour", b"last"]
        report = lines.report
        assert (report.read, report.kept, report.empty, report.bad_lines) == (5, 3, 2, 0)


def test_text_file_with_bad_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nbad \xff\nnul \0\n")
    with pytest.raises(ValueError, match="a.txt:2: byte 5"):
        TextFile(path)
    lines = TextFile(path, on_bad_line="skip")
    assert list(lines.dataset().as_numpy_iterator()) == [b"good"] and lines.report.bad_lines == 2
    with pytest.raises(FileNotFoundError, match="missing"):
        TextFile(tmp_path / "missing")
