import numpy as np
import pytest
import tensorflow as tf

from keras_seq import data

RAGGED = tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [1, 2], [1, 2, 3]])).map(lambda x: x)
SERIES = data.Series(np.arange(40.0).reshape(20, 2), ("a", "b"))


@pytest.mark.parametrize(
    "dataset",
    [
        RAGGED.apply(data.bucketed(8)),
        RAGGED.apply(data.bucketed(8, pad_to_bucket_boundary=True)).prefetch(2),
        data.blocks(np.arange(9), 2, 3),
        data.streams(np.arange(9), 2, 3),
        data.windows(SERIES, 3, 1).train.dataset(batch_size=2),
    ],
)
def test_no_thread_tunes_what_the_library_makes(dataset):
    assert dataset.options().autotune.enabled is False


def test_it_changes_no_element_and_can_be_undone():
    plain = RAGGED.map(lambda x: 2 * x, num_parallel_calls=tf.data.AUTOTUNE).batch(1)
    found = list(plain.apply(data.without_autotune).as_numpy_iterator())
    assert [x.tolist() for x in found] == [[[2]], [[2, 4]], [[2, 4, 6]]]
    again = tf.data.Options()
    again.autotune.enabled = True
    assert plain.apply(data.without_autotune).with_options(again).options().autotune.enabled
