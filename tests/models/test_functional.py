import keras
import numpy as np
import pytest

from keras_seq import layers, models
from keras_seq.inspection import certify, certify_adapters
from keras_seq.models.functional import functional

IDS = np.array([[5, 6, 7], [8, 9, 0]], "int32")


def sequential(*top):
    words = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(12, 4, mask_zero=True)]
    return keras.Sequential([*words, *top], name="mine")


def test_a_sequential_model_becomes_a_functional_one_with_the_same_weights():
    model = sequential(layers.LSTM(4), keras.layers.Dense(2))
    found = functional(model)
    assert found.name == "mine" and found.input.dtype == "int32" and found.output.shape == (None, 2)
    assert [id(weight) for weight in found.weights] == [id(weight) for weight in model.weights]
    np.testing.assert_array_equal(found(IDS), model(IDS))


def test_several_outputs_stay_in_their_order():
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(4, return_state=True)])
    x = np.ones((1, 3, 2), "float32")
    for ours, theirs in zip(functional(model)(x), model(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_is_built_by_its_first_call():
    model = keras.Sequential([keras.layers.Embedding(12, 4), keras.layers.Dense(2)])
    assert functional(model) is model
    model(IDS)
    np.testing.assert_array_equal(functional(model)(IDS), model(IDS))


def test_other_models_stay():
    for model in (models.LanguageModel(9, layers.RecurrentStack("gru", 4)), models.classifier(9, 2, units=4)):
        assert functional(model) is model


def test_tags_and_probabilities_of_a_sequential_model():
    scores = sequential(layers.GRU(4, return_sequences=True), keras.layers.Dense(3))
    expected = np.where(IDS == 0, 0, np.argmax(scores(IDS), axis=-1))
    np.testing.assert_array_equal(models.best_tags(scores)(IDS), expected)
    frames = keras.Sequential([keras.Input((None, 2)), layers.GRU(2, return_sequences=True)])
    x = np.ones((2, 3, 2), "float32")
    np.testing.assert_allclose(models.probabilities(frames)(x), 1 / (1 + np.exp(-np.array(frames(x)))), rtol=1e-5)


@pytest.mark.parametrize("sees_padding", [False, True])
def test_a_sequential_model_is_certified(sees_padding):
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(12, 4, mask_zero=not sees_padding),
            layers.LSTM(4),
            keras.layers.Dense(2),
        ]
    )
    model.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in model.weights])
    assert certify.certify(certify_adapters.mapping(model), cases=20).ok == (not sees_padding)
