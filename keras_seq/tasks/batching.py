"""Batches of inputs of similar length, with results in the order of the inputs. A batch that fails is halved."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_seq.tasks.results import Failure, one_line

BYTES_PER_TOKEN = 4  # an estimate, since the vocabulary of a SavedModel is not accessible


class Limits(NamedTuple):
    """Limits of batches and inputs.

    Attributes:
        batch_tokens: token budget of a batch: number of rows times padded length.
        max_source_length: maximum number of tokens of an input. Longer inputs are refused.
        width_ratio: largest ratio of two padded widths in a batch. With 1 all rows have one width, so that the room for
            a result does not depend on the rest of the batch.
    """

    batch_tokens: int = 2048
    max_source_length: int = 1000
    width_ratio: float = 1.0


def padded_width(length: int) -> int:
    """The width of batches in `decoding.generate`, so that the results are the same."""
    from keras_seq.decoding.generate import padded_width

    return padded_width(length - 1)


def padded_batch(rows: Sequence[Sequence[int]], pad_id: int) -> np.ndarray:
    """Rows of ids as int32 `(B, T)`."""
    batch = np.full((len(rows), padded_width(max(map(len, rows)))), pad_id, "int32")
    for line, row in zip(batch, rows, strict=True):
        line[: len(row)] = row
    return batch


def texts_in_batches(
    limits: Limits, compute: Callable, lengths: Callable[[Sequence[str]], Sequence[int]] | None = None
) -> Callable[[Sequence[str]], list]:
    """Returns a function from texts to results, which batches texts of similar length.

    Args:
        compute: function from a string tensor of texts to a result for each.
        lengths: function from texts to their numbers of tokens. None: an estimate.
    """
    import tensorflow as tf

    def run(texts):
        def rows(numbers):
            return compute(tf.constant([texts[number].encode() for number in numbers], tf.string))

        return in_batches((lengths or _estimated)(texts), limits, rows)

    return run


def _estimated(texts: Sequence[str]) -> list[int]:
    return [max(len(text.split()), len(text.encode()) // BYTES_PER_TOKEN) + 1 for text in texts]


def in_batches(lengths: Sequence[int], limits: Limits, compute: Callable[[list[int]], list]) -> list:
    """Results in the order of the rows, computed in batches of similar length, the longest first.

    A row that is too long becomes a `Failure`. If TensorFlow fails at a batch, the batch is halved, so that only a row
    that fails alone becomes a `Failure`.
    """
    results: list[Any] = [None] * len(lengths)
    rows = []
    for row, length in enumerate(lengths):
        if length > limits.max_source_length:
            results[row] = too_long(length, limits)
        else:
            rows.append(row)
    for batch in _batches(sorted(rows, key=lambda row: -lengths[row]), lengths, limits):
        for row, result in halving(batch, compute):
            results[row] = result
    return results


def too_long(length: int, limits: Limits) -> Failure:
    return Failure(f"{length:,} tokens are more than `max_source_length` {limits.max_source_length:,}")


def _batches(rows: list[int], lengths: Sequence[int], limits: Limits) -> Iterator[list[int]]:
    while rows:
        width = padded_width(lengths[rows[0]])
        batch = rows[: max(1, limits.batch_tokens // width)]
        batch = [row for row in batch if padded_width(lengths[row]) * limits.width_ratio >= width]
        yield batch
        rows = rows[len(batch) :]


def halving(rows: list[int], compute: Callable[[list[int]], list]) -> Iterator[tuple[int, Any]]:
    import tensorflow as tf

    try:
        results = compute(rows)
    except tf.errors.OpError as error:
        if len(rows) == 1:
            yield rows[0], Failure(f"the model fails: {one_line(error)}")
            return
    else:
        yield from zip(rows, results, strict=True)
        return
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        yield from halving(half, compute)
