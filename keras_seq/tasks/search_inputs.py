"""Options of a search as inputs of a graph."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf


class Input(NamedTuple):
    """The type of an option, and its least valid value (None: any value is valid)."""

    dtype: tf.DType
    least: float | None = None

    @property
    def spec(self):
        return tf.TensorSpec([], self.dtype)


# `max_length`, `alpha` of the length penalty, and fields of searches.
INPUTS = {
    "max_length": Input(tf.int32, 1),
    "alpha": Input(tf.float32),
    "temperature": Input(tf.float32, 1e-6),
    "top_k": Input(tf.int32, 1),
    "top_p": Input(tf.float32, 1e-6),
    "min_p": Input(tf.float32, 0),
    "seed": Input(tf.int32),
}


def adjustable(search):
    """The options of a search that a graph can take as inputs, and their values.

    Options that the search does not use (a field that is None, a length penalty without `alpha`) are left out: a graph
    with such an input would do useless work. So are options that determine shapes.
    """
    values = {name: getattr(search, name, None) for name in INPUTS if name not in search.static_fields}
    values["alpha"] = getattr(getattr(search, "length_penalty", None), "alpha", None)
    return {name: value for name, value in values.items() if value is not None}


def adjusted(search, tensors):
    """The search with tensors in place of some of its options."""
    fields = dict(tensors)
    if "alpha" in fields:
        fields["length_penalty"] = dataclasses.replace(search.length_penalty, alpha=fields.pop("alpha"))
    return dataclasses.replace(search, **fields)


def checked(tensors):
    """The tensors, with an assertion in the graph that they are in range.

    Raises:
        tf.errors.InvalidArgumentError: when the graph runs, for a tensor that is not.
    """
    found = {}
    for name, x in tensors.items():
        least = INPUTS[name].least
        if least is not None:
            in_range = tf.debugging.Assert(
                x >= tf.cast(least, x.dtype), [f"`{name}` must be at least {least}. Got:", x]
            )
            with tf.control_dependencies([in_range]):
                x = tf.identity(x)
        found[name] = x
    return found
