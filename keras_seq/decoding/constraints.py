"""What may be said, and what is made more or less likely: each works with every search.

A constraint is `constraint(log_probs (N, V), progress) -> (N, V)`: from what each next token adds to the points of a
row to what it shall add, -inf for what may not be. It comes after the softmax and nothing is normalised anew, so that
`Hypotheses.log_probs` stays what the model thinks, and what is ranked are the points. `progress` is a
`decoding.step.Progress`. Any function of that kind will do; what holds something for each sentence says
`per_sentence = True` and has `for_sentences`.
"""

import dataclasses
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding.step import IMPOSSIBLE


class Constraint:
    """What holds nothing for each sentence is the same for all of them."""

    per_sentence = False

    def for_sentences(self, sentences):
        """The constraint for some sentences of many, int `(B,)`."""
        return self


@dataclasses.dataclass(frozen=True)
class MinLength(Constraint):
    """No end before so many tokens, the end token counted.

    Args:
        length: an int, or a scalar tensor.
    """

    length: Any

    def __call__(self, log_probs, progress):
        return ops.where(
            ops.logical_and(_is_token(log_probs, progress.end_id), progress.length + 1 < self.length),
            IMPOSSIBLE,
            log_probs,
        )


@dataclasses.dataclass(frozen=True)
class MaxLength(Constraint):
    """The last of so many tokens is the end token: what is longer cannot be, where `max_length` only stops.

    Args:
        length: an int, or a scalar tensor.
    """

    length: Any

    def __call__(self, log_probs, progress):
        return ops.where(
            ops.logical_or(_is_token(log_probs, progress.end_id), progress.length + 1 < self.length),
            log_probs,
            IMPOSSIBLE,
        )


@dataclasses.dataclass(frozen=True)
class Banned(Constraint):
    """These tokens, or runs of tokens, are not said.

    Args:
        phrases: a list of lists of ids; one of a single token bans that token, a longer one its last token after the
            others.
    Raises:
        ValueError: for an empty phrase.
    Source: the `bad_words_ids` of Hugging Face's Transformers.
    """

    phrases: Sequence[Sequence[int]]

    def __post_init__(self):
        object.__setattr__(self, "phrases", _phrases(self.phrases))

    def __call__(self, log_probs, progress):
        for *before, last in self.phrases:
            banned = _is_token(log_probs, last)
            if before:
                banned = ops.logical_and(banned, ops.expand_dims(_ends_with(progress, before), 1))
            log_probs = ops.where(banned, IMPOSSIBLE, log_probs)
        return log_probs


@dataclasses.dataclass(frozen=True)
class Allowed(Constraint):
    """Nothing but these tokens, and the end token, is said.

    Args:
        tokens: ids.
    """

    tokens: Sequence[int]

    def __post_init__(self):
        object.__setattr__(self, "tokens", tuple(int(token) for token in self.tokens))

    def __call__(self, log_probs, progress):
        allowed = np.zeros(log_probs.shape[1], "bool")
        allowed[[*self.tokens, progress.end_id]] = True
        return ops.where(ops.convert_to_tensor(allowed), log_probs, IMPOSSIBLE)


@dataclasses.dataclass(frozen=True)
class NoRepeat(Constraint):
    """No run of so many tokens is said twice.

    Args:
        size: n, of n-grams.
    Raises:
        ValueError: for a size below 1.
    Source: Paulus et al. 2018, section 2.5, arXiv:1705.04304.
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"`size` must be at least 1. Received: {self.size}")

    def __call__(self, log_probs, progress):
        tokens, t, before = progress.tokens, progress.length, self.size - 1
        T = ops.shape(tokens)[1]
        place = ops.arange(T)
        said = ops.expand_dims(place < t, 0)  # (1, T): whether token i, the last of an n-gram, has been said
        for step in range(before):
            # Token i - before + step of the n-gram that ends at i, and its counterpart at the end of the prefix.
            earlier = ops.take(tokens, ops.maximum(place - before + step, 0), axis=1)  # (N, T)
            last = ops.take(tokens, ops.maximum(t - before + step, 0), axis=1)  # (N,)
            said = ops.logical_and(said, earlier == ops.expand_dims(last, 1))
        said = ops.logical_and(said, ops.logical_and(place >= before, t >= before))
        return ops.where(_said(log_probs, tokens, said), IMPOSSIBLE, log_probs)


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(Constraint):
    """What has been said before has its log p multiplied.

    Args:
        penalty: above 1 to avoid repetition; 1 does nothing.
    Raises:
        ValueError: for a penalty that is not positive.
    Source: Keskar et al. 2019, section 4.1, arXiv:1909.05858, who divide the logits; log-probabilities, never above 0,
        are multiplied.
    """

    penalty: float

    def __post_init__(self):
        if not self.penalty > 0:
            raise ValueError(f"`penalty` must be above 0. Received: {self.penalty}")

    def __call__(self, log_probs, progress):
        tokens = progress.tokens
        own = ops.expand_dims(ops.arange(ops.shape(tokens)[1]) < progress.length, 0)
        own = ops.broadcast_to(own, ops.shape(tokens))
        return ops.where(_said(log_probs, tokens, own), self.penalty * log_probs, log_probs)


@dataclasses.dataclass(frozen=True)
class Prefix(Constraint):
    """Each sentence begins with tokens of its own; after them the search is free.

    Args:
        tokens: int `(B, P)`, padded on the right with `pad_id`.
        pad_id: an int.
    """

    tokens: Any
    pad_id: int = 0

    per_sentence = True

    def for_sentences(self, sentences):
        return dataclasses.replace(self, tokens=ops.take(self.tokens, sentences, axis=0))

    def __call__(self, log_probs, progress):
        tokens = ops.cast(self.tokens, "int32")
        P = tokens.shape[1]
        if not P:
            return log_probs
        wanted = ops.take(tokens, ops.minimum(progress.length, P - 1), axis=1)  # (B,)
        wanted = ops.expand_dims(ops.take(wanted, progress.sentence, axis=0), 1)  # (N, 1)
        free = ops.logical_or(progress.length >= P, wanted == self.pad_id)
        vocabulary = ops.expand_dims(ops.arange(log_probs.shape[1]), 0)
        return ops.where(ops.logical_or(free, vocabulary == wanted), log_probs, IMPOSSIBLE)


def _phrases(phrases) -> tuple[tuple[int, ...], ...]:
    if isinstance(phrases, (str, bytes)) or any(isinstance(phrase, (Integral, str, bytes)) for phrase in phrases):
        raise ValueError(f"`phrases` must be a list of lists of ids. Received: {phrases!r}")
    found = tuple(tuple(int(token) for token in phrase) for phrase in phrases)
    if not all(found):
        raise ValueError(f"Each of `phrases` must have at least one token. Received: {phrases!r}")
    return found


def _is_token(log_probs, token: int):
    """bool `(1, V)`, True at one token."""
    return ops.expand_dims(ops.arange(log_probs.shape[1]) == token, 0)


def _ends_with(progress, phrase: Sequence[int]):
    """bool `(N,)`: whether the tokens so far end with a phrase."""
    tokens, first = progress.tokens, progress.length - len(phrase)
    there = ops.broadcast_to(first >= 0, ops.shape(tokens)[:1])
    for step, token in enumerate(phrase):
        there = ops.logical_and(there, ops.take(tokens, ops.maximum(first + step, 0), axis=1) == token)
    return there


def _said(log_probs, tokens, where):
    """bool `(N, V)`: which tokens stand in a row of tokens `(N, T)` where `where` is True."""
    N, T = ops.shape(tokens)
    rows = ops.broadcast_to(ops.expand_dims(ops.arange(N), 1), (N, T))
    index = ops.reshape(ops.stack([rows, tokens], axis=2), (-1, 2))  # (N * T, 2)
    counts = ops.scatter(index, ops.reshape(ops.cast(where, "float32"), (-1,)), ops.shape(log_probs))
    return counts > 0
