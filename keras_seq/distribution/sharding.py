"""Each replica's rows of each batch."""

import tensorflow as tf


def split_rows(batch, count, wanted=None) -> tf.data.Dataset:
    """A dataset of the rows of a batch, divided into `count` parts; some are empty if there are fewer rows.

    Args:
        batch: any nest of tensors `(B, ...)`.
        count: how many parts.
        wanted: the numbers of the parts that are taken, in this order, a 1-D tensor; all by default.
    """
    rows = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]

    def part(number):
        first, last = rows * number // count, rows * (number + 1) // count
        return tf.nest.map_structure(lambda x: x[first:last], batch)

    numbers = tf.range(count, dtype=tf.int64) if wanted is None else wanted
    return tf.data.Dataset.from_tensor_slices(numbers).map(part)


def distributed(dataset, strategy: tf.distribute.Strategy):
    """The dataset with each batch split over the replicas by its rows; a dataset already distributed as it is.

    Every worker reads the whole dataset, which must give all of them the same batches, and takes its share of the rows;
    so all have the same number of steps, and a batch with fewer rows than replicas leaves some with none.
    """
    if isinstance(dataset, tf.distribute.DistributedDataset) or strategy.num_replicas_in_sync == 1:
        return dataset

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # Keras puts the parts of predictions together replica by replica, and among these worker by worker.
        own = tf.range(context.input_pipeline_id, context.num_replicas_in_sync, context.num_input_pipelines, tf.int64)
        return dataset.flat_map(lambda *batch: split_rows(batch, context.num_replicas_in_sync, own))

    return strategy.distribute_datasets_from_function(of_worker)
