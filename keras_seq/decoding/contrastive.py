"""Contrastive search: a likely next token whose hidden state is unlike those of the tokens before it."""

import dataclasses
from numbers import Integral

from keras import ops

from keras_seq.decoding.decode_loop import hypotheses
from keras_seq.decoding.greedy import Greedy
from keras_seq.decoding.protocol import (
    IMPOSSIBLE,
    Hypotheses,
    Progress,
    Search,
    StateNest,
    check_max_length,
    constrained,
    gather_per_row,
    l2_normalize,
    next_logits,
    normalized,
    size,
)
from keras_seq.decoding.top_k import blockwise_top_k


@dataclasses.dataclass(frozen=True)
class Contrastive(Search):
    """Generates the one of the k likeliest tokens with the best balance of probability and repetition.

        the next token = argmax over v of (1 - alpha) p(v) - alpha max over the tokens x before of cos(h(v), h(x))

    h is the hidden state after a token: the vector from which the scores of the next token are computed. A model puts
    it into its state on request, see `hidden_states` of `models.Seq2Seq.encode`. The tokens before are the generated
    ones, the start token, and the prompt of a language model.

    All k candidates are read at once, as k rows of the state. The chosen one has therefore made its step already.

    Args:
        top_k: k.
        alpha: weight of the penalty, from 0, which is greedy search, to 1.
    Raises:
        ValueError: for an option out of its range or, when called, for `top_k` above the number of tokens.
    Source: Su et al. 2022, arXiv:2202.06417.
    """

    top_k: int = 4
    alpha: float = 0.6

    hidden_states = True
    lookahead = 1  # the candidates for the last token are read like all others
    static_fields = ("top_k",)

    def __post_init__(self):
        if not (isinstance(self.top_k, Integral) and self.top_k >= 1):
            raise ValueError(f"`top_k` must be a whole number of at least 1. Received: {self.top_k!r}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"`alpha` must be from 0 to 1. Received: {self.alpha!r}")

    @property
    def rows_per_example(self):
        return self.top_k

    def simplify(self, constraints=()):
        return Greedy() if self.top_k == 1 or self.alpha == 0 else self

    def __call__(
        self, step, state, *, batch_size, max_length, start_id, end_id, pad_id, constraints=(), context=None
    ) -> Hypotheses:
        """Runs the search.

        Args:
            step: `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`, N = B * k, the candidates of a sentence
                side by side. Logits may be -inf.
            state: a dict of nests of tensors with leading axis N and constant shapes. "hidden", `(N, 1, D)`, is the
                hidden state of the latest step.
            batch_size: B, an int or a scalar tensor.
            max_length: T, the end token counted. The state has room for one more step.
            start_id, end_id, pad_id: ints.
            constraints: see `decoding.constraints`.
            context: hidden states before the start token, `{"hidden": (B, P, D), "mask": bool (B, P)}` (None: none).
        Returns:
            `Hypotheses` with one slot. Its score is the sum of its tokens' scores.
        """
        check_max_length(max_length)
        self.check(constraints, batch_size)
        K, B, T = self.top_k, size(batch_size), size(max_length)
        logits, state = next_logits(step, ops.full((B * K,), start_id, "int32"), state, end_id)
        if logits.shape[1] < K:
            raise ValueError(f"`top_k`={K} must be at most the number of tokens, V. Received: V={logits.shape[1]}")
        first = ops.arange(B, dtype="int32") * K  # the first row of each sentence
        nest, positions, sentence = StateNest(state), ops.arange(T, dtype="int32"), ops.arange(B, dtype="int32")
        seen, visible = _seen(ops.take(state["hidden"], first, axis=0), context, T)
        places, shape = ops.arange(ops.shape(seen)[1], dtype="int32"), ops.shape(seen)
        begin = shape[1] - T  # the place of the start token. Token t follows t + 1 places later

        def unfinished(t, logits, log_probs, scores, lengths, done, tokens, seen, tensors):
            return ops.logical_and(t < T, ops.logical_not(ops.all(done)))

        def body(t, logits, log_probs, scores, lengths, done, tokens, seen, tensors):
            log_p = normalized(logits)  # (B, V)
            gains, candidates = blockwise_top_k(
                constrained(log_p, constraints, Progress(tokens, t, sentence, end_id)), K
            )
            logits, state = next_logits(step, ops.reshape(candidates, (B * K,)), nest.pack(tensors), end_id)
            hidden = ops.reshape(l2_normalize(state["hidden"]), (B, K, shape[2]))
            likeness = ops.einsum("bkd,bld->bkl", hidden, seen)
            past = ops.logical_and(visible, places <= begin + t)  # (B, L)
            likeness = ops.max(ops.where(ops.expand_dims(past, 1), likeness, -1.0), axis=2)
            value = (1.0 - self.alpha) * ops.exp(gains) - self.alpha * likeness
            best = ops.cast(ops.argmax(ops.where(gains > IMPOSSIBLE, value, IMPOSSIBLE), axis=1), "int32")  # (B,)

            token = gather_per_row(candidates, best)
            last = ops.where(done, pad_id, token)
            log_probs = ops.where(done, log_probs, log_probs + gather_per_row(log_p, token))
            scores = ops.where(done, scores, scores + gather_per_row(gains, best))
            lengths = ops.where(done, lengths, t + 1)
            done = ops.logical_or(done, ops.logical_or(last == end_id, scores == IMPOSSIBLE))
            tokens = ops.where(positions == t, ops.expand_dims(last, 1), tokens)

            row = first + best
            said = ops.take(ops.reshape(hidden, (B * K, 1, shape[2])), row, axis=0)  # (B, 1, D)
            seen = ops.where(ops.reshape(places == begin + t + 1, (1, -1, 1)), said, seen)
            logits = ops.take(logits, row, axis=0)
            tensors = [ops.take(x, ops.repeat(row, K), axis=0) for x in nest.unpack(state)]
            # Shapes are restated for loops over dynamic batches.
            flat = [ops.reshape(x, (B,)) for x in (log_probs, scores, lengths, done)]
            return t + 1, logits, *flat, ops.reshape(tokens, (B, T)), ops.reshape(seen, shape), tensors

        start = (
            ops.convert_to_tensor(0, "int32"),
            ops.take(logits, first, axis=0),
            ops.zeros((B,), "float32"),
            ops.zeros((B,), "float32"),
            ops.zeros((B,), "int32"),
            ops.zeros((B,), "bool"),
            ops.full((B, T), pad_id, "int32"),
            seen,
            nest.first,
        )
        _, _, log_probs, scores, lengths, _, tokens, _, _ = ops.while_loop(unfinished, body, start)
        return hypotheses(tokens, lengths, log_probs, scores, width=1, pad_id=pad_id)


def _seen(start, context, T):
    """The directions of the hidden states before the first token, the start token's last, with room for T - 1 more.

    Args:
        start: `(B, 1, D)`.   context: see `Contrastive`.
    Returns:
        `(directions, visible)`: `(B, P + T, D)`, and bool `(B, P + T)`, True for real tokens.
    """
    seen = ops.repeat(l2_normalize(start), T, axis=1)
    visible = ops.ones(ops.shape(seen)[:2], "bool")
    if context is not None:
        seen = ops.concatenate([l2_normalize(context["hidden"]), seen], axis=1)
        visible = ops.concatenate([context["mask"], visible], axis=1)
    return seen, visible
