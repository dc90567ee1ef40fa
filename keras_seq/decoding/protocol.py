"""The protocol of all searches: the step function they call, the state they carry, the result they return.

A step function is `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`. The state is any nest of tensors with
leading axis N whose static shapes never change. A search uses nothing else of a model. It is an object that is called
with both::

    search(step, state, *, batch_size, max_length, start_id, end_id, pad_id, constraints=()) -> Hypotheses

Each of the B sentences has `search.rows_per_example` rows of the state, side by side: N = B * rows_per_example.
"""

from numbers import Integral
from typing import Any, NamedTuple

import keras
from keras import ops

_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _TENSORFLOW:
    from keras_seq.decoding import loops_tensorflow

IMPOSSIBLE = -float("inf")


class Hypotheses(NamedTuple):
    """The R sequences found for each of B sentences, best first, or in the order drawn for a stochastic search.

    Attributes:
        tokens: int32 `(B, R, T)`, T = `max_length`: without the start token, with the end token, then only padding.
        lengths: int32 `(B, R)`, the end token counted, 0 for an empty slot.
        log_probs: float32 `(B, R)`, log p of the whole sequence, as `score` computes it, -inf for an empty slot.
        scores: float32 `(B, R)`, the criterion of the ranking: log p, as changed by constraints, over the length
            penalty, -inf for an empty slot.
    """

    tokens: Any
    lengths: Any
    log_probs: Any
    scores: Any


class Progress(NamedTuple):
    """The progress of a search, as passed to constraints.

    Attributes:
        tokens: int32 `(N, T)`. The first `length` tokens of a row have been generated, the rest is padding.
        length: int32 scalar, t.
        sentence: int32 `(N,)`, the number of each row's sentence.
        end_id: int.
    """

    tokens: Any
    length: Any
    sentence: Any
    end_id: int


class Search:
    """The interface of a search, besides the call.

    Attributes:
        rows_per_example: number of rows of the state for each sentence.
        num_return: R.
        is_stochastic: whether results are drawn, so that `for_examples` matters.
        coverage_penalty: weight of the coverage penalty. If it is not 0, the search also receives `bonus`, a function
            of the state to float `(N,)`, not above 0, that is added to the scores.
        hidden_states: whether the state must have "hidden", `(N, 1, D)`, the hidden state of the latest step. The
            search then also receives `context`, the hidden states before the start token, see `Contrastive`.
        lookahead: number of steps beyond `max_length`.
        static_fields: names of the fields that determine shapes, and so cannot be tensors.
    """

    rows_per_example = 1
    num_return = 1
    is_stochastic = False
    coverage_penalty = 0.0
    hidden_states = False
    lookahead = 0
    static_fields = ()

    def for_examples(self, sentences):
        """The search for some sentences, given by their numbers, int `(B,)`. Results must not depend on the others."""
        return self

    def simplify(self, constraints=()):
        """A search with the same results and less work, or this one."""
        return self

    def check(self, constraints, count=None):
        """Raises `ValueError` if a constraint cannot work with this search, or has values for another number of
        sentences."""
        for constraint in constraints:
            if hasattr(constraint, "check"):
                constraint.check(self, constraints)
            if hasattr(constraint, "check_examples"):
                constraint.check_examples(count)


class StateNest:
    """The state as a flat list of tensors, as carried by a `while_loop`.

    Entries that are `None` keep their places and are not carried.
    """

    def __init__(self, state):
        self.structure = state
        self.first = [ops.convert_to_tensor(x) for x in keras.tree.flatten(state) if x is not None]

    def pack(self, tensors):
        """List of tensors -> nest."""
        remaining = iter(tensors)
        leaves = [None if x is None else next(remaining) for x in keras.tree.flatten(self.structure)]
        return keras.tree.pack_sequence_as(self.structure, leaves)

    def unpack(self, state):
        """Nest -> list of tensors, each with its static shape at first."""
        keras.tree.assert_same_structure(self.structure, state)
        tensors = [x for x in keras.tree.flatten(state) if x is not None]
        return [_with_static_shape(x, first.shape) for x, first in zip(tensors, self.first, strict=True)]


def _with_static_shape(x, shape):
    return loops_tensorflow.with_static_shape(x, shape) if _TENSORFLOW else ops.reshape(x, shape)


def next_logits(step, tokens, state, end_id):
    """One call of `step`: tokens `(N,)` -> logits float32 `(N, V)`, and the state."""
    logits, state = step(ops.expand_dims(tokens, 1), state)
    shape = logits.shape
    if len(shape) != 3 or shape[1] not in (1, None) or shape[2] is None:
        raise ValueError(f"`step` must return logits (N, 1, V) with V static. Received: shape {tuple(shape)}")
    if not 0 <= end_id < shape[2]:
        raise ValueError(f"`end_id` must be one of the V={shape[2]} tokens. Received: end_id={end_id}")
    return ops.cast(ops.reshape(logits, (-1, shape[2])), "float32"), state


def normalized(logits):
    """Log-probabilities `(N, V)`. A row with only -inf stays that, and does not become NaN."""
    return ops.where(logits > IMPOSSIBLE, ops.log_softmax(logits, axis=-1), IMPOSSIBLE)


def constrained(log_probs, constraints, progress):
    """The amount that each token adds to the score of a row, `(N, V)`: log p, changed by each constraint in turn."""
    for constraint in constraints:
        log_probs = constraint(log_probs, progress)
    return log_probs


def forced(constraints):
    """The one constraint that reserves beams of a search, see `decoding.lexical_constraints`, or None."""
    return next((constraint for constraint in constraints if hasattr(constraint, "phrase_progress")), None)


def l2_normalize(hidden):
    """Vectors of length 1, float32, so that a product of two is the cosine between them."""
    hidden = ops.cast(hidden, "float32")
    return hidden / ops.maximum(ops.sqrt(ops.sum(ops.square(hidden), axis=-1, keepdims=True)), 1e-9)


def along(x, index):
    """x `(N, M, ...)`, index `(N, J)` -> the indexed elements of each row, `(N, J, ...)`.

    `keras.ops.take_along_axis` is for arrays of any shapes: on TensorFlow it takes forty operations, and each step of a
    search calls it ten times. This takes a dozen. An index outside 0..M-1 refers to another row.
    """
    N, M, *rest = ops.shape(x)
    rows = ops.expand_dims(ops.arange(N, dtype=index.dtype) * M, 1)
    return ops.take(ops.reshape(x, (-1, *rest)), rows + index, axis=0)


def gather_per_row(x, index):
    """x `(N, V)`, index `(N,)` -> the one value of each row, `(N,)`."""
    return ops.squeeze(along(x, ops.expand_dims(index, 1)), 1)


def length_penalties(length_penalty, max_length):
    """The penalty of every length 1..max_length, float32 `(T,)`, called once per search."""
    lengths = ops.cast(ops.arange(max_length, dtype="int32") + 1, "float32")
    if length_penalty is None:
        return ops.ones_like(lengths)
    return ops.cast(length_penalty(lengths), "float32") * ops.ones_like(lengths)


def size(x):
    """A size as a Python int if it is static, else as an int32 scalar tensor."""
    return int(x) if isinstance(x, Integral) else ops.cast(x, "int32")


def check_max_length(max_length):
    if isinstance(max_length, Integral) and max_length < 1:
        raise ValueError(f"`max_length` must be at least 1, the end token counted. Received: {max_length}")


def check_length_penalty(length_penalty):
    if length_penalty is not None and not callable(length_penalty):
        raise ValueError(
            "`length_penalty` must be None or map a length to a divisor, such as `power_penalty(1.0)`. "
            f"Received: {length_penalty!r}"
        )
