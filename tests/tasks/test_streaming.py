"""Decoding step by step, where the caller has the state."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq.tasks.streaming import stepping
from tests.tasks.stand_ins import Model


class Counter(Model):
    """Its state has a part that is missing, and room for the steps."""

    def initial_state(self, batch_size, max_length):
        return {"mask": None, "room": tf.zeros([batch_size, max_length]), "count": tf.zeros([batch_size], tf.int32)}

    def decode(self, tokens, state):
        assert state["mask"] is None
        logits = tf.one_hot(state["count"], 3)[:, None]
        return logits, {**state, "count": state["count"] + 1}


def test_a_part_of_the_state_that_is_missing_has_no_name():
    functions = stepping(Counter(), None, None, begin_id=2, room=5)
    tensors = functions["step"].inputs
    assert {name: spec.shape.as_list() for name, spec in tensors.items()} == {
        "tokens": [None, 1],
        "state_count": [None],
        "state_room": [None, None],
    }
    assert functions["initial_state"].defaults == {"max_length": 5}
    state = functions["initial_state"].function(batch_size=2, max_length=4)
    assert state.pop("tokens").numpy().tolist() == [[2], [2]]
    assert {name: x.shape.as_list() for name, x in state.items()} == {"state_count": [2], "state_room": [2, 4]}
    for number in range(2):
        state = functions["step"].function(tokens=tf.constant([[0], [0]]), **state)
        assert state.pop("log_probs").numpy().argmax(1).tolist() == [number] * 2
