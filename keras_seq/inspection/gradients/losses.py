"""The loss that the gradients here are those of: at one step, of all steps, or as `fit` computes it."""

import copy
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.layers.masks import carried_mask

Loss = str | keras.losses.Loss | Callable | None


def first_output(outputs: Any) -> Any:
    """The output that a loss is taken of: the first one, if a model has several."""
    return keras.tree.flatten(outputs)[0]


def has_steps(output) -> bool:
    """Whether an output is `(B, T, D)`, or frames, `(B, T, H, W, C)`. One of rank 4 is an image."""
    return len(output.shape) == 3 or len(output.shape) > 4


def output_mask(output, mask: np.ndarray | None = None) -> np.ndarray | None:
    """The real steps of an output, bool `(B, T)`: `mask`, or its Keras mask, or all. None: it has no steps."""
    if not has_steps(output):
        return None
    found = carried_mask(output) if mask is None else mask
    if found is None:
        return np.ones(output.shape[:2], bool)
    found = np.array(found, bool)
    if found.shape != tuple(output.shape[:2]):
        raise ValueError(
            f"`mask` must be (B, T) = {tuple(output.shape[:2])}, the real steps of the output. Received: {found.shape}"
        )
    return found


def values_of(model: keras.Layer, outputs: Any, y: Any, loss: Loss) -> Any:
    """The loss of each row, `(B,)`, or of each row and step, `(B, T)`.

    Without `y` and `loss`, the squared norm of the output. Without `loss`, that of `compile`.

    Raises:
        ValueError: if there is `y` and no loss, a loss and no `y`, or a loss of another shape.
    """
    output = first_output(outputs)
    if y is None and loss is None:
        squares = tf.square(tf.cast(output, tf.float64 if output.dtype == tf.float64 else tf.float32))
        return tf.reduce_sum(squares, axis=list(range(2 if has_steps(output) else 1, len(output.shape))))
    if y is None:
        raise ValueError(f"`loss` needs labels: give `y`, or no loss for the squared norm. Received: loss={loss!r}")
    loss = getattr(model, "loss", None) if loss is None else loss
    if loss is None or isinstance(loss, (list, tuple, dict)):
        raise ValueError(
            "`y` needs one loss: give `loss`, or compile the model with a single one. "
            f"Received: loss={loss!r}, a model with {type(model).__name__!r} as its class"
        )
    values = _unreduced(keras.losses.get(loss) if isinstance(loss, str) else loss, first_output(y), output)
    if len(values.shape) > 2 and len(output.shape) > 3:  # of every pixel, for example
        values = tf.reduce_sum(values, axis=list(range(2, len(values.shape))))
    if len(values.shape) not in (1, 2) or values.shape[0] != output.shape[0]:
        raise ValueError(
            f"`loss` must give a value for each row, (B,), or for each row and step, (B, T), with B={output.shape[0]}, "
            f"not their mean. Received: {loss!r}, which gives the shape {tuple(values.shape)}"
        )
    return values


def _unreduced(loss, y, output):
    if hasattr(loss, "values_and_weights"):
        values, weights = loss.values_and_weights(y, output, None)
        return ops.where(weights != 0, values * ops.cast(weights, values.dtype), ops.zeros_like(values))
    if isinstance(loss, keras.losses.Loss):
        loss = copy.copy(loss)
        loss.reduction = None
    return loss(y, output)


def at_step(values, mask: np.ndarray | None, at: int | None) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Selects the step of the loss.

    Args:
        values: the loss, `(B,)` or `(B, T)`.
        mask: the real steps of the output, bool `(B, T)`, or None if it has no steps.
        at: a step from the start, or if negative from the last real step of each row (-1). None: the sum of all.
    Returns:
        `(sum, there, step)`: the sum over the rows; bool `(B,)`, the rows that have this step; and its index `(B,)`, or
        None if the loss is not that of one step.
    Raises:
        ValueError: if the loss has no steps and `at` is not -1 or None, or no row has this step.
    """
    if mask is None or len(values.shape) == 1:
        if at not in (-1, None):
            raise ValueError(f"`at` must be -1 or None, since this loss has one value for each row. Received: {at}")
        return tf.reduce_sum(values), np.ones(values.shape[0], bool), None
    if at is None:
        return tf.reduce_sum(tf.where(mask, values, tf.zeros_like(values))), mask.any(axis=1), None
    T = mask.shape[1]
    last = np.where(mask.any(axis=1), T - 1 - mask[:, ::-1].argmax(axis=1), -1)  # -1: a row without a real step
    step = np.full_like(last, at) if at >= 0 else last + 1 + at
    inside = (step >= 0) & (step < T)
    there = inside & mask[np.arange(len(mask)), np.where(inside, step, 0)]
    if not there.any():
        raise ValueError(f"`at` must be a real step of at least one row. Received: {at}, for {T} steps")
    picked = tf.gather(values, np.where(there, step, 0), axis=1, batch_dims=1)
    return tf.reduce_sum(tf.where(there, picked, tf.zeros_like(picked))), there, step


def training_loss(model: keras.Layer, x: Any, y: Any, outputs: Any, loss: Loss, sample_weight: Any = None) -> Any:
    """The scalar whose gradient an update follows.

    With labels and no `loss`, that of `compile` with its regularizers. With a loss, its mean over the rows of the sum
    over the real steps. Without labels, the same of the squared norm at the last real step.

    Raises:
        ValueError: as for `values_of`.
    """
    if y is not None and loss is None and getattr(model, "compiled", False):
        return model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=sample_weight)
    output = first_output(outputs)
    values = values_of(model, outputs, y, loss)
    total, there, _ = at_step(values, output_mask(output), None if y is not None else -1)
    return total / tf.cast(max(1, int(there.sum())), total.dtype)
