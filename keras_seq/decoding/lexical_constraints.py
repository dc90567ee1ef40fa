"""Words that must be said: a constraint, and the beams that are set aside for it."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_seq.decoding.constraints import ANY, Constraint, check_ids, check_rows, counted, ends_with, id_lists
from keras_seq.decoding.protocol import IMPOSSIBLE, along


@dataclasses.dataclass(frozen=True, eq=False)
class RequiredPhrases(Constraint):
    """All of these phrases are said: in any order, overlapping perhaps. For beam search without groups.

    What lacks one of them does not end, and is no result at `max_length` either. So that the beams come to say them,
    each is also offered the tokens that begin a phrase or go on with it, and the 2K continuations that a step keeps are
    taken from banks, those that have said as many tokens of the phrases: the best of each bank, the one that has said
    most first, then the second best of each, and so on. A bank that has too few leaves its places to the others.

    Args:
        phrases: a list of lists of ids, the same for all sentences; or int `(B, C, L)`, as `padded_phrases` makes it, C
            phrases for each sentence, each padded on the right with `pad_id`: one of nothing else is none.
        pad_id: an int.
    Raises:
        ValueError: for an empty phrase in a list, or one with padding inside; when called, for an id that is not of the
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
                "`constraints` may hold one `RequiredPhrases`: give all phrases to that. Received: several"
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
        """How far the rows have come."""
        phrases = ops.cast(self.phrases, "int32")
        room = [[0, 0], *([0, 0 if length else 1] for length in phrases.shape[1:])]  # what may be empty shall not be
        phrases = ops.pad(phrases, room, constant_values=self.pad_id)
        lengths = ops.sum(ops.cast(phrases != self.pad_id, "int32"), axis=2)
        if phrases.shape[0] != 1:
            phrases, lengths = (ops.take(x, progress.sentence, axis=0) for x in (phrases, lengths))
        return PhraseProgress(phrases, lengths, progress)


def padded_phrases(phrases, pad_id=0) -> np.ndarray:
    """For each sentence a list of phrases, each a list of ids -> int32 `(B, C, L)`, padded with `pad_id`.

    Raises:
        ValueError: for an empty phrase, or one with padding inside.
    """
    lists = [list(dict.fromkeys(id_lists(of_sentence))) for of_sentence in phrases]  # each once
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
    """How far rows have come with their phrases.

    Args:
        phrases: int `(N or 1, C, L)`.
        lengths: int `(N or 1, C)`; what follows in a phrase is padding.
        progress: see `decoding.step`.
    """

    def __init__(self, phrases, lengths, progress):
        self.phrases, self.lengths = phrases, lengths
        L = ops.shape(phrases)[2]
        self.place = ops.arange(L, dtype="int32")
        self.own = self.place < ops.expand_dims(lengths, 2)  # (N or 1, C, L): no padding
        # Whether a row ends with the first j tokens of a phrase, so that token j would go on: (N, C, L).
        first = self.place[:, None] - L + self.place  # (j, i): in a pattern of L places the first j stand on the right
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
        """bool `(N, V)`: with which next token a row has said all of its phrases."""
        last = ops.logical_and(self.place == ops.expand_dims(self.lengths - 1, 2), self.own)  # (N or 1, C, L)
        tokens = ops.sum(ops.where(last, self.phrases, 0), axis=2)  # (N or 1, C)
        unsaid = ops.logical_not(self.said)
        nearly = ops.logical_and(unsaid, ops.any(ops.logical_and(self.begun, last), axis=2))
        said_now = counted(log_probs, tokens, nearly)
        return said_now == ops.sum(ops.cast(unsaid, "float32"), axis=1, keepdims=True)

    def with_phrases(self, gains, order, tokens):
        """Candidates for each row, and what they add: those given, and what goes on with each phrase not yet said.

        Args:
            gains: float `(N, V)`, what any token adds.
            order, tokens: `(N, W)`, the candidates there are.
        Returns:
            `(order, tokens)`, `(N, W + C)`: -inf where a token stands there already, or the phrase is said.
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
        """How many tokens of the phrases a row has said with each of some next tokens, int `(N, J)`: of whole phrases,
        and of the one unsaid phrase that it has come furthest with."""
        here = ops.expand_dims(ops.expand_dims(tokens, 2), 3) == ops.expand_dims(self.phrases, 1)  # (N, J, C, L)
        reached = ops.where(ops.logical_and(here, ops.expand_dims(self.begun, 1)), self.place + 1, 0)
        reached = ops.max(reached, axis=3)  # (N, J, C)
        lengths = ops.expand_dims(self.lengths, 1)
        said = ops.logical_or(ops.expand_dims(self.said, 1), reached == lengths)
        return ops.sum(ops.where(said, lengths, 0), axis=2) + ops.max(ops.where(said, 0, reached), axis=2)

    def allotted(self, scores, tokens):
        """The order in which candidates are chosen, as numbers that fall from the first one on.

        Args:
            scores: float `(S, M)`, of the M candidates of a sentence, those of each of its K rows side by side.
            tokens: int `(K * S, M / K)`.
        Returns:
            float `(S, M)`; -inf for what is impossible.
        """
        bank = ops.reshape(self.banks(tokens), ops.shape(scores))  # (S, M)
        falling = ops.argsort(-scores, axis=1)
        bank = along(bank, falling)
        most = ops.shape(self.phrases)[1] * ops.shape(self.phrases)[2]
        of_bank = ops.cast(ops.expand_dims(bank, 2) == ops.arange(most + 1, dtype="int32"), "int32")  # (S, M, banks)
        rank = ops.sum(of_bank * ops.cumsum(of_bank, axis=1), axis=2) - 1  # inside its bank
        place = rank * (most + 1) + most - bank
        place = along(place, ops.argsort(falling, axis=1))  # in the order that was given
        return ops.where(scores > IMPOSSIBLE, -ops.cast(place, "float32"), IMPOSSIBLE)
