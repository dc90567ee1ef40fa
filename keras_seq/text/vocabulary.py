"""What every vocabulary can do: strings to ids and back, inside the graph."""

from collections.abc import Callable, Iterable, Iterator
from os import PathLike

import tensorflow as tf

PAD_ID = 0
UNKNOWN_ID = 1
START_ID = 2
END_ID = 3
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")  # in the order of their ids

_ENCODE_BATCH = 1024  # lines tokenized by one call: the cost of a call is then spread over many lines


class Vocabulary(tf.Module):
    """Turns strings into ids and ids into strings. `Subwords` and `Words` are the two kinds.

    Everything that the graph needs is held as tensors and tables of this `tf.Module`: a vocabulary that is an
    attribute of a saved module is saved inside its SavedModel, without asset files.

    A kind of its own overrides `size`, `tokenize`, `_join`, `pieces`, `save`, `load` and `train`.
    """

    pad_id = PAD_ID
    unknown_id = UNKNOWN_ID
    start_id = START_ID
    end_id = END_ID

    @property
    def size(self) -> int:
        """The number of ids, the special ones counted."""
        raise NotImplementedError

    def tokenize(self, strings) -> tf.RaggedTensor:
        """Strings `(B,)` to ragged int32 ids `(B, None)`; one string to ids `(T,)`. No start or end id is added."""
        raise NotImplementedError

    def detokenize(self, ids) -> tf.Tensor:
        """Ids to text: stops at the first end id and leaves out padding and start ids.

        Args:
            ids: ragged or padded integers `(B, T)`, or one sequence `(T,)`.

        Returns:
            Strings `(B,)`, or one string.
        """
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_tensor(self.pad_id)
        ids = tf.cast(ids, tf.int32)
        if ids.shape.rank == 1:
            return self.detokenize(ids[tf.newaxis])[0]
        ended = tf.cumsum(tf.cast(ids == self.end_id, tf.int32), axis=1) > 0  # (B, T)
        kept = ~ended & (ids != self.pad_id) & (ids != self.start_id)
        return self._join(tf.ragged.boolean_mask(ids, kept))

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Ragged ids `(B, None)` without special ones to strings `(B,)`."""
        raise NotImplementedError

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The written form of each id, special ones too: the labels of a plot."""
        raise NotImplementedError

    def save(self, path: str | PathLike) -> None:
        """Writes the vocabulary to one file."""
        raise NotImplementedError

    def encoded(self, target: "Vocabulary | None" = None) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """A dataset step: `(source, target)` strings to `(source ids + [end], target ids + [end])`, int32 vectors.

        The order is kept. Lines are tokenized many at a time.

        Args:
            target: the vocabulary of the target side; this one if None.
        """
        target = self if target is None else target

        def encode(sources, targets):
            return _with_end(self, sources), _with_end(target, targets)

        def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
            batches = dataset.batch(_ENCODE_BATCH).map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            return batches.unbatch().map(lambda source, target: (source, target))  # rows, now dense by type

        return step


def _with_end(vocabulary: Vocabulary, strings: tf.Tensor) -> tf.RaggedTensor:
    ids = vocabulary.tokenize(strings)
    end = tf.fill([tf.shape(strings)[0], 1], tf.constant(vocabulary.end_id, tf.int32))
    return tf.concat([ids, end], axis=1)


def texts(lines) -> Iterator[str]:
    """All strings of an iterable, or a `tf.data.Dataset`, of strings or of tuples of strings."""
    if isinstance(lines, (str, bytes)):
        raise ValueError(f"`lines` must be an iterable of lines, not one string. Received: {lines[:80]!r}")
    for line in lines.as_numpy_iterator() if isinstance(lines, tf.data.Dataset) else lines:
        for string in line if isinstance(line, (tuple, list)) else (line,):
            yield string.decode("utf-8", "replace") if isinstance(string, bytes) else str(string)
