"""The labels and the weights of losses and metrics: their shapes, their checks, and batches without rows."""

import functools
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.masking import get_keras_mask


def labels_and_weights(y_true, y_pred, sample_weight=None, ignore_class=None, whose="the loss") -> tuple[Any, Any]:
    """The labels and weights that losses and metrics of tokens use.

    Args:
        y_true: int `(B, T)` or `(B, T, 1)`.   y_pred: float `(B, T, V)`.
        sample_weight, ignore_class: see `TokenCrossentropy`.
        whose: see `checked_labels`.
    Returns:
        `(labels, weights)`: int32 and float32 `(B, T)`.
    """
    labels = steps_of(y_true, len(y_pred.shape) - 1, whose)
    weights = token_weights(labels, y_pred, sample_weight)
    if ignore_class is not None:
        weights = ops.where(labels == ignore_class, ops.zeros_like(weights), weights)
    remedy = "Give a step without a label the weight 0, or set `ignore_class` to the label of such steps."
    return checked_labels(labels, weights != 0, y_pred.shape[-1], whose, remedy), weights


def steps_of(y_true, rank, whose) -> Any:
    """The labels as int32 with `rank` axes, `(B, T)`. Also accepts `(B, T, 1)`, as the losses of Keras do.

    Raises:
        ValueError: for labels of another shape, such as one-hot labels, which would be broadcast silently.
    """
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == rank + 1 and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, axis=-1)
    if len(labels.shape) != rank:
        raise ValueError(
            f"`{whose}`: labels must be whole numbers, one for each step, with {rank} axes. Take the `argmax` of "
            f"one-hot labels. Received: shape {tuple(y_true.shape)}"
        )
    return labels


def token_weights(y_true, y_pred, sample_weight=None, dtype="float32") -> Any:
    """The weight of each position, in the shape of `y_true`: the given weights, where those of rows or steps are
    broadcast, times the Keras mask of the predictions."""
    shape = ops.shape(y_true)

    def spread(weights):
        weights = ops.cast(weights, dtype)
        if len(weights.shape) > len(shape):  # (B, T, 1)
            weights = ops.squeeze(weights, axis=-1)
        while len(weights.shape) < len(shape):
            weights = weights[..., None]
        return ops.broadcast_to(weights, shape)

    parts = [spread(each) for each in (sample_weight, get_keras_mask(y_pred)) if each is not None]
    return functools.reduce(ops.multiply, parts) if parts else ops.ones(shape, dtype)


def checked_labels(labels, counted, size, whose, remedy="Give a step without a label the weight 0.") -> Any:
    """Checks that the labels that count are classes, from 0 to `size` - 1. The others may have any value.

    Args:
        labels: int, of any shape.   counted: bool, of the same shape, True for labels that count.
        size: number of classes.
        whose, remedy: name of the loss or metric, and the advice, for the error message.
    Returns:
        the labels as int32, 0 where they do not count.
    Raises:
        ValueError or, in TensorFlow's graphs, InvalidArgumentError: if a label that counts is not a class. Code
            compiled by XLA, and so always on JAX, cannot raise: the loss is NaN instead, see `or_nan`.
    """
    labels = ops.where(counted, ops.cast(labels, "int32"), 0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        least, largest = ops.min(labels, initial=0), ops.max(labels, initial=0)
        told = f"`{whose}`: labels that count must be classes of the model, 0 to {size - 1}. {remedy} Received:"
        if not tf.executing_eagerly():
            tf.debugging.Assert((least >= 0) & (largest < size), [told, least, largest])
        elif int(least) < 0 or int(largest) >= size:
            raise ValueError(f"{told} {int(least)} to {int(largest)}")
    return labels


def or_nan(values, labels, size):
    """The values, NaN where a label is not a class: a visible failure where no error can be raised."""
    return ops.where(ops.logical_and(labels >= 0, labels < size), values, ops.cast(float("nan"), values.dtype))


def of_some_rows(function, *tensors):
    """Applies `function` to tensors `(B, ...)`. If B is 0, it gets a row of zeros, which is cut off afterwards.

    A replica may get no rows of a small batch. TensorFlow (2.21) then raises an error in `ctc_loss` and in mirrored
    padding, and its convolution returns the shape of its input.
    """
    B = ops.shape(tensors[0])[0]
    if keras.backend.backend() != "tensorflow" or (isinstance(B, int) and B > 0):
        return function(*tensors)
    missing = 1 if isinstance(B, int) else 1 - ops.minimum(B, 1)

    def some(x):
        return ops.concatenate([x, ops.zeros((missing, *ops.shape(x)[1:]), x.dtype)], axis=0)

    return function(*map(some, tensors))[:B]
