"""Constraints on generated tokens: they exclude tokens or change their scores, and work with every search.

A constraint is `constraint(log_probs (N, V), progress) -> (N, V)`. It receives the amounts that the next tokens add to
the score of a row, and returns new amounts, never above 0, and -inf for an excluded token. It is applied after the
softmax and nothing is normalized again, so `Hypotheses.log_probs` remains the log-probability of the model, while the
search ranks by scores. `progress` is a `decoding.protocol.Progress`. Any such function is accepted. A constraint with
values for each sentence sets `per_sentence = True` and has `for_examples`.

A row with no possible token has no result: its slot is empty.
"""

import dataclasses
import math
import operator
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding.protocol import IMPOSSIBLE, size

ANY = -1  # in a pattern: matches any token


class Constraint:
    """Base class of constraints. By default a constraint is the same for all sentences."""

    per_sentence = False

    def for_examples(self, sentences):
        """The constraint for some of the sentences, given by their numbers, int `(B,)`."""
        return self

    def check(self, search, constraints):
        """Raises `ValueError` if the constraint cannot work with a search, or beside the other constraints."""

    def check_examples(self, count):
        """Raises `ValueError` unless its values are for `count` sentences. None, an unknown number, raises nothing."""


@dataclasses.dataclass(frozen=True)
class MinLength(Constraint):
    """A minimum length: no end token before `length` tokens, the end token counted.

    Args:
        length: an int, or a scalar tensor.
    Raises:
        ValueError: for a length below 1.
    """

    length: Any

    def __post_init__(self):
        _check_length(self.length)

    def __call__(self, log_probs, progress):
        too_early = progress.length + 1 < size(self.length)
        return ops.where(ops.logical_and(_is_end(log_probs, progress), too_early), IMPOSSIBLE, log_probs)


@dataclasses.dataclass(frozen=True)
class MaxLength(Constraint):
    """A maximum length: longer sequences are impossible, whereas `max_length` only truncates. The end token counts.

    Args:
        length: an int, or a scalar tensor.
    Raises:
        ValueError: for a length below 1.
    """

    length: Any

    def __post_init__(self):
        _check_length(self.length)

    def __call__(self, log_probs, progress):
        early = progress.length + 1 < size(self.length)
        return ops.where(ops.logical_or(_is_end(log_probs, progress), early), log_probs, IMPOSSIBLE)


@dataclasses.dataclass(frozen=True)
class Banned(Constraint):
    """Excludes tokens, or sequences of tokens.

    Args:
        phrases: a list of lists of ids. A single token is excluded everywhere, the last token of a longer phrase after
            the tokens before it.
    Raises:
        ValueError: for an empty phrase or, when called, for an id outside the vocabulary.
    Source: the `bad_words_ids` of Hugging Face's Transformers.
    """

    phrases: Sequence[Sequence[int]]

    def __post_init__(self):
        object.__setattr__(self, "phrases", id_lists(self.phrases))

    def __call__(self, log_probs, progress):
        check_ids("phrases", [token for phrase in self.phrases for token in phrase], log_probs)
        alone = [phrase[0] for phrase in self.phrases if len(phrase) == 1]
        runs = [phrase for phrase in self.phrases if len(phrase) > 1]
        if alone:
            log_probs = ops.where(_is_one_of(log_probs, alone), IMPOSSIBLE, log_probs)
        if runs:
            before = np.full((1, len(runs), max(map(len, runs)) - 1), ANY, "int32")
            for row, run in zip(before[0], runs, strict=True):
                row[len(row) + 1 - len(run) :] = run[:-1]
            last = np.array([[run[-1] for run in runs]], "int32")  # (1, C)
            log_probs = ops.where(counted(log_probs, last, ends_with(progress, before)) > 0, IMPOSSIBLE, log_probs)
        return log_probs


@dataclasses.dataclass(frozen=True)
class Allowed(Constraint):
    """Excludes all tokens except the given ones and the end token.

    Args:
        tokens: ids of the allowed tokens.
    Raises:
        ValueError: when called, for an id outside the vocabulary.
    """

    tokens: Sequence[int]

    def __post_init__(self):
        object.__setattr__(self, "tokens", tuple(int(token) for token in self.tokens))

    def __call__(self, log_probs, progress):
        check_ids("tokens", self.tokens, log_probs)
        return ops.where(_is_one_of(log_probs, [*self.tokens, progress.end_id]), log_probs, IMPOSSIBLE)


@dataclasses.dataclass(frozen=True)
class NoRepeat(Constraint):
    """Allows each n-gram of tokens only once.

    Args:
        size: n.
    Raises:
        ValueError: for a size below 1.
    Source: Paulus et al. 2018, section 2.5, arXiv:1705.04304.
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"`size` must be at least 1. Received: {self.size}")

    def __call__(self, log_probs, progress):
        tokens, t, before = progress.tokens, progress.length, min(self.size - 1, np.iinfo("int32").max)
        T = ops.shape(tokens)[1]
        place = ops.arange(T, dtype="int32")

        def compare(step, repeats):
            # Token i - 1 - step of the n-gram that ends at i, and its counterpart at the end of the prefix.
            earlier = ops.take(tokens, ops.maximum(place - 1 - step, 0), axis=1)  # (N, T)
            last = ops.take(tokens, ops.maximum(t - 1 - step, 0), axis=1)  # (N,)
            return ops.logical_and(repeats, earlier == ops.expand_dims(last, 1))

        # (N, T): whether the n - 1 tokens before token i are those at the end of the prefix.
        repeats = ops.broadcast_to(ops.expand_dims(place < t, 0), ops.shape(tokens))
        repeats = ops.fori_loop(0, ops.minimum(before, T), compare, repeats)
        repeats = ops.logical_and(repeats, ops.logical_and(place >= before, t >= before))
        return ops.where(counted(log_probs, tokens, repeats) > 0, IMPOSSIBLE, log_probs)


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(Constraint):
    """Multiplies the log p of tokens that were generated before.

    Args:
        penalty: factor, above 1 to avoid repetition, 1 for no effect.
    Raises:
        ValueError: for a penalty that is not a positive number.
    Source: Keskar et al. 2019, section 4.1, arXiv:1909.05858, where logits are divided. Log-probabilities, never above
        0, are multiplied.
    """

    penalty: float

    def __post_init__(self):
        if not (self.penalty > 0 and math.isfinite(self.penalty)):
            raise ValueError(f"`penalty` must be a number above 0. Received: {self.penalty}")

    def __call__(self, log_probs, progress):
        said = ops.expand_dims(ops.arange(ops.shape(progress.tokens)[1], dtype="int32") < progress.length, 0)  # (1, T)
        again = counted(log_probs, progress.tokens, said) > 0
        return ops.where(again, self.penalty * log_probs, log_probs)


@dataclasses.dataclass(frozen=True, eq=False)
class Prefix(Constraint):
    """Begins each sentence with given tokens. After them the search is free.

    A prefix longer than `max_length` is truncated. A prefix with the end token ends there.

    Args:
        tokens: int `(B, P)`, padded on the right with `pad_id`.
        pad_id: an int.
    Raises:
        ValueError: for tokens of another shape.
    """

    tokens: Any
    pad_id: int = 0

    per_sentence = True

    def __post_init__(self):
        object.__setattr__(self, "tokens", ops.cast(self.tokens, "int32"))
        if len(self.tokens.shape) != 2:
            raise ValueError(f"`tokens` must be ids (B, P). Received: shape {tuple(self.tokens.shape)}")

    def for_examples(self, sentences):
        return dataclasses.replace(self, tokens=ops.take(self.tokens, sentences, axis=0))

    def check_examples(self, count):
        check_rows("tokens", self.tokens, count)

    def __call__(self, log_probs, progress):
        tokens = ops.pad(self.tokens, [[0, 0], [0, 1]], constant_values=self.pad_id)  # P may be 0
        wanted = ops.take(tokens, ops.minimum(progress.length, ops.shape(tokens)[1] - 1), axis=1)  # (B,)
        wanted = ops.expand_dims(ops.take(wanted, progress.sentence, axis=0), 1)  # (N, 1)
        asked_for = ops.expand_dims(ops.arange(log_probs.shape[1], dtype="int32"), 0) == wanted
        return ops.where(ops.logical_or(asked_for, wanted == self.pad_id), log_probs, IMPOSSIBLE)


def id_lists(phrases) -> tuple[tuple[int, ...], ...]:
    """Phrases, each a tuple of ids.

    Raises:
        ValueError: if one is not a list, or is empty.
    """
    try:
        found = tuple(tuple(operator.index(token) for token in phrase) for phrase in phrases)
    except TypeError:
        raise ValueError(f"`phrases` must be a list of lists of ids. Received: {phrases!r}") from None
    if not all(found):
        raise ValueError(f"Each of `phrases` must have at least one token. Received: {phrases!r}")
    return found


def check_rows(name: str, x, count) -> None:
    """Raises `ValueError` unless x `(B, ...)` has a row for each sentence, if both numbers are static."""
    rows = x.shape[0]
    if isinstance(rows, Integral) and isinstance(count, Integral) and rows != count:
        raise ValueError(f"`{name}` must have a row for each of {count} sentences. Received: shape {tuple(x.shape)}")


def check_ids(name: str, tokens: Sequence[int], log_probs) -> None:
    V = log_probs.shape[1]
    wrong = sorted({token for token in tokens if not 0 <= token < V})
    if wrong:
        raise ValueError(f"`{name}` must be among the V={V} tokens. Received: {', '.join(map(str, wrong[:5]))}")


def ends_with(progress, patterns):
    """Whether the tokens of a row so far end with each of the patterns, bool `(N, ...)`.

    Args:
        progress: see `decoding.protocol`.
        patterns: int `(N or 1, ..., W)`, right-aligned. `ANY` matches any token, or none.
    """
    W, tokens = ops.shape(patterns)[-1], progress.tokens
    place = progress.length - W + ops.arange(W, dtype="int32")
    last = ops.where(place >= 0, ops.take(tokens, ops.maximum(place, 0), axis=1), ANY)  # (N, W)
    last = ops.reshape(last, (ops.shape(tokens)[0], *[1] * (len(patterns.shape) - 2), W))
    fits = ops.logical_or(patterns == ANY, ops.logical_and(patterns == last, place >= 0))
    return ops.all(fits, axis=-1)


def counted(log_probs, tokens, where):
    """How often each token of the vocabulary is among tokens `(N or 1, J)` where `where` is True, float `(N, V)`."""
    (N, V), J = ops.shape(log_probs), ops.shape(tokens)[1]
    where = ops.broadcast_to(where, (N, J))
    rows = ops.broadcast_to(ops.expand_dims(ops.arange(N, dtype="int32"), 1), (N, J))
    index = ops.stack([rows, ops.where(where, tokens, 0)], axis=2)  # the padding of a row may not be a token
    return ops.scatter(ops.reshape(index, (-1, 2)), ops.reshape(ops.cast(where, "float32"), (-1,)), (N, V))


def _is_end(log_probs, progress):
    """bool `(1, V)`, True at the end token."""
    return ops.expand_dims(ops.arange(log_probs.shape[1], dtype="int32") == progress.end_id, 0)


def _is_one_of(log_probs, tokens: Sequence[int]):
    """bool `(1, V)`, True at the tokens."""
    found = np.zeros((1, log_probs.shape[1]), "bool")
    found[0, tokens] = True
    return ops.convert_to_tensor(found)


def _check_length(length) -> None:
    if isinstance(length, Integral) and length < 1:
        raise ValueError(f"`length` must be at least 1, the end token counted. Received: {length}")
