"""What counting alone foretells: an n-gram model, the baseline of language models.

    p(token | n - 1 before) = (count(all n) + kinds * p(token | n - 2 before)) / (count(the n - 1) + kinds)

where `kinds` is the number of different tokens that were seen after the n - 1: the more of them, the likelier is a new
one (Witten and Bell 1991, interpolated). Below the single tokens lies the uniform distribution.
"""

import numpy as np


def losses(train: np.ndarray, valid: np.ndarray, order: int, vocabulary_size: int) -> np.ndarray:
    """The loss of every token of `valid`, float `(N,)` in nats, from the counts of `train`.

    Args:
        train, valid: ids `(M,)` and `(N,)` below `vocabulary_size`, V; the first tokens of `valid` have fewer before
            them.
        order: n.
    Raises:
        ValueError: if V to the power of n is no 64-bit number.
    """
    if order < 1 or vocabulary_size**order >= 2**63:
        raise ValueError(
            f"`order` must be at least 1, and vocabulary_size ** order below 2 ** 63. Received: {order}, with "
            f"{vocabulary_size} tokens"
        )
    probability = np.full(len(valid), 1 / vocabulary_size)
    for n in range(1, order + 1):
        grams, counts = np.unique(_grams(train, n, vocabulary_size), return_counts=True)
        contexts, begins = np.unique(grams // vocabulary_size, return_index=True)
        kinds = np.diff([*begins, len(grams)])
        totals = np.add.reduceat(counts, begins)
        asked = _grams(valid, n, vocabulary_size)
        count = _looked_up(grams, counts, asked)
        total, kind = (_looked_up(contexts, of, asked // vocabulary_size) for of in (totals, kinds))
        rest = probability[n - 1 :]
        # After what was never seen, the shorter context has all the say.
        rest[:] = np.where(total, (count + kind * rest) / np.maximum(total + kind, 1), rest)
    return -np.log(probability)


def _grams(ids: np.ndarray, n: int, vocabulary_size: int) -> np.ndarray:
    """Each run of n ids as one number, int64 `(N - n + 1,)`."""
    ids = np.asarray(ids, np.int64)
    numbers = np.zeros(max(0, len(ids) - n + 1), np.int64)
    for place in range(n):
        numbers = numbers * vocabulary_size + ids[place : place + len(numbers)]
    return numbers


def _looked_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The values of the keys that are asked for; 0 of those that are not there."""
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[places] == asked, values[places], 0)
