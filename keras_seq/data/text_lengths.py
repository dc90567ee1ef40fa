"""The lengths of texts that stay in their files."""

from collections.abc import Callable, Iterator
from os import PathLike

import numpy as np
import tensorflow as tf

from keras_seq.data.lines import as_paths, check_lines, read_blocks
from keras_seq.data.parallel_text import ParallelReport

_MEASURED_LINES = 4096  # counted by one call: what a call costs is then spread over many lines


def measure(
    lines: tf.data.Dataset, vocabulary=None, progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The lengths of texts, an end token counted for each, as in training.

    Args:
        lines: strings, or tuples of strings.
        vocabulary: an object with `tokenize` and `unknown_id`; None counts words by ASCII white space.
        progress: is called with the number of examples so far.

    Returns:
        `(lengths, unknown)`: int32 `(N,)`, or `(N, L)` for tuples of L; and the number of unknown tokens of each
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
    """The lines of a file, plain or `.gz`, that stay in it: what `ParallelFiles` is for two. Empty lines are dropped.

    Args, Raises: those of `ParallelFiles`.
    """

    def __init__(self, path: str | PathLike, on_bad_line: str = "error"):
        (self._path,) = as_paths(path)
        self._on_bad_line = on_bad_line
        if on_bad_line == "error":
            check_lines(self._path)  # here, and not inside a dataset, where an error loses its name
        self.report = None  # the account of the latest pass that came to its end

    def dataset(self) -> tf.data.Dataset:
        """A dataset of the lines, strings, read anew on each pass."""
        return tf.data.Dataset.from_generator(self._blocks, output_signature=tf.TensorSpec([None], tf.string)).unbatch()

    def _blocks(self) -> Iterator[np.ndarray]:
        read = kept = bad = 0
        for lines in read_blocks(self._path, self._on_bad_line):
            full = [line.encode() for line in lines if line is not None and line.strip()]
            read, kept, bad = read + len(lines), kept + len(full), bad + lines.count(None)
            # As objects: an array of bytes would give every line the room of the longest one.
            yield np.array(full, dtype=object)
        self.report = ParallelReport(read, kept, read - kept - bad, bad)
