"""An interpolated n-gram model from counts, the baseline of language models.

    p(token | n - 1 before) = (count(all n) + kinds * p(token | n - 2 before)) / (count(the n - 1) + kinds)

where `kinds` is the number of different tokens that follow the n - 1 tokens in the training text: the more of them,
the likelier is a new one (Witten and Bell 1991, interpolated). Unigrams are interpolated with the uniform distribution.
"""

import numpy as np


def losses(train: np.ndarray, valid: np.ndarray, order: int, vocabulary_size: int) -> np.ndarray:
    """The loss of every token of `valid`, float `(N,)` in nats, from the counts of `train`.

    Args:
        train, valid: ids `(M,)` and `(N,)` below `vocabulary_size`, V. The first tokens of `valid` have a shorter
            context.
        order: order of the model, n.
        vocabulary_size: number of tokens, V.
    Raises:
        ValueError: if V to the power of n does not fit a 64-bit integer.
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
        queries = _grams(valid, n, vocabulary_size)
        count = _lookup(grams, counts, queries)
        total, kind = (_lookup(contexts, of, queries // vocabulary_size) for of in (totals, kinds))
        rest = probability[n - 1 :]
        # After an unseen context, the probability is that of the shorter context.
        rest[:] = np.where(total, (count + kind * rest) / np.maximum(total + kind, 1), rest)
    return -np.log(probability)


def _grams(ids: np.ndarray, n: int, vocabulary_size: int) -> np.ndarray:
    """Each run of n ids as one number, int64 `(N - n + 1,)`."""
    ids = np.asarray(ids, np.int64)
    numbers = np.zeros(max(0, len(ids) - n + 1), np.int64)
    for place in range(n):
        numbers = numbers * vocabulary_size + ids[place : place + len(numbers)]
    return numbers


def _lookup(keys: np.ndarray, values: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The values of the queried keys, and 0 for keys that are missing."""
    places = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[places] == queries, values[places], 0)
