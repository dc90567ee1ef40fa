"""The amount of data in a batch: target tokens, real positions, and all positions with padding."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class TokenCounts(NamedTuple):
    """Counts of a batch, int64 scalars.

    Attributes:
        tokens: real target tokens: labels with a weight above 0 or, without weights, other than the padding id. If
            there is one label for a whole example, those of the inputs. If neither are ids `(B, T)`, the examples.
        real: positions of all ids, source and target, without padding. 0 if there are none.
        positions: positions of all ids, with padding.
    """

    tokens: tf.Tensor
    real: tf.Tensor
    positions: tf.Tensor


def count_tokens(inputs: Any, labels: Any, weights: Any = None, pad_id: int = 0) -> TokenCounts:
    """Counts the tokens of a batch of `fit`. `inputs["target"]` is not counted, which is the labels shifted."""
    sources, targets = _ids(inputs, labels)
    marked = [(tf.not_equal(x, pad_id), x) for x in sources]
    of_labels = [(tf.not_equal(x, pad_id) if weights is None else tf.greater(weights, 0), x) for x in targets]

    def amount(pairs):
        real = sum((tf.math.count_nonzero(mask) for mask, _ in pairs), tf.constant(0, tf.int64))
        return real, sum((tf.size(x, tf.int64) for _, x in pairs), tf.constant(0, tf.int64))

    tokens, (real, positions) = amount(of_labels or marked)[0], amount(of_labels + marked)
    if not sources + targets:
        tokens = tf.shape(keras.tree.flatten(inputs)[0], tf.int64)[0]
    return TokenCounts(tokens, real, positions)


def token_unit(inputs: Any, labels: Any) -> str:
    """The unit of the tokens of such batches: "tokens", or "examples" if there are no ids. Takes tensors or specs."""
    return "tokens" if any(_ids(inputs, labels)) else "examples"


def _ids(inputs: Any, labels: Any) -> tuple[list, list]:
    if isinstance(inputs, Mapping):
        inputs = {name: value for name, value in inputs.items() if name != "target"}
    return [x for x in keras.tree.flatten(inputs) if _are_ids(x)], [labels] if _are_ids(labels) else []


def _are_ids(x: Any) -> bool:
    """Whether x is a tensor of ids `(B, T)`."""
    return not isinstance(x, Mapping | list | tuple) and len(x.shape) == 2 and tf.as_dtype(x.dtype).is_integer
