"""Lengths of examples and of lines of text files, and the share of padding in batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.data.lines import as_paths, count_lines, read_blocks
from keras_seq.data.parallel_text import ParallelReport

EMPTY_SEQUENCE = (
    "An empty sequence would become a row of padding only. Drop such examples with `longer_than(0)`, or set the `axes` "
    "entry of a component that may be empty to None."
)
_MEASURED_LINES = 4096  # lines per call, to amortize the cost of a call


class SequenceAxes:
    """Describes which components of an element are sequences, and which of them share a length.

    A sequence runs along axis 0 of its component: ids `(T,)`, a waveform `(T,)`, features `(T, D)`. Components are in
    the order of `tf.nest.flatten`: tuples from left to right, dicts by their sorted keys.

    Args:
        element_spec: element spec of the dataset, any nest of tensors.
        axes: a nest with the structure of an element and a name for axis 0 of each component. Components with the same
            name are equally long, and their length counts once. None does not count and may be empty. Words and their
            tags: `("T", "T")`. A source, a target and a speaker vector: `("S", "T", None)`. By default, each component
            of rank 1 or more has a separate length.
    """

    def __init__(self, element_spec, axes=None):
        specs = tf.nest.flatten(element_spec)
        for spec in specs:
            if not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
                raise ValueError(f"Components must be dense tensors of static rank. Received: {spec}")
        if axes is None:
            names = [place if spec.shape.rank else None for place, spec in enumerate(specs)]
        else:
            names = _names_like(element_spec, axes)
        distinct = list(dict.fromkeys(name for name in names if name is not None))
        if not distinct:
            raise ValueError(
                "The element has no sequence that counts. Use `Dataset.batch` for scalars. "
                f"Received: {element_spec}, {axes=}"
            )
        self.count = len(distinct)
        self.numbers = [None if name is None else distinct.index(name) for name in names]  # each component's length
        self._counted = [number for number in self.numbers if number is not None]

    def lengths(self, element, axis: int = 0) -> tf.Tensor:
        """The lengths of an element, or with `axis=1` of a batch, int32 `(L,)`."""
        return self._one_each(self._sizes(element, axis))

    def checked_lengths(self, element) -> tf.Tensor:
        """The lengths of an element, with an error if one is 0 or if components of one axis differ in length."""
        sizes = self._sizes(element, 0)
        found = self._one_each(sizes)
        checks = [tf.debugging.Assert(tf.reduce_min(sizes) > 0, [f"{EMPTY_SEQUENCE} Lengths:", sizes])]
        if len(self._counted) > self.count:
            unequal = "Components of the same name in `axes` must be equally long. Lengths:"
            same = tf.reduce_all(sizes == tf.gather(found, self._counted))
            checks.append(tf.debugging.Assert(same, [unequal, sizes]))
        with tf.control_dependencies(checks):
            return tf.identity(found)

    def _sizes(self, element, axis: int) -> tf.Tensor:
        components = zip(self.numbers, tf.nest.flatten(element), strict=True)
        counted = [component for number, component in components if number is not None]
        # This runs once per example, and `tf.size` is one operation where `tf.shape` with indexing is two.
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
    """The lengths of all examples, int64 `(N, L)`, or `(N,)` if elements have one length. Makes one pass.

    Args:
        dataset: dataset of single examples, any nest of tensors.
        axes: the components that count, see `SequenceAxes`. By default all of rank 1 or more.
    """
    sequences = SequenceAxes(dataset.element_spec, axes)
    found = dataset.map(lambda *element: sequences.lengths(element))
    parts = list(found.batch(1024).as_numpy_iterator())
    counted = np.concatenate(parts).astype(np.int64) if parts else np.zeros((0, sequences.count), np.int64)
    return counted[:, 0] if sequences.count == 1 else counted


def shorter_than(max_length: int | Sequence[int], axes=None) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that keeps the examples whose lengths, including an end token, are all less than `max_length`.

    Number of pairs it drops: `(lengths(dataset) >= max_length).any(axis=1).sum()`.

    Args:
        max_length: a number, or one for each length.
        axes: the components that count, see `SequenceAxes`. By default all of rank 1 or more.
    Example:
        >>> rows = tf.data.Dataset.from_generator(
        ...     lambda: ([1] * length for length in (2, 5, 3)), output_signature=tf.TensorSpec([None], tf.int32)
        ... )
        >>> [len(row) for row in rows.apply(data.shorter_than(4))]
        [2, 3]
    """
    if np.min(max_length) < 1:
        raise ValueError(f"`max_length` must be positive. Received: {max_length}")
    return _kept(lambda found: found < max_length, axes)


def longer_than(min_length: int | Sequence[int] = 0, axes=None) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that keeps the examples whose lengths are all more than `min_length`. By default it drops only
    examples with an empty sequence, which `bucketed` rejects.

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
    """The padding value of a dtype: `pad_id` for integers, else 0, False or the empty string."""
    return tf.constant(pad_id, dtype) if dtype.is_integer else tf.zeros([], dtype)


def padding(batches: Iterable, pad_id: int = 0) -> float:
    """The share of padded positions in one pass over batches, over all sequences.

    Padding starts after the last position of a row with another value than the padding value of its dtype: `pad_id`
    for integers, 0 in all features for floats, False for bools, the empty string. The digital silence at the end of a
    recording therefore counts as padding. If that matters, use `plan_batches`, which counts exactly from the lengths.

    Args:
        batches: batches of any nest of components `(B, T, ...)`, or `(B,)`, which do not count. Also the output of
            `teacher_forcing` for pairs, of which source and labels count.
        pad_id: id of the padding.
    """
    real = positions = 0
    for batch in batches:
        for component in map(np.asarray, tf.nest.flatten(_without_repetition(batch))):
            if component.ndim > 1:
                real += int(_row_lengths(component, pad_id).sum())
                positions += component.shape[0] * component.shape[1]
    return 1 - real / positions if positions else 0.0


def _row_lengths(component: np.ndarray, pad_id: int) -> np.ndarray:
    """The number of positions of each row `(B,)` up to the last one that is not padding."""
    empty = {"i": pad_id, "u": pad_id, "O": b""}.get(component.dtype.kind, 0)
    filled = (component != empty).reshape(*component.shape[:2], -1).any(axis=2)  # (B, T)
    return (filled * np.arange(1, filled.shape[1] + 1)).max(axis=1, initial=0)


def _without_repetition(batch) -> Any:
    """Drops the decoder input, which repeats the labels after teacher forcing, and the weights."""
    if isinstance(batch, tuple) and len(batch) == 3 and isinstance(batch[0], dict) and "source" in batch[0]:
        return batch[0]["source"], batch[1]
    return batch


def measure(
    lines: tf.data.Dataset, vocabulary=None, progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The lengths of texts, each including an end token, as in training.

    Args:
        lines: dataset of strings, or of tuples of strings.
        vocabulary: an object with `tokenize` and `unknown_id`. None counts words separated by ASCII white space.
        progress: function called with the number of examples so far.

    Returns:
        `(lengths, unknown)`: int32 `(N,)`, or `(N, L)` for tuples of L, and the number of unknown tokens of each
        example, int32 `(N,)`, or None without a vocabulary.
    """
    tokenize = tf.strings.split if vocabulary is None else vocabulary.tokenize

    def count(*texts):
        ids = [tokenize(side) for side in texts]
        lengths = tf.stack([tf.cast(side.row_lengths(), tf.int32) + 1 for side in ids], axis=1)
        if vocabulary is None:
            return lengths, tf.zeros_like(lengths[:, 0])
        unknown = [tf.reduce_sum(tf.cast(side == vocabulary.unknown_id, tf.int32), axis=1) for side in ids]
        return lengths, tf.add_n(unknown)

    blocks, done = [(np.zeros((0, len(tf.nest.flatten(lines.element_spec))), np.int32), np.zeros(0, np.int32))], 0
    counted = lines.batch(_MEASURED_LINES).map(count, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    for block in counted.as_numpy_iterator():
        blocks.append(block)
        done += len(block[0])
        if progress is not None:
            progress(done)
    lengths, unknown = map(np.concatenate, zip(*blocks, strict=True))
    return lengths[:, 0] if lengths.shape[1] == 1 else lengths, None if vocabulary is None else unknown


class TextFile:
    """The lines of a file, plain or `.gz`, read from disk on each pass, like `ParallelFiles`. Empty lines are dropped.

    Args, Raises: those of `ParallelFiles`.
    """

    def __init__(self, path: str | PathLike, on_bad_line: str = "error"):
        (self._path,) = as_paths(path)
        self._on_bad_line = on_bad_line
        count_lines(self._path, on_bad_line)  # raises here, since inside a dataset an error loses its type
        self.report = None  # the report of the latest complete pass

    def dataset(self) -> tf.data.Dataset:
        """A dataset of the lines, strings, read again on each pass."""
        return tf.data.Dataset.from_generator(self._blocks, output_signature=tf.TensorSpec([None], tf.string)).unbatch()

    def _blocks(self) -> Iterator[np.ndarray]:
        read = kept = bad = 0
        for lines in read_blocks(self._path, self._on_bad_line):
            full = [line.encode() for line in lines if line is not None and line.strip()]
            read, kept, bad = read + len(lines), kept + len(full), bad + lines.count(None)
            # As objects: an array of bytes would pad every line to the longest one.
            yield np.array(full, dtype=object)
        self.report = ParallelReport(read, kept, read - kept - bad, bad)
