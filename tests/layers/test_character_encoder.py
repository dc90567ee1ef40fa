import numpy as np
import pytest

from keras_seq.layers import CharacterEncoder
from tests.checks import check_layer
from tests.reference import array, backend_cases, fill, like, program

CHARACTERS = np.array([[[3, 4, 5], [5, 0, 0]], [[4, 3, 0], [0, 0, 0]]], "int32")


def encoder(architecture):
    layer = CharacterEncoder(6, 4, architecture, embedding_dim=3)
    layer(like(CHARACTERS))
    return fill(layer)


@pytest.mark.parametrize("architecture", backend_cases(["lstm", "mingru", "cnn"], on_jax=["mingru"]))
def test_a_word_is_the_same_wherever_it_stands(architecture):
    layer = encoder(architecture)
    words = array(program(layer)(CHARACTERS))
    assert words.shape == (2, 2, 4)
    np.testing.assert_array_equal(array(layer.compute_mask(CHARACTERS)), [[True, True], [True, False]])
    assert (words[1, 1] == 0).all(), "a word without characters"
    for row, place, length in ((0, 0, 3), (0, 1, 1), (1, 0, 2)):
        alone = array(program(layer)(CHARACTERS[row, place, :length][None, None]))[0, 0]
        np.testing.assert_allclose(words[row, place], alone, atol=1e-6)
        backwards = array(program(layer)(CHARACTERS[row, place, :length][None, None, ::-1]))[0, 0]
        assert length == 1 or np.abs(alone - backwards).max() > 1e-3, "the order of the characters must matter"


@pytest.mark.parametrize("architecture", backend_cases(["gru", "cnn"], on_jax=["cnn"]))
def test_keeps_what_keras_promises(architecture):
    check_layer(lambda: CharacterEncoder(6, 4, architecture, embedding_dim=3), (CHARACTERS,))


def test_no_word_of_a_batch_has_characters():
    assert (array(program(encoder("lstm"))(np.zeros((2, 1, 2), "int32"))) == 0).all()
