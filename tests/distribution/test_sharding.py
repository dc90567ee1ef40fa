import numpy as np
import pytest
import tensorflow as tf

from keras_seq.distribution.sharding import distributed, split_rows


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_are_the_rows_in_order(rows, count):
    batch = {
        "x": tf.random.normal((rows, 3)),
        "y": (tf.range(rows), tf.constant([str(i) for i in range(rows)], tf.string)),
    }
    divided = list(split_rows(batch, count))
    assert len(divided) == count
    sizes = [int(part["x"].shape[0]) for part in divided]
    assert sum(sizes) == rows and max(sizes) - min(sizes) <= 1
    for whole, *pieces in zip(*map(tf.nest.flatten, [batch, *divided]), strict=True):
        assert np.array_equal(whole, tf.concat(pieces, axis=0))


def test_two_devices_get_the_rows_of_one_batch(two_devices):
    dataset = tf.data.Dataset.range(10).batch(3).map(lambda x: (x, x * 2))
    found = []
    for batch in distributed(dataset, two_devices.strategy):
        xs, doubled = (two_devices.strategy.experimental_local_results(x) for x in batch)
        assert all(np.array_equal(2 * x, d) for x, d in zip(xs, doubled, strict=True))
        found.append([x.numpy().tolist() for x in xs])
    assert found == [[[0], [1, 2]], [[3], [4, 5]], [[6], [7, 8]], [[], [9]]]


def test_one_device_gets_the_dataset_itself(one_device):
    dataset = tf.data.Dataset.range(3)
    assert distributed(dataset, one_device.strategy) is dataset


def test_what_is_distributed_already_stays(two_devices):
    dataset = two_devices.strategy.distribute_datasets_from_function(lambda context: tf.data.Dataset.range(3))
    assert distributed(dataset, two_devices.strategy) is dataset
