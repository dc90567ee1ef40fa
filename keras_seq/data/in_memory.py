"""Examples in memory, from which a batch is gathered in one operation."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.data.cache import cached_blocks, is_sequence, split_block
from keras_seq.data.lengths import SequenceAxes

_EXAMPLES_PER_BLOCK = 1000


class InMemory:
    """All examples of a dataset, in memory as one tensor for each component.

    Shuffling and bucketing then handle the numbers of the examples, and gather each batch in one operation. The batches
    are those of the examples themselves, and take a twentieth of the time:

        examples = data.InMemory(pairs)  # or InMemory.from_cache("cache")
        train = (
            examples.numbers()
            .apply(data.shuffled(seed=1, buffer_size=len(examples)))
            .apply(data.bucketed(4096, buckets=data.fit_buckets(examples.lengths(), 24), examples=examples))
        )

    A number takes 8 bytes of a shuffle buffer, so even a large corpus can be shuffled completely. Steps that change
    single examples, such as `word_dropout`, require `dataset()`. `distribution.data_service` sends the examples along,
    up to 2 GB.

    Args:
        dataset: dataset of single examples, any nest of tensors. Only the first axis of a component may be of unknown
            length. It is read once.
    Attributes:
        element_spec: element spec of the dataset.
    Raises:
        ValueError: if another axis is of unknown length, or the dataset is endless.
    Example:
        >>> rows = tf.data.Dataset.from_generator(
        ...     lambda: iter([[1, 1, 1], [2], [3, 3, 3]]), output_signature=tf.TensorSpec([None], tf.int32)
        ... )
        >>> examples = data.InMemory(rows)
        >>> len(examples), examples.lengths().tolist()
        (3, [3, 1, 3])
        >>> batches = examples.numbers().apply(data.bucketed(examples_per_batch=2, examples=examples))
        >>> [batch.numpy().tolist() for batch in batches]
        [[[1, 1, 1], [2, 0, 0]], [[3, 3, 3]]]
    """

    def __init__(self, dataset: tf.data.Dataset):
        if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("An endless dataset does not fit into memory. Pass it before `repeat`.")
        _check(dataset.element_spec)
        blocks = dataset.ragged_batch(_EXAMPLES_PER_BLOCK).map(lambda *block: split_block(tf.nest.flatten(block)))
        self._store(dataset.element_spec, blocks.as_numpy_iterator())

    @classmethod
    def from_cache(cls, folder: str | PathLike) -> "InMemory":
        """The examples of a folder that `cached` has written, read by the block.

        Raises:
            FileNotFoundError: if the folder holds no cache.
            ValueError: as for the class.
        """
        element_spec, blocks = cached_blocks(folder)
        _check(element_spec)
        self = cls.__new__(cls)
        self._store(element_spec, blocks.as_numpy_iterator())
        return self

    def _store(self, element_spec: Any, blocks: Iterable[Sequence[np.ndarray]]) -> None:
        """Joins blocks of arrays: for a sequence the values and the row splits, for another component one array."""
        self.element_spec = element_spec
        specs = tf.nest.flatten(element_spec)
        columns = [[] for spec in specs for _ in range(1 + is_sequence(spec))]
        for block in blocks:
            for column, array in zip(columns, block, strict=True):
                column.append(array)
        columns = iter(columns)
        self._components = []
        with tf.device("CPU:0"):  # dataset functions run there
            for spec in specs:
                empty = np.zeros([0, *spec.shape[is_sequence(spec) :]], spec.dtype.as_numpy_dtype)
                component = tf.constant(np.concatenate([empty, *next(columns)]), spec.dtype)
                if is_sequence(spec):
                    lengths = [np.diff(splits) for splits in next(columns)]
                    splits = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
                    component = tf.RaggedTensor.from_row_splits(component, splits, validate=False)
                self._components.append(component)

    def __len__(self) -> int:
        return int(self._components[0].shape[0])

    def lengths(self, axes: Any = None) -> np.ndarray:
        """The lengths of all examples, as from `data.lengths`: int64 `(N, L)`, or `(N,)` for one length.

        Args:
            axes: the components that count, see `SequenceAxes`. By default all of rank 1 or more.
        Raises:
            ValueError: if components of the same name in `axes` differ in length.
        """
        sequences = SequenceAxes(self.element_spec, axes)
        columns = {}
        for number, component in zip(sequences.numbers, self._components, strict=True):
            if number is None:
                continue
            ragged = isinstance(component, tf.RaggedTensor)
            found = np.diff(component.row_splits) if ragged else np.full(len(self), component.shape[1])
            unequal = np.flatnonzero(columns.setdefault(number, found) != found)
            if len(unequal):
                example = unequal[0]
                raise ValueError(
                    "Components of the same name in `axes` must be equally long. Lengths of example "
                    f"{example}: {columns[number][example]} and {found[example]}"
                )
        found = np.stack([columns[number] for number in range(sequences.count)], axis=1).astype(np.int64)
        return found[:, 0] if sequences.count == 1 else found

    def numbers(self, kept: np.ndarray | None = None) -> tf.data.Dataset:
        """A dataset of the numbers of the examples, int64 scalars, in order.

        Args:
            kept: bools `(N,)`, which examples to use, such as `(examples.lengths() < 100).all(axis=1)`. None: all.
        """
        if kept is None:
            return tf.data.Dataset.range(len(self))
        if np.shape(kept) != (len(self),):
            raise ValueError(f"`kept` needs a bool for each of {len(self)} examples. Received: {np.shape(kept)}")
        return tf.data.Dataset.from_tensor_slices(np.flatnonzero(kept))

    def dataset(self) -> tf.data.Dataset:
        """A dataset of single examples, in order."""
        return self.numbers().map(lambda number: self._packed([part[number] for part in self._components]))

    def gather(self, numbers: tf.Tensor, fillers: Any) -> Any:
        """A batch: the examples of the numbers, ints `(B,)`, each component padded to the longest of them.

        Args:
            numbers: ints `(B,)`.
            fillers: a nest like an example, of scalars.
        """
        rows = [tf.gather(component, numbers) for component in self._components]
        return self._packed(
            [
                row.to_tensor(filler) if isinstance(row, tf.RaggedTensor) else row
                for row, filler in zip(rows, tf.nest.flatten(fillers), strict=True)
            ]
        )

    def _packed(self, parts: Sequence[tf.Tensor]) -> Any:
        return tf.nest.pack_sequence_as(self.element_spec, parts)


def _check(element_spec: Any) -> None:
    for spec in tf.nest.flatten(element_spec):
        fixed = isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None and spec.shape[1:].is_fully_defined()
        if not fixed:
            raise ValueError(
                "Only the first axis of a component may be of unknown length. Use `dataset.cache()` for others. "
                f"Received: {spec}"
            )
