import keras
import numpy as np
import pytest

from keras_seq import layers
from keras_seq.layers import Affixes, NgramScores
from tests.checks import check_layer
from tests.reference import array, fill, in_graph, long_on_jax

WORDS = np.array([[5, 6, 7, 6], [8, 9, 0, 0]], "int32")
TAGS = np.array([[[1], [2], [1], [3]], [[2], [2], [0], [0]]], "int32")


def scorer(ids=WORDS, **options):
    layer = NgramScores(3, **options, scale=0.5)
    layer(ids)
    return fill(layer)


def near(row, place, window, max_n):
    """The n-grams near a place of a sequence of ids, with their place relative to it."""
    ids = {i: token for i, token in enumerate(row) if token != 0}
    found = []
    for n in range(1, max_n + 1):
        for first in range(-window, window + 2 - n):
            found.append((n, first, *(ids.get(place + first + i) for i in range(n))))
    return found


@pytest.mark.parametrize(("window", "max_n"), [(2, 3), (1, 1), (0, 1), (1, 3)])
def test_two_steps_have_equal_rows_exactly_where_their_ngrams_are_equal(window, max_n):
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 6, (6, 7)).astype("int32")
    rows[2, 3:] = rows[4, 1:] = 0
    layer = NgramScores(2, max_n, window, num_rows=2**24)
    ours = array(layer.rows(rows))
    theirs = [near(row, t, window, max_n) for row in rows for t in range(7)]
    assert ours.shape == (6, 7, len(theirs[0]))
    row_of = {}
    for ngrams, chosen in zip(theirs, ours.reshape(-1, ours.shape[-1]), strict=True):
        for ngram, row in zip(ngrams, chosen, strict=True):
            assert row_of.setdefault(ngram, row) == row
    assert len(set(row_of.values())) == len(row_of)


def test_the_score_is_the_sum_of_the_rows():
    layer = scorer(max_n=2, window=1, num_rows=40)
    expected = 0.5 * layer.get_weights()[0][array(layer.rows(WORDS))].sum(2)
    np.testing.assert_allclose(array(layer(WORDS)), expected, atol=1e-6)


def test_each_input_has_ngrams_of_its_own():
    same = NgramScores(2, (2, 3), num_rows=2**24)
    rows = array(same.rows([WORDS, WORDS[:, :, None]]))
    of_first = array(NgramScores(2, 2, num_rows=2**24).rows(WORDS))
    np.testing.assert_array_equal(rows[..., : of_first.shape[-1]], of_first)
    assert rows.shape[-1] == (5 + 4) + (5 + 4 + 3)
    assert not set(of_first.ravel()) & set(rows[..., of_first.shape[-1] :].ravel())
    narrow = array(NgramScores(2, (2, 3), (2, 1), num_rows=2**24).rows([WORDS, WORDS]))
    assert narrow.shape[-1] == (5 + 4) + (3 + 2 + 1)
    none = array(NgramScores(2, (0, 1), num_rows=2**24).rows([WORDS, TAGS]))
    assert none.shape[-1] == 5


def test_the_hash_is_even():
    """100,000 bigrams in 1,000 rows: the counts spread no more than those of chance."""
    pairs = np.unique(np.random.default_rng(1).integers(1, 20_000, (100_000, 2)), axis=0).astype("int32")
    rows = array(NgramScores(1, 2, 1, num_rows=1000).rows(pairs))[:, 0]
    first = np.unique(pairs[:, 0], return_index=True)[1]
    for chosen in (rows[first, 1], rows[:, 4]):  # the first id alone, both
        counts = np.bincount(chosen, minlength=1000)
        chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert chi_squared < 999 + 4 * np.sqrt(2 * 999)


def test_padding_of_any_kind_and_length_changes_nothing():
    layer = scorer([WORDS, TAGS])
    expected = array(layer([WORDS, TAGS]))[1, :2]
    alone = array(layer([WORDS[1:, :2], TAGS[1:, :2]]))
    np.testing.assert_allclose(alone[0], expected, atol=1e-6)
    dirty = np.where(WORDS[:, :, None] == 0, 9, TAGS).astype("int32")
    np.testing.assert_allclose(array(layer([WORDS, dirty]))[1, :2], expected, atol=1e-6)
    shifted = [np.pad(x, [(0, 0), (3, 1)] + [(0, 0)] * (x.ndim - 2)) for x in (WORDS, dirty)]
    np.testing.assert_allclose(array(layer(shifted))[1, 3:5], expected, atol=1e-6)
    other = scorer(np.where(WORDS == 0, 3, WORDS), pad_id=3)
    expected = array(scorer(WORDS)(WORDS))[1, :2]
    np.testing.assert_allclose(array(other(np.where(WORDS == 0, 3, WORDS)))[1, :2], expected, atol=1e-6)


def test_equal_beginnings_and_ends_have_equal_ids():
    spelled = ["walked", "talked", "walks", "ed", "d"]
    C = max(map(len, spelled))
    characters = np.array([[[ord(c) for c in word] + [0] * (C - len(word)) for word in spelled]], "int32")
    L = 3
    for wider in (characters, np.pad(characters, ((0, 0), (0, 0), (0, 4)))):
        ids = array(Affixes(L)(wider))[0]
        assert ids.shape == (len(spelled), 2 * L)
        parts = [
            [word[:n].ljust(n, "^") for n in range(1, L + 1)] + [word[::-1][:n].ljust(n, "^") for n in range(1, L + 1)]
            for word in spelled
        ]
        for side in (slice(0, L), slice(L, 2 * L)):
            key = {}
            for row, names in zip(ids[:, side], parts, strict=True):
                for found, name in zip(row, names[side], strict=True):
                    assert key.setdefault(name, found) == found
            assert len(set(key.values())) == len(key)
    for size in (2, 0):
        none = np.zeros((1, 1, size), "int32")
        assert not array(Affixes(3)(none)).any() and not array(Affixes(3).compute_mask(none)).any()
    with pytest.raises(ValueError, match="`max_length` must be at least 1. Received: 0"):
        Affixes(0)


@long_on_jax
def test_keeps_what_keras_promises():
    check_layer(lambda: NgramScores(3, num_rows=50, table_initializer="glorot_uniform"), WORDS)
    check_layer(lambda: NgramScores(3, 1, 0, num_rows=50, table_initializer="ones"), ([WORDS, TAGS],))


def test_a_linear_crf_learns_what_only_neighbors_tell():
    """A tag that is the parity of the id before: no weights of the word itself can."""
    rng = np.random.default_rng(0)
    words = rng.integers(1, 9, (64, 6)).astype("int32")
    before = np.pad(words, ((0, 0), (1, 0)))[:, :-1]
    tags = (before % 2).astype("int32")
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, layers.CRF(2)(NgramScores(2, 1, 1, num_rows=1000, scale=1.0)(ids)))
    model.compile(keras.optimizers.Adam(0.1), layers.CRFLoss(), weighted_metrics=[layers.ViterbiAccuracy()])
    model.fit(words, tags, epochs=15, verbose=0)
    assert model.evaluate(words, tags, verbose=0)[1] == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NgramScores(0), "`num_outputs` must be at least 1. Received: 0"),
        (lambda: NgramScores(2, 4, 1), "`max_n` must be from 1 to 2 . `window` . 1.*Received: max_n=4, window=1"),
        (lambda: NgramScores(2, (0, 0)), "`max_n` must be from 1 to .*Received: max_n=.0, 0., window=2"),
        (
            lambda: NgramScores(2, (1, 2))(WORDS),
            "must be a number, or one for each of 1 inputs. Received: max_n=.1, 2., window=2",
        ),
        (lambda: NgramScores(2)(np.ones((2, 3), "float32")), "must be ids, integers. Received: float32"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_file_keeps_its_rows():
    """A table is read by the rows that it was trained with, on every backend, compiled or not."""
    layer = NgramScores(2, 2, 1, num_rows=1000)
    expected = [[593, 674, 790, 952, 359], [389, 58, 15, 905, 434]]
    assert array(layer.rows(WORDS))[0, :2].tolist() == expected
    assert array(in_graph(layer.rows)(WORDS))[0, :2].tolist() == expected
