"""An ordinary `fit` on batches by length warns of nothing."""

import keras
import numpy as np
import tensorflow as tf

from keras_seq import data


def test_fit_on_batches_by_length_warns_of_nothing(recwarn):
    data.keras_warnings.ignore_keras_warnings()  # pytest has put its filters before those of the import
    ids = tf.ragged.constant([[1, 2], [3], [4, 5, 6]])
    examples = tf.data.Dataset.from_tensor_slices((ids, [0, 1, 0])).map(lambda x, y: (x, y))
    batches = examples.apply(data.bucketed(examples_per_batch=2))
    model = keras.Sequential(
        [keras.layers.Embedding(7, 4), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    history = model.fit(batches, validation_data=batches, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert not [str(warning.message) for warning in recwarn]
