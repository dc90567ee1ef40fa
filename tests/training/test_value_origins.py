"""Following values that are not finite through the operations of a program."""

import numpy as np
import tensorflow as tf

from keras_seq.training import value_origins
from keras_seq.training.value_origins import Origins


def test_an_infinity_of_the_program_stays_the_same_one():
    with Origins({}) as origins:
        mask = tf.fill([2], -np.inf)
        longer = mask - 1.0
        doubled = longer + mask
        spoiled = doubled - mask
    first = origins.of(mask)
    assert (first.kind, first.operation, first.constant) == ("Inf", "Fill", True)
    assert origins.of(longer) is first and origins.of(doubled) is first
    assert (origins.of(spoiled).kind, origins.of(spoiled).operation) == ("NaN", "Sub")
    assert not origins.of(spoiled).constant and "test_value_origins.py" in origins.of(spoiled).source


def test_operations_of_a_graph_are_not_followed():
    origins, bad = Origins({}), tf.constant(np.nan)
    origins._after("Log", [], {}, [bad], graph=tf.Graph())
    assert origins.of(bad) is None
    origins._after(b"Log", [], {}, [bad])
    assert origins.of(bad).operation == "Log"


def test_arguments_that_are_one_stay_one():
    noted, same, x = [], {}, tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        value = tf.convert_to_tensor(x)
        one, other = (value_origins._hooked(value, same, noted.append) for _ in range(2))
        y = 3.0 * one
    assert one is other and one is not value
    tape.gradient(y, x)
    assert [slope.numpy().tolist() for slope in noted] == [[3.0, 3.0]]
    for value in (tf.constant([1]), tf.ragged.constant([[1.0]]), "a"):
        assert value_origins._hooked(value, same, noted.append) is value


def test_a_program_without_lines_of_its_own_has_no_source(monkeypatch):
    source, gradient = value_origins._source()
    assert source and gradient == ""
    monkeypatch.setattr(value_origins, "_PACKAGES", ("",))  # all of it is of packages
    assert value_origins._source() == ("", "")
