"""Words with features, in Python and in the graph."""

import keras
import pytest

from keras_seq import text

if keras.backend.backend() != "tensorflow":
    pytest.skip("vocabularies need TensorFlow", allow_module_level=True)


def test_a_word_and_its_features_come_apart_again():
    word = text.with_features("10 000", ["CD", "pl"])
    assert word == "10 000￨CD￨pl"
    assert (text.without_features(word), text.features_of(word)) == ("10 000", ["CD", "pl"])
    assert (text.without_features("dog"), text.features_of("dog")) == ("dog", [])
    for parts in (("a￨b", []), ("a", ["N￨"])):
        with pytest.raises(ValueError, match="holds ￨"):
            text.with_features(*parts)


def test_in_the_graph_too_few_are_empty_and_too_many_are_cut():
    words, features = text.split_features(["a￨N￨sg", "b", "￨N", "c￨N￨sg￨x", ""], 2)
    assert [word.decode() for word in words.numpy()] == ["a", "b", "", "c", ""]
    expected = [["N", "sg"], ["", ""], ["N", ""], ["N", "sg"], ["", ""]]
    assert [[value.decode() for value in row] for row in features.numpy()] == expected
    words, features = text.split_features([], 2)
    assert words.shape == (0,) and features.shape == (0, 2)
