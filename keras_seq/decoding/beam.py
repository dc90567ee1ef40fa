"""Beam search over any step, with a pool of finished hypotheses beside the live beams."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_seq.decoding.forced_scoring import power_penalty
from keras_seq.decoding.greedy import Greedy
from keras_seq.decoding.protocol import (
    IMPOSSIBLE,
    Hypotheses,
    Progress,
    Search,
    StateNest,
    along,
    check_length_penalty,
    check_max_length,
    constrained,
    forced,
    length_penalties,
    next_logits,
    normalized,
    size,
)
from keras_seq.decoding.top_k import blockwise_top_k, logsumexp_from_max


@dataclasses.dataclass(frozen=True)
class Beam(Search):
    """Finds the best sequences by keeping the K likeliest prefixes of each sentence.

    End tokens count only among the first K of the 2K best continuations of a sentence. A finished hypothesis moves to a
    separate pool and takes no live beam's place. Once a sentence is done, nothing more enters its pool.

    With groups, each group is a beam search of K / G beams. The choice of a token costs `diversity` for each time that
    the groups before have chosen it at the same step. The penalty affects only the selection: `scores` and `log_probs`
    do not contain it. If two groups find the same hypothesis, it is returned once.

    Args:
        num_beams: K.
        num_return: R, at most K.
        length_penalty: function from a length (a float32 tensor, end token counted) to the positive divisor of log p.
            None: no divisor.
        early_stop: "first" if a sentence is done when K hypotheses have finished (so a beam of one is greedy), "safe"
            if it is done when no live hypothesis can still enter its R best.
        num_groups: G, a divisor of K.
        diversity: diversity penalty between groups, in nats.
        coverage_penalty: weight b of the coverage penalty: b times the sum over the source of log(min(1, attention so
            far)) is added to a score, so that omissions cost. Needs a model whose `encode` takes
            `attention_weights=True`.
    Raises:
        ValueError: for an option out of its range.
    Source: Vijayakumar et al. 2018, arXiv:1610.02424, for the groups; Wu et al. 2016, equation 14, arXiv:1609.08144,
        for the coverage.
    """

    num_beams: int = 5
    num_return: int = 1
    length_penalty: Callable | None = power_penalty(1.0)
    early_stop: str = "first"
    num_groups: int = 1
    diversity: float = 0.5
    coverage_penalty: float = 0.0

    def __post_init__(self):
        check_length_penalty(self.length_penalty)
        if self.num_beams < 1:
            raise ValueError(f"`num_beams` must be at least 1. Received: {self.num_beams}")
        if not 1 <= self.num_return <= self.num_beams:
            raise ValueError(
                f"`num_return` must be from 1 to `num_beams`={self.num_beams}. Received: {self.num_return}"
            )
        if self.early_stop not in ("first", "safe"):
            raise ValueError(f'`early_stop` must be "first" or "safe". Received: {self.early_stop!r}')
        if self.num_groups < 1 or self.num_beams % self.num_groups:
            raise ValueError(f"`num_groups` must divide `num_beams`={self.num_beams}. Received: {self.num_groups}")
        if self.diversity < 0 or self.coverage_penalty < 0:
            raise ValueError(
                "`diversity` and `coverage_penalty` must not be negative. "
                f"Received: {self.diversity} and {self.coverage_penalty}"
            )

    @property
    def rows_per_example(self):
        return self.num_beams

    def simplify(self, constraints=()):
        plain = self.num_beams == 1 and self.early_stop == "first" and not self.coverage_penalty
        return Greedy(self.length_penalty) if plain and forced(constraints) is None else self

    def __call__(
        self, step, state, *, batch_size, max_length, start_id, end_id, pad_id, constraints=(), bonus=None
    ) -> Hypotheses:
        """Runs the search.

        Args:
            step: `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`, N = B * K, the beams of a sentence side by
                side. Logits may be -inf.
            state: any nest of tensors with leading axis N (tiled by the caller) and constant shapes, reordered with the
                beams.
            batch_size: B, an int or a scalar tensor.
            max_length: T, the end token counted, an int, or a scalar tensor where the backend has dynamic shapes. No
                end is forced there: a hypothesis without end token by then is unfinished. It is returned only if fewer
                than `num_return` have finished, and after these.
            start_id, end_id, pad_id: ints.
            constraints: see `decoding.constraints`.
            bonus: `bonus(state) -> (N,)`, not above 0, added to the scores (None: nothing is added).
        Returns:
            `Hypotheses`: `tokens (B, R, T)`, `lengths`, `log_probs`, `scores` `(B, R)`.
        """
        check_max_length(max_length)
        self.check(constraints, batch_size)
        ids = {"start_id": start_id, "end_id": end_id, "pad_id": pad_id}
        return _Run(self, step, state, size(batch_size), size(max_length), constraints, bonus, **ids).search()


class Beams(NamedTuple):
    """The state between two steps: K live beams, in the order they were chosen, and the K best finished ones."""

    tokens: Any  # (S, K, T)
    log_probs: Any  # (S, K)
    scores: Any  # (S, K), -inf: an empty beam
    pool_tokens: Any  # (S, K, T)
    pool_lengths: Any  # (S, K)
    pool_log_probs: Any  # (S, K)
    pool_scores: Any  # (S, K), -inf: an empty slot
    done: Any  # (S,)


class Candidates(NamedTuple):
    """The best continuations of each group, at most C = 2K, in the order they were chosen: `(S, C)` each."""

    ranking: Any  # the scores used for the choice, diversity included
    scores: Any
    log_probs: Any
    beam: Any
    token: Any


class _Run:
    """One search. G groups make S = B * G searches of K beams, coupled only in `choose`."""

    def __init__(self, options, step, state, batch_size, max_length, constraints, bonus, *, start_id, end_id, pad_id):
        self.options, self.step, self.nest = options, step, StateNest(state)
        self.constraints, self.forced, self.bonus = constraints, forced(constraints), bonus
        self.start_id, self.end_id, self.pad_id = start_id, end_id, pad_id
        self.B, self.G, self.T = batch_size, options.num_groups, max_length
        self.S, self.K = batch_size * options.num_groups, options.num_beams // options.num_groups
        self.divisor = length_penalties(options.length_penalty, max_length)  # (T,)
        self.positions = ops.arange(max_length, dtype="int32")
        self.group = ops.expand_dims(ops.arange(self.S, dtype="int32"), 1)  # (S, 1)
        self.sentence = ops.arange(self.S * self.K, dtype="int32") // options.num_beams  # (N,)

    def pick(self, x, index):
        """x (S, M, ...), index (S, J) -> (S, J, ...): one gather over flat rows."""
        tail = x.shape[2:] if len(x.shape) < 3 else (self.T,)
        rows = ops.reshape(x, (self.S * x.shape[1], *tail))
        rows = ops.take(rows, ops.reshape(self.group * x.shape[1] + index, (-1,)), axis=0)
        return ops.reshape(rows, (self.S, index.shape[1], *tail))

    def search(self) -> Hypotheses:
        S, K, T = self.S, self.K, self.T
        no_score = ops.full((S, K), IMPOSSIBLE, "float32")
        no_tokens = ops.full((S, K, T), self.pad_id, "int32")
        start = Beams(
            tokens=no_tokens,
            log_probs=ops.zeros((S, K), "float32"),
            # Only one beam at first: K equal ones would stay equal.
            scores=ops.where(ops.arange(K, dtype="int32") == 0, 0.0, no_score),
            pool_tokens=no_tokens,
            pool_lengths=ops.zeros((S, K), "int32"),
            pool_log_probs=no_score,
            pool_scores=no_score,
            done=ops.zeros((S,), "bool"),
        )
        zero = ops.convert_to_tensor(0, "int32")
        last = ops.full((S * K,), self.start_id, "int32")

        def unfinished(t, last, beams, tensors):
            return ops.logical_and(t < T, ops.logical_not(ops.all(beams[-1])))

        t, _, beams, tensors = ops.while_loop(unfinished, self.body, (zero, last, tuple(start), self.nest.first))
        return self.result(t, Beams(*beams), self.bonuses(tensors))

    def body(self, t, last, beams, tensors):
        S, K = self.S, self.K
        beams = Beams(*beams)
        logits, state = next_logits(self.step, last, self.nest.pack(tensors), self.end_id)  # (N, V)
        tensors = self.nest.unpack(state)
        candidates = self.choose(logits, beams, t)
        is_end = candidates.token == self.end_id
        pool = self.finish(beams, t, candidates, is_end, self.bonuses(tensors))

        ranking, index = ops.top_k(ops.where(is_end, IMPOSSIBLE, candidates.ranking), K)  # at most K of the 2K end
        beam, token = self.pick(candidates.beam, index), self.pick(candidates.token, index)  # (S, K)
        scores = ops.where(ranking > IMPOSSIBLE, self.pick(candidates.scores, index), IMPOSSIBLE)
        tokens = ops.where(self.positions == t, ops.expand_dims(token, 2), self.pick(beams.tokens, beam))
        if K > 1:
            rows = ops.reshape(self.group * K + beam, (-1,))  # (N,)
            tensors = [ops.take(x, rows, axis=0) for x in tensors]
        done = self.is_done(t, beams.done, scores, pool[-1])
        scores = ops.where(ops.expand_dims(done, 1), IMPOSSIBLE, scores)  # a sentence that is done keeps no live beam
        beams = Beams(tokens, self.pick(candidates.log_probs, index), scores, *pool, done)
        return t + 1, ops.reshape(token, (S * K,)), tuple(beams), tensors

    def choose(self, logits, beams: Beams, t) -> Candidates:
        """The best continuations of each group."""
        if self.G == 1 and not self.constraints:
            W = min(2 * self.K, logits.shape[1])
            # The 2K best of a sentence are among the 2K best of each beam, so log-probabilities are needed for
            # these only, not for all of (N, V).
            logit, token = blockwise_top_k(logits, W)  # (N, W)
            token_scores = logit - logsumexp_from_max(logits, logit[:, :1])
            # A row with only -inf would give NaN.
            token_scores = ops.where(logit > IMPOSSIBLE, token_scores, IMPOSSIBLE)
            return self.best(token_scores, token_scores, token_scores, token, beams.scores, beams.log_probs)
        token_log_probs = normalized(logits)
        progress = Progress(ops.reshape(beams.tokens, (self.S * self.K, self.T)), t, self.sentence, self.end_id)
        token_scores = constrained(token_log_probs, self.constraints, progress)
        if self.G == 1:
            phrase_progress = None if self.forced is None else self.forced.phrase_progress(progress)
            return self.best_of(
                token_scores, token_scores, token_log_probs, beams.scores, beams.log_probs, phrase_progress
            )
        return self.choose_in_turn(token_scores, token_log_probs, beams)

    def choose_in_turn(self, token_scores, token_log_probs, beams: Beams) -> Candidates:
        """Chooses for one group after the other. Tokens that earlier groups have chosen at this step are penalized."""
        B, G, K, V = self.B, self.G, self.K, token_scores.shape[1]
        grouped = [ops.reshape(x, (B, G, K, V)) for x in (token_scores, token_log_probs)]
        totals = [ops.reshape(x, (B, G, K)) for x in (beams.scores, beams.log_probs)]
        chosen = ops.zeros((B, V), "float32")  # how often each token was chosen
        candidates = []
        for g in range(G):
            token_scores, token_log_probs = (ops.reshape(x[:, g], (B * K, V)) for x in grouped)
            cost = self.options.diversity * ops.repeat(chosen, K, axis=0)  # (B * K, V)
            best = self.best_of(token_scores - cost, token_scores, token_log_probs, *(x[:, g] for x in totals))
            candidates.append(best)
            kept, index = ops.top_k(ops.where(best.token == self.end_id, IMPOSSIBLE, best.ranking), K)
            tokens = along(best.token, index)
            emitted = ops.where(ops.expand_dims(kept > IMPOSSIBLE, 2), ops.one_hot(tokens, V), 0.0)
            chosen = chosen + ops.sum(emitted, axis=1)
        C = candidates[0].ranking.shape[1]  # G times (B, C) -> (B * G, C)
        return Candidates(*(ops.reshape(ops.stack(x, axis=1), (B * G, C)) for x in zip(*candidates, strict=True)))

    def best_of(self, ranking, token_scores, token_log_probs, scores, log_probs, phrase_progress=None) -> Candidates:
        """`best` of all tokens: `ranking`, `token_scores` and `token_log_probs` are (N, V)."""
        ranking, token = blockwise_top_k(ranking, min(2 * self.K, ranking.shape[1]))  # (N, W)
        if phrase_progress is not None:
            ranking, token = phrase_progress.with_phrases(token_scores, ranking, token)
        token_scores, token_log_probs = (along(x, token) for x in (token_scores, token_log_probs))
        return self.best(ranking, token_scores, token_log_probs, token, scores, log_probs, phrase_progress)

    def best(
        self, ranking, token_scores, token_log_probs, token, scores, log_probs, phrase_progress=None
    ) -> Candidates:
        """The C = 2K best among W tokens of each beam, (N, W), over all beams of a group, by `ranking` and the scores
        so far.

        Args:
            scores, log_probs: scores and log p of the beams, `(N / K, K)`.
            phrase_progress: progress with `RequiredPhrases`, to allot the beams of a sentence to its phrases.
        """
        K, W = self.K, ops.shape(ranking)[1]
        ranking = ops.reshape(ops.reshape(ranking, (-1, K, W)) + ops.expand_dims(scores, 2), (-1, K * W))
        if phrase_progress is not None:
            ranking = phrase_progress.allotted(ranking, token)
        ranking, index = ops.top_k(ranking, min(2 * K, ranking.shape[1] or 2 * K))  # (S, C)
        beam = index // W

        token_scores, token_log_probs, token = (
            ops.reshape(x, (-1, K * W)) for x in (token_scores, token_log_probs, token)
        )
        token_scores, token_log_probs, token = (along(x, index) for x in (token_scores, token_log_probs, token))
        scores, log_probs = (along(x, beam) for x in (scores, log_probs))
        return Candidates(ranking, scores + token_scores, log_probs + token_log_probs, beam, token)

    def finish(self, beams: Beams, t, candidates: Candidates, is_end, bonuses):
        """Merges those of the first K candidates that end into the pool."""
        K = self.K
        beam, is_end = candidates.beam[:, :K], is_end[:, :K]
        ends = ops.logical_and(is_end, ops.logical_not(ops.expand_dims(beams.done, 1)))
        scores = candidates.scores[:, :K] / ops.take(self.divisor, t)
        if bonuses is not None:
            scores = scores + along(bonuses, beam)
        scores = ops.where(ops.logical_and(ends, candidates.ranking[:, :K] > IMPOSSIBLE), scores, IMPOSSIBLE)
        scores, index = ops.top_k(ops.concatenate([beams.pool_scores, scores], axis=1), K)  # of (S, 2K)
        prefix = self.pick(
            ops.concatenate([ops.zeros_like(beam) + ops.arange(K, dtype="int32"), beam + K], axis=1), index
        )  # of 2K
        tokens = self.pick(ops.concatenate([beams.pool_tokens, beams.tokens], axis=1), prefix)  # (S, K, T)
        here = ops.logical_and(ops.expand_dims(index >= K, 2), self.positions == t)
        lengths = ops.concatenate([beams.pool_lengths, ops.zeros_like(beam) + t + 1], axis=1)
        log_probs = ops.concatenate([beams.pool_log_probs, candidates.log_probs[:, :K]], axis=1)
        return ops.where(here, self.end_id, tokens), self.pick(lengths, index), self.pick(log_probs, index), scores

    def bonuses(self, tensors):
        """The amount added to the score of each beam, (S, K), or None."""
        if self.bonus is None:
            return None
        return ops.reshape(ops.cast(self.bonus(self.nest.pack(tensors)), "float32"), (self.S, self.K))

    def is_done(self, t, done, scores, pool_scores):
        best = ops.max(scores, axis=1)
        if self.options.early_stop == "first":
            now = ops.logical_or(pool_scores[:, -1] > IMPOSSIBLE, best == IMPOSSIBLE)
        else:
            # Scores only fall, so a live hypothesis reaches at most its score divided by the largest divisor to come.
            within_reach = best / ops.max(ops.where(self.positions > t, self.divisor, 0.0))
            now = within_reach <= pool_scores[:, min(self.options.num_return, self.K) - 1]
            now = ops.logical_and(now, t + 1 < self.T)  # after the last step no step follows, and nothing is cut off
        return ops.logical_or(done, now)

    def result(self, t, beams: Beams, bonuses) -> Hypotheses:
        """The R best of a sentence: finished hypotheses first, then unfinished ones, all of length t."""
        alive = ops.logical_and(beams.scores > IMPOSSIBLE, t > 0)
        scores = beams.scores / ops.take(self.divisor, ops.maximum(t, 1) - 1)
        live = Hypotheses(
            tokens=beams.tokens,
            lengths=ops.zeros_like(beams.pool_lengths) + t,
            log_probs=beams.log_probs,
            scores=ops.where(alive, scores if bonuses is None else scores + bonuses, IMPOSSIBLE),
        )
        pool = Hypotheses(beams.pool_tokens, beams.pool_lengths, beams.pool_log_probs, beams.pool_scores)
        live, pool = self.merged(live), self.merged(pool)

        R = self.options.num_return
        finished = ops.sum(ops.cast(pool.scores > IMPOSSIBLE, "int32"), axis=1, keepdims=True)  # (B, 1)
        slot = ops.expand_dims(ops.arange(R, dtype="int32"), 0)
        index = ops.where(slot < finished, slot, R + slot - finished)  # (B, R)
        both = [ops.concatenate(pair, axis=1) for pair in zip(pool, live, strict=True)]
        tokens, lengths, log_probs, scores = (along(x, index) for x in both)
        empty = scores == IMPOSSIBLE
        return Hypotheses(
            tokens=ops.where(ops.expand_dims(empty, 2), self.pad_id, tokens),
            lengths=ops.where(empty, 0, lengths),
            log_probs=ops.where(empty, IMPOSSIBLE, log_probs),
            scores=scores,
        )

    def merged(self, candidates: Hypotheses) -> Hypotheses:
        """(S, K, ...) -> the R best of each sentence, (B, R, ...), without duplicates."""
        M = self.options.num_beams
        tokens, lengths, log_probs, scores = candidates
        tokens = ops.reshape(tokens, (self.B, M, self.T))
        lengths, log_probs, scores = (ops.reshape(x, (self.B, M)) for x in (lengths, log_probs, scores))
        if self.G > 1:
            same = ops.all(ops.expand_dims(tokens, 2) == ops.expand_dims(tokens, 1), axis=3)  # (B, M, M)
            earlier = ops.logical_and(same, ops.expand_dims(scores > IMPOSSIBLE, 1))
            earlier = ops.logical_and(
                earlier, ops.arange(M, dtype="int32")[:, None] > ops.arange(M, dtype="int32")[None, :]
            )
            scores = ops.where(ops.any(earlier, axis=2), IMPOSSIBLE, scores)
        scores, index = ops.top_k(scores, self.options.num_return)
        return Hypotheses(*(along(x, index) for x in (tokens, lengths, log_probs)), scores)
