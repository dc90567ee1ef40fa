"""Scores of sequences: length penalties, and the log-probability of a given target."""

import dataclasses
from numbers import Number
from typing import Any

from keras import ops


@dataclasses.dataclass(frozen=True)
class LengthPenalty:
    """The divisor `((beta + length) / (beta + 1)) ** alpha`, as a function of a length.

    The length is a number or a tensor, with the end token counted.

    Args:
        alpha: exponent, a number or a scalar tensor (0 turns the penalty off).
        beta: number of tokens added to every length.
    """

    alpha: Any
    beta: float = 0.0

    def __call__(self, length):
        length = length if isinstance(length, Number) else ops.cast(length, "float32")
        return ((self.beta + length) / (self.beta + 1.0)) ** self.alpha


def power_penalty(alpha):
    """The divisor `length ** alpha`. With `alpha=1` the score is the mean log-probability of a token.

    Args:
        alpha: exponent (0 turns the penalty off).
    Returns:
        A `LengthPenalty`.
    Source: fairseq, `--lenpen`.
    """
    return LengthPenalty(alpha)


def gnmt_penalty(alpha):
    """The divisor `((5 + length) / 6) ** alpha`.

    Args:
        alpha: exponent (0 turns the penalty off).
    Returns:
        A `LengthPenalty`.
    Source: Wu et al. 2016, equation 14, arXiv:1609.08144.
    """
    return LengthPenalty(alpha, beta=5.0)


def sockeye_penalty(alpha, beta=0.0):
    """The divisor `((beta + length) / (beta + 1)) ** alpha`: with `beta=5` that of GNMT, with 0 `power_penalty`.

    Args:
        alpha: exponent (0 turns the penalty off).
        beta: number of tokens added to every length.
    Returns:
        A `LengthPenalty`.
    Source: Sockeye, `--length-penalty-alpha` and `--length-penalty-beta`, and Hieber et al. 2017, arXiv:1712.05690.
    """
    return LengthPenalty(alpha, beta)


# By their names on the command line. Each is called with alpha.
PENALTIES = {"power": power_penalty, "gnmt": gnmt_penalty, "sockeye": sockeye_penalty}


def score(decode, state, target, *, pad_id, start_id) -> tuple[Any, Any]:
    """Forced decoding: the log-probability of a given target, in one pass.

    Args:
        decode: `decode(tokens (B, T), state) -> (logits (B, T, V), state)`, such as `model.decode`.
        state: state returned by `model.encode`, with room for T tokens.
        target: int `(B, T)`, without the start token, padded with `pad_id`.
        pad_id: id of the positions that do not count.
        start_id: id of the token that decoding starts from.
    Returns:
        `(token_log_probs, total)`, float32 `(B, T)` (0 where padded) and `(B,)`.
    """
    target = ops.cast(target, "int32")
    start = ops.full_like(target[:, :1], start_id)
    logits, _ = decode(ops.concatenate([start, target[:, :-1]], axis=1), state)
    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)  # (B, T, V)
    log_probs = ops.squeeze(ops.take_along_axis(log_probs, ops.expand_dims(target, -1), axis=-1), -1)  # (B, T)
    log_probs = ops.where(target != pad_id, log_probs, 0.0)
    return log_probs, ops.sum(log_probs, axis=1)
