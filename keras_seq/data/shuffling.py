"""Shuffles examples in an order that is reproducible, different in each epoch, and resumable."""

import tensorflow as tf

from keras_seq.data.arguments import check_positive


class Epochs:
    """Numbers the iterations of a dataset, for values that should depend on the epoch alone.

    Args:
        first: number of the next iteration, a non-negative whole number.
    """

    def __init__(self, first: int = 0):
        if first < 0:
            raise ValueError(f"`first_epoch` must not be negative. Received: {first}")
        self._next = _table()
        self.start(first)

    def start(self, epoch: int) -> None:
        """Sets the number of the next iteration."""
        self._next.insert(tf.constant(0, tf.int64), tf.constant(epoch, tf.int64))

    def dataset(self) -> tf.data.Dataset:
        """A dataset of one element, the epoch, an int64 scalar. Each iteration increases it by one."""
        return tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).map(self._count)

    def _count(self, key: tf.Tensor) -> tf.Tensor:
        epoch = self._next.lookup(key)
        with tf.control_dependencies([self._next.insert(key, epoch + 1)]):
            return tf.identity(epoch)


class shuffled:  # noqa: N801 - used as a function, like the other dataset steps
    """A dataset step that shuffles, in an order that is a function of only (`seed`, epoch).

    Each new iteration of the dataset is an epoch, including iterations for other purposes, such as building a model
    from a first batch. To make the order independent of those, call `start_epoch` at the start of each training epoch.

    Shuffled examples make batches as full as unshuffled ones, since each bucket fills up before its batch is emitted.
    Partial batches, one per bucket, come only at the end of an epoch. A second `shuffled`, after `bucketed`, mixes them
    among the full ones. Its `buffer_size` is in batches.

    N workers share one order: each takes `dataset.apply(shuffled(seed)).shard(N, index)` of the same seed and epoch.
    Worker i has examples i, i + N, i + 2N, ... of the epoch, so that all together have every example once. Workers that
    step together shard the batches, after `bucketed`: their numbers of batches differ by at most one, for all lengths.

    Args:
        seed: a whole number.
        buffer_size: number of examples held in memory. If it is at least the size of the dataset, all orders are
            equally likely.
        first_epoch: epoch of the first iteration, for a run that resumes.
    Example:
        >>> numbers = tf.data.Dataset.range(5).apply(data.shuffled(seed=1))
        >>> first, second = ([int(number) for number in numbers] for _ in range(2))  # two epochs
        >>> sorted(first) == sorted(second) == [0, 1, 2, 3, 4], first == second
        (True, False)
    """

    def __init__(self, seed: int, buffer_size: int = 100_000, first_epoch: int = 0):
        check_positive(buffer_size=buffer_size)
        # Never 0 modulo 2^31 - 1, to which TensorFlow reduces it: the pair of seeds (0, 0) has another meaning there.
        self._seed = 2 * (int(seed) % (2**30 - 1)) + 1
        self._buffer_size = buffer_size
        self._epochs = Epochs(first_epoch)

    def start_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epochs.start(epoch)

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        def epoch_of(epoch):
            tf.random.set_seed(self._seed)  # of this function's graph only: the global seed does not affect the order
            return dataset.shuffle(self._buffer_size, seed=epoch, reshuffle_each_iteration=False)

        return as_many(dataset, self._epochs.dataset().flat_map(epoch_of))


class from_step:  # noqa: N801 - used as a function, like the other dataset steps
    """A dataset step that skips the first `step` batches of the first iteration. Later iterations are complete.

    With the position (epoch, step) of an interrupted run, the remaining batches are those that the run would have seen:

        examples.apply(shuffled(seed, first_epoch=epoch)).apply(bucketed()).apply(from_step(step))

    Apply it last, after any `cache`. The skipped batches are still computed, which takes the time of the pipeline
    alone. A finite cardinality stays that of a whole epoch: Keras warns that the first epoch ran out of data, and
    continues.

    Any other iteration over the dataset, such as building a model, counts as the first one. `start_step` corrects that,
    as `shuffled.start_epoch` does.

    Args:
        step: number of batches of the epoch that the run has completed. The end of an epoch is step 0 of the next.
    """

    def __init__(self, step: int):
        if step < 0:
            raise ValueError(f"`step` must not be negative. Received: {step}")
        self._step = step
        self._left_out = _table()
        self.start_step(step)

    def start_step(self, step: int) -> None:
        """Makes the next iteration skip this number of batches, and later ones none."""
        self._left_out.insert(tf.constant([0, 1], tf.int64), tf.constant([step, step], tf.int64))

    def _taken(self, key: tf.Tensor) -> tf.Tensor:
        step = self._left_out.lookup(key)
        with tf.control_dependencies([step]):
            emptied = self._left_out.insert(key, tf.constant(0, tf.int64))
        with tf.control_dependencies([emptied]):
            return tf.identity(step)

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        def steps(key):  # of one element; each reader has a separate key
            return tf.data.Dataset.from_tensors(tf.constant(key, tf.int64)).map(self._taken)

        rest = steps(0).flat_map(lambda step: dataset.skip(step))
        count = dataset.cardinality()
        if count < 0:  # unknown or endless
            return rest
        if self._step >= count:
            raise ValueError(
                f"`step` must be less than the {count} batches of an epoch. After the last batch, use step 0 and "
                f"increase `first_epoch` by one. Received: {self._step}"
            )
        # Without a cardinality, Keras cuts all epochs to the length of the first. An asserted one would be an error in
        # the first. A choice among endless datasets counts as endless, but it ends with the choices.
        choices = steps(1).flat_map(lambda step: tf.data.Dataset.range(count - step).map(tf.zeros_like))
        return tf.data.Dataset.choose_from_datasets([rest.repeat()], choices).take(count)


def as_many(dataset: tf.data.Dataset, changed: tf.data.Dataset) -> tf.data.Dataset:
    """`changed`, with the cardinality of `dataset` if it is known."""
    count = dataset.cardinality()
    if count == tf.data.UNKNOWN_CARDINALITY:
        return changed
    return changed.apply(tf.data.experimental.assert_cardinality(count))


def _table() -> tf.lookup.experimental.MutableHashTable:
    with tf.init_scope(), tf.device("CPU:0"):  # dataset functions run on the CPU
        return tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)
