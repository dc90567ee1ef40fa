"""Datasets without the thread that tunes them."""

import tensorflow as tf


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset step: nothing watches the pipeline in order to tune it, before this step or after it.

    tf.data's tuner costs more than it finds on pipelines of many cheap steps: of text to padded batches it makes two
    thirds of the speed. And it can miss that it has been told to end; who lets go of the iterator, `fit` after an epoch
    say, then waits for it, up to a minute (TensorFlow 2.21). AUTOTUNE is a fixed number of parallel calls without it.

    `bucketed`, `windows`, `blocks`, `streams`, videos and `experiment.predict_batches` apply it themselves. To have
    the tuner back, give their dataset `with_options` with `autotune.enabled = True`.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
