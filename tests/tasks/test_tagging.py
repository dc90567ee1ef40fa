"""Tagging around a model that stands in for a tagger."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import tasks, text
from keras_seq.tasks.batching import Limits
from keras_seq.tasks.tagging import tagging
from tests.tasks.stand_ins import STRINGS, Function, Model, described

WORDS, FEATURES = text.Words(["a", "b"]), text.Words(["X", "Y", "Z"])  # from 4 on


class Tagger(Model):
    """Tags a word by the sum of its two features: `X` and `X` is the tag 0, `Z` and `Z` is the tag 4."""

    input = {"words": keras.KerasTensor((None, None)), "features": keras.KerasTensor((None, None, 2))}
    output = keras.KerasTensor((None, None), "int32")

    def __call__(self, inputs, training):
        self.seen = {name: x.numpy().tolist() for name, x in inputs.items()}
        return tf.maximum(tf.reduce_sum(inputs["features"], axis=2) - 8, 0)


def test_features_of_words():
    model = Tagger()
    functions = tasks.Tagging(model, WORDS, list("01234"), features=FEATURES).signatures()
    words = [["a￨X￨Y", "", ""], ["b￨Z￨Z", "c￨Y￨X", "d￨X￨X"]]
    found = functions["tag"].function(tf.constant([" ".join(row) for row in words]))
    assert [[word.decode() for word in row] for row in found["words"].numpy()] == words
    assert found["tags"].numpy().tolist() == [[b"1", b"", b""], [b"4", b"1", b"0"]]
    unknown, width = WORDS.unknown_id, len(model.seen["words"][0])
    assert [row[:3] for row in model.seen["words"]] == [[4, 0, 0], [5, unknown, unknown]]
    assert [row[:3] for row in model.seen["features"]] == [[[4, 5], [0, 0], [0, 0]], [[6, 6], [5, 4], [4, 4]]]
    assert {len(row) for row in model.seen["features"]} == {width}


def test_a_word_without_its_features_is_no_input():
    def tags(words):
        return {"tags": tf.strings.lower(words)}

    bad, good = tagging(tags, Limits(), num_features=2)(["A￨X￨Y B￨X", ["C￨X￨Y"]])
    assert bad.reason == "'B￨X' has 1 features, where the model reads 2. Give word￨FEATURE￨FEATURE"
    assert good == (["C￨X￨Y"], ["c￨x￨y"])


def test_features_that_no_model_reads():
    words = keras.KerasTensor((None, None))
    for inputs in (words, {"words": words}):
        with pytest.raises(ValueError, match="`features` is the vocabulary of a model that reads features of words"):
            tasks.Tagging(Tagger(input=inputs), WORDS, ["0"], features=FEATURES)


def test_the_calls_by_which_taggers_are_compared():
    task = tasks.Tagging(Tagger(), WORDS, ["0"])
    functions = {"tag": Function(text=STRINGS)}
    assert described(task.calls(functions, ["a b", "c"])) == [
        ("tag", {"text": [b"a b"]}),
        ("tag", {"text": [b"c"]}),
        ("tag", {"text": [b"a b", b"c"]}),
        ("tag", {"text": []}),
        ("tag_words", {"words": [[b"a", b"b", b"c"], [b"c a", b"a b", b"b c"]]}),
    ]
    assert described(task.calls(functions, []))[-1] == ("tag_words", {"words": [[], []]})
