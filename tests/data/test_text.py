import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.data import text
from keras_seq.data.shuffling import shuffled
from keras_seq.text import Subwords, Words

END = 3
CODE_POINTS = SimpleNamespace(tokenize=lambda strings: 10 + tf.strings.unicode_decode(strings, "UTF-8"), end_id=END)


def code_points(document):
    return [10 + ord(character) for character in document]


def ids_of(documents, end_last=False):
    ids = [i for document in documents for i in [*code_points(document), END]]
    return ids if end_last else ids[:-1]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("content", ["a\nb", "a\n\n b\t\n\n", "\r\na\r\nb\rc\x0c\u2028d\u0085\n", "\ufeffx", "ä漢🐎"])
def test_a_file_comes_through_exactly(write, name, content):
    assert text.read_text(write(name, content)).documents == [content.removeprefix("\ufeff")]


def test_files_are_documents(write):
    paths = [write("a.txt", "one\ntwo\n"), write("b.txt", ""), write("c.txt", " \n\n"), write("d.txt.gz", "three")]
    found = text.read_text(paths)
    assert found.documents == ["one\ntwo\n", "three"] and len(found) == 2
    assert found.report == text.TextReport(read=5, kept=3, documents=2, characters=13, empty=2)
    assert str(found.report) == "5 lines read, 3 kept (2 documents, 13 characters); dropped: 2 empty"
    assert [document.decode() for document in found.dataset().as_numpy_iterator()] == found.documents


def test_lines_are_documents(write):
    found = text.read_text([write("a.txt", "\ufeffone\r\n\n \ntwo"), write("b.txt", "three\n")], documents="line")
    assert found.documents == ["one", "two", "three"]
    assert found.report == text.TextReport(read=5, kept=3, documents=3, characters=11, empty=2)


@pytest.mark.parametrize("documents", ["file", "line"])
@pytest.mark.parametrize("bad", [b"tw\xffo", b"tw\0o", b"\xed\xa0\x80"])
def test_bad_lines(write, documents, bad):
    path = write("a.txt", b"one\r\n" + bad + b"\nthree\n")
    with pytest.raises(ValueError, match=r"a\.txt:2: byte .*on_bad_line"):
        text.read_text(path, documents=documents)
    found = text.read_text(path, documents=documents, on_bad_line="skip")
    assert found.documents == (["one\r\nthree\n"] if documents == "file" else ["one", "three"])
    assert (found.report.read, found.report.kept, found.report.bad) == (3, 2, 1)
    assert "1 with invalid UTF-8 or NUL" in str(found.report)


def test_what_cannot_be_read(write, tmp_path):
    whole = write("a.gz", "one\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole.read_bytes()[:-12])
    for documents in ("file", "line"):
        with pytest.raises(ValueError, match="cut.gz"):
            text.read_text(tmp_path / "cut.gz", documents=documents)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        text.read_text(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match=r"b\.txt: no line is left .*2 empty"):
        text.read_text(write("b.txt", "\n \n"))
    with pytest.raises(ValueError, match="'page'"):
        text.read_text(whole, documents="page")
    with pytest.raises(ValueError, match="'ignore'"):
        text.read_text(whole, on_bad_line="ignore")


@given(
    documents=st.lists(st.text(st.sampled_from("ab \n漢"), max_size=30), min_size=1, max_size=12),
    end_last=st.booleans(),
)
@settings(max_examples=25)
def test_one_run_of_ids_with_an_end_between_documents(documents, end_last):
    expected = ids_of(documents, end_last)
    with pytest.MonkeyPatch.context() as patch:  # so small that documents are cut and batches are many
        patch.setattr(text, "_PIECE", 4)
        patch.setattr(text, "_PIECES", 5)
        if not expected:
            with pytest.raises(ValueError, match="no text"):
                text.token_ids(documents, CODE_POINTS, end_last=end_last)
            return
        ids = text.token_ids(iter(documents), CODE_POINTS, end_last=end_last)
    assert ids.dtype == np.int32 and ids.tolist() == expected


def test_pieces_change_no_word_and_no_subword(monkeypatch):
    lines = ["The quick brown fox", "", "jumps  over ", "\tthe lazy dog.", "", "", "The end"]
    document = "\n".join(lines)
    monkeypatch.setattr(text, "_PIECE", 3)
    for vocabulary in (Words.train(lines), Subwords.train(lines * 3, 60)):
        whole = vocabulary.tokenize([document]).values.numpy()
        assert text.token_ids([document], vocabulary).tolist() == whole.tolist()


def test_documents_from_a_dataset_or_a_mistake():
    documents = ["ab", "ä"]
    dataset = tf.data.Dataset.from_tensor_slices(documents)
    assert text.token_ids(dataset, CODE_POINTS).tolist() == ids_of(documents)
    with pytest.raises(ValueError, match="not one string"):
        text.token_ids("ab", CODE_POINTS)
    with pytest.raises(ValueError, match="no text"):
        text.token_ids([], CODE_POINTS)


def pairs(inputs, labels, weights):
    """What is predicted, as (id before, id): the tokens 100, 101, ... say where they stand."""
    assert inputs.shape == labels.shape == weights.shape
    assert (inputs[weights == 0] == 7).all() and (labels[weights == 0] == 7).all()
    assert set(np.unique(weights)) <= {0, 1}
    return list(zip(inputs[weights == 1].tolist(), labels[weights == 1].tolist(), strict=True))


shapes = {
    "count": st.integers(2, 120),
    "batch_size": st.integers(1, 9),
    "length": st.integers(1, 20),
    "start_id": st.sampled_from([None, 2]),
}


@given(**shapes)
@settings(max_examples=25)
def test_streams_go_on_and_predict_every_token_once(count, batch_size, length, start_id):
    tokens = np.arange(100, 100 + count)
    predicted = count - (start_id is None)
    if predicted < batch_size:
        with pytest.raises(ValueError, match=f"{predicted} tokens .* {batch_size} streams"):
            text.streams(tokens, batch_size, length, start_id=start_id)
        return
    dataset = text.streams(tokens, batch_size, length, start_id=start_id, pad_id=7)
    batches = list(dataset.as_numpy_iterator())
    assert len(dataset) == len(batches) == math.ceil(math.ceil(predicted / batch_size) / length)
    rows = [[] for _ in range(batch_size)]
    for step, (inputs, labels, weights) in enumerate(batches):
        assert inputs["tokens"].shape == (batch_size, length)
        assert inputs["tokens"].dtype == labels.dtype == np.int32 and weights.dtype == np.float32
        assert inputs["starts"].tolist() == [step == 0] * batch_size
        assert step == len(batches) - 1 or weights.all()
        for b, row in enumerate(rows):
            row += pairs(inputs["tokens"][b], labels[b], weights[b])
    context = tokens.tolist() if start_id is None else [start_id, *tokens.tolist()]
    expected = list(zip(context, context[1:], strict=False))
    assert sum(rows, []) == expected  # stream by stream, the corpus as it stands: nothing lost, nothing twice
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_streams_by_hand():
    batches = list(text.streams([10, 11, 12, 13, 14, 15], 2, 2, start_id=2).as_numpy_iterator())
    assert [inputs["tokens"].tolist() for inputs, _, _ in batches] == [[[2, 10], [12, 13]], [[11, 0], [14, 0]]]
    assert [labels.tolist() for _, labels, _ in batches] == [[[10, 11], [13, 14]], [[12, 0], [15, 0]]]
    assert [weights.tolist() for _, _, weights in batches] == [[[1, 1], [1, 1]], [[1, 0], [1, 0]]]
    assert [inputs["starts"].tolist() for inputs, _, _ in batches] == [[True, True], [False, False]]


@given(seed=st.none() | st.integers(0, 5), **shapes)
@settings(max_examples=10)
def test_blocks_predict_every_token_once(count, batch_size, length, start_id, seed):
    tokens = np.arange(100, 100 + count)
    order = None if seed is None else shuffled(seed)
    dataset = text.blocks(tokens, batch_size, length, order=order, start_id=start_id, pad_id=7)
    context = tokens.tolist() if start_id is None else [start_id, *tokens.tolist()]
    expected = list(zip(context, context[1:], strict=False))
    for _ in range(2):
        batches = list(dataset.as_numpy_iterator())
        assert all(len(labels) == batch_size for _, labels, _ in batches[:-1])
        blocks = [pairs(*row) for batch in batches for row in zip(*batch, strict=True)]
        assert sorted(blocks) == [expected[i : i + length] for i in range(0, len(expected), length)]
        assert order is not None or blocks == sorted(blocks)
        assert len(dataset) == len(batches)


def test_the_order_of_blocks_is_a_function_of_seed_and_epoch():
    def epochs(seed, count, first_epoch=0):
        dataset = text.blocks(np.arange(1000), 4, 8, order=shuffled(seed, first_epoch=first_epoch))
        return [np.concatenate([labels for _, labels, _ in dataset.as_numpy_iterator()]).tolist() for _ in range(count)]

    first, second = epochs(1, 2)
    assert first != second and sorted(first) == sorted(second)
    assert epochs(1, 2) == [first, second] and epochs(1, 1, first_epoch=1) == [second]
    assert epochs(2, 1) != [first]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64"])
def test_small_and_large_integers(dtype):
    tokens = np.arange(1, 12).astype(dtype)
    _, labels, _ = next(text.streams(tokens, 2, 5).as_numpy_iterator())
    assert labels.dtype == np.int32 and labels.tolist() == [[2, 3, 4, 5, 6], [7, 8, 9, 10, 11]]
    inputs, _, _ = next(text.blocks(tokens, 2, 5, start_id=0).as_numpy_iterator())
    assert inputs.dtype == np.int32 and inputs.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_bad_arguments():
    for function in (text.streams, text.blocks):
        for tokens in ([[1, 2]], [1.0, 2.0], ["a", "b"]):
            with pytest.raises(ValueError, match="integers of shape"):
                function(tokens, 1, 1)
        with pytest.raises(ValueError, match=r"\[5\]"):
            function([5], 1, 1)
        with pytest.raises(ValueError, match="`batch_size` must be positive. Received: 0"):
            function([1, 2], 0, 1)
        with pytest.raises(ValueError, match="`length` must be positive. Received: -1"):
            function([1, 2], 1, -1)


def test_tinyshakespeare(real_data):
    found = text.read_text(real_data("tinyshakespeare") / "input.txt")
    (document,) = found.documents
    assert found.report == text.TextReport(read=40_000, kept=40_000, documents=1, characters=1_115_394)
    assert len(set(document)) == 65 and document.startswith("First Citizen:\nBefore we")
    ids = text.token_ids(found.documents, CODE_POINTS)
    assert ids.tolist() == code_points(document)

    cut = int(0.9 * len(ids))
    train, valid = ids[:cut], ids[cut:]
    assert len(valid) == 111_540
    # Every position of the validation part, its first one predicted from the end of the training part.
    evaluation = text.blocks(valid, 128, 64, start_id=int(train[-1]))
    labels = np.concatenate([labels[weights == 1] for _, labels, weights in evaluation.as_numpy_iterator()])
    assert np.array_equal(labels, valid)

    rows = [labels for _, labels, _ in text.streams(train, 32, 64).as_numpy_iterator()]
    assert sum(np.count_nonzero(labels) for labels in rows) == len(train) - 1
    assert np.array_equal(np.concatenate(rows, axis=1)[0, :31_000], train[1:31_001])


def test_tinyshakespeare_by_subwords(real_data):
    document = text.read_text(real_data("tinyshakespeare") / "input.txt").documents[0][:200_000]
    subwords = Subwords.train(document.split("\n"), 500)
    ids = text.token_ids([document], subwords)
    assert ids.tolist() == subwords.tokenize([document]).values.numpy().tolist()


def test_streams_that_are_not_filled():
    with pytest.raises(ValueError, match="2 tokens to predict do not fill 3 streams. Pass more text or a smaller"):
        text.streams([10, 11, 12], 3, 2)
