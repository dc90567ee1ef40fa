import numpy as np
import pytest
import tensorflow as tf

from keras_seq.text.byte_vocabulary import Bytes
from keras_seq.text.characters import Characters
from keras_seq.text.subwords import Subwords
from keras_seq.text.vocabulary import END_ID, Sampling
from keras_seq.text.words import Words
from tests.reference import quick

LINES = ["A man rides a horse.", "Two dogs run through the snow.", "A woman walks her dog through the snow."]
WORDS = Words.train(LINES)
IDS = tf.TensorSpec([None], tf.int32)


def plain(dataset):
    return list(dataset.as_numpy_iterator())


def at_once(dataset):
    """All elements in one, since many single ones take long to fetch."""
    return next(iter(dataset.ragged_batch(10_000)))


@pytest.fixture(scope="module", params=quick(["bpe", "unigram"], few=["bpe"]))
def subwords(request):
    return Subwords.train(LINES * 5, 60, model_type=request.param, hard_vocab_limit=False)


@pytest.mark.parametrize("kind", quick([Words, Characters, Subwords, Bytes], few=[Words, Subwords]))
def test_both_sides_end_and_the_order_is_kept(kind):
    vocabulary = kind.train(LINES) if kind is not Subwords else Subwords.train(LINES * 5, 60)
    count = 2100  # more than two internal batches
    sources = [LINES[i % 3] for i in range(count)]
    targets = [f"{i} horse." for i in range(count)]
    numbers = Words.train(targets)
    dataset = tf.data.Dataset.from_tensor_slices((sources, targets)).apply(vocabulary.encoded(numbers))
    assert dataset.element_spec == (IDS, IDS)
    assert dataset.cardinality() == count
    known = {line: [*vocabulary.tokenize(line).numpy(), END_ID] for line in LINES}
    encoded = [side.to_list() for side in at_once(dataset)]
    assert encoded[0] == [known[source] for source in sources]
    assert [numbers.pieces(target) for target in encoded[1]] == [[*target.split(), "</s>"] for target in targets]
    own = tf.data.Dataset.from_tensors((LINES[0], LINES[1])).apply(vocabulary.encoded())
    assert [side.tolist() for side in plain(own)[0]] == [known[LINES[0]], known[LINES[1]]]


def test_a_lone_text_a_label_and_names():
    ids = [WORDS.tokenize(line).numpy().tolist() for line in LINES]
    lone = tf.data.Dataset.from_tensor_slices(LINES).apply(WORDS.encoded())
    assert lone.element_spec == IDS
    assert [row.tolist() for row in plain(lone)] == [[*row, END_ID] for row in ids]

    labeled = tf.data.Dataset.from_tensor_slices((LINES, [7, 8, 9])).apply(WORDS.encoded(add_end=False))
    assert labeled.element_spec == (IDS, tf.TensorSpec([], tf.int32))
    assert [(row.tolist(), label) for row, label in plain(labeled)] == list(zip(ids, [7, 8, 9], strict=True))

    named = {"label": [7, 8, 9], "source": LINES, "target": ["horse."] * 3}
    named = tf.data.Dataset.from_tensor_slices(named).apply(WORDS.encoded(Bytes()))
    assert [row["source"].tolist() for row in plain(named)] == [[*row, END_ID] for row in ids]
    assert plain(named)[1]["target"].tolist() == [*(4 + b for b in b"horse."), END_ID]
    assert [row["label"] for row in plain(named)] == [7, 8, 9]


def test_components_with_a_length_of_their_own_pass():
    def examples():
        for i, line in enumerate(LINES):
            yield line, np.full([i + 1, 2], i, np.float32)

    signature = (tf.TensorSpec([], tf.string), tf.TensorSpec([None, 2], tf.float32))
    dataset = tf.data.Dataset.from_generator(examples, output_signature=signature).apply(WORDS.encoded())
    assert dataset.element_spec == (IDS, signature[1])
    for i, (ids, features) in enumerate(plain(dataset)):
        assert ids.tolist() == [*WORDS.tokenize(LINES[i]).numpy(), END_ID]
        np.testing.assert_array_equal(features, np.full([i + 1, 2], i))
    assert i == len(LINES) - 1


def tagged(lines=LINES):
    def examples():
        for line in lines:
            yield line.split(), list(range(len(line.split())))

    signature = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32))
    return tf.data.Dataset.from_generator(examples, output_signature=signature)


def test_words_split_already_get_one_id_each():
    words = Words.train([line.lower() for line in LINES], lowercase=True)
    rows = plain(tagged([*LINES, ""]).apply(words.encoded(add_end=False)))
    for line, (ids, tags) in zip([*LINES, ""], rows, strict=True):
        assert words.pieces(ids) == line.lower().split()
        assert tags.tolist() == list(range(len(line.split())))
    assert plain(tagged().apply(words.encoded()))[0][0][-1] == END_ID
    # A word with a space in it is one word all the same, unknown here.
    spaced = tf.data.Dataset.from_tensors(tf.constant(["a man", "rides"])).apply(words.encoded(add_end=False))
    ids = plain(spaced)[0]
    assert ids[0] == words.unknown_id and words.pieces(ids[1:]) == ["rides"]


@pytest.mark.parametrize("vocabulary", [Bytes(), Characters("ab")])
def test_words_split_already_need_words(vocabulary):
    with pytest.raises(ValueError, match=f"`Words`.*{type(vocabulary).__name__}"):
        tagged().apply(vocabulary.encoded())


def test_elements_that_cannot_be_encoded():
    with pytest.raises(ValueError, match="with a text"):
        tf.data.Dataset.range(3).apply(WORDS.encoded())
    with pytest.raises(ValueError, match=r"\(T,\)"):
        tf.data.Dataset.from_tensors([["a", "b"]]).apply(WORDS.encoded())


def test_an_empty_dataset_and_empty_texts(subwords):
    empty = tf.data.Dataset.from_tensor_slices((tf.zeros([0], tf.string),) * 2)
    assert plain(empty.apply(subwords.encoded())) == []
    blank = tf.data.Dataset.from_tensors("").apply(subwords.encoded())
    assert plain(blank)[0].tolist() == [END_ID]
    assert plain(blank.repeat(2).take(1))[0].tolist() == [END_ID]
    assert (
        tf.data.Dataset.from_tensors("").repeat().apply(subwords.encoded()).cardinality()
        == tf.data.INFINITE_CARDINALITY
    )


# -- sampling


def draws(subwords, sampling, count=60, line=LINES[2], **options):
    dataset = tf.data.Dataset.from_tensors(line).repeat(count).apply(subwords.encoded(sampling=sampling, **options))
    return [tuple(row.tolist()) for row in plain(dataset)]


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("nbest_size", [-1, 8])
def test_a_text_is_cut_in_many_ways(subwords, seed, nbest_size):
    rows = draws(subwords, Sampling(0.1, nbest_size, seed=seed))
    assert len(set(rows)) > 2
    assert {row[-1] for row in rows} == {END_ID}
    assert {text.numpy().decode() for text in map(subwords.detokenize, set(rows))} == {LINES[2]}
    # What an export has stays as it was.
    assert len({tuple(subwords.tokenize(LINES[2]).numpy()) for _ in range(5)}) == 1


def test_a_smaller_alpha_leaves_bpe_more_whole_and_unigram_less():
    for model_type, sign in (("bpe", 1), ("unigram", -1)):
        vocabulary = Subwords.train(LINES * 5, 60, model_type=model_type, hard_vocab_limit=False)
        means = [np.mean([len(r) for r in draws(vocabulary, Sampling(a, seed=0), 150)]) for a in (0.05, 0.9)]
        assert sign * (means[1] - means[0]) > 1


def test_a_seed_and_an_epoch_give_the_same_cuts(subwords):
    def epochs(sampling, number, rows=1100):  # two calls, which run at once
        pairs = tf.data.Dataset.from_tensors((LINES[1], LINES[1])).repeat(rows)
        dataset = pairs.apply(subwords.encoded(sampling=sampling))
        return [list(zip(*(side.to_list() for side in at_once(dataset)), strict=True)) for _ in range(number)]

    sampling = Sampling(0.2, seed=3)
    first, second = epochs(sampling, 2)
    assert first != second
    assert any(source != target for source, target in first)  # the sides draw for themselves
    assert first[:76] != first[1024:]  # and so do the calls
    sampling.start_epoch(0)
    assert epochs(sampling, 1) == [first]
    assert epochs(Sampling(0.2, seed=3, first_epoch=1), 1, rows=50) == [second[:50]]
    for other in (4, -3):
        assert epochs(Sampling(0.2, seed=other), 1, rows=50) != [first[:50]]


def test_sampling_of_single_lines_and_beside_other_kinds(subwords):
    dataset = tf.data.Dataset.from_tensors((LINES[0], LINES[0], [1.0, 2.0])).repeat(30)
    for seed in (None, 1):
        rows = plain(dataset.apply(subwords.encoded(Bytes(), sampling=Sampling(seed=seed))))
        assert len({tuple(source) for source, _, _ in rows}) > 2
        assert {tuple(target) for _, target, _ in rows} == {(*(4 + b for b in LINES[0].encode()), END_ID)}
        hard = tf.data.Dataset.from_tensor_slices([b"a \xff", b"", b"\x00", "漢".encode()])
        rows = plain(hard.apply(subwords.encoded(sampling=Sampling(seed=seed))))
        assert [row[-1] for row in rows] == [END_ID] * 4 and rows[1].tolist() == [END_ID]
        assert subwords.unknown_id in rows[3]


def test_sampling_refuses():
    with pytest.raises(ValueError, match="Words and Bytes"):
        WORDS.encoded(Bytes(), sampling=Sampling())
    for options in ({"alpha": 0.0}, {"alpha": -1.0}, {"nbest_size": 1}, {"nbest_size": 513}, {"nbest_size": -2}):
        with pytest.raises(ValueError, match="`alpha` must be positive"):
            Sampling(**options)


def test_words_and_their_tags_get_ids_side_by_side():
    tags = Words(["DET", "NOUN"])
    pairs = tf.data.Dataset.from_tensors((["A", "man", "xyz"], ["DET", "NOUN", "NOUN"]))
    words, labels = plain(pairs.apply(WORDS.encoded(tags, add_end=False)))[0]
    assert WORDS.pieces(words) == ["A", "man", "<unk>"]
    assert labels.tolist() == [4, 5, 5]
