"""Splits each batch over the replicas by rows."""

import tensorflow as tf


def split_rows(batch, count, wanted=None) -> tf.data.Dataset:
    """A dataset of the rows of a batch, divided into `count` parts. Some are empty if there are fewer rows.

    Args:
        batch: any nest of tensors `(B, ...)`.
        count: number of parts.
        wanted: a 1-D tensor of the numbers of the parts to return, in this order. All by default.
    """
    rows = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]

    def part(number):
        first, last = rows * number // count, rows * (number + 1) // count
        return tf.nest.map_structure(lambda x: x[first:last], batch)

    numbers = tf.range(count, dtype=tf.int64) if wanted is None else wanted
    return tf.data.Dataset.from_tensor_slices(numbers).map(part)


def distributed(dataset, strategy: tf.distribute.Strategy):
    """Splits each batch of a dataset over the replicas by rows. A distributed dataset is returned unchanged.

    Every worker reads the whole dataset, which must have the same batches on all workers, and takes its share of the
    rows. So all have the same number of steps. A batch with fewer rows than replicas leaves some without rows.
    """
    if isinstance(dataset, tf.distribute.DistributedDataset) or strategy.num_replicas_in_sync == 1:
        return dataset

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # Keras concatenates the parts of predictions by replica, and then by worker.
        own = tf.range(context.input_pipeline_id, context.num_replicas_in_sync, context.num_input_pipelines, tf.int64)
        return dataset.flat_map(lambda *batch: split_rows(batch, context.num_replicas_in_sync, own))

    return strategy.distribute_datasets_from_function(of_worker)
