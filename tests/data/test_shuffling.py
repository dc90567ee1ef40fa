import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data
from keras_seq.data.shuffling import from_step
from tests.reference import quick


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
    assert tf.data.Dataset.range(0).apply(data.shuffled(1)).cardinality() == 0
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
    with pytest.raises(ValueError, match="`buffer_size` must be positive. Received: 0"):
        data.shuffled(1, buffer_size=0)
    with pytest.raises(ValueError, match="must not be negative. Received: -1"):
        data.shuffled(1, first_epoch=-1)


def test_a_second_shuffle_mixes_the_batches():
    numbers = tf.data.Dataset.range(22).map(lambda i: tf.fill([1 + i % 2], i))
    full = numbers.apply(data.shuffled(1)).apply(data.bucketed(examples_per_batch=4, buckets=[1, 2]))
    mixed = numbers.apply(data.shuffled(1)).apply(data.bucketed(examples_per_batch=4, buckets=[1, 2]))
    mixed = mixed.apply(data.shuffled(2))
    orders = []
    for before, after in zip(epochs(full, 4), epochs(mixed, 4), strict=True):
        assert sorted(map(np.ndarray.tobytes, before)) == sorted(map(np.ndarray.tobytes, after))
        assert [len(batch) for batch in before] == [4, 4, 4, 4, 3, 3]
        orders.append(tuple(len(batch) for batch in after))
    assert len(set(orders)) > 1


@pytest.mark.parametrize("count", quick([1, 2, 5, 12], few=[1, 5]))
def test_shards_are_every_example_once_in_one_order(count):
    numbers = tf.data.Dataset.range(50)
    alone = epochs(numbers.apply(data.shuffled(4)), 2)
    shards = [epochs(numbers.apply(data.shuffled(4)).shard(count, index), 2) for index in range(count)]
    for epoch in range(2):
        together = np.full(50, -1)
        for index in range(count):
            together[index::count] = shards[index][epoch]
        assert together.tolist() == alone[epoch]


def test_shards_of_batches_are_the_batches_of_one():
    numbers = tf.data.Dataset.range(40).map(lambda i: tf.fill([1 + i % 7], i))

    def batches():
        return numbers.apply(data.shuffled(4)).apply(data.bucketed(20, width=2))

    alone = [batch.tobytes() for batch in batches().as_numpy_iterator()]
    shards = [[b.tobytes() for b in batches().shard(3, i).as_numpy_iterator()] for i in range(3)]
    assert [shards[place % 3][place // 3] for place in range(len(alone))] == alone
    assert sum(map(len, shards)) == len(alone) and max(map(len, shards)) - min(map(len, shards)) <= 1


def test_from_step_leaves_out_of_the_first_iteration_only():
    five = tf.data.Dataset.range(5).apply(from_step(2))
    assert epochs(five, 3) == [[2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert five.cardinality() == 5  # of a whole epoch
    repeated = tf.data.Dataset.range(5).apply(from_step(2)).repeat(3).prefetch(2)
    assert epochs(repeated, 1) == [[2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]]
    unknown = tf.data.Dataset.range(5).filter(lambda i: i < 4).apply(from_step(3))
    assert epochs(unknown, 2) == [[3], [0, 1, 2, 3]]
    endless = tf.data.Dataset.range(3).repeat().apply(from_step(4)).take(4)
    assert epochs(endless, 2) == [[1, 2, 0, 1], [0, 1, 2, 0]]
    assert epochs(tf.data.Dataset.range(3).apply(from_step(0)), 2) == [[0, 1, 2]] * 2


def test_start_step_makes_up_for_other_iterations():
    position = from_step(3)
    dataset = tf.data.Dataset.range(5).apply(position)
    assert next(dataset.as_numpy_iterator()) == 3  # as building a model from the first batch does
    position.start_step(3)
    assert epochs(dataset, 2) == [[3, 4], [0, 1, 2, 3, 4]]


def test_keras_makes_whole_epochs_after_a_shorter_first_one():
    steps = []

    class Counting(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            steps.append(0)

        def on_train_batch_end(self, batch, logs=None):
            steps[-1] += 1

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    batches = tf.data.Dataset.from_tensor_slices((np.ones((5, 1)), np.ones((5, 1)))).batch(1)
    model.fit(batches.take(1), verbose=0)  # else `fit` takes a first batch itself
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(batches.apply(from_step(2)), epochs=3, verbose=0, callbacks=[Counting()])
    assert steps == [3, 5, 5]


def test_bad_steps():
    with pytest.raises(ValueError, match="Received: -1"):
        from_step(-1)
    with pytest.raises(
        ValueError, match="less than the 4 batches.*step 0 and increase `first_epoch` by one. Received: 4"
    ):
        tf.data.Dataset.range(4).apply(from_step(4))


LENGTHS = np.random.default_rng(0).integers(1, 9, (60, 2)).tolist()


def training(seed, epoch, step, buffer_size, known):
    """Batches of pairs that tell their number, as a recipe makes them."""
    pairs = tf.data.Dataset.from_generator(
        lambda: ((np.full(s, i, np.int32), np.full(t, i, np.int32)) for i, (s, t) in enumerate(LENGTHS)),
        output_signature=(tf.TensorSpec([None], tf.int32),) * 2,
    ).cache()
    buckets = [(4, 4), (8, 8)]
    shuffled = pairs.apply(data.shuffled(seed, buffer_size, first_epoch=epoch))
    batches = shuffled.apply(data.bucketed(40, buckets=buckets)).apply(data.teacher_forcing(99))
    if known:
        batches = batches.apply(tf.data.experimental.assert_cardinality(data.count_batches(LENGTHS, buckets, 40)))
    return batches if step is None else batches.apply(from_step(step))


def as_bytes(iterator):
    return [[part.tobytes() for part in tf.nest.flatten(batch)] for batch in iterator]


@pytest.mark.long
@settings(max_examples=3)
@given(
    seed=st.integers(-5, 2**40),
    epoch=st.integers(0, 2),
    place=st.floats(0, 1, exclude_max=True),
    buffer_size=st.sampled_from([7, 100_000]),
    known=st.booleans(),
    repeated=st.booleans(),
)
def test_a_stopped_run_goes_on_with_the_very_same_batches(seed, epoch, place, buffer_size, known, repeated):
    uninterrupted = [as_bytes(one) for one in epochs(training(seed, 0, None, buffer_size, known), epoch + 3)]
    step = int(place * len(uninterrupted[epoch]))
    stopped = training(seed, epoch, step, buffer_size, known)
    expected = [uninterrupted[epoch][step:], *uninterrupted[epoch + 1 :]]
    if repeated:
        assert as_bytes(stopped.repeat(3).as_numpy_iterator()) == sum(expected, [])
    else:
        assert [as_bytes(one) for one in epochs(stopped, 3)] == expected
    assert expected[1] != expected[2]


def test_from_step_of_endless_batches():
    endless = tf.data.Dataset.range(3).repeat().apply(from_step(10))
    assert endless.cardinality() < 0
    (first,) = endless.take(1).as_numpy_iterator()
    assert first == 10 % 3
