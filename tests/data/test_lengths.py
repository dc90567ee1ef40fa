import gzip

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data, text
from keras_seq.data.lengths import TextFile, longer_than, measure


def examples(elements, spec):
    return tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=spec)


ids = tf.TensorSpec([None], tf.int32)
label = tf.TensorSpec([], tf.int32)
features = tf.TensorSpec([None, 3], tf.float32)
words = tf.TensorSpec([None], tf.string)


def pairs(shapes):
    return examples([(np.ones(s, np.int32), np.ones(t, np.int32)) for s, t in shapes], (ids, ids))


def test_lengths_and_filters_of_pairs():
    shapes = [(3, 4), (9, 2), (2, 10), (9, 9), (10, 1), (0, 0), (5, 0)]
    dataset = pairs(shapes)
    assert data.lengths(dataset).tolist() == [list(shape) for shape in shapes]
    assert data.lengths(dataset.apply(data.shorter_than(10))).tolist() == [[3, 4], [9, 2], [9, 9], [0, 0], [5, 0]]
    assert data.lengths(dataset.apply(data.shorter_than((10, 5)))).tolist() == [[3, 4], [9, 2], [0, 0], [5, 0]]
    assert data.lengths(dataset.apply(longer_than(0))).tolist() == [list(shape) for shape in shapes[:5]]
    assert data.lengths(dataset.apply(longer_than((2, 3)))).tolist() == [[3, 4], [9, 9]]
    assert data.lengths(dataset.take(0)).shape == (0, 2)
    found = data.lengths(dataset)
    assert (found >= 10).any(axis=1).sum() == 7 - len(list(dataset.apply(data.shorter_than(10))))


def test_lengths_of_any_element():
    sentence = np.array([b"a", b"b"])
    tags = np.ones(2, np.int32)
    assert data.lengths(examples([sentence, sentence[:1]], words)).tolist() == [2, 1]
    assert data.lengths(examples([(tags, 7)], (ids, label))).tolist() == [2]
    assert data.lengths(examples([(sentence, tags)], (words, ids))).tolist() == [[2, 2]]
    assert data.lengths(examples([(sentence, tags)], (words, ids)), axes=("T", "T")).tolist() == [2]
    nested = examples([{"b": (np.ones((5, 3)), 1), "a": sentence}], {"b": (features, label), "a": words})
    assert data.lengths(nested).tolist() == [[2, 5]]  # dicts by their sorted keys
    assert data.lengths(nested, axes={"b": ("T", None), "a": None}).tolist() == [5]
    assert data.lengths(nested, axes={"b": ("T", None), "a": "S"}).tolist() == [[2, 5]]
    assert data.lengths(nested.take(0), axes={"b": ("T", None), "a": None}).shape == (0,)


def test_what_does_not_count_is_not_filtered():
    tagged = examples([(np.ones(n, np.int32), np.ones(m, np.int32)) for n, m in [(1, 9), (9, 1), (1, 0)]], (ids, ids))
    kept = tagged.apply(data.shorter_than(5, axes=("T", None))).apply(longer_than(axes=("T", None)))
    assert data.lengths(kept).tolist() == [[1, 9], [1, 0]]


def test_bad_arguments():
    with pytest.raises(ValueError, match="Received: 0"):
        data.shorter_than(0)
    with pytest.raises(ValueError, match=r"positive. Received: \(3, 0\)"):
        data.shorter_than((3, 0))
    with pytest.raises(ValueError, match="Received: -1"):
        longer_than(-1)
    labeled = examples([], (ids, label))
    for axes in (("T",), ("T", "T"), {"a": "T", "b": None}, "T"):
        with pytest.raises(ValueError, match="nest like the element"):
            data.lengths(labeled, axes=axes)
    named = examples([], {"words": ids, "tags": ids})
    with pytest.raises(ValueError, match="wrods"):
        data.lengths(named, axes={"wrods": "T", "tags": "T"})
    with pytest.raises(ValueError, match="`Dataset.batch`"):
        data.lengths(tf.data.Dataset.range(3))
    with pytest.raises(ValueError, match="no sequence that counts"):
        data.lengths(labeled, axes=(None, None))
    for spec in (tf.TensorSpec(None, tf.int32), tf.RaggedTensorSpec([None], tf.int32)):
        with pytest.raises(ValueError, match="of static rank"):
            data.lengths(tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec))


def test_padding_of_each_type():
    assert data.padding([np.int32([[5, 0, 6, 0], [7, 0, 0, 0]])]) == 4 / 8  # only what follows the last token
    assert data.padding([np.int32([[5, 9], [9, 9]])], pad_id=9) == 3 / 4
    waveform = np.float32([[0.0, 0.0, 0.5, 0.0], [0.1, -0.1, 0.0, 0.2]])
    assert data.padding([waveform]) == 1 / 8
    frames = np.zeros((2, 3, 2), np.float32)
    frames[0, 1, 1] = 1
    frames[1, 0, 0] = np.nan
    assert data.padding([frames]) == 3 / 6
    assert data.padding([np.array([[b"a", b"", b""]], object), np.array([[b"a"]])]) == 2 / 4
    assert data.padding([np.array([[True, False, True, False]])]) == 1 / 4
    assert data.padding([{"ids": np.int32([[1, 0]]), "more": (waveform, np.int32([3, 0]))}]) == pytest.approx(2 / 10)
    assert data.padding([]) == 0


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


def test_blocks_of_a_file_without_its_blank_and_bad_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\n\näé\nbad \xff\n".encode("latin-1").replace(b"\xe4\xe9", "äé".encode()))
    lines = TextFile(tmp_path / "a.txt", on_bad_line="skip")
    assert lines.report is None
    (block,) = lines._blocks()
    assert block.tolist() == [b"one", "äé".encode()]
    report = lines.report
    assert (report.read, report.kept, report.empty, report.bad_lines) == (4, 2, 1, 1)


def test_lines_are_measured_by_white_space():
    assert measure(tf.data.Dataset.from_tensor_slices(["a b", "c"]))[0].tolist() == [3, 2]
