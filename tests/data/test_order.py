import numpy as np
import pytest
import tensorflow as tf

from keras_seq import data


def epochs(dataset, count):
    return [list(dataset.as_numpy_iterator()) for _ in range(count)]


def test_order_is_a_function_of_seed_and_epoch():
    numbers = tf.data.Dataset.range(100)
    orders = epochs(numbers.apply(data.shuffled(7)), 4)
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epochs(numbers.apply(data.shuffled(7)), 4) == orders
    assert epochs(numbers.apply(data.shuffled(8)), 1)[0] not in orders


@pytest.mark.parametrize("seed", [0, 1, -1, 2**40])
def test_first_epoch_goes_on(seed):
    numbers = tf.data.Dataset.range(50)
    orders = epochs(numbers.apply(data.shuffled(seed)), 4)
    assert epochs(numbers.apply(data.shuffled(seed, first_epoch=2)), 2) == orders[2:]


def test_start_epoch_makes_up_for_other_iterations():
    numbers = tf.data.Dataset.range(50)
    order = data.shuffled(3)
    dataset = numbers.apply(order)
    orders = epochs(dataset, 2)
    next(iter(dataset))  # as building a model from the first batch does
    order.start_epoch(1)
    assert epochs(dataset, 1)[0] == orders[1]


@pytest.mark.parametrize("global_seed", [0, 5])
def test_global_seed_has_no_say(global_seed):
    numbers = tf.data.Dataset.range(50)
    expected = epochs(numbers.apply(data.shuffled(3)), 2)
    tf.random.set_seed(global_seed)
    assert epochs(numbers.apply(data.shuffled(3)), 2) == expected


def test_later_steps_and_cardinality_survive():
    dataset = tf.data.Dataset.range(10).cache().apply(data.shuffled(1)).map(lambda i: 2 * i)
    assert dataset.cardinality() == 10
    first, second = epochs(dataset.batch(4).unbatch().prefetch(2), 2)
    assert sorted(first) == sorted(second) == list(range(0, 20, 2)) and first != second


def test_small_buffer_moves_only_nearby():
    order = epochs(tf.data.Dataset.range(100).apply(data.shuffled(1, buffer_size=5)), 1)[0]
    assert sorted(order) == list(range(100)) != order
    assert all(example < place + 5 for place, example in enumerate(order))


def test_two_datasets_of_one_seed_do_not_share_epochs():
    numbers = tf.data.Dataset.range(50)
    one, two = numbers.apply(data.shuffled(1)), numbers.apply(data.shuffled(1))
    assert epochs(one, 2) == epochs(two, 2)


def test_bad_arguments():
    with pytest.raises(ValueError, match="buffer_size=0"):
        data.shuffled(1, buffer_size=0)
    with pytest.raises(ValueError, match="first_epoch=-1"):
        data.shuffled(1, first_epoch=-1)


def test_lengths_and_shorter_than():
    shapes = [(3, 4), (9, 2), (2, 10), (9, 9), (10, 1), (0, 0)]
    dataset = tf.data.Dataset.from_generator(
        lambda: ((np.ones(s, np.int32), np.ones(t, np.int32)) for s, t in shapes),
        output_signature=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32)),
    )
    assert data.lengths(dataset).tolist() == [list(shape) for shape in shapes]
    assert data.lengths(dataset.apply(data.shorter_than(10))).tolist() == [[3, 4], [9, 2], [9, 9], [0, 0]]
    assert data.lengths(dataset.take(0)).shape == (0, 2)
    with pytest.raises(ValueError, match="Received: 0"):
        data.shorter_than(0)
