"""The losses of a running text: each token once, and with a carried state as if it were read at once."""

import numpy as np
import pytest
from keras import ops

from keras_seq import decoding, models
from keras_seq.layers import RecurrentStack, TransformerStack
from tests.reference import array, fill, in_graph, softmax, tensorflow_only

pytestmark = tensorflow_only("data is TensorFlow's")

V = 7
IDS = np.array([4, 5, 6, 4, 4, 6, 5, 3, 4, 5, 5, 6, 4], "int32")


def language_model(backbone):
    return fill(models.LanguageModel(V, backbone), scale=0.7)


def expected(model, tokens, labels):
    probabilities = softmax(array(model(ops.convert_to_tensor([tokens])))[0])
    return -np.log(probabilities[np.arange(len(labels)), labels])


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru"])
@pytest.mark.parametrize("compiled", [None, in_graph])
def test_a_stream_is_as_the_whole_text_at_once(cell, compiled):
    from keras_seq import data

    model = language_model(RecurrentStack(cell, 6))
    measured = decoding.TokenLosses(model, compiled)(data.streams(IDS, 1, 5, start_id=2))
    assert measured.shape == (3, 5) and np.isnan(measured).sum() == 2
    whole = expected(model, [2, *IDS[:-1]], IDS)
    np.testing.assert_allclose(measured[~np.isnan(measured)], whole, atol=1e-5)


def test_streams_begin_each_on_their_own():
    from keras_seq import data

    model = language_model(RecurrentStack("gru", 6))
    measured = decoding.TokenLosses(model)(data.streams(IDS, 2, 4, start_id=2))
    assert measured.shape == (4, 4)
    for row, (first, last) in enumerate([(0, 6), (6, 13)]):
        tokens = [2, *IDS][first:last]
        stream = measured[row::2].reshape(-1)
        np.testing.assert_allclose(stream[~np.isnan(stream)], expected(model, tokens, IDS[first:last]), atol=1e-5)


@pytest.mark.parametrize("backbone", [RecurrentStack("gru", 6), TransformerStack(6, num_heads=3, num_layers=1)])
def test_blocks_know_nothing_of_those_before(backbone):
    from keras_seq import data

    model = language_model(backbone)
    measured = decoding.TokenLosses(model, in_graph)(data.blocks(IDS, 2, 5, start_id=2))
    assert measured.shape == (3, 5) and np.isnan(measured).sum() == 2
    tokens = np.array([2, *IDS[:-1]])
    for row, first in enumerate((0, 5, 10)):
        block = measured[row][~np.isnan(measured[row])]
        np.testing.assert_allclose(block, expected(model, tokens[first : first + 5], IDS[first : first + 5]), atol=1e-5)
