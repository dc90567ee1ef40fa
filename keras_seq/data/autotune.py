"""Disables tf.data autotuning for a dataset."""

import tensorflow as tf


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset step that disables autotuning of the whole pipeline, before and after the step.

    On pipelines of many cheap steps, the tuner of tf.data costs more than it gains: text to padded batches runs at two
    thirds of the speed with it. The tuner can also miss the signal to stop. Code that releases the iterator, such as
    `fit` after an epoch, then waits for it for up to a minute (TensorFlow 2.21). Without the tuner, AUTOTUNE is a fixed
    number of parallel calls.

    `bucketed`, `windows`, `blocks`, `streams`, videos and `experiment.predict_batches` apply this step. To enable the
    tuner again, call `with_options` with `autotune.enabled = True` on their dataset.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
