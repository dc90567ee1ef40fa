"""What every search shares: the step it asks for, the state it carries, the result it gives.

A step is `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`. The state is any nest of tensors with leading
axis N whose shapes never change; a search sees nothing else of a model.
"""

from numbers import Integral
from typing import NamedTuple

import keras
from keras import ops


class Hypotheses(NamedTuple):
    """The R best sequences found for each of B sentences, best first.

    Attributes:
        tokens: int32 `(B, R, T)`, T = `max_length`; start token left out, end token in, then padding only.
        lengths: int32 `(B, R)`, the end token counted; 0 for an empty slot.
        log_probs: float32 `(B, R)`, log p of the whole sequence; -inf for an empty slot.
        scores: float32 `(B, R)`, log p over the length penalty; -inf for an empty slot.
    """

    tokens: object
    lengths: object
    log_probs: object
    scores: object


class StateNest:
    """The state as a flat list of tensors, which is what a `while_loop` carries.

    Entries that are `None` stay where they are and are not carried.
    """

    def __init__(self, state):
        self.structure = state
        self.first = [ops.convert_to_tensor(x) for x in keras.tree.flatten(state) if x is not None]
        self.shapes = [ops.shape(x) for x in self.first]

    def pack(self, tensors):
        """List of tensors -> nest."""
        remaining = iter(tensors)
        leaves = [None if x is None else next(remaining) for x in keras.tree.flatten(self.structure)]
        return keras.tree.pack_sequence_as(self.structure, leaves)

    def unpack(self, state):
        """Nest -> list of tensors, each of the very shape it started with."""
        keras.tree.assert_same_structure(self.structure, state)
        tensors = [x for x in keras.tree.flatten(state) if x is not None]
        # A step may lose static sizes on the way; a loop variable may not.
        return [ops.reshape(x, shape) for x, shape in zip(tensors, self.shapes, strict=True)]


def next_logits(step, tokens, state, end_id):
    """One call of `step`: tokens `(N,)` -> logits float32 `(N, V)`, and the state."""
    logits, state = step(ops.expand_dims(tokens, 1), state)
    shape = logits.shape
    if len(shape) != 3 or shape[1] not in (1, None) or shape[2] is None:
        raise ValueError(f"`step` must return logits (N, 1, V), V known. Received: shape {tuple(shape)}")
    if not 0 <= end_id < shape[2]:
        raise ValueError(f"`end_id` must be one of the V={shape[2]} tokens. Received: end_id={end_id}")
    return ops.cast(ops.reshape(logits, (-1, shape[2])), "float32"), state


def divisors(length_penalty, max_length):
    """The penalty of every length 1..max_length, float32 `(T,)`; called once for a search."""
    lengths = ops.cast(ops.arange(max_length) + 1, "float32")
    if length_penalty is None:
        return ops.ones_like(lengths)
    return ops.cast(length_penalty(lengths), "float32") * ops.ones_like(lengths)


def size(x):
    """A size as a Python int where it is known, else as an int32 scalar tensor."""
    return int(x) if isinstance(x, Integral) else ops.cast(x, "int32")


def check_options(max_length, length_penalty):
    """Raises `ValueError` for what no search can work with."""
    if isinstance(max_length, Integral) and max_length < 1:
        raise ValueError(f"`max_length` must be at least 1; it counts the end token. Received: {max_length}")
    if length_penalty is not None and not callable(length_penalty):
        raise ValueError(
            "`length_penalty` must be None or map a length to a divisor, such as `power_penalty(1.0)`. "
            f"Received: {length_penalty!r}"
        )
