"""What may be said, and what is made more or less likely: each works with every search.

A constraint is `constraint(log_probs (N, V), progress) -> (N, V)`: from what each next token adds to the score of a
row to what it shall add, never above 0, and -inf for what may not be. It comes after the softmax and nothing is
normalized anew, so that `Hypotheses.log_probs` stays what the model thinks, and the search ranks by scores.
`progress` is a `decoding.step.Progress`. Any function of that kind will do; what holds something for each sentence says
`per_sentence = True` and has `for_examples`.

Where nothing is possible any more there is no result: its slot is empty.
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

ANY = -1  # in a pattern: whatever stands there


class Constraint:
    """What holds nothing for each sentence is the same for all of them."""

    per_sentence = False

    def for_examples(self, sentences):
        """The constraint for some sentences of many, int `(B,)`."""
        return self

    def check(self, search, constraints):
        """Raises `ValueError` where it cannot work with a search, or beside the other constraints."""

    def check_examples(self, count):
        """Raises `ValueError` where what it holds is not for `count` sentences; of an unknown number, None, never."""


@dataclasses.dataclass(frozen=True)
class MinLength(Constraint):
    """No end before so many tokens, the end token counted.

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
    """The last of so many tokens is the end token: what is longer cannot be, where `max_length` only stops.

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
    """These tokens, or runs of tokens, are not said.

    Args:
        phrases: a list of lists of ids; one of a single token bans that token, a longer one its last token after the
            others.
    Raises:
        ValueError: for an empty phrase, and when called for one with an id that is not of the vocabulary.
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
    """Nothing but these tokens, and the end token, is said.

    Args:
        tokens: ids.
    Raises:
        ValueError: when called, for an id that is not of the vocabulary.
    """

    tokens: Sequence[int]

    def __post_init__(self):
        object.__setattr__(self, "tokens", tuple(int(token) for token in self.tokens))

    def __call__(self, log_probs, progress):
        check_ids("tokens", self.tokens, log_probs)
        return ops.where(_is_one_of(log_probs, [*self.tokens, progress.end_id]), log_probs, IMPOSSIBLE)


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
        place = ops.arange(T, dtype="int32")
        said = ops.expand_dims(place < t, 0)  # (1, T): whether token i, the last of an n-gram, has been said
        for step in range(before):
            # Token i - before + step of the n-gram that ends at i, and its counterpart at the end of the prefix.
            earlier = ops.take(tokens, ops.maximum(place - before + step, 0), axis=1)  # (N, T)
            last = ops.take(tokens, ops.maximum(t - before + step, 0), axis=1)  # (N,)
            said = ops.logical_and(said, earlier == ops.expand_dims(last, 1))
        said = ops.logical_and(said, ops.logical_and(place >= before, t >= before))
        return ops.where(counted(log_probs, tokens, said) > 0, IMPOSSIBLE, log_probs)


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(Constraint):
    """What has been said before has its log p multiplied.

    Args:
        penalty: above 1 to avoid repetition; 1 does nothing.
    Raises:
        ValueError: for a penalty that is not a positive number.
    Source: Keskar et al. 2019, section 4.1, arXiv:1909.05858, who divide the logits; log-probabilities, never above 0,
        are multiplied.
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
    """Each sentence begins with tokens of its own; after them the search is free.

    Of a prefix longer than `max_length` only its beginning is said; one with the end token ends there.

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
        tokens = ops.pad(self.tokens, [[0, 0], [0, 1]], constant_values=self.pad_id)  # whatever P is, 0 too
        wanted = ops.take(tokens, ops.minimum(progress.length, ops.shape(tokens)[1] - 1), axis=1)  # (B,)
        wanted = ops.expand_dims(ops.take(wanted, progress.sentence, axis=0), 1)  # (N, 1)
        asked_for = ops.expand_dims(ops.arange(log_probs.shape[1], dtype="int32"), 0) == wanted
        return ops.where(ops.logical_or(asked_for, wanted == self.pad_id), log_probs, IMPOSSIBLE)


def id_lists(phrases) -> tuple[tuple[int, ...], ...]:
    """Phrases, each a tuple of ids.

    Raises:
        ValueError: where one is no list, or empty.
    """
    try:
        found = tuple(tuple(operator.index(token) for token in phrase) for phrase in phrases)
    except TypeError:
        raise ValueError(f"`phrases` must be a list of lists of ids. Received: {phrases!r}") from None
    if not all(found):
        raise ValueError(f"Each of `phrases` must have at least one token. Received: {phrases!r}")
    return found


def check_rows(name: str, x, count) -> None:
    """Raises `ValueError` unless x `(B, ...)` has a row for each sentence, as far as both numbers are known."""
    rows = x.shape[0]
    if isinstance(rows, Integral) and isinstance(count, Integral) and rows != count:
        raise ValueError(f"`{name}` must have a row for each of {count} sentences. Received: shape {tuple(x.shape)}")


def check_ids(name: str, tokens: Sequence[int], log_probs) -> None:
    V = log_probs.shape[1]
    wrong = sorted({token for token in tokens if not 0 <= token < V})
    if wrong:
        raise ValueError(f"`{name}` must be of the V={V} tokens. Received: {', '.join(map(str, wrong[:5]))}")


def ends_with(progress, patterns):
    """bool `(N, ...)`: which patterns the tokens of a row, so far, end with.

    Args:
        progress: see `decoding.step`.
        patterns: int `(N or 1, ..., W)`, on the right; `ANY` stands for any token, or none.
    """
    W, tokens = ops.shape(patterns)[-1], progress.tokens
    place = progress.length - W + ops.arange(W, dtype="int32")
    last = ops.where(place >= 0, ops.take(tokens, ops.maximum(place, 0), axis=1), ANY)  # (N, W)
    last = ops.reshape(last, (ops.shape(tokens)[0], *[1] * (len(patterns.shape) - 2), W))
    fits = ops.logical_or(patterns == ANY, ops.logical_and(patterns == last, place >= 0))
    return ops.all(fits, axis=-1)


def counted(log_probs, tokens, where):
    """float `(N, V)`: how often each token of the vocabulary is among tokens `(N or 1, J)` where `where` is True."""
    (N, V), J = ops.shape(log_probs), ops.shape(tokens)[1]
    where = ops.broadcast_to(where, (N, J))
    rows = ops.broadcast_to(ops.expand_dims(ops.arange(N, dtype="int32"), 1), (N, J))
    index = ops.stack([rows, ops.where(where, tokens, 0)], axis=2)  # what fills a row up may be no token at all
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
        raise ValueError(f"`length` must be at least 1; it counts the end token. Received: {length}")
