"""Signatures for step-by-step decoding, in which the caller keeps the state."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.tasks.signatures import STRINGS, Call, Signature, inputs_of
from keras_seq.tasks.state_names import StateNames

SCALAR = tf.TensorSpec([], tf.int32)


def stepping(model, vocabulary, read, *, begin_id=None, room=None, inputs=None, example=None):
    """Returns the signatures for step-by-step decoding.

    `encode(text (B,)) -> tokens (B, 1), state_...`: the first tokens, and the state after the input, as named tensors.
    `step(tokens (B, 1), state_...) -> log_probs (B, V), state_...`: log-probabilities of the next tokens, and the state
    after the given ones.
    `detokenize(tokens (B, T)) -> text (B,)`. A language model, which needs no text, also has
    `initial_state(batch_size ()) -> tokens (B, 1), state_...`.

    If the state has room for a fixed number of steps (as a Transformer's caches), `encode` and `initial_state` also
    take `max_length ()`.

    Args:
        model: a model with `decode`, and `encode` or `initial_state`.
        vocabulary: vocabulary of the output.
        read: `(text, max_length) -> (tokens (B, 1), state)`, with `inputs` instead of the text if they are given.
        begin_id: id of the first token, if no input was read.
        room: default of `max_length` (None: no default).
        inputs: names and specs of the inputs (None: `text`).
        example: `(rows, steps) -> source` for `model.encode` (None: ids).
    """
    shapes = _StateShapes(model, example or (lambda rows, steps: ops.ones((rows, steps), "int32")))
    names = StateNames(shapes.specs)
    more = {"max_length": SCALAR} if shapes.need_room else {}
    defaults = {"max_length": room} if more and room is not None else {}

    def encode(max_length=1, **source):
        tokens, state = read(**source, max_length=max_length)
        return {"tokens": tokens, **names.flat(state)}

    def initial_state(batch_size, max_length=1):
        return {"tokens": tf.fill([batch_size, 1], begin_id), **names.flat(model.initial_state(batch_size, max_length))}

    def step(tokens, **state):
        logits, state = model.decode(tokens, names.nest(state))
        log_probs = ops.log_softmax(ops.cast(logits[:, -1], "float32"), axis=-1)
        return {"log_probs": log_probs, **names.flat(state)}

    signatures = {
        "encode": Signature(encode, {**(inputs or {"text": STRINGS}), **more}, defaults),
        "step": Signature(step, {"tokens": tf.TensorSpec([None, 1], tf.int32), **names.flat(shapes.specs)}),
        "detokenize": Signature(
            lambda tokens: {"text": vocabulary.detokenize(tokens)}, {"tokens": tf.TensorSpec([None, None], tf.int32)}
        ),
    }
    if hasattr(model, "initial_state"):
        signatures["initial_state"] = Signature(initial_state, {"batch_size": SCALAR, **more}, defaults)
    return signatures


def step_calls(functions, source, vocabulary):
    """Calls that try these signatures, for a batch of inputs, arrays by name."""
    rows = len(next(iter(source.values())))
    room = {"max_length": np.array(8)} if "max_length" in inputs_of(functions["encode"]) else {}
    tokens = (np.arange(4, 4 + rows) % vocabulary.size)[:, None]
    return [
        Call("encode", {**source, **room}),
        Call("step", {}, goes_on=True),
        Call("step", {"tokens": tokens}, goes_on=True),
        Call("detokenize", {"tokens": np.concatenate([tokens, tokens[::-1]], axis=1)}),
    ]


class _StateShapes:
    """The shapes of a model's state, found by comparing the states of different batches.

    Attributes:
        specs: a nest of `tf.TensorSpec`, with None for the axes that differ.
        need_room: whether the shapes depend on `max_length`.
    """

    def __init__(self, model, example):
        one, other, longer = (_state(model, example, *sizes) for sizes in ((1, 8, 8), (2, 16, 11), (2, 16, 12)))
        self.specs = keras.tree.map_structure(_spec, one, other)
        self.need_room = any(
            x is not None and x.shape != y.shape
            for x, y in zip(keras.tree.flatten(other), keras.tree.flatten(longer), strict=True)
        )


def _state(model, example, rows, steps, max_length):
    if hasattr(model, "initial_state"):
        return model.initial_state(rows, max_length)
    return model.encode(example(rows, steps), max_length=max_length)


def _spec(x, y):
    if x is None:
        return None
    shape = [a if a == b else None for a, b in zip(x.shape, y.shape, strict=True)]
    return tf.TensorSpec(shape, keras.backend.standardize_dtype(x.dtype))
