import collections
import logging

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_seq.data.mixture import Mixture, _shares, mixture


def corpora(*sizes):
    """Example k of corpus i is 1000 i + k."""
    return [tf.data.Dataset.range(1000 * i, 1000 * i + size) for i, size in enumerate(sizes)]


def numbers(dataset):
    return [int(number) for number in dataset.as_numpy_iterator()]


def unknown(dataset):
    return dataset.filter(lambda x: x >= 0)  # no longer knows its size


def test_by_size_each_example_comes_once():
    mixed = mixture(corpora(7, 1, 30), seed=3)
    assert mixed.cardinality() == 38
    found = numbers(mixed)
    assert sorted(found) == sorted(number for corpus in corpora(7, 1, 30) for number in numbers(corpus))
    assert [n for n in found if n < 1000] == list(range(7))  # each corpus keeps its own order
    assert found != sorted(found)


def test_temperature_by_hand():
    # 4 and 64 examples at temperature 2: shares 2 to 8; 64 once means 16 of the small corpus, which is 4 passes.
    mixed = Mixture(corpora(4, 64), temperature=2, seed=1)
    assert (mixed.examples, mixed.passes) == ([16, 64], [4, 1])
    assert str(mixed) == (
        "80 examples per epoch: corpus 0 of 4: 16 examples, 4.00 passes; corpus 1 of 64: 64 examples, 1.00 passes"
    )
    counts = collections.Counter(numbers(mixed.dataset()))
    assert counts == {**dict.fromkeys(range(4), 4), **dict.fromkeys(range(1000, 1064), 1)}
    # Half a degree, and the other way about: shares 1 to 256, so that the small corpus passes once.
    assert Mixture(corpora(4, 64), temperature=0.5).examples == [4, 1024]
    assert Mixture(corpora(4, 64), temperature=1e9).examples == [64, 64]
    assert Mixture(corpora(4, 64), weights=[3, 1]).examples == [192, 64]
    assert Mixture(corpora(4, 64), weights=[3, 1], examples_per_epoch=10).examples == [8, 2]  # 7.5 and 2.5


@given(
    st.lists(st.integers(1, 10**7), min_size=1, max_size=6),
    st.floats(0.05, 50),
    st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_shares(sizes, temperature, examples_per_epoch):
    counts = _shares(sizes, None, temperature, examples_per_epoch)
    weights = [(size / max(sizes)) ** (1 / temperature) for size in sizes]
    if examples_per_epoch is None:
        assert all(count >= size for count, size in zip(counts, sizes, strict=True))  # nobody is left out
        assert any(count == size for count, size in zip(counts, sizes, strict=True))  # and no epoch is longer than that
        total = max(size / weight for size, weight in zip(sizes, weights, strict=True)) * sum(weights)
    else:
        total = sum(counts)
        assert total == examples_per_epoch
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) <= 1 + 1e-9 * total


def test_the_order_is_a_function_of_seed_and_epoch():
    def epochs(count, **options):
        mixed = Mixture(corpora(20, 5), weights=[1, 1], **options)
        dataset = mixed.dataset()
        return [numbers(dataset) for _ in range(count)], mixed, dataset

    (first, second, third), mixed, dataset = epochs(3, seed=5)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert epochs(1, seed=5, first_epoch=2)[0] == [third]
    mixed.start_epoch(1)
    assert numbers(dataset) == second
    assert epochs(1, seed=6)[0] != [first]
    tf.random.set_seed(9)
    assert epochs(1, seed=5)[0] == [first]


def test_a_corpus_goes_on_where_it_stopped():
    mixed = Mixture([unknown(corpus) for corpus in corpora(3, 5)], sizes=[3, 5], examples_per_epoch=6, weights=[2, 1])
    assert mixed.examples == [4, 2] and mixed.passes == [4 / 3, 0.4]
    dataset = mixed.dataset()
    epochs = [numbers(dataset) for _ in range(6)]
    for i, size in enumerate((3, 5)):
        stream = [number for epoch in epochs for number in epoch if number // 1000 == i]
        assert stream == [1000 * i + k % size for k in range(len(stream))]
        assert len(stream) == 6 * mixed.examples[i]


def test_all_arrangements_are_equally_likely():
    """Of two and two: six arrangements, drawn 3,000 times; also across the ends of blocks."""
    mixed = Mixture(corpora(2, 2))
    drawn = collections.Counter(tuple(np.concatenate(list(mixed._choices(epoch)))) for epoch in range(3000))
    assert len(drawn) == 6
    chi_square = sum((count - 500) ** 2 / 500 for count in drawn.values())
    assert chi_square < 20.5  # 5 degrees of freedom: passed with p = 0.999, always the same draws


def test_large_corpora_are_drawn_in_blocks():
    mixed = Mixture([tf.data.Dataset.range(n) for n in (150_000, 50_000)], seed=1)
    blocks = list(mixed._choices(0))
    assert len(blocks) == 4 and np.bincount(np.concatenate(blocks)).tolist() == [150_000, 50_000]
    assert all(abs(block.mean() - 0.25) < 0.01 for block in blocks)  # standard deviation 0.002


def test_any_elements_and_a_logged_account(caplog):
    pairs = tf.data.Dataset.from_tensors((tf.constant("a"), tf.constant([1, 2])))
    with caplog.at_level(logging.INFO, "keras_seq"):
        found = list(mixture([pairs, pairs.repeat(3)], [1, 1]).as_numpy_iterator())
    assert len(found) == 6 and found[0][0] == b"a" and "corpus 0 of 1: 3 examples, 3.00 passes" in caplog.text


def test_wrong_sizes_are_noticed():
    for wrong in (9, 11):
        mixed = mixture([unknown(corpus) for corpus in corpora(10, 10)], sizes=[10, wrong], weights=[1, 3])
        with pytest.raises(tf.errors.FailedPreconditionError, match=f"expected to contain {wrong}"):
            numbers(mixed)


def test_arguments():
    two = corpora(3, 4)
    with pytest.raises(ValueError, match="not both"):
        mixture(two, [1, 2], temperature=2)
    with pytest.raises(ValueError, match="`temperature` must be positive.*0"):
        mixture(two, temperature=0)
    for weights in ([1], [1, 0], [1, float("nan")], [1, float("inf")]):
        with pytest.raises(ValueError, match="one positive number for each of the 2"):
            mixture(two, weights)
    with pytest.raises(ValueError, match="at least one"):
        mixture([])
    with pytest.raises(ValueError, match=r"datasets\[1\] of TensorSpec"):
        mixture([two[0], two[1].map(lambda x: tf.cast(x, tf.int32))])
    with pytest.raises(ValueError, match=r"datasets\[1\] is empty"):
        mixture(corpora(3, 0))
    for endless in (two[0].repeat(), unknown(two[0])):
        with pytest.raises(ValueError, match=r"datasets\[0\] has an unknown number.*Pass `sizes`"):
            mixture([endless, two[1]])
    with pytest.raises(ValueError, match=r"datasets\[1\] has 4 examples"):
        mixture(two, sizes=[3, 5])
    with pytest.raises(ValueError, match="one number for each"):
        mixture(two, sizes=[3])
    with pytest.raises(ValueError, match="`examples_per_epoch` must be positive"):
        mixture(two, examples_per_epoch=0)
    with pytest.raises(ValueError, match="must not be negative"):
        mixture(two, seed=-1)


def test_an_epoch_can_be_chosen():
    mixed = Mixture(corpora(2, 2), first_epoch=5)
    epochs = mixed._epochs.dataset()
    assert numbers(epochs) == [5]
    mixed.start_epoch(3)
    assert [numbers(epochs), numbers(epochs)] == [[3], [4]]
