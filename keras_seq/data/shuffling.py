"""The order of the examples: another one each epoch, the same one in each run, and a place in it to go on from."""

import tensorflow as tf


class Epochs:
    """Numbers the iterations of a dataset, for what shall differ from epoch to epoch and from nothing else.

    Args:
        first: the number of the next iteration; a whole number, not negative.
    """

    def __init__(self, first: int = 0):
        if first < 0:
            raise ValueError(f"`first_epoch` must not be negative. Received: {first}")
        self._next = _table()
        self.start(first)

    def start(self, epoch: int) -> None:
        """The next iteration has this number."""
        self._next.insert(tf.constant(0, tf.int64), tf.constant(epoch, tf.int64))

    def dataset(self) -> tf.data.Dataset:
        """A dataset of one element, the epoch, an int64 scalar; each iteration counts on."""
        return tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).map(self._count)

    def _count(self, key: tf.Tensor) -> tf.Tensor:
        epoch = self._next.lookup(key)
        with tf.control_dependencies([self._next.insert(key, epoch + 1)]):
            return tf.identity(epoch)


class shuffled:  # noqa: N801 - used as a function, like the other dataset steps
    """A dataset step that shuffles; the order is a function of (`seed`, epoch) and nothing else.

    Each new iteration of the dataset is an epoch. What else iterates over it, building a model from a first batch
    say, uses up an epoch too; `start_epoch`, called when a training epoch begins, makes the order independent of that.

    Shuffled examples make batches as full as unshuffled ones: each bucket fills up before its batch goes out. Only at
    the end of an epoch come the partial batches, one a bucket. A second `shuffled`, after `bucketed`, mixes them among
    the full ones; its `buffer_size` is in batches.

    N workers share one order: each takes `dataset.apply(shuffled(seed)).shard(N, index)` of the same seed and epoch.
    Worker i has examples i, i + N, i + 2N, ... of the epoch, so that all together have every example once. Workers that
    step together shard the batches, after `bucketed`: their numbers differ by one at most, whatever the lengths.

    Args:
        seed: a whole number.
        buffer_size: examples held in memory; where it is not smaller than the dataset, all orders are equally likely.
        first_epoch: the epoch that the first iteration has: where an interrupted run goes on.
    """

    def __init__(self, seed: int, buffer_size: int = 100_000, first_epoch: int = 0):
        if buffer_size < 1:
            raise ValueError(f"`buffer_size` must be positive. Received: {buffer_size}")
        # Never 0 modulo 2^31 - 1, which TensorFlow takes it by: the pair of seeds (0, 0) has another meaning there.
        self._seed = 2 * (int(seed) % (2**30 - 1)) + 1
        self._buffer_size = buffer_size
        self._epochs = Epochs(first_epoch)

    def start_epoch(self, epoch: int) -> None:
        """The next iteration gets the order of this epoch."""
        self._epochs.start(epoch)

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        def epoch_of(epoch):
            tf.random.set_seed(self._seed)  # of this function's graph alone: the global seed has no say in the order
            return dataset.shuffle(self._buffer_size, seed=epoch, reshuffle_each_iteration=False)

        shuffled_dataset = self._epochs.dataset().flat_map(epoch_of)
        count = dataset.cardinality()
        if count < 0:  # not known, or endless
            return shuffled_dataset
        return shuffled_dataset.apply(tf.data.experimental.assert_cardinality(count))


class from_step:  # noqa: N801 - used as a function, like the other dataset steps
    """A dataset step that leaves out the first `step` batches of the first iteration; later ones are whole.

    With the position (epoch, step) of an interrupted run, the batches that follow are those that it would have seen:

        examples.apply(shuffled(seed, first_epoch=epoch)).apply(bucketed()).apply(from_step(step))

    It comes last, after any `cache`. The batches left out are made all the same, which takes the time that the pipeline
    alone takes for them. The cardinality, where known, stays that of a whole epoch: Keras warns that the first one ran
    out of data, and goes on.

    What else iterates over the dataset, building a model say, is the first iteration then; `start_step` makes up for
    it, as `shuffled.start_epoch` does.

    Args:
        step: the number of batches that the run has behind it in its epoch. The end of an epoch is step 0 of the next.
    """

    def __init__(self, step: int):
        if step < 0:
            raise ValueError(f"`step` must not be negative. Received: {step}")
        self._step = step
        self._left_out = _table()
        self.start_step(step)

    def start_step(self, step: int) -> None:
        """The next iteration leaves out so many batches, and those after it none."""
        self._left_out.insert(tf.constant([0, 1], tf.int64), tf.constant([step, step], tf.int64))

    def _taken(self, key: tf.Tensor) -> tf.Tensor:
        step = self._left_out.lookup(key)
        with tf.control_dependencies([step]):
            emptied = self._left_out.insert(key, tf.constant(0, tf.int64))
        with tf.control_dependencies([emptied]):
            return tf.identity(step)

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        def steps(key):  # of one element; each reader has a key of its own
            return tf.data.Dataset.from_tensors(tf.constant(key, tf.int64)).map(self._taken)

        rest = steps(0).flat_map(lambda step: dataset.skip(step))
        count = dataset.cardinality()
        if count < 0:  # not known, or endless
            return rest
        if self._step >= count:
            raise ValueError(
                f"`step` must be less than the {count} batches of an epoch; where one ends, go on with the next: "
                f"`first_epoch` one more and step 0. Received: {self._step}"
            )
        # Where Keras knows no cardinality, it cuts all epochs to the length of the first. An asserted one would be an
        # error in the first. A choice among endless datasets counts as endless, yet it ends where the choices do.
        choices = steps(1).flat_map(lambda step: tf.data.Dataset.range(count - step).map(tf.zeros_like))
        return tf.data.Dataset.choose_from_datasets([rest.repeat()], choices).take(count)


def _table() -> tf.lookup.experimental.MutableHashTable:
    with tf.init_scope(), tf.device("CPU:0"):  # dataset functions run on the CPU
        return tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)
