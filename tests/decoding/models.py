"""Random models small enough to be searched through in plain Python, and scripted steps."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import Beam, Greedy

PAD, START, END = 0, 1, 2
IDS = {"pad_id": PAD, "start_id": START, "end_id": END}
# There one case of each kind is enough.
slow_on_jax = pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX compiles an eager loop at every call")
NUM_CONTEXTS = 31  # a prime: different histories of a few tokens nearly always meet different rows


def next_context(context, token):
    """A context is the whole history, hashed: only a state that follows its tokens has the right one."""
    return (7 * context + token + 3) % NUM_CONTEXTS


def random_models(count, vocabulary_size, impossible, seed):
    """Log-probabilities float64 `(count, NUM_CONTEXTS, V)`; a share of the entries is -inf, never a whole row."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, NUM_CONTEXTS, vocabulary_size)) * 1.5
    keep = rng.integers(vocabulary_size, size=(count, NUM_CONTEXTS, 1))
    banned = rng.random(logits.shape) < impossible
    banned &= np.arange(vocabulary_size) != keep
    logits[banned] = -np.inf
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def forced(table, tokens):
    """log p of a list of tokens under one model (NUM_CONTEXTS, V)."""
    total, context, last = 0.0, 0, START
    for token in tokens:
        context = next_context(context, last)
        total += table[context, token]
        last = token
    return total


def history_step(tables):
    """A step over models `(M, NUM_CONTEXTS, V)`; the state is {"model": (N,), "context": [(N, 1)]}."""
    tables = ops.convert_to_tensor(tables.astype("float32"))

    def step(tokens, state):
        context = next_context(state["context"][0], tokens)  # (N, 1)
        row = state["model"] * NUM_CONTEXTS + context[:, 0]
        logits = ops.take(ops.reshape(tables, (-1, tables.shape[-1])), row, axis=0)
        return ops.expand_dims(logits, 1), {"model": state["model"], "context": [context]}

    return step


def history_state(models, num_beams=1):
    models = np.repeat(np.asarray(models, "int32"), num_beams)
    return {"model": models, "context": [np.zeros((len(models), 1), "int32")]}


def scripted_step(script, vocabulary_size):
    """A step that looks the whole history up: {(token, ...): {token: probability}}; the state is that history (N, T).

    Histories are encoded as numbers in base V with a leading 1.
    """
    table = np.full((vocabulary_size**6, vocabulary_size), -np.inf, "float32")
    table[:, 3] = 0.0  # where the script is silent: token 3 for ever
    for history, chances in script.items():
        number = 1
        for token in history:
            number = number * vocabulary_size + token
        table[number] = [math.log(chances[v]) if v in chances else -np.inf for v in range(vocabulary_size)]
    table = ops.convert_to_tensor(table)

    def step(tokens, number):
        number = ops.where(tokens == START, 1, number * vocabulary_size + tokens)  # (N, 1)
        number = ops.minimum(number, vocabulary_size**6 - 1)
        return ops.take(table, number, axis=0), number

    return step


def arrays(hypotheses):
    return tuple(ops.convert_to_numpy(x) for x in hypotheses)


def sentences(hypotheses):
    """-> for each sentence a list of (token list, log p, score), empty slots left out."""
    tokens, lengths, log_probs, scores = arrays(hypotheses)
    return [
        [
            (tokens[b, r, : lengths[b, r]].tolist(), float(log_probs[b, r]), float(scores[b, r]))
            for r in range(tokens.shape[1])
            if lengths[b, r]
        ]
        for b in range(tokens.shape[0])
    ]


def _call(search, step, state, *, batch_size, max_length, constraints=(), **options):
    ids = {name: options.pop(name) for name in IDS}
    return search(**options)(step, state, batch_size=batch_size, max_length=max_length, constraints=constraints, **ids)


def beam_search(step, state, **options):
    """`Beam` with the fields among the options, called with the others."""
    return _call(Beam, step, state, **options)


def greedy_search(step, state, **options):
    return _call(Greedy, step, state, **options)
