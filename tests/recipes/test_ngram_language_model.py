"""Counts against a few lines that any reader can follow, and against what is known."""

import numpy as np
import pytest

from recipes.baselines import ngram_language_model


def probability(train, context, token, V):
    """Written out by the formula."""
    if context is None:
        return 1 / V
    n = len(context)
    shorter = probability(train, context[1:] if n else None, token, V)
    following = [train[i + n] for i in range(len(train) - n) if tuple(train[i : i + n]) == context]
    if not following:
        return shorter
    kinds = len(set(following))
    return (following.count(token) + kinds * shorter) / (len(following) + kinds)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_as_by_hand(order):
    draw = np.random.default_rng(1)
    train, valid = draw.integers(0, 5, 60).tolist(), draw.integers(0, 6, 40).tolist()
    expected = [
        -np.log(probability(train, tuple(valid[max(0, i - order + 1) : i]), token, 6)) for i, token in enumerate(valid)
    ]
    np.testing.assert_allclose(ngram_language_model.losses(np.array(train), np.array(valid), order, 6), expected)


def test_it_is_a_distribution_and_learns_what_repeats():
    train = np.tile([1, 2, 3, 4], 50)
    whole = [np.exp(-ngram_language_model.losses(train, np.array([1, 2, token]), 3, 6)[-1]) for token in range(6)]
    assert np.sum(whole) == pytest.approx(1.0) and np.argmax(whole) == 3
    assert (
        ngram_language_model.losses(train, train, 3, 6).mean()
        < 0.1
        < ngram_language_model.losses(train, train, 1, 6).mean()
    )


def test_what_no_number_holds():
    for order, size in ((0, 5), (7, 8_000)):
        with pytest.raises(ValueError, match=f"Received: {order}, with {size} tokens"):
            ngram_language_model.losses(np.zeros(9, int), np.zeros(9, int), order, size)
