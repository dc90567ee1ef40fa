"""Sampling: each next token is drawn from a distribution."""

import dataclasses
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding.decode_loop import decode_stepwise
from keras_seq.decoding.protocol import (
    IMPOSSIBLE,
    Hypotheses,
    Search,
    check_length_penalty,
    constrained,
    gather_per_row,
    normalized,
)
from keras_seq.decoding.top_k import blockwise_top_k


@dataclasses.dataclass(frozen=True)
class Sampling(Search):
    """Draws R sequences for each sentence from the model's distribution, or from its likelier part.

    The random number for a token depends only on the seed, the sentence, the sample and the step. Batches, their order
    and R do not change the results.

    The distribution is filtered in this order, each step after the one before: constraints, temperature, top-k, top-p,
    min-p. Tokens as likely as the last one kept are kept too.

    Args:
        temperature: divisor of log p. Near 0 it leaves the likeliest token, above 1 the distribution is more even.
        top_k: number of the likeliest tokens to keep (None: all).
        top_p: probability that the likeliest tokens to keep must reach together (None: all are kept).
        min_p: least probability of the tokens to keep, as a share of the likeliest token's (None: all are kept).
        seed: an int.
        num_return: R.
        length_penalty: divisor of log p in `scores`, a function of the length (None: no divisor).
    Each of the first five may also be a tensor: a scalar, or `(B,)` with a number for each sentence.
    Raises:
        ValueError: for an option out of its range. Tensors are not checked.
    Source: Fan et al. 2018, arXiv:1805.04833 (top-k), Holtzman et al. 2020, arXiv:1904.09751 (top-p), and Nguyen et al.
        2024, arXiv:2407.01082 (min-p).
    """

    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    seed: Any = 0
    num_return: int = 1
    length_penalty: Callable | None = None

    is_stochastic = True

    def __post_init__(self):
        check_length_penalty(self.length_penalty)
        _check("temperature", self.temperature, lambda x: x > 0, "above 0 (use greedy search for the likeliest token)")
        _check(
            "top_k", self.top_k, lambda x: x >= 1 and isinstance(x, Integral), "a whole number of at least 1, or None"
        )
        _check("top_p", self.top_p, lambda x: 0 < x <= 1, "above 0 and at most 1, or None")
        _check("min_p", self.min_p, lambda x: 0 <= x <= 1, "from 0 to 1, or None")
        _check("seed", self.seed, lambda x: isinstance(x, Integral), "a whole number")
        if self.num_return < 1:
            raise ValueError(f"`num_return` must be at least 1. Received: {self.num_return}")

    @property
    def rows_per_example(self):
        return self.num_return

    def for_examples(self, sentences):
        """The search for these sentences, int `(B,)`. Draws depend on their numbers, not on their places in a batch."""

        def of(option):
            return option if option is None or not _shape(option) else ops.take(option, sentences, axis=0)

        seed = mixed(_bits(of(self.seed)), sentences)
        options = {name: of(getattr(self, name)) for name in ("temperature", "top_k", "top_p", "min_p")}
        return dataclasses.replace(self, seed=seed, **options)

    def __call__(self, step, state, *, batch_size, max_length, start_id, end_id, pad_id, constraints=()) -> Hypotheses:
        """See `decoding.protocol`. The rows of the state are the samples of a sentence, side by side."""
        self.check(constraints, batch_size)
        search = self if _shape(self.seed) else self.for_examples(ops.arange(batch_size, dtype="int32"))
        R = self.num_return
        key = mixed(_bits(ops.repeat(search.seed, R)), ops.arange(batch_size * R, dtype="int32") % R)  # (N,)

        def of_rows(option):
            """An option in a shape that broadcasts over (N, V)."""
            return ops.expand_dims(ops.repeat(option, R), 1) if _shape(option) else option

        options = [of_rows(getattr(search, name)) for name in ("temperature", "top_k", "top_p", "min_p")]

        def choose(logits, progress):
            log_probs = normalized(logits)
            scores = constrained(log_probs, constraints, progress)
            token = drawn(filter_logits(scores, *options), uniform(mixed(key, progress.length)))
            return token, gather_per_row(log_probs, token), gather_per_row(scores, token)

        return decode_stepwise(
            step,
            state,
            choose,
            width=R,
            batch_size=batch_size,
            max_length=max_length,
            start_id=start_id,
            end_id=end_id,
            pad_id=pad_id,
            length_penalty=self.length_penalty,
            constraints=constraints,
        )


def filter_logits(logits, temperature, top_k, top_p, min_p):
    """The filtered distribution, as log-probabilities that need not sum to one, `(N, V)`.

    Args:
        logits: float `(N, V)`, log-probabilities up to a constant, -inf for impossible tokens.
        temperature, top_k, top_p, min_p: see `Sampling`. Numbers, or tensors that broadcast over `(N, 1)`.
    """
    logits = logits / temperature
    if top_p is None and isinstance(top_k, int):
        logits = ops.where(
            logits >= blockwise_top_k(logits, min(top_k, logits.shape[1]))[0][:, -1:], logits, IMPOSSIBLE
        )
    elif top_k is not None or top_p is not None:
        falling = -ops.sort(-logits, axis=1)
        rank = ops.expand_dims(ops.arange(logits.shape[1], dtype="int32"), 0)
        kept = ops.ones_like(falling, "bool")
        if top_k is not None:
            kept = rank < ops.cast(top_k, "int32")
        if top_p is not None:
            probs = ops.softmax(ops.where(kept, falling, IMPOSSIBLE), axis=1)
            before = ops.cumsum(probs, axis=1) - probs  # probability of all likelier tokens
            kept = ops.logical_and(kept, ops.logical_or(before < top_p, rank == 0))
        least = ops.min(ops.where(kept, falling, float("inf")), axis=1, keepdims=True)
        logits = ops.where(logits >= least, logits, IMPOSSIBLE)
    if min_p is not None:
        least = ops.max(logits, axis=1, keepdims=True) + ops.log(ops.cast(min_p, "float32"))
        logits = ops.where(logits >= least, logits, IMPOSSIBLE)
    return logits


def drawn(logits, uniforms):
    """Draws tokens `(N,)`, given unnormalized log-probabilities `(N, V)` and numbers in [0, 1), `(N,)`, by inverting
    the distribution function."""
    best = ops.max(logits, axis=1, keepdims=True)
    best = ops.where(best > IMPOSSIBLE, best, 0.0)
    sums = ops.cumsum(ops.exp(logits - best), axis=1)
    below = sums <= ops.expand_dims(uniforms, 1) * sums[:, -1:]
    # If no token is possible, all sums count as below, and any token will do.
    return ops.minimum(ops.sum(ops.cast(below, "int32"), axis=1), logits.shape[1] - 1)


def mixed(key, number):
    """A hash of keys and whole numbers, uint32 of the shape that they broadcast to."""
    # Both are hashed before they are combined: otherwise small seeds and small numbers would give the same pairs.
    return _scattered(ops.bitwise_xor(_scattered(key + _constant(0x9E3779B9)), _bits(number)))


def _scattered(key):
    """Spreads every bit of a uint32 over all others.

    Source: the finalizer of MurmurHash3, by Austin Appleby, in the public domain.
    """
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        key = ops.bitwise_xor(key, ops.right_shift(key, _constant(shift))) * _constant(factor)
    return ops.bitwise_xor(key, ops.right_shift(key, _constant(16)))


def uniform(key):
    """Numbers in [0, 1), float32, from uint32 hashes: 23 bits, so that no product with a sum rounds up to that sum."""
    return ops.cast(ops.right_shift(key, _constant(9)), "float32") * 2.0**-23


def _bits(number):
    """A whole number, or a tensor of whole numbers, as uint32."""
    return _constant(number) if isinstance(number, Integral) else ops.cast(number, "uint32")


def _constant(number):
    return ops.convert_to_tensor(np.uint32(int(number) % 2**32))


def _shape(option):
    return tuple(getattr(option, "shape", ()))


def _check(name, value, rule, told):
    if value is None and name.startswith(("top", "min")):
        return
    if (isinstance(value, Real) or value is None or isinstance(value, str)) and not (
        isinstance(value, Real) and rule(value)
    ):
        raise ValueError(f"`{name}` must be {told}. Received: {value!r}")
