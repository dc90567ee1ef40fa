"""How long the examples are, and how much of their batches is padding."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class SequenceAxes:
    """Which components of an element are sequences, and which of them share a length.

    A sequence runs along axis 0 of its component: ids `(T,)`, a waveform `(T,)`, features `(T, D)`. Components come in
    the order of `tf.nest.flatten`: tuples from left to right, dicts by their sorted keys.

    Args:
        element_spec: that of the dataset, any nest of tensors.
        axes: a nest like the element, with a name for axis 0 of each component. Components of one name are equally
            long, and that length counts once; None does not count and may be empty. Words and their tags:
            `("T", "T")`; a source, a target and a vector of the speaker: `("S", "T", None)`. By default, each
            component of rank 1 or more has a length of its own.
    """

    def __init__(self, element_spec, axes=None):
        specs = tf.nest.flatten(element_spec)
        for spec in specs:
            if not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
                raise ValueError(f"Components must be dense tensors of known rank. Received: {spec}")
        if axes is None:
            names = [place if spec.shape.rank else None for place, spec in enumerate(specs)]
        else:
            names = _names_like(element_spec, axes)
        distinct = list(dict.fromkeys(name for name in names if name is not None))
        if not distinct:
            raise ValueError(
                "The element has no sequence that counts; scalars alone need `Dataset.batch`. "
                f"Received: {element_spec}, {axes=}"
            )
        self.count = len(distinct)
        self.numbers = [None if name is None else distinct.index(name) for name in names]  # each component's length
        self._counted = [number for number in self.numbers if number is not None]

    def lengths(self, element, axis: int = 0) -> tf.Tensor:
        """The lengths of an element, or with `axis=1` those of a batch, int32 `(L,)`."""
        return self._one_each(self._sizes(element, axis))

    def checked_lengths(self, element) -> tf.Tensor:
        """The same of an element, where it is an error if one is 0 or components of one axis are not equally long."""
        sizes = self._sizes(element, 0)
        found = self._one_each(sizes)
        empty = "An empty sequence would make a row of nothing but padding. Drop such examples by `longer_than(0)`, or "
        empty += "give a component that may be empty None in `axes`. Lengths:"
        checks = [tf.debugging.Assert(tf.reduce_min(sizes) > 0, [empty, sizes])]
        if len(self._counted) > self.count:
            unequal = "Components of the same name in `axes` must be equally long. Lengths:"
            same = tf.reduce_all(sizes == tf.gather(found, self._counted))
            checks.append(tf.debugging.Assert(same, [unequal, sizes]))
        with tf.control_dependencies(checks):
            return tf.identity(found)

    def _sizes(self, element, axis: int) -> tf.Tensor:
        components = zip(self.numbers, tf.nest.flatten(element), strict=True)
        counted = [component for number, component in components if number is not None]
        # `tf.size` is one operation where the other takes two: this runs once an example.
        return tf.stack([tf.size(each) if each.shape.rank == 1 else tf.shape(each)[axis] for each in counted])

    def _one_each(self, sizes: tf.Tensor) -> tf.Tensor:
        if len(self._counted) == self.count:
            return sizes
        return tf.gather(sizes, [self._counted.index(number) for number in range(self.count)])


def _names_like(element_spec, axes) -> list:
    try:
        tf.nest.assert_same_structure(element_spec, axes)
        names = tf.nest.flatten(axes)
        ranks = [spec.shape.rank for spec in tf.nest.flatten(element_spec)]
        fit = all(name is None or rank for name, rank in zip(names, ranks, strict=True))
    except (TypeError, ValueError):
        fit = False
    if not fit:
        raise ValueError(
            f"`axes` must be a nest like the element, with None for scalars. Received: {axes} for {element_spec}"
        )
    return names


def lengths(dataset: tf.data.Dataset, axes=None) -> np.ndarray:
    """The lengths of all examples, int64 `(N, L)`, or `(N,)` where an element has one length. One pass.

    Args:
        dataset: of single examples, any nest of tensors.
        axes: which components count, see `SequenceAxes`; by default all of rank 1 or more.
    """
    sequences = SequenceAxes(dataset.element_spec, axes)
    found = dataset.map(lambda *element: sequences.lengths(element))
    parts = list(found.batch(1024).as_numpy_iterator())
    counted = np.concatenate(parts).astype(np.int64) if parts else np.zeros((0, sequences.count), np.int64)
    return counted[:, 0] if sequences.count == 1 else counted


def shorter_than(max_length: int | Sequence[int], axes=None) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that keeps the examples all of whose lengths, an end token counted, are less than `max_length`.

    How many it drops of pairs: `(lengths(dataset) >= max_length).any(axis=1).sum()`.

    Args:
        max_length: a number, or one for each length.
        axes: which components count, see `SequenceAxes`; by default all of rank 1 or more.
    """
    if np.min(max_length) < 1:
        raise ValueError(f"`max_length` must be positive. Received: {max_length}")
    return _kept(lambda found: found < max_length, axes)


def longer_than(min_length: int | Sequence[int] = 0, axes=None) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that keeps the examples all of whose lengths are more than `min_length`; by default all but those
    with an empty sequence, which `bucketed` refuses.

    Args: those of `shorter_than`.
    """
    if np.min(min_length) < 0:
        raise ValueError(f"`min_length` must not be negative. Received: {min_length}")
    return _kept(lambda found: found > min_length, axes)


def _kept(is_kept: Callable[[tf.Tensor], tf.Tensor], axes) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        sequences = SequenceAxes(dataset.element_spec, axes)
        return dataset.filter(lambda *element: tf.reduce_all(is_kept(sequences.lengths(element))))

    return step


def padding_value(dtype: tf.DType, pad_id: int) -> tf.Tensor:
    """What fills a batch: `pad_id` for integers, else 0, False, the empty string."""
    return tf.constant(pad_id, dtype) if dtype.is_integer else tf.zeros([], dtype)


def padding(batches: Iterable, pad_id: int = 0) -> float:
    """The share of padded positions in one pass over batches, all sequences counted.

    Padding is what follows the last position of a row that does not hold the padding value of its type: `pad_id` for
    integers; for floats 0 in all features, for bools False, the empty string. A recording that ends in digital silence
    is so taken for shorter than it is: where that matters, `plan_batches` counts from the lengths, which is exact.

    Args:
        batches: of any nest whose components are `(B, T, ...)`, or `(B,)`, which does not count; also what
            `teacher_forcing` makes of pairs, of which source and labels count.
        pad_id: fills the batches.
    """
    real = positions = 0
    for batch in batches:
        for component in map(np.asarray, tf.nest.flatten(_without_repetition(batch))):
            if component.ndim > 1:
                real += int(_row_lengths(component, pad_id).sum())
                positions += component.shape[0] * component.shape[1]
    return 1 - real / positions if positions else 0.0


def _row_lengths(component: np.ndarray, pad_id: int) -> np.ndarray:
    """Positions of each row `(B,)` up to the last one that is not padding."""
    empty = {"i": pad_id, "u": pad_id, "O": b""}.get(component.dtype.kind, 0)
    filled = (component != empty).reshape(*component.shape[:2], -1).any(axis=2)  # (B, T)
    return (filled * np.arange(1, filled.shape[1] + 1)).max(axis=1, initial=0)


def _without_repetition(batch) -> Any:
    """After teacher forcing the decoder's input repeats the labels, and the weights say where they are."""
    if isinstance(batch, tuple) and len(batch) == 3 and isinstance(batch[0], dict) and "source" in batch[0]:
        return batch[0]["source"], batch[1]
    return batch
