"""Converts plain text for language models to one sequence of token ids, and this sequence to batches."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_choice, check_positive
from keras_seq.data.autotune import without_autotune
from keras_seq.data.lines import Paths, as_paths, decoded, lines_in, raw_blocks, read_lines
from keras_seq.data.reports import Report, count

_PIECE = 1 << 16  # characters of a long document that are tokenized together
_PIECES = 1024  # maximum number of pieces tokenized by one call; fewer if they are long


@dataclass(frozen=True)
class TextReport(Report):
    """Counts of all lines: `read` = `kept` + `empty` + `bad`.

    Args:
        read: lines read.
        kept: lines of the documents, including empty ones inside a document.
        documents: number of documents of the kept lines.
        characters: characters of these documents, including the line feeds inside them.
        empty: lines of white space, if each line is a document, and lines of files that have only such lines.
        bad: lines that are not UTF-8 or hold a NUL.
    """

    documents: int = 0
    characters: int = 0
    empty: int = count("empty")
    bad: int = count("with invalid UTF-8 or NUL")
    unit = "line"

    def _details(self) -> str:
        return f" ({self.documents:,} documents, {self.characters:,} characters)"


@dataclass(frozen=True)
class PlainText:
    """Documents in memory, and the report of reading."""

    documents: list[str]
    report: TextReport

    def __len__(self) -> int:
        return len(self.documents)

    def dataset(self) -> tf.data.Dataset:
        """A dataset of the documents: one string each."""
        return tf.data.Dataset.from_tensor_slices(tf.constant([text.encode() for text in self.documents], tf.string))


def read_text(paths: Paths, *, documents: str = "file", on_bad_line: str = "error") -> PlainText:
    """Reads plain text. Documents of only white space are dropped and counted.

    Args:
        paths: a file or a list of files, plain or `.gz`.
        documents: "file" if each file is a document, whose text is kept unchanged, including line ends (only a byte
            order mark is removed), or "line" if each line is a document, without its line end.
        on_bad_line: "error", or "skip" to drop and count lines that are not UTF-8 or hold a NUL.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a line is bad and `on_bad_line="error"`, if a `.gz` file is damaged, or if no document is left.
    """
    check_choice("file", "line", documents=documents)
    check_choice("error", "skip", on_bad_line=on_bad_line)
    read = kept = empty = bad = 0
    texts = []
    for path in as_paths(paths):
        if documents == "line":
            lines = [text for _, text in read_lines(path, on_bad_line)]
            found = [text for text in lines if text is not None and text.strip()]
            number, wrong, right = len(lines), lines.count(None), len(found)
        else:
            text, number, wrong = _whole_text(path, on_bad_line)
            found = [text] if text.strip() else []
            right = number - wrong if found else 0
        texts += found
        read, kept, bad, empty = read + number, kept + right, bad + wrong, empty + number - right - wrong
    report = TextReport(read, kept, len(texts), sum(map(len, texts)), empty, bad)
    report.check(paths)
    return PlainText(texts, report)


def _whole_text(path: Path, on_bad_line: str) -> tuple[str, int, int]:
    """The unchanged text of a file, the number of its lines, and the number of dropped lines."""
    content = b"".join(raw_blocks(path))
    text = decoded(content)
    if text is not None:
        return text, lines_in(content), 0
    checked = [line for _, line in read_lines(path, on_bad_line)]  # raises, or marks the bad lines
    good = [raw for raw, line in zip(io.BytesIO(content), checked, strict=True) if line is not None]
    return b"".join(good).decode(), len(checked), len(checked) - len(good)


def token_ids(documents: Iterable[str], vocabulary, *, end_last: bool = False) -> np.ndarray:
    """Tokenizes all documents into one sequence of ids, int32 `(N,)`, with an end id between two documents.

    A document longer than 65,536 characters is tokenized in pieces that end at a line feed. That makes no difference
    for characters, bytes, words, and subwords that do not cross white space.

    Args:
        documents: strings, or a `tf.data.Dataset` of them. Their ids must fit into memory, the documents need not.
        vocabulary: an object with `tokenize` (strings `(B,)` to ragged ids) and `end_id`.
        end_last: whether to add an end id after the last document too, as if the end of each line is predicted.

    Raises:
        ValueError: if `documents` is one string, or has no id.
    Example:
        >>> data.token_ids(["ab", "b"], text.Characters.train(["ab"])).tolist()  # 3 ends the first document
        [4, 5, 3, 5]
    """
    if isinstance(documents, (str, bytes)):
        raise ValueError(f"`documents` must be an iterable of strings, not one string. Received: {documents[:80]!r}")
    if isinstance(documents, tf.data.Dataset):
        documents = (document.decode() for document in documents.as_numpy_iterator())
    parts = []
    for pieces, closing in _batches_of_pieces(documents):
        ends = tf.RaggedTensor.from_row_lengths(tf.fill([sum(closing)], vocabulary.end_id), closing)
        ids = tf.cast(vocabulary.tokenize(tf.constant(pieces)), tf.int32)
        parts.append(tf.concat([ids, tf.cast(ends, tf.int32)], axis=1).values.numpy())
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    ids = ids if end_last else ids[:-1]
    if not len(ids):
        raise ValueError("`documents` holds no text. It has no ids.")
    return ids


def _batches_of_pieces(documents: Iterable[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Yields pieces of documents, and for each 1 if it is the last of its document, else 0."""
    pieces, closing, size = [], [], 0
    for document in documents:
        start = 0
        while start is not None:
            cut = document.find("\n", start + _PIECE) + 1 or None
            pieces.append(document[start:cut])
            closing.append(int(cut is None))
            size += len(pieces[-1])
            start = cut
            if len(pieces) == _PIECES or size > 16 * _PIECE:
                yield pieces, closing
                pieces, closing, size = [], [], 0
    if pieces:
        yield pieces, closing


def streams(tokens, batch_size: int, length: int, *, start_id: int | None = None, pad_id: int = 0) -> tf.data.Dataset:
    """Contiguous streams, for truncated backpropagation through time with a carried state.

    The sequence of ids is cut into `batch_size` parallel streams, whose lengths differ by at most one token. Row b of
    batch i + 1 continues row b of batch i. Every token is a label exactly once per epoch, including the first of a
    stream, whose input is the last token of the stream before. Only the very first token has no predecessor, so it is
    only an input, unless `start_id` is given. The order is the same in every epoch.

    The last batch is padded to `length`, with weights 0. A row of it can be only padding.

    Args:
        tokens: ints `(N,)`, as returned by `token_ids`.
        batch_size: number of streams, B.
        length: tokens of a stream in one batch, T.
        start_id: id from which the first token is predicted.
        pad_id: padding of the last batch.

    Returns:
        A dataset of `(inputs, labels, weights)`: inputs `{"tokens": int32 (B, T), "starts": bool (B,)}`, labels int32
        `(B, T)`, weights float32 `(B, T)`. `starts` is True where a stream begins, and the carried state of the model
        must be reset: `state = where(starts[:, None], 0, state)`.

    Raises:
        ValueError: if a number is not positive, or there are fewer tokens to predict than streams.

    Example:
        >>> batches = data.streams(np.arange(10, 17), batch_size=2, length=3)
        >>> inputs, labels, weights = next(iter(batches))
        >>> inputs["tokens"].numpy().tolist(), labels.numpy().tolist()
        ([[10, 11, 12], [13, 14, 15]], [[11, 12, 13], [14, 15, 16]])
    Source: Mikolov et al. 2010, "Recurrent neural network based language model".
    """
    check_positive(batch_size=batch_size, length=length)
    tokens, count = _with_context(tokens, start_id)
    if count < batch_size:
        raise ValueError(
            f"{count} tokens to predict do not fill {batch_size} streams. Pass more text or a smaller `batch_size`."
        )
    bounds = np.array([row * count // batch_size for row in range(batch_size + 1)], np.int64)
    begins, ends = bounds[:-1], bounds[1:]  # (B,)
    steps = -(-int((ends - begins).max()) // length)

    def batch(step):
        inputs, labels, weights = _cut(tokens, begins + step * length, ends, length, pad_id)
        return {"tokens": inputs, "starts": tf.fill([batch_size], step == 0)}, labels, weights

    batches = tf.data.Dataset.range(steps).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.apply(without_autotune)


def blocks(
    tokens,
    batch_size: int,
    length: int,
    *,
    order: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None,
    start_id: int | None = None,
    pad_id: int = 0,
) -> tf.data.Dataset:
    """Independent blocks that together are the sequence of ids. Every token is a label exactly once per epoch.

    The very first token is only an input, unless `start_id` is given. The last block is padded, with weights 0. The
    last batch has the remaining rows.

    Args:
        tokens: ints `(N,)`, as returned by `token_ids`.
        batch_size: blocks per batch, B.
        length: tokens per block, T.
        order: a shuffling step such as `shuffled(seed)`, applied to the numbers of the blocks, so that its buffer is
            tiny. By default, blocks are in the order of the text.
        start_id: id from which the first token is predicted.
        pad_id: padding of the last block.

    Returns:
        A dataset of `(inputs, labels, weights)`: int32 `(B, T)`, int32 `(B, T)`, float32 `(B, T)`.

    Raises:
        ValueError: if a number is not positive, or there is no token to predict.
    Example:
        >>> for tokens, labels, weights in data.blocks(np.arange(10, 17), batch_size=1, length=3):
        ...     print(tokens.numpy().tolist(), labels.numpy().tolist())
        [[10, 11, 12]] [[11, 12, 13]]
        [[13, 14, 15]] [[14, 15, 16]]
    """
    check_positive(batch_size=batch_size, length=length)
    tokens, count = _with_context(tokens, start_id)
    numbers = tf.data.Dataset.range(-(-count // length))
    if order is not None:
        numbers = numbers.apply(order)

    def batch(numbers):
        return _cut(tokens, numbers * length, tf.fill(tf.shape(numbers), tf.constant(count, tf.int64)), length, pad_id)

    batches = numbers.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.apply(without_autotune)


def _with_context(tokens, start_id: int | None) -> tuple[tf.Tensor, int]:
    """The ids, after the start id if there is one, and the number of ids with a predecessor to be predicted from."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"`tokens` must be integers of shape (N,). Received: {tokens.dtype} of shape {tokens.shape}")
    if start_id is not None:
        tokens = np.concatenate([np.array([start_id], np.int32), tokens])
    if len(tokens) < 2:
        raise ValueError(f"`tokens` must hold a token to predict and one before it. Received: {tokens.tolist()}")
    with tf.device("CPU:0"):  # dataset functions run on the CPU
        return tf.constant(tokens), len(tokens) - 1


def _cut(tokens: tf.Tensor, begins, ends, length: int, pad_id: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Inputs, labels and weights `(B, T)` of the rows that start at `begins` and stop before `ends`."""
    places = begins[:, tf.newaxis] + tf.range(length, dtype=tf.int64)  # (B, T)
    real = places < ends[:, tf.newaxis]
    last = tf.size(tokens, tf.int64) - 1

    def ids(places):
        return tf.where(real, tf.cast(tf.gather(tokens, tf.minimum(places, last)), tf.int32), pad_id)

    return ids(places), ids(places + 1), tf.cast(real, tf.float32)
