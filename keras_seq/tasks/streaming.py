"""Decoding a step at a time, the caller keeping the state: signatures for streaming."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.tasks.signatures import STRINGS, Call, Signature, inputs_of
from keras_seq.tasks.state_names import StateNames

SCALAR = tf.TensorSpec([], tf.int32)


def stepping(model, vocabulary, read, *, begin_id=None, room=None, inputs=None, example=None):
    """The signatures with which a caller decodes.

    `encode(text (B,)) -> tokens (B, 1), state_...`: the tokens to begin with, and the state as named tensors, of what
    has been read.
    `step(tokens (B, 1), state_...) -> log_probs (B, V), state_...`: of each next token, and the state after this one.
    `detokenize(tokens (B, T)) -> text (B,)`. What begins without a text (a language model) also has
    `initial_state(batch_size ()) -> tokens (B, 1), state_...`.

    Where the state has room for so many steps and no more (a Transformer's caches), `encode` and `initial_state` also
    take `max_length ()`.

    Args:
        model: `decode`, and `encode` or `initial_state`.
        vocabulary: of what is decoded.
        read: `(text, max_length) -> (tokens (B, 1), state)`; instead of the text it takes `inputs`.
        begin_id: the first token, where nothing has been read.
        room: default of `max_length`; None: there is none.
        inputs: names and specs of what is read; None: `text`.
        example: `(rows, steps) -> source` for `model.encode`; None: ids.
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
    """Calls that try these signatures, for a batch of what is read, arrays by name."""
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
    """What a model's state looks like: states of different batches are compared.

    Attributes:
        specs: a nest of `tf.TensorSpec`; None for the axes in which they differ.
        need_room: whether another `max_length` makes another shape.
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
