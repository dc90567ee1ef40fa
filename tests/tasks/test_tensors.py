"""Any model as a task, from tensors to tensors."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq.tasks.tensors import serving
from tests.tasks.stand_ins import Function


def test_examples_that_fail_are_told_and_the_others_are_not():
    sizes = []

    def total(x, y):
        sizes.append(len(x))
        return {"sum": tf.reduce_sum(x, axis=1) + y}

    run = serving(Function(total, x=tf.TensorSpec([None, 3]), y=tf.TensorSpec([None])))
    good = {"x": [1.0, 2, 3], "y": 4.0}
    words = {"x": ["a", "b", "c"], "y": 4.0}
    found = run([good, {"x": [1.0, 2, 3]}, {"x": [[1.0], [2, 3]], "y": 4.0}, good, {**good, "z": 1}])
    assert [one.arrays for one in (found[0], *found[3:])] == [{"sum": 10.0}] * 3 and sizes == [3]
    assert found[1].reason == "'y'"
    assert "inhomogeneous" in found[2].reason
    failed, other = run([words, {"x": [1.0, 2], "y": 4.0}])
    assert "could not convert" in failed.reason.lower() and other.arrays == {"sum": 7.0}
