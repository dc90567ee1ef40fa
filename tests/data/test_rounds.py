"""Rounds: the batches of the epochs in order, cut at equal numbers of tokens, from any place in them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_seq import data
from tests.reference import quick


def batches_of(tokens_per_batch: int):
    rows = [(np.full(1 + number % 7, 1 + number, "int32"), number % 2) for number in range(60)]
    spec = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    examples = tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=spec).cache()
    steps = [data.shuffled(1), data.shuffled(2, 100)]
    batches = examples.apply(steps[0]).apply(data.bucketed(tokens_per_batch)).apply(steps[1])
    return batches, steps


def listed(dataset, count=None):
    return [inputs.numpy().tolist() for inputs, _ in itertools.islice(dataset, count)]


def epochs_in_order(batches, steps, count):
    result = []
    for epoch in range(count):
        for step in steps:
            step.start_epoch(epoch)
        result += listed(batches)
    return result


def tokens_of(batch):
    return int(np.count_nonzero(batch))


@pytest.mark.parametrize("tokens_per_batch", quick([21, 56], few=[56]))
def test_rounds_have_the_batches_of_the_epochs_and_equal_tokens(tokens_per_batch):
    batches, steps = batches_of(tokens_per_batch)
    expected = epochs_in_order(batches, steps, 4)
    rounds = data.Rounds(batches, steps, tokens=600, rounds=5)
    dataset, seen = rounds.dataset(), []
    for number in range(5):
        rounds.start_epoch(number)
        seen += listed(dataset)
        mark, last = 600 * (number + 1) / 5, tokens_of(seen[-1])
        total = sum(map(tokens_of, seen))
        assert total == rounds.tokens[number] == rounds.tokens_until(len(seen))
        assert mark <= total < mark + last  # the batch that completes the mark is the last one
    assert seen == expected[: len(seen)] and len(seen) == rounds.updates == sum(rounds.steps)
    assert len(seen) > len(listed(batches))  # more than an epoch


def test_a_round_can_begin_at_any_step():
    rounds = data.Rounds(*batches_of(30), tokens=500, rounds=4)
    dataset = rounds.dataset()
    assert dataset.cardinality() == max(rounds.steps)
    whole = {}
    for number in (2, 0, 3, 1):  # in any order, and again
        rounds.start_epoch(number)
        whole[number] = listed(dataset)
        assert len(whole[number]) == rounds.steps[number]
        for step in (1, rounds.steps[number] - 1):
            rounds.start_epoch(number)
            rounds.start_step(step)
            assert listed(dataset) == whole[number][step:]
    rounds.start_epoch(4)  # after the last one, which comes again
    rounds.start_step(0)
    assert listed(dataset) == whole[3]


def test_without_a_budget_the_caller_ends_the_rounds():
    batches, steps = batches_of(30)
    expected = epochs_in_order(batches, steps, 3)
    rounds = data.Rounds(batches, steps, tokens=None)
    for step in (0, 5, len(expected) // 2):
        rounds.start_at(step)
        assert listed(rounds.dataset(), 20) == expected[step : step + 20]


def test_units():
    labels = tf.data.Dataset.from_tensors((tf.zeros((4, 3), tf.int32), tf.constant([[5, 0], [6, 7], [8, 0], [9, 9]])))
    rounds = data.Rounds(labels, tokens=12, rounds=2)  # labels that are not padding, of 6 a batch
    assert (rounds.unit, rounds.tokens) == ("tokens", [6, 12])
    weighted = labels.map(lambda inputs, labels: (inputs, labels, tf.ones_like(labels, tf.float32)))
    assert data.Rounds(weighted, tokens=8, rounds=1).tokens == [8]
    frames = tf.data.Dataset.from_tensors((tf.zeros((4, 3)), tf.zeros(4)))
    rounds = data.Rounds(frames, tokens=8, rounds=2)
    assert (rounds.unit, rounds.tokens) == ("examples", [4, 8])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "`tokens` must be above 0. Received: 0"),
        ({"tokens": float("nan")}, "`tokens` must be above 0"),
        ({"tokens": 10, "rounds": 0}, "`rounds` must be"),
        ({"tokens": 40, "rounds": 10}, "10 rounds of 40 tokens in all are smaller than a batch"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.Rounds(*batches_of(30), **arguments)


def test_data_without_tokens_is_refused():
    empty = tf.data.Dataset.from_tensors((tf.zeros((2, 3), tf.int32), tf.zeros((2, 3), tf.int32)))
    with pytest.raises(ValueError, match="The training data has no tokens"):
        data.Rounds(empty, tokens=5)
