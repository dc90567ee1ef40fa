import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import generate, search
from tests.decoding.models import (
    END,
    IDS,
    NUM_CONTEXTS,
    START,
    arrays,
    beam_search,
    greedy_search,
    history_state,
    history_step,
    random_models,
)
from tests.reference import backend_cases, long_on_jax, quick

TENSORFLOW = keras.backend.backend() == "tensorflow"


class HistoryModel:
    """The random models behind encode and decode; a source row is `[model]`."""

    def __init__(self, tables):
        self.step = history_step(tables)

    def encode(self, source, max_length):
        return {"memory": {"model": source[:, 0]}, "context": ops.zeros_like(source[:, :1])}

    def decode(self, tokens, state):
        inner = {"model": state["memory"]["model"], "context": [state["context"]]}
        logits, inner = self.step(tokens, inner)
        return logits, {"memory": state["memory"], "context": inner["context"][0]}


class CopyModel:
    """Says its source; likeliest token 0.9, the rest shared."""

    vocabulary_size = 40

    def __init__(self):
        self.shapes, self.max_lengths = [], []

    def encode(self, source, max_length):
        self.shapes.append(tuple(source.shape))
        self.max_lengths.append(max_length)
        return {"memory": source, "position": ops.zeros_like(source[:, :1])}

    def decode(self, tokens, state):
        position = ops.minimum(state["position"], state["memory"].shape[1] - 1)
        said = ops.take_along_axis(state["memory"], position, axis=1)  # (N, 1)
        chances = ops.one_hot(said, self.vocabulary_size) * 0.88 + 0.02 / (self.vocabulary_size - 2)
        return ops.log(chances), {"memory": state["memory"], "position": state["position"] + 1}


class Letters:
    """A vocabulary of the letters: the protocol of `text`, without TensorFlow."""

    pad_id, unknown_id, start_id, end_id = 0, 1, START + 2, END

    def __init__(self, first="a"):
        self.first = ord(first)

    def tokenize(self, texts):
        return _Rows([[ord(letter) - self.first + 4 for letter in text.replace(" ", "")] for text in texts])

    def detokenize(self, ids):
        texts = []
        for row in np.asarray(ids).tolist():
            row = row[: row.index(self.end_id)] if self.end_id in row else row
            texts.append(
                "".join(chr(i - 4 + self.first) for i in row if i not in (self.pad_id, self.start_id)).encode()
            )
        return _Rows(texts)


class _Rows(list):
    def to_list(self):
        return list(self)

    def numpy(self):
        return np.array(self, dtype=object)


@pytest.mark.parametrize(("K", "R"), backend_cases([(1, 1), (4, 1), (4, 3)], on_jax=[(4, 3)]))
@long_on_jax
def test_search_is_the_search_over_the_tiled_state(K, R):
    tables = random_models(30, 8, impossible=0.2, seed=11)
    source = np.arange(30, dtype="int32")[:, None]
    found = search(HistoryModel(tables), source, max_length=7, num_beams=K, num_return=R, **IDS)
    expected = beam_search(
        history_step(tables), history_state(range(30), K), batch_size=30, num_beams=K, max_length=7, num_return=R, **IDS
    )
    for one, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.skipif(not TENSORFLOW, reason="a graph with dynamic sizes")
@pytest.mark.parametrize("K", quick([1, 3], few=[3]))
def test_a_saved_graph_decodes_any_batch_to_any_length(K, tmp_path):
    import tensorflow as tf

    tables = random_models(20, 8, impossible=0.2, seed=12)
    model = HistoryModel(tables)

    class Served(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.int32), tf.TensorSpec([], tf.int64)])
        def serve(self, source, max_length):
            return search(model, source, max_length=max_length, num_beams=K, num_return=K, **IDS)._asdict()

    tf.saved_model.save(Served(), str(tmp_path))
    serve = tf.saved_model.load(str(tmp_path)).serve
    for count, max_length in ((20, 9), (1, 2), (7, 5), (0, 4)):
        source = np.arange(count, dtype="int32")[:, None]
        found = serve(tf.constant(source), tf.constant(max_length, tf.int64))
        assert found["tokens"].shape == (count, K, max_length)
        if count:
            expected = search(model, source, max_length=max_length, num_beams=K, num_return=K, **IDS)._asdict()
            for name in expected:
                np.testing.assert_allclose(found[name].numpy(), expected[name].numpy(), rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="jax.jit")
@pytest.mark.parametrize("K", [1, 3])
def test_a_search_can_be_jitted(K):
    import jax

    model = HistoryModel(random_models(20, 8, impossible=0.2, seed=12))
    source = np.arange(20, dtype="int32")[:, None]

    def decode(source):
        return search(model, source, max_length=6, num_beams=K, **IDS)

    for one, other in zip(arrays(jax.jit(decode)(source)), arrays(decode(source)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_memory_is_handed_to_every_step_as_it_is():
    memories = []

    class Model(HistoryModel):
        def decode(self, tokens, state):
            memories.append(state["memory"]["model"])
            return super().decode(tokens, state)

    tables = random_models(3, NUM_CONTEXTS, impossible=0.0, seed=13)
    search(Model(tables), np.array([[2], [0], [1]], "int32"), max_length=4, num_beams=2, **IDS)
    assert all(memory is memories[0] for memory in memories)
    assert ops.convert_to_numpy(memories[0]).tolist() == [2, 2, 0, 0, 1, 1]


def compiled():
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function
    import jax

    return jax.jit


@pytest.mark.parametrize(("batch_tokens", "num_beams"), backend_cases([(1, 1), (40, 3), (10_000, 1)], on_jax=[(40, 3)]))
@long_on_jax
def test_texts_come_back_in_their_order(batch_tokens, num_beams):
    texts = ["hello", "", "a", "so long a sentence", " ", "zebra", "b", "ten letters"]
    expected = [text.replace(" ", "") for text in texts]
    model = CopyModel()
    assert generate(model, Letters(), texts, num_beams=num_beams, batch_tokens=batch_tokens) == expected
    assert all(rows == 1 or rows * width <= batch_tokens for rows, width in model.shapes)
    assert sum(rows for rows, _ in model.shapes) == 6  # what is empty is not decoded
    assert model.max_lengths == [2 * width + 10 for _, width in model.shapes]


class Alphabet:
    """A language model that says the letter after the last one, and after "e" the end."""

    def initial_state(self, batch_size, max_length):
        return {"steps": ops.zeros((batch_size,), "int32")}

    def decode(self, tokens, state):
        following = ops.where(tokens == 8, END, ops.where(tokens < 4, 4, tokens + 1))
        logits = ops.one_hot(following, 12, dtype="float32") * 50.0
        return logits, {"steps": state["steps"] + tokens.shape[1]}


@long_on_jax
def test_a_language_model_says_what_follows_each_text():
    texts = ["a", "", "abcabcabcab", "bcd", "e"]
    expected = ["bcde", "abcde", "cde", "e", ""]
    assert generate(Alphabet(), Letters(), texts, num_beams=2) == expected
    assert generate(Alphabet(), Letters(), texts, search="greedy", batch_tokens=16) == expected
    assert generate(Alphabet(), Letters(), texts, search="greedy", max_length=2) == ["bc", "ab", "cd", "e", ""]


def test_generate_can_be_compiled_by_the_caller():
    texts = ["hello", "zebra", "bee", "twelve letters"]
    expected = [text.replace(" ", "") for text in texts]
    assert generate(CopyModel(), Letters(), texts, num_beams=2, compiled=compiled()) == expected


def test_several_results_come_best_first():
    found = generate(CopyModel(), Letters(), ["hello", "", "cab"], num_beams=4, num_return=3)
    assert [len(results) for results in found] == [3, 3, 3]
    assert [results[0] for results in found] == ["hello", "", "cab"]
    assert found[1] == ["", "", ""] and len(set(found[0])) == 3


def test_max_length_and_a_source_vocabulary_of_its_own():
    options = {"source_vocabulary": Letters("a"), "max_length": 3, "num_beams": 1}
    assert generate(CopyModel(), Letters("A"), ["hello"], **options) == ["HEL"]


def test_no_texts_give_no_texts():
    assert generate(CopyModel(), Letters(), []) == []


def test_a_single_string_is_refused():
    with pytest.raises(TypeError, match="'hello'"):
        generate(CopyModel(), Letters(), "hello")


def test_greedy_finds_the_likeliest_tokens():
    source = np.array([[5, 6, 7, END], [9, END, 0, 0]], "int32")
    model = CopyModel()
    state = model.encode(ops.convert_to_tensor(source), 6)
    tokens, lengths, log_probs, scores = arrays(greedy_search(model.decode, state, batch_size=2, max_length=6, **IDS))
    assert tokens.tolist() == [[[5, 6, 7, END, 0, 0]], [[9, END, 0, 0, 0, 0]]]
    assert lengths.tolist() == [[4], [2]]
    assert (log_probs == scores).all() and log_probs[0, 0] < log_probs[1, 0] < 0


def test_the_vocabulary_of_the_source_is_asked_for(caplog):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("vocabularies need TensorFlow")
    from keras_seq import models, text

    source, target = text.Words(["a", "b", "c"]), text.Words(["x", "y"])
    model = models.Seq2Seq(source.size, target.size, units=4, num_layers=1, cell="gru", bidirectional=False)
    for given, told in (
        ({}, "a source vocabulary of 7 ids"),
        ({"source_vocabulary": text.Words(["a"])}, "Received: 5"),
    ):
        with pytest.raises(ValueError, match=f"{told}.*`source_vocabulary`"):
            generate(model, target, ["a b"], max_length=2, **given)
    with pytest.raises(ValueError, match="a target vocabulary of 6 ids"):
        generate(model, source, ["a b"], source_vocabulary=source, max_length=2)
    generate(model, target, ["a b"], source_vocabulary=source, max_length=2, num_beams=1)
    assert not caplog.records
    generate(model, target, ["x y", "a"], source_vocabulary=source, max_length=2, num_beams=1)
    assert "2 of the 3 tokens of the texts are not in the vocabulary" in caplog.text
