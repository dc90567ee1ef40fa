"""Batches of unequal shapes and sizes, and small models for them."""

import keras
import numpy as np
import tensorflow as tf

from keras_seq import data, losses, metrics


def batches(examples=61, seed=0, order=None) -> tf.data.Dataset:
    """Teacher-forced, of a copy task: odd and partial batches, one with a single row; shuffled by the seed `order`."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(4, 30, length).astype("int32") for length in rng.integers(2, 14, examples - 1)]
    ragged = tf.ragged.constant([*map(list, sequences), [5] * 40], dtype=tf.int32)  # the last one travels alone
    dataset = tf.data.Dataset.from_tensor_slices(ragged).map(lambda ids: (ids, ids))
    if order is not None:
        dataset = dataset.apply(data.shuffled(order))
    return dataset.apply(data.bucketed(tokens_per_batch=39, width=5)).apply(data.teacher_forcing(1))


def small() -> keras.Model:
    """Quick to trace; the mask comes with the logits."""
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    # Named, as files of gradients are compared between processes, in which other tests have made layers.
    read = keras.layers.Embedding(30, 8, mask_zero=True, name="source_embedding")(source)
    context = keras.layers.GlobalAveragePooling1D(keepdims=True)(read)
    x = keras.layers.Add()([keras.layers.Embedding(30, 8, name="target_embedding")(target), context])
    return keras.Model({"source": source, "target": target}, keras.layers.Dense(30, name="logits")(x))


def compiled(model: keras.Model, optimizer=None, loss=None, **options) -> keras.Model:
    optimizer = keras.optimizers.SGD(0.5) if optimizer is None else optimizer
    options = {"weighted_metrics": [metrics.TokenLoss()], "jit_compile": False, **options}
    model.compile(optimizer, losses.TokenCrossentropy(0.1) if loss is None else loss, **options)
    return model


def weights(model: keras.Model) -> np.ndarray:
    return np.concatenate([np.asarray(w, np.float64).ravel() for w in model.trainable_weights])
