import numpy as np
import tensorflow as tf

from keras_seq import data

SOURCE = [[11, 12, 3], [13, 3, 0]]
TARGET = [[21, 22, 23, 3], [24, 3, 0, 0]]


def test_values_by_hand():
    batches = tf.data.Dataset.from_tensors((np.int32(SOURCE), np.int32(TARGET))).apply(data.teacher_forcing(2))
    inputs, labels, weights = next(batches.as_numpy_iterator())
    assert inputs["source"].tolist() == SOURCE
    assert inputs["target"].tolist() == [[2, 21, 22, 23], [2, 24, 3, 0]]
    assert labels.tolist() == TARGET
    assert weights.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert inputs["target"].dtype == np.int32 and weights.dtype == np.float32


def test_other_padding():
    target = np.where(np.equal(TARGET, 0), 99, TARGET).astype(np.int64)
    batches = tf.data.Dataset.from_tensors((np.int64(SOURCE), target)).apply(data.teacher_forcing(5, pad_id=99))
    inputs, _, weights = next(batches.as_numpy_iterator())
    assert inputs["target"][:, 0].tolist() == [5, 5]
    assert weights.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_padding_share_before_and_after():
    batches = tf.data.Dataset.from_tensors((np.int32(SOURCE), np.int32(TARGET)))
    assert data.padding(batches) == 1 - (3 + 2 + 4 + 2) / 14
    assert data.padding(batches.apply(data.teacher_forcing(2))) == data.padding(batches)
    assert data.padding([]) == 0
