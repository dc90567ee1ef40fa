"""The order of the examples: another one each epoch, the same one in each run."""

import tensorflow as tf


class shuffled:  # noqa: N801 - used as a function, like the other dataset steps
    """A dataset step that shuffles; the order is a function of (`seed`, epoch) and nothing else.

    Each new iteration of the dataset is an epoch. What else iterates over it, building a model from a first batch
    say, uses up an epoch too; `start_epoch`, called when a training epoch begins, makes the order independent of that.

    Args:
        seed: a whole number.
        buffer_size: examples held in memory; where it is not smaller than the dataset, all orders are equally likely.
        first_epoch: the epoch that the first iteration has: where an interrupted run goes on.
    """

    def __init__(self, seed: int, buffer_size: int = 100_000, first_epoch: int = 0):
        if buffer_size < 1 or first_epoch < 0:
            raise ValueError(
                "`buffer_size` must be positive and `first_epoch` not negative. "
                f"Received: {buffer_size=}, {first_epoch=}"
            )
        # Never 0 modulo 2^31 - 1, which TensorFlow takes it by: the pair of seeds (0, 0) has another meaning there.
        self._seed = 2 * (int(seed) % (2**30 - 1)) + 1
        self._buffer_size = buffer_size
        with tf.init_scope(), tf.device("CPU:0"):  # dataset functions run on the CPU
            self._epoch = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)
        self.start_epoch(first_epoch)

    def start_epoch(self, epoch: int) -> None:
        """The next iteration gets the order of this epoch."""
        self._epoch.insert(tf.constant(0, tf.int64), tf.constant(epoch, tf.int64))

    def _next_epoch(self, key: tf.Tensor) -> tf.Tensor:
        epoch = self._epoch.lookup(key)
        with tf.control_dependencies([self._epoch.insert(key, epoch + 1)]):
            return tf.identity(epoch)

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        def epoch_of(epoch):
            tf.random.set_seed(self._seed)  # of this function's graph alone: the global seed has no say in the order
            return dataset.shuffle(self._buffer_size, seed=epoch, reshuffle_each_iteration=False)

        epochs = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).map(self._next_epoch)
        shuffled_dataset = epochs.flat_map(epoch_of)
        count = dataset.cardinality()
        if count < 0:  # not known, or endless
            return shuffled_dataset
        return shuffled_dataset.apply(tf.data.experimental.assert_cardinality(count))
