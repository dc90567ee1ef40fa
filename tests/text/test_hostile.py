"""Hostile strings through every vocabulary and normalization, and through what trains them; damaged vocabularies."""

import random

import numpy as np
import pytest
import tensorflow as tf

from keras_seq import text
from tests import hostile
from tests.reference import quick

BATCH = 500
# 100,000 in ten parts: each shard of the long tests has one.
MANY = [pytest.param(seed, 10_000, id=f"10,000, seed {seed}", marks=pytest.mark.long) for seed in range(2, 12)]
RUNS = [pytest.param(1, BATCH, id=str(BATCH)), *MANY]
VOCABULARIES = {
    "bpe": lambda lines, size=120: text.Subwords.train(lines, size, hard_vocab_limit=False),
    "unigram": lambda lines, size=90: text.Subwords.train(lines, size, model_type="unigram", hard_vocab_limit=False),
    "words": lambda lines, size=None: text.Words.train(lines, size),
    "lowercase words": lambda lines, size=None: text.Words.train(lines, size, lowercase=True),
    "characters": lambda lines, size=None: text.Characters.train(lines, size),
    "bytes": lambda lines, size=None: text.Bytes.train(lines),
}


@pytest.fixture(scope="module")
def vocabulary(request):
    return VOCABULARIES[request.param](hostile.SENTENCES * 3)


def batches(seed, count):
    for first in range(0, count, BATCH):
        yield list(hostile.strings(min(BATCH, count - first), seed, first))


def is_text(string):
    try:
        return string.decode() is not None
    except UnicodeDecodeError:
        return False


def by_hand(vocabulary, string):
    """What a round trip makes of a text; None where nobody can say by hand."""
    if isinstance(vocabulary, text.Bytes):
        return string
    pieces = set(vocabulary.pieces(range(4, vocabulary.size)))
    if isinstance(vocabulary, text.Characters):
        return "".join(c if c in pieces else "\ufffd" for c in string.decode()).encode()
    if isinstance(vocabulary, text.Words):
        string = text.lowercase([string]).numpy()[0] if vocabulary.lowercase else string
        return b" ".join(word if word.decode() in pieces else b"<unk>" for word in string.split())
    return None


@pytest.mark.parametrize("vocabulary", VOCABULARIES, indirect=True)
@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_vocabularies(seed, count, vocabulary):
    special = [vocabulary.pad_id, vocabulary.start_id, vocabulary.end_id]
    for strings in batches(seed, count):
        ids = vocabulary.tokenize(tf.constant(strings))
        assert ids.nrows() == len(strings) and ids.dtype == tf.int32
        values = ids.values.numpy()
        assert values.min() >= 0 and values.max() < vocabulary.size and not np.isin(values, special).any()
        written = vocabulary.detokenize(ids).numpy().tolist()
        again = vocabulary.tokenize(tf.constant(written)).to_list()
        chosen = random.Random(f"{seed}{len(values)}").sample(range(len(strings)), 10)
        for place, (string, row, found) in enumerate(zip(strings, ids.to_list(), written, strict=True)):
            assert is_text(found), string
            if is_text(string):
                assert again[place] == row or vocabulary.unknown_id in row, string
                expected = by_hand(vocabulary, string)
                assert expected is None or found == expected, string
            if place in chosen:
                assert vocabulary.tokenize(string).numpy().tolist() == row, string


@pytest.mark.parametrize("vocabulary", quick(VOCABULARIES, few=["bpe", "words"]), indirect=True)
def test_as_a_step_of_a_dataset_and_as_counts(vocabulary):
    (strings,) = batches(3, 400)
    expected = [[*row, vocabulary.end_id] for row in vocabulary.tokenize(tf.constant(strings)).to_list()]
    dataset = tf.data.Dataset.from_tensor_slices(strings).apply(vocabulary.encoded())
    assert [row.tolist() for row in dataset.as_numpy_iterator()] == expected
    lines = [string.decode(errors="replace") for string in strings]
    ids = vocabulary.tokenize(lines)
    found = text.coverage(vocabulary, strings)
    assert (found.lines, found.tokens) == (len(lines), len(ids.values)) and "tokens per word" in str(found)
    assert found.unknown_tokens == np.count_nonzero(ids.values == vocabulary.unknown_id)


FUNCTIONS = ["nfc", "nfkc", "lowercase", "case_folded", "without_control_characters", "collapsed_white_space"]
FUNCTIONS += ["plain_punctuation", "without_accents"]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_normalization(seed, count, name):
    """Text stays text, and what is normal stays as it is; what is no text passes somehow."""
    function = getattr(text, name)
    for strings in batches(seed, count):
        once = function(tf.constant(strings)).numpy().tolist()
        twice = function(tf.constant(once)).numpy().tolist()
        for string, found, again in zip(strings, once, twice, strict=True):
            assert not is_text(string) or (is_text(found) and again == found), string
        place = len(once[0]) % len(strings)
        assert function(strings[place]).numpy() == once[place]


@pytest.mark.parametrize("kind", VOCABULARIES)
@pytest.mark.parametrize("seed", quick([1, 2, 3], few=[1]))
def test_learned_from_hostile_lines(seed, kind, tmp_path):
    """A vocabulary that comes back from its file, or an error that says what to do."""
    most = 300 if seed == 1 else 1000
    strings = list(hostile.strings(most, seed))
    trained = 0
    for count, size in ((1, 300), (3, 300), (30, 100), (30, 2000), (most, 300), (most, 5000)):
        try:
            vocabulary = VOCABULARIES[kind](strings[:count], size)
        except ValueError as error:
            assert "INTERNAL" not in str(error) and "\n" not in str(error)
            continue
        trained += 1
        assert kind == "bytes" or vocabulary.size <= size
        path = tmp_path / f"v{next(ending for ending, made in text.KINDS.items() if isinstance(vocabulary, made))}"
        vocabulary.save(path)
        loaded = text.load(path)
        assert loaded.pieces(range(loaded.size)) == vocabulary.pieces(range(vocabulary.size))
        lines = tf.constant(strings[:200])
        assert loaded.tokenize(lines).to_list() == vocabulary.tokenize(lines).to_list()
    assert trained >= 3


@pytest.mark.parametrize("vocabulary", VOCABULARIES, indirect=True)
@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=pytest.mark.long)])
def test_damaged_files(count, vocabulary, tmp_path):
    """Refused by name, or a vocabulary that works: a letter for another is no damage that shows."""
    ending = next(ending for ending, made in text.KINDS.items() if isinstance(vocabulary, made))
    path = tmp_path / f"damaged{ending}"
    vocabulary.save(path)
    content = path.read_bytes()
    head = content[: content.find(b"nmt_nfkc")]  # of a SentencePiece model the pieces; the rest is one large table
    (strings,) = batches(4, 60)
    refused = 0
    for number in range(count):
        chance = random.Random(number)
        cut, changed = content[: chance.randrange(len(content))], hostile.damaged(content, chance)
        path.write_bytes((cut, changed, hostile.damaged(head, chance) + content[len(head) :])[number % 3])
        try:
            found = text.load(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            refused += 1
            continue
        ids = found.tokenize(tf.constant(strings))
        assert ids.values.numpy().min() >= 0 and ids.values.numpy().max() < found.size
        assert all(map(is_text, found.detokenize(ids).numpy().tolist()))
        assert len(found.pieces(range(found.size))) == found.size
    assert refused >= count // 3 - 5
