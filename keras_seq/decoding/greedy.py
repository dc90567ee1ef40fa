"""Greedy search: the likeliest token at each step."""

import dataclasses
from collections.abc import Callable

from keras import ops

from keras_seq.decoding.decode_loop import decode_stepwise
from keras_seq.decoding.protocol import (
    IMPOSSIBLE,
    Search,
    check_length_penalty,
    constrained,
    gather_per_row,
    normalized,
)
from keras_seq.decoding.top_k import logsumexp_from_max


@dataclasses.dataclass(frozen=True)
class Greedy(Search):
    """Generates the likeliest next token until the end token: a `Beam` of one, without its bookkeeping.

    Args:
        length_penalty: divisor of log p in `scores`, a function of the length (None: no divisor). It changes no token.
    Raises:
    """

    length_penalty: Callable | None = None

    def __post_init__(self):
        check_length_penalty(self.length_penalty)

    def __call__(self, step, state, *, batch_size, max_length, start_id, end_id, pad_id, constraints=()):
        """See `decoding.protocol`. Without constraints, log p is computed for one token per row, not for (N, V)."""
        self.check(constraints, batch_size)

        def choose(logits, progress):
            if not constraints:
                best, token = ops.top_k(logits, 1)  # (N, 1), faster than argmax
                # If no token is possible any more, the sequence is impossible, not NaN.
                gained = ops.where(best > IMPOSSIBLE, best - logsumexp_from_max(logits, best), IMPOSSIBLE)
                return ops.cast(token[:, 0], "int32"), gained[:, 0], gained[:, 0]
            log_probs = normalized(logits)
            best, token = ops.top_k(constrained(log_probs, constraints, progress), 1)
            token = ops.cast(token[:, 0], "int32")
            return token, gather_per_row(log_probs, token), best[:, 0]

        return decode_stepwise(
            step,
            state,
            choose,
            width=1,
            batch_size=batch_size,
            max_length=max_length,
            start_id=start_id,
            end_id=end_id,
            pad_id=pad_id,
            length_penalty=self.length_penalty,
            constraints=constraints,
        )
