"""What every search shares: the step it asks for, the state it carries, the result it gives.

A step is `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`. The state is any nest of tensors with leading axis
N whose shapes never change; a search sees nothing else of a model. A search is an object that is called with both::

    search(step, state, *, batch_size, max_length, start_id, end_id, pad_id, constraints=()) -> Hypotheses

It gives each of the B sentences `search.rows_per_example` rows of the state, side by side: N = B * rows_per_example.
"""

from numbers import Integral
from typing import Any, NamedTuple

import keras
from keras import ops

IMPOSSIBLE = -float("inf")


class Hypotheses(NamedTuple):
    """The R sequences found for each of B sentences, best first; of a search that draws, as drawn.

    Attributes:
        tokens: int32 `(B, R, T)`, T = `max_length`; start token left out, end token in, then padding only.
        lengths: int32 `(B, R)`, the end token counted; 0 for an empty slot.
        log_probs: float32 `(B, R)`, log p of the whole sequence, as `score` tells it; -inf for an empty slot.
        scores: float32 `(B, R)`, what the search ranks by: log p, as constraints have changed it, over the length
            penalty; -inf for an empty slot.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any


class Progress(NamedTuple):
    """How far a search has come: what a constraint is told.

    Attributes:
        tokens: int32 `(N, T)`; the first `length` of a row are its own, what follows is padding.
        length: int32 scalar, t.
        sentence: int32 `(N,)`: which of the B sentences a row belongs to.
        end_id: int.
    """

    tokens: Any
    length: Any
    sentence: Any
    end_id: int


class Search:
    """What a search is, beside being called.

    Attributes:
        rows_per_example: rows of the state for each sentence.
        num_return: R.
        is_stochastic: whether its results are drawn, so that `for_examples` matters.
        coverage_penalty: where it is not 0, the search is also given `bonus`, a function of the state to float `(N,)`,
            not above 0, that is added to the scores.
        hidden_states: whether the state must have "hidden", `(N, 1, D)`, the hidden state of the step just made; then
            the search is also given `context`, those of what came before, see `Contrastive`.
        lookahead: the steps that it makes beyond `max_length`.
        static_fields: names of fields that decide shapes, and so cannot be tensors.
    """

    rows_per_example = 1
    num_return = 1
    is_stochastic = False
    coverage_penalty = 0.0
    hidden_states = False
    lookahead = 0
    static_fields = ()

    def for_examples(self, sentences):
        """The search for some sentences of many, int `(B,)`: what it gives must not depend on those beside them."""
        return self

    def simplify(self, constraints=()):
        """A search that gives the same with less work, or this one."""
        return self

    def check(self, constraints, count=None):
        """Raises `ValueError` where a constraint cannot work with this search, or holds not as much as there are
        sentences."""
        for constraint in constraints:
            if hasattr(constraint, "check"):
                constraint.check(self, constraints)
            if hasattr(constraint, "check_examples"):
                constraint.check_examples(count)


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


def normalized(logits):
    """Log-probabilities `(N, V)`; a row of nothing but -inf stays that, and does not become NaN."""
    return ops.where(logits > IMPOSSIBLE, ops.log_softmax(logits, axis=-1), IMPOSSIBLE)


def constrained(log_probs, constraints, progress):
    """What each token adds to the score of a row, `(N, V)`: log p, changed by one constraint after the other."""
    for constraint in constraints:
        log_probs = constraint(log_probs, progress)
    return log_probs


def forced(constraints):
    """The one constraint that has beams of a search allotted to it, see `decoding.forced`, or None."""
    return next((constraint for constraint in constraints if hasattr(constraint, "phrase_progress")), None)


def l2_normalize(hidden):
    """Vectors of length 1, float32, so that a product of two is the cosine between them."""
    hidden = ops.cast(hidden, "float32")
    return hidden / ops.maximum(ops.sqrt(ops.sum(ops.square(hidden), axis=-1, keepdims=True)), 1e-9)


def along(x, index):
    """x `(N, M, ...)`, index `(N, J)` -> what each row has at its own places, `(N, J, ...)`.

    `keras.ops.take_along_axis` is for arrays of any shapes: on TensorFlow forty operations, of which a search then has
    ten in each of its steps. These are a dozen. A place outside of 0..M-1 is another row's.
    """
    N, M, *rest = ops.shape(x)
    rows = ops.expand_dims(ops.arange(N, dtype=index.dtype) * M, 1)
    return ops.take(ops.reshape(x, (-1, *rest)), rows + index, axis=0)


def gather_per_row(x, index):
    """x `(N, V)`, index `(N,)` -> the one value of each row, `(N,)`."""
    return ops.squeeze(along(x, ops.expand_dims(index, 1)), 1)


def length_penalties(length_penalty, max_length):
    """The penalty of every length 1..max_length, float32 `(T,)`; called once for a search."""
    lengths = ops.cast(ops.arange(max_length, dtype="int32") + 1, "float32")
    if length_penalty is None:
        return ops.ones_like(lengths)
    return ops.cast(length_penalty(lengths), "float32") * ops.ones_like(lengths)


def size(x):
    """A size as a Python int where it is known, else as an int32 scalar tensor."""
    return int(x) if isinstance(x, Integral) else ops.cast(x, "int32")


def check_max_length(max_length):
    if isinstance(max_length, Integral) and max_length < 1:
        raise ValueError(f"`max_length` must be at least 1; it counts the end token. Received: {max_length}")


def check_length_penalty(length_penalty):
    if length_penalty is not None and not callable(length_penalty):
        raise ValueError(
            "`length_penalty` must be None or map a length to a divisor, such as `power_penalty(1.0)`. "
            f"Received: {length_penalty!r}"
        )
