import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import decoding
from keras_seq.decoding import Ensemble, attended_positions, replace_unknown
from keras_seq.layers import RecurrentStack
from keras_seq.models import LanguageModel, Seq2Seq, Transformer
from tests.decoding.models import slow_on_jax
from tests.reference import array, backend_cases, compiled, in_graph, long_on_jax, quick, spread

TENSORFLOW = keras.backend.backend() == "tensorflow"
PAD, UNKNOWN, START, END = 0, 1, 2, 3
KNOWN = ("ride", "two", "men", "a", "horse")


class _Rows(list):
    def to_list(self):
        return list(self)

    def numpy(self):
        return np.array(self, dtype=object)


class Spaced:
    """A vocabulary of words, as `text.Words`, without TensorFlow."""

    pad_id, unknown_id, start_id, end_id = PAD, UNKNOWN, START, END
    separator = " "

    def __init__(self, words=KNOWN):
        self.tokens = ["<pad>", "<unk>", "<s>", "</s>", *words]
        self.size = len(self.tokens)

    def tokenize(self, texts):
        return _Rows([[self.id_of(word) for word in text.split()] for text in texts])

    def id_of(self, word):
        return self.tokens.index(word) if word in self.tokens[4:] else self.unknown_id

    def detokenize(self, ids):
        rows = [row[: row.index(END)] if END in row else row for row in np.asarray(ids).tolist()]
        return _Rows(" ".join(self.pieces([i for i in row if i not in (PAD, START)])) for row in rows)

    def pieces(self, ids):
        return [self.tokens[i] for i in ids]

    def split(self, texts):
        return [text.split() for text in texts]


class Backwards:
    """Says its source backwards, in the ids of its own vocabulary, and looks at the word that it says."""

    has_attention = True

    def __init__(self, size):
        self.size = size

    def encode(self, source, max_length, attention_weights=False):
        is_word = ops.cast(ops.logical_and(source != PAD, source != END), "int32")
        length = ops.sum(is_word, axis=1, keepdims=True)
        state = {"memory": {"source": source, "length": length}, "position": ops.zeros_like(source[:, :1])}
        if attention_weights:
            state["attention"] = ops.zeros_like(ops.cast(source, "float32"))[:, None, :]
        return state

    def decode(self, tokens, state):
        memory, T = state["memory"], ops.shape(tokens)[1]
        place = memory["length"] - 1 - (state["position"] + ops.arange(T)[None, :])  # (B, T)
        said = ops.take_along_axis(memory["source"], ops.maximum(place, 0), axis=1)
        said = ops.where(place >= 0, said, END)
        state = {**state, "position": state["position"] + T}
        if "attention" in state:
            S = ops.shape(memory["source"])[1]
            # A little everywhere, and most of it at the end and at padding, where there is no word to copy.
            here = ops.cast(ops.arange(S) == place[:, :, None], "float32")
            state["attention"] = 0.1 * here + 0.9 * ops.cast(ops.arange(S) == S - 1, "float32")
        return ops.log(ops.one_hot(said, self.size) * 0.8 + 0.2 / self.size), state


TEXTS = ["two Normans ride", "", "Wotan a ride horse Frigg", "zebra", "men"]
BACKWARDS = ["ride Normans two", "", "Frigg horse ride a Wotan", "zebra", "men"]


def wrapped():
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    import jax

    return jax.jit


@pytest.mark.parametrize("how", [pytest.param("eager", marks=slow_on_jax), "compiled"])
def test_generate_writes_the_words_that_the_model_looked_at(how):
    vocabulary = Spaced()
    model = Backwards(vocabulary.size)
    options = {"compiled": wrapped()} if how == "compiled" else {}
    if how == "eager":
        plain = decoding.generate(model, vocabulary, TEXTS, num_beams=2, batch_tokens=16)
        assert plain == ["ride <unk> two", "", "<unk> horse ride a <unk>", "<unk>", "men"]
    for batch_tokens in (1, 1000) if how == "eager" else (16,):  # each is traced anew
        given = {"num_beams": 2, "batch_tokens": batch_tokens, "replace_unknown": True, **options}
        assert decoding.generate(model, vocabulary, TEXTS, **given) == BACKWARDS


@slow_on_jax
def test_a_dictionary_says_what_stands_for_a_word():
    vocabulary = Spaced()
    found = decoding.generate(
        Backwards(vocabulary.size), vocabulary, TEXTS, search="greedy",
        replace_unknown={"Wotan": "Odin the Old", "Normans": "Normannen", "horse": "not asked for"},
    )  # fmt: skip
    assert found == ["ride Normannen two", "", "Frigg horse ride a Odin the Old", "zebra", "men"]


@slow_on_jax
def test_several_results_and_a_source_vocabulary_of_its_own():
    source, target = Spaced(), Spaced(["HORSE", "A"])
    options = {"source_vocabulary": source, "num_beams": 3, "num_return": 2, "max_length": 6}
    found = decoding.generate(Backwards(target.size), target, TEXTS, replace_unknown=True, **options)
    assert [len(results) for results in found] == [2] * 5
    # The ids of the source's first two words are "HORSE" and "A" here; all others are unknown to the target.
    assert found[0][0] == "HORSE Normans A" and found[3][0] == "zebra"
    assert not any("<unk>" in text for results in found for text in results)


def model_of(kind):
    """Real models with numbers that differ."""
    recurrent = {"units": 4, "num_layers": 1, "cell": "gru"}
    models = {
        "additive": lambda: Seq2Seq(9, attention="additive", **recurrent),
        "location, reversed": lambda: Seq2Seq(9, attention="location", reverse_source=True, **recurrent),
        "transformer": lambda: Transformer(9, units=4, num_heads=2, num_layers=2, dropout=0.0),
        "none": lambda: Seq2Seq(9, attention=None, **recurrent),
    }
    model = models[kind]()
    model.set_weights([2 * spread(w.shape, start=5 * i) for i, w in enumerate(model.get_weights())])
    return model


CASES = quick(["additive", "location, reversed", "transformer", "ensemble"], few=["location, reversed", "ensemble"])


@pytest.mark.parametrize("kind", backend_cases(CASES, on_jax=["ensemble"]))
@long_on_jax
def test_the_forced_pass_is_what_the_steps_look_at(kind):
    """One step after the other, and one hypothesis after the other; and the words around do not matter."""
    models = ["additive", "none"] if kind == "ensemble" else [kind]
    model = Ensemble([model_of(each) for each in models]) if kind == "ensemble" else model_of(kind)
    source = np.array(
        [[4, 5, 1, 6, 7, END, PAD], [1, 8, 4, END, PAD, PAD, PAD], [4, END, PAD, PAD, PAD, PAD, PAD]], "int32"
    )
    tokens = np.array(
        [
            [[1, 4, 1, 1, END], [5, 1, END, PAD, PAD]],
            [[1, 1, 1, 1, 1], [END, PAD, PAD, PAD, PAD]],
            [[1, 5, END, PAD, PAD], [6, 6, 1, END, PAD]],
        ],
        "int32",
    )
    places = array(compiled(lambda source, tokens: attended_positions(model, source, tokens, Spaced()))(source, tokens))
    assert places.shape == tokens.shape
    decode, differing = in_graph(lambda tokens, state: model.decode(tokens, state)), 0
    for b, r in np.ndindex(3, 2):
        words = (source[b] != END).argmin()
        state = model.encode(source[b : b + 1], max_length=5, attention_weights=True)
        last = START
        for t, token in enumerate(tokens[b, r].tolist()):
            _, state = decode(ops.convert_to_tensor([[last]], "int32"), state)
            weights = array(state["attention"])[0, 0]
            assert places[b, r, t] == weights[:words].argmax()
            differing += places[b, r, t] != t
            last = token
            if token == END:
                break
    assert differing > 5


def test_texts_are_those_of_detokenize_but_for_the_unknown_words():
    """Start tokens and padding inside are left out, and nothing follows the end."""
    vocabulary = Spaced()
    tokens = np.array([[[4, START, UNKNOWN, PAD, UNKNOWN, END, UNKNOWN, 4], [END] + [PAD] * 7, [UNKNOWN] * 8]])
    places = np.array([[[9, 9, 1, 9, 0, 9, 9, 9], [9] * 8, [0, 1, 0, 1, 0, 1, 0, 1]]])
    assert replace_unknown(["x y"], tokens, places, vocabulary) == [["ride y x", "", "x y x y x y x y"]]
    assert replace_unknown([], tokens[:0], places[:0], vocabulary) == []
    assert replace_unknown([" "], tokens[:, :1], places[:, :1], vocabulary) == [["ride <unk> <unk>"]]  # nothing to copy


def test_what_cannot_be_done_is_refused():
    class Parts(Spaced):
        separator = None

    with pytest.raises(ValueError, match="whole words .* Received: Parts"):
        decoding.generate(Backwards(9), Spaced(), ["two"], source_vocabulary=Parts(), replace_unknown=True)
    backbone = RecurrentStack("rnn", 4)
    for model in (model_of("none"), LanguageModel(9, backbone), Ensemble([model_of("none")])):
        with pytest.raises(
            ValueError, match=f"requires a model with attention.* Received: {type(model).__name__} without it"
        ):
            decoding.generate(model, Spaced(), ["two"], replace_unknown=True, max_length=2)


@pytest.mark.skipif(not TENSORFLOW, reason="vocabularies are TensorFlow's")
def test_vocabularies_split_texts_as_they_tokenize_them():
    from keras_seq import text

    texts = ["Two  men\tride\x0b a horse ", "", "Ünder the 🐎", "a\u00a0b \u2003 c"]
    for vocabulary in (text.Words(["men", "two"], lowercase=True), text.Characters("abc ")):
        parts = vocabulary.split(texts)
        assert [len(row) for row in parts] == vocabulary.tokenize(texts).row_lengths().numpy().tolist()
        known = text.Words(["x"]) if vocabulary.separator else text.Characters("x")
        assert known.split(texts) == parts
    assert text.Words(["men"], lowercase=True).split(texts)[0] == ["Two", "men", "ride", "a", "horse"]
    assert "".join(text.Characters("x").split(texts)[2]) == texts[2]
    with pytest.raises(ValueError, match="Received: Bytes"):
        text.Bytes().split(texts)
    assert text.Bytes().separator is None
