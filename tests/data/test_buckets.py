import numpy as np
import pytest
import tensorflow as tf

from keras_seq import data


def examples(lengths):
    dataset = tf.data.Dataset.from_tensor_slices(np.array(lengths, np.int32)).map(tf.ones)
    return dataset.map(lambda ids: tf.ensure_shape(tf.cast(ids, tf.int32), [None]))


def test_other_examples_go_into_the_same_shapes_and_are_counted():
    lengths = np.array([2, 2, 2, 5, 5, 9])
    buckets = data.Buckets(lengths, tokens_per_batch=10, shapes=2)
    assert buckets.shapes == data.fit_buckets(lengths, 2)
    for part in (lengths, np.array([1, 4, 8, 12])):
        batched = examples(part).apply(buckets.batched(part, pad_id=7))
        batches = [batch.numpy() for batch in batched]
        assert len(batches) == int(batched.cardinality())
        assert sorted(np.concatenate([(batch == 1).sum(axis=1) for batch in batches])) == sorted(part)
        assert {int(value) for batch in batches for value in batch.ravel()} <= {1, 7}


def test_the_number_of_shapes_follows_the_size_of_an_epoch():
    lengths = np.arange(1, 101)
    assert len(data.Buckets(lengths, tokens_per_batch=5050).shapes) == 1
    assert len(data.Buckets(lengths, tokens_per_batch=101).shapes) == 10  # 50 full batches
    assert len(data.Buckets(np.repeat(lengths, 100), tokens_per_batch=101).shapes) == 40
    pairs = np.stack([lengths, lengths[::-1]], axis=1)
    assert len(data.Buckets(pairs, tokens_per_batch=1000).shapes) == 1


def test_rows_are_a_multiple_and_nothing_is_refused():
    buckets = data.Buckets(np.full(20, 3), tokens_per_batch=15, multiple_of=2)
    batches = list(examples([3] * 20).apply(buckets.batched(np.full(20, 3))))
    assert {len(batch) for batch in batches} == {4}
    with pytest.raises(ValueError, match="lengths"):
        data.Buckets(np.zeros(0, int), tokens_per_batch=15)
