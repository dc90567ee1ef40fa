"""Beam search over any step, with a pool of finished hypotheses beside the live beams."""

from typing import NamedTuple

from keras import ops

from keras_seq.decoding.scoring import power_penalty
from keras_seq.decoding.step import Hypotheses, StateNest, check_options, divisors, next_logits, size

IMPOSSIBLE = -float("inf")


class Beams(NamedTuple):
    """What one step leaves to the next; K live beams, best first, and the K best finished hypotheses, best first."""

    tokens: object  # (B, K, T)
    log_probs: object  # (B, K); -inf: an empty beam
    pool_tokens: object  # (B, K, T)
    pool_lengths: object  # (B, K)
    pool_log_probs: object  # (B, K)
    pool_scores: object  # (B, K); -inf: an empty slot
    done: object  # (B,)


def beam_search(
    step,
    state,
    *,
    batch_size,
    num_beams,
    max_length,
    start_id,
    end_id,
    pad_id,
    length_penalty=power_penalty(1.0),  # noqa: B008, a function of no state
    num_return=1,
    early_stop="first",
):
    """Finds the best sequences by keeping the K likeliest prefixes of each sentence.

    Of the 2K best continuations of a sentence, end tokens count only among the first K. A finished hypothesis goes to
    a pool of its own and takes no live beam's place. Once a sentence is done, nothing more enters its pool.

    Args:
        step: `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`, N = B * K, the beams of a sentence side by
            side; logits may be -inf.
        state: any nest of tensors, leading axis N (tiled by the caller), of shapes that stay; re-ordered with the
            beams.
        batch_size: B, an int or a scalar tensor.
        num_beams: K.
        max_length: T, the end token counted; an int, or a scalar tensor where the backend has dynamic shapes.
            Nothing is forced there: a hypothesis without end token by then is unfinished, and returned only where
            fewer than `num_return` have finished, after these.
        start_id, end_id, pad_id: ints.
        length_penalty: maps a length (a float32 tensor; end token counted) to the positive number that divides log p.
            None divides by nothing.
        num_return: R, at most K.
        early_stop: "first": a sentence is done when K hypotheses have finished (so a beam of one is greedy);
            "safe": when no live hypothesis can still enter its R best.
    Returns:
        `Hypotheses`: `tokens (B, R, T)`, `lengths`, `log_probs`, `scores` `(B, R)`.
    Raises:
        ValueError: for an option out of its range.
    """
    check_options(max_length, length_penalty)
    if num_beams < 1:
        raise ValueError(f"`num_beams` must be at least 1. Received: {num_beams}")
    if not 1 <= num_return <= num_beams:
        raise ValueError(f"`num_return` must be from 1 to `num_beams`={num_beams}. Received: {num_return}")
    if early_stop not in ("first", "safe"):
        raise ValueError(f'`early_stop` must be "first" or "safe". Received: {early_stop!r}')

    B, K, T = size(batch_size), num_beams, size(max_length)
    nest = StateNest(state)
    divisor = divisors(length_penalty, T)  # (T,)
    positions = ops.arange(T)  # (T,)
    sentence = ops.expand_dims(ops.arange(B), 1)  # (B, 1)

    def pick(x, index):
        """x (B, M, ...), index (B, J) -> (B, J, ...): one gather over flat rows."""
        tail = x.shape[2:] if len(x.shape) < 3 else (T,)
        rows = ops.take(
            ops.reshape(x, (B * x.shape[1], *tail)), ops.reshape(sentence * x.shape[1] + index, (-1,)), axis=0
        )
        return ops.reshape(rows, (B, index.shape[1], *tail))

    def continuations(logits, log_probs):
        """logits (N, V), log_probs (B, K) -> the best (B, C), C = 2K at most: log_probs, beam, token."""
        W = min(2 * K, logits.shape[1])
        # The 2K best of a sentence are among the 2K best of each beam, so log-probabilities are needed for
        # these only, not for all of (N, V).
        logit, token = ops.top_k(logits, W)  # (N, W)
        log_prob = logit - ops.logsumexp(logits, axis=1, keepdims=True) + ops.reshape(log_probs, (B * K, 1))
        log_prob = ops.where(logit > IMPOSSIBLE, log_prob, IMPOSSIBLE)  # a row of nothing but -inf would give NaN
        log_prob, index = ops.top_k(ops.reshape(log_prob, (B, K * W)), min(2 * K, K * W))
        return log_prob, index // W, pick(ops.reshape(ops.cast(token, "int32"), (B, K * W)), index)

    def finish(beams, t, log_prob, beam, is_end):
        """Merges the first K continuations (B, K), where they end, into the pool."""
        ends = ops.logical_and(is_end, ops.logical_not(ops.expand_dims(beams.done, 1)))
        log_prob = ops.where(ends, log_prob, IMPOSSIBLE)
        scores = ops.concatenate([beams.pool_scores, log_prob / ops.take(divisor, t)], axis=1)  # (B, 2K)
        scores, index = ops.top_k(scores, K)
        new = index >= K
        prefix = pick(ops.concatenate([ops.zeros_like(beam) + ops.arange(K), beam + K], axis=1), index)  # of 2K rows
        tokens = pick(ops.concatenate([beams.pool_tokens, beams.tokens], axis=1), prefix)  # (B, K, T)
        here = ops.logical_and(ops.expand_dims(new, 2), positions == t)
        lengths = ops.concatenate([beams.pool_lengths, ops.zeros_like(beam) + t + 1], axis=1)
        return (
            ops.where(here, end_id, tokens),
            pick(lengths, index),
            pick(ops.concatenate([beams.pool_log_probs, log_prob], axis=1), index),
            scores,
        )

    def is_done(t, done, log_probs, pool_scores):
        best = log_probs[:, 0]
        if early_stop == "first":
            now = ops.logical_or(pool_scores[:, K - 1] > IMPOSSIBLE, best == IMPOSSIBLE)
        else:
            # log p only falls, so the most a live hypothesis can reach is its log p over the largest divisor to come.
            within_reach = best / ops.max(ops.where(positions > t, divisor, 0.0))
            now = within_reach <= pool_scores[:, num_return - 1]
        return ops.logical_or(done, now)

    def body(t, last, beams, tensors):
        beams = Beams(*beams)
        logits, new_state = next_logits(step, last, nest.pack(tensors), end_id)  # (N, V)
        log_prob, beam, token = continuations(logits, beams.log_probs)  # (B, C)
        is_end = token == end_id
        pool = finish(beams, t, log_prob[:, :K], beam[:, :K], is_end[:, :K])

        live, index = ops.top_k(ops.where(is_end, IMPOSSIBLE, log_prob), K)  # at most K of the 2K end
        beam, token = pick(beam, index), pick(token, index)  # (B, K)
        tokens = ops.where(positions == t, ops.expand_dims(token, 2), pick(beams.tokens, beam))
        order = ops.reshape(sentence * K + beam, (-1,))  # (N,)
        new_state = [ops.take(x, order, axis=0) for x in nest.unpack(new_state)] if K > 1 else nest.unpack(new_state)
        done = is_done(t, beams.done, live, pool[3])
        return t + 1, ops.reshape(token, (B * K,)), tuple(Beams(tokens, live, *pool, done)), new_state

    def unfinished(t, last, beams, tensors):
        return ops.logical_and(t < T, ops.logical_not(ops.all(beams[-1])))

    nobody = ops.full((B, K), IMPOSSIBLE, "float32")
    start = Beams(
        tokens=ops.full((B, K, T), pad_id, "int32"),
        log_probs=ops.where(ops.arange(K) == 0, 0.0, nobody),  # one beam to begin with: K equal ones would stay equal
        pool_tokens=ops.full((B, K, T), pad_id, "int32"),
        pool_lengths=ops.zeros((B, K), "int32"),
        pool_log_probs=nobody,
        pool_scores=nobody,
        done=ops.zeros((B,), "bool"),
    )
    zero = ops.convert_to_tensor(0, "int32")
    last = ops.full((B * K,), start_id, "int32")
    t, _, beams, _ = ops.while_loop(unfinished, body, (zero, last, tuple(start), nest.first))
    beams = Beams(*beams)

    # The live ones come after those in the pool, all of length t; no two lists need sorting again.
    alive = ops.logical_and(beams.log_probs > IMPOSSIBLE, t > 0)
    live_log_probs = ops.where(alive, beams.log_probs, IMPOSSIBLE)
    live_scores = live_log_probs / ops.take(divisor, ops.maximum(t, 1) - 1)
    finished = ops.sum(ops.cast(beams.pool_scores > IMPOSSIBLE, "int32"), axis=1, keepdims=True)  # (B, 1)
    slot = ops.expand_dims(ops.arange(num_return), 0)
    index = ops.where(slot < finished, slot, K + slot - finished)  # (B, R)
    log_probs = pick(ops.concatenate([beams.pool_log_probs, live_log_probs], axis=1), index)
    empty = log_probs == IMPOSSIBLE
    tokens = pick(ops.concatenate([beams.pool_tokens, beams.tokens], axis=1), index)
    lengths = pick(ops.concatenate([beams.pool_lengths, ops.zeros_like(beams.pool_lengths) + t], axis=1), index)
    return Hypotheses(
        tokens=ops.where(ops.expand_dims(empty, 2), pad_id, tokens),
        lengths=ops.where(empty, 0, lengths),
        log_probs=log_probs,
        scores=pick(ops.concatenate([beams.pool_scores, live_scores], axis=1), index),
    )
