"""Lexical constraints: phrases that the output must contain, and the beams that are reserved for them."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding.constraints import ANY, Constraint, check_ids, check_rows, counted, ends_with, id_lists
from keras_seq.decoding.protocol import IMPOSSIBLE, along


@dataclasses.dataclass(frozen=True, eq=False)
class RequiredPhrases(Constraint):
    """Requires all of these phrases in the output, in any order, possibly overlapping. For beam search without groups.

    A hypothesis that lacks a phrase cannot end, and is no result at `max_length` either. To make the beams generate the
    phrases, the tokens that begin or continue a phrase become candidates of each beam. The 2K continuations that a step
    keeps are taken from banks. A bank holds the candidates with the same number of generated phrase tokens. First comes
    the best of each bank, the bank with the most phrase tokens first, then the second best of each, and so on. A bank
    with too few candidates leaves its places to the others.

    Args:
        phrases: a list of lists of ids, the same for all sentences, or int `(B, C, L)`, as returned by
            `padded_phrases`: C phrases for each sentence, each padded on the right with `pad_id`. A phrase of only
            padding is ignored.
        pad_id: an int.
    Raises:
        ValueError: for an empty phrase in a list, for one with padding inside or, when called, for an id outside the
            vocabulary.
    Source: Post and Vilar 2018, dynamic beam allocation, arXiv:1804.06609.
    """

    phrases: Any
    pad_id: int = 0

    def __post_init__(self):
        if len(getattr(self.phrases, "shape", ())) != 3:
            object.__setattr__(self, "phrases", padded_phrases([self.phrases], self.pad_id))

    @property
    def per_sentence(self):
        return self.phrases.shape[0] != 1

    def for_examples(self, sentences):
        return dataclasses.replace(self, phrases=ops.take(self.phrases, sentences, axis=0))

    def check_examples(self, count):
        if self.per_sentence:
            check_rows("phrases", self.phrases, count)

    def check(self, search, constraints):
        if getattr(search, "num_groups", 0) != 1:
            raise ValueError(f"`RequiredPhrases` needs a beam search without groups. Received: {search!r}")
        if sum(hasattr(constraint, "phrase_progress") for constraint in constraints) > 1:
            raise ValueError(
                "`constraints` may hold only one `RequiredPhrases`. Give all phrases to that one. Received: several"
            )

    def __call__(self, log_probs, progress):
        if isinstance(self.phrases, np.ndarray):
            check_ids("phrases", self.phrases[self.phrases != self.pad_id].tolist(), log_probs)
        may_go_on = ops.logical_and(
            ops.arange(log_probs.shape[1], dtype="int32") != progress.end_id,
            progress.length + 1 < ops.shape(progress.tokens)[1],
        )
        return ops.where(
            ops.logical_or(self.phrase_progress(progress).completed(log_probs), may_go_on), log_probs, IMPOSSIBLE
        )

    def phrase_progress(self, progress) -> "PhraseProgress":
        """The progress of the rows with the phrases."""
        phrases = ops.cast(self.phrases, "int32")
        room = [[0, 0], *([0, 0 if length else 1] for length in phrases.shape[1:])]  # no axis may be empty
        phrases = ops.pad(phrases, room, constant_values=self.pad_id)
        lengths = ops.sum(ops.cast(phrases != self.pad_id, "int32"), axis=2)
        if phrases.shape[0] != 1:
            phrases, lengths = (ops.take(x, progress.sentence, axis=0) for x in (phrases, lengths))
        return PhraseProgress(phrases, lengths, progress)


def padded_phrases(phrases, pad_id=0) -> np.ndarray:
    """Pads a list of phrases for each sentence, each phrase a list of ids, with `pad_id` -> int32 `(B, C, L)`.

    Raises:
        ValueError: for an empty phrase, or one with padding inside.
    """
    lists = [list(dict.fromkeys(id_lists(of_sentence))) for of_sentence in phrases]  # without duplicates
    every = [phrase for of_sentence in lists for phrase in of_sentence]
    if any(pad_id in phrase for phrase in every):
        raise ValueError(f"`phrases` must not hold `pad_id`={pad_id}. Received: {phrases!r}")
    shape = len(lists), max(map(len, lists), default=0), max(map(len, every), default=0)
    padded = np.full(shape, pad_id, "int32")
    for sentence, of_sentence in zip(padded, lists, strict=True):
        for row, phrase in zip(sentence, of_sentence, strict=False):
            row[: len(phrase)] = phrase
    return padded


class PhraseProgress:
    """The progress of rows with their phrases.

    Args:
        phrases: int `(N or 1, C, L)`.
        lengths: int `(N or 1, C)`. The rest of a phrase is padding.
        progress: see `decoding.protocol`.
    """

    def __init__(self, phrases, lengths, progress):
        self.phrases, self.lengths = phrases, lengths
        L = ops.shape(phrases)[2]
        self.place = ops.arange(L, dtype="int32")
        self.own = self.place < ops.expand_dims(lengths, 2)  # (N or 1, C, L): no padding
        # Whether a row ends with the first j tokens of a phrase, so that token j would continue it: (N, C, L).
        first = self.place[:, None] - L + self.place  # (j, i): a pattern of L places has the first j on the right
        patterns = ops.where(first >= 0, ops.take(phrases, ops.maximum(first, 0), axis=2), ANY)  # (N or 1, C, L, L)
        self.begun = ops.logical_and(ends_with(progress, patterns), self.own)
        self.said = self._are_said(progress)  # (N, C)

    def _are_said(self, progress):
        T = ops.shape(progress.tokens)[1]
        index = ops.expand_dims(ops.arange(T, dtype="int32"), 1) + self.place  # (T, L)
        windows = ops.take(progress.tokens, ops.minimum(index, T - 1), axis=1)  # (N, T, L)
        same = ops.expand_dims(windows, 1) == ops.expand_dims(self.phrases, 2)  # (N, C, T, L)
        same = ops.logical_and(same, index < progress.length)
        there = ops.logical_or(same, ops.logical_not(ops.expand_dims(self.own, 2)))
        return ops.any(ops.all(there, axis=3), axis=2)

    def completed(self, log_probs):
        """Whether a row has all of its phrases after a next token, bool `(N, V)`."""
        last = ops.logical_and(self.place == ops.expand_dims(self.lengths - 1, 2), self.own)  # (N or 1, C, L)
        tokens = ops.sum(ops.where(last, self.phrases, 0), axis=2)  # (N or 1, C)
        unsaid = ops.logical_not(self.said)
        nearly = ops.logical_and(unsaid, ops.any(ops.logical_and(self.begun, last), axis=2))
        said_now = counted(log_probs, tokens, nearly)
        return said_now == ops.sum(ops.cast(unsaid, "float32"), axis=1, keepdims=True)

    def with_phrases(self, gains, order, tokens):
        """Adds the tokens that continue each missing phrase to the candidates of each row.

        Args:
            gains: float `(N, V)`, the amount that each token adds to the score.
            order, tokens: `(N, W)`, the present candidates.
        Returns:
            `(order, tokens)`, `(N, W + C)`: -inf if a token is a candidate already, or the phrase is complete.
        """
        furthest = ops.max(ops.where(self.begun, self.place, 0), axis=2, keepdims=True)  # (N, C, 1)
        following = ops.sum(ops.where(self.place == furthest, self.phrases, 0), axis=2)  # (N, C)
        V, place = gains.shape[1], ops.arange(ops.shape(following)[1], dtype="int32")
        following = ops.where(self.said, V, following)
        twice = ops.expand_dims(following, 2) == ops.expand_dims(following, 1)  # (N, C, C)
        twice = ops.any(ops.logical_and(twice, place[:, None] > place), axis=2)
        there = ops.any(ops.expand_dims(following, 2) == ops.expand_dims(tokens, 1), axis=2)
        new = ops.logical_and(following < V, ops.logical_not(ops.logical_or(there, twice)))
        following = ops.minimum(following, V - 1)
        added = ops.where(new, along(gains, following), IMPOSSIBLE)
        return ops.concatenate([order, added], axis=1), ops.concatenate([tokens, following], axis=1)

    def banks(self, tokens):
        """The number of phrase tokens that a row has with each of some next tokens, int `(N, J)`: the tokens of its
        complete phrases, and of the incomplete phrase with the most progress."""
        here = ops.expand_dims(ops.expand_dims(tokens, 2), 3) == ops.expand_dims(self.phrases, 1)  # (N, J, C, L)
        reached = ops.where(ops.logical_and(here, ops.expand_dims(self.begun, 1)), self.place + 1, 0)
        reached = ops.max(reached, axis=3)  # (N, J, C)
        lengths = ops.expand_dims(self.lengths, 1)
        said = ops.logical_or(ops.expand_dims(self.said, 1), reached == lengths)
        return ops.sum(ops.where(said, lengths, 0), axis=2) + ops.max(ops.where(said, 0, reached), axis=2)

    def allotted(self, scores, tokens):
        """The order in which candidates are chosen, as numbers that decrease from the first one on.

        Args:
            scores: float `(S, M)`, of the M candidates of a sentence, those of each of its K rows side by side.
            tokens: int `(K * S, M / K)`.
        Returns:
            float `(S, M)`, -inf for impossible candidates.
        """
        bank = ops.reshape(self.banks(tokens), ops.shape(scores))  # (S, M)
        falling = ops.argsort(-scores, axis=1)
        bank = along(bank, falling)
        most = ops.shape(self.phrases)[1] * ops.shape(self.phrases)[2]
        of_bank = ops.cast(ops.expand_dims(bank, 2) == ops.arange(most + 1, dtype="int32"), "int32")  # (S, M, banks)
        rank = ops.sum(of_bank * ops.cumsum(of_bank, axis=1), axis=2) - 1  # within its bank
        place = rank * (most + 1) + most - bank
        place = along(place, ops.argsort(falling, axis=1))  # back in the given order
        return ops.where(scores > IMPOSSIBLE, -ops.cast(place, "float32"), IMPOSSIBLE)
