"""Batches of arrays with different lengths, padded with zeros at the end."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_seq.tasks.batching import halving
from keras_seq.tasks.results import Failure

ROWS = 32  # limit of a batch


def arrays_in_batches(compute: Callable, shape: Sequence[int | None], rows: int = ROWS) -> Callable[[Sequence], list]:
    """Returns a function from arrays to results, which batches arrays of similar length.

    Args:
        compute: function from a tensor `(B, T, ...)` to a result for each row.
        shape: shape of one input, None for axes of any size. Inputs of other shapes become `Failure`s.
        rows: maximum number of rows of a batch.
    """
    import tensorflow as tf

    def run(inputs):
        arrays = [np.asarray(x, "float32") for x in inputs]
        fit = [_fits(array, shape) for array in arrays]
        results = [None if good else _other_shape(array, shape) for good, array in zip(fit, arrays, strict=True)]
        order = sorted((number for number, good in enumerate(fit) if good), key=lambda number: -len(arrays[number]))
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            for number, result in halving(batch, lambda some: compute(tf.constant(padded([arrays[n] for n in some])))):
                results[number] = result
        return results

    return run


def _fits(array: np.ndarray, shape: Sequence[int | None]) -> bool:
    sizes = zip(array.shape, shape, strict=False)
    return array.ndim == len(shape) and array.size > 0 and all(size in (given, None) for given, size in sizes)


def _other_shape(array: np.ndarray, shape: Sequence[int | None]) -> Failure:
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    return Failure(f"the input has the shape {array.shape}, but the model takes ({wanted})")


def padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays `(T, ...)` as float32 `(B, T, ...)`."""
    longest = max(arrays, key=len)
    batch = np.zeros((len(arrays), *longest.shape), "float32")
    for row, array in zip(batch, arrays, strict=True):
        row[: len(array)] = array
    return batch
