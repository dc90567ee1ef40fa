"""An ordinary `fit` on batches by length warns of nothing."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq.data.keras_warnings import ignore_keras_warnings


@pytest.mark.parametrize("ignored", [True, False])
def test_fit_on_batches_by_length_warns_of_nothing(ignored):
    batches = tf.data.Dataset.from_tensors(([[1, 2], [3, 0]], [0, 1])).filter(lambda x, y: True)  # unknown number
    model = keras.Sequential([keras.layers.Embedding(7, 4), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # before those of pytest
        if ignored:
            ignore_keras_warnings()
        history = model.fit(batches, validation_data=batches, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    told = {message for message in ("`shuffle=True`", "ran out of data") if message in str([w.message for w in caught])}
    assert told == (set() if ignored else {"`shuffle=True`", "ran out of data"})
