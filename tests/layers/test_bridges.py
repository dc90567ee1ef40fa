import keras
import numpy as np
import pytest

from keras_seq.layers import Bridge
from tests.checks import check_layer
from tests.reference import array, arrays, fill, spread

STATES = [[spread((2, 4)), spread((2, 4), 10)], [spread((2, 4), 20), spread((2, 4), 30)]]


@pytest.mark.parametrize("kind", ["copy", "dense"])
def test_promises_of_a_layer(kind):
    check_layer(Bridge(kind), (STATES,), weights=kind == "dense")


@pytest.mark.parametrize("kind", Bridge.KINDS)
def test_configuration(kind):
    assert Bridge.from_config(Bridge(kind).get_config()).kind == kind


def test_copy_and_zero():
    for ours, theirs in zip(keras.tree.flatten(arrays(Bridge("copy")(STATES))), sum(STATES, []), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    zeros = arrays(Bridge("zero")(STATES))
    assert [[state.shape for state in layer] for layer in zeros] == [[(2, 4)] * 2] * 2
    assert not any(state.any() for state in keras.tree.flatten(zeros))


def test_dense_is_a_tanh_layer_for_each_state():
    bridge = Bridge("dense")
    bridge(STATES)
    weights = fill(bridge).get_weights()
    assert len(weights) == 8
    for i, (ours, state) in enumerate(zip(keras.tree.flatten(bridge(STATES)), sum(STATES, []), strict=True)):
        np.testing.assert_allclose(array(ours), np.tanh(state @ weights[2 * i] + weights[2 * i + 1]), atol=1e-6)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="Received: 'wooden'"):
        Bridge("wooden")
