"""Truncated backpropagation through time against the full gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_seq.inspection.gradients.jacobians import recurrent_layers
from keras_seq.inspection.gradients.losses import Loss, training_loss
from keras_seq.inspection.gradients.recording import called, inputs_of, recorded, tensors_of


class TruncationBias(NamedTuple):
    """The truncated gradient g' against the full gradient g of all weights.

    Args:
        window: number of steps after which gradients stop.
        relative_error: ||g' - g|| / ||g||. 0 for the full gradient.
        cosine: of the angle between g' and g. 1 for the same direction.
        norm_ratio: ||g'|| / ||g||.
    """

    window: int
    relative_error: float
    cosine: float
    norm_ratio: float


def truncation_bias(
    model: keras.Layer,
    x: Any,
    y: Any = None,
    loss: Loss = None,
    *,
    windows: Sequence[int] = (5, 10, 20, 50, 100),
    training: bool = False,
) -> list[TruncationBias]:
    """The bias of truncated backpropagation through time, as a function of its window.

    The sequence is cut into chunks of `window` steps, counted from the last step, padding included. States are carried
    from chunk to chunk, and no gradient is: the usual truncation, as in training on streams. All recurrent layers are
    truncated. With a loss of the last step alone, the gradient covers the last `window` steps. With a loss of every
    step, a step right after a cut has no gradient from before, so the mean reach is half a window.

    Args:
        model: a model, or a layer, with recurrent layers.
        x: the inputs of the model: an array, or a structure of them.
        y, loss: labels and loss, as for `gradient_norms`. The loss is that of training: of all real steps, mean over
            the rows. Without both, the squared norm of the output at the last real step.
        windows: numbers of steps. With T or more, the gradient is the full one.
        training: whether layers such as dropout behave as in training. Random layers then add to the error.
    Returns:
        a `TruncationBias` for each window, in their order. NaN if the full gradient is zero.
    Raises:
        ValueError: if a window is below 1, the model has no recurrent layer or no trainable weight, or as for
            `gradient_norms`.
    Source: Tallec and Ollivier 2017, section 2, arXiv:1705.08209.
    """
    if not windows or min(windows) < 1:
        raise ValueError(f"`windows` must be numbers of steps, at least 1. Received: {tuple(windows)}")
    x, y = inputs_of(model, x), None if y is None else tensors_of(y)
    chosen = recurrent_layers(model)

    def gradient(window):
        with tf.GradientTape() as tape, recorded(model, chosen, window=window):
            outputs = called(model, x, training)
            value = training_loss(model, x, y, outputs, loss)
        weights = [variable.value for variable in model.trainable_variables]
        if not weights:
            raise ValueError(f"`model` must have trainable weights. Received: {model.name!r}, with none")
        return flat(tape.gradient(value, weights), weights)

    full = gradient(None)
    return [_bias(window, gradient(window), full) for window in windows]


def flat(gradients: Sequence[Any], weights: Sequence[Any]) -> np.ndarray:
    """All gradients as one float64 vector. A gradient that is None is zero."""
    parts = [
        np.zeros(int(np.prod(weight.shape))) if each is None else tf.convert_to_tensor(each).numpy().ravel()
        for each, weight in zip(gradients, weights, strict=True)
    ]
    return np.concatenate(parts).astype("float64")


def _bias(window: int, truncated: np.ndarray, full: np.ndarray) -> TruncationBias:
    norm, other = np.linalg.norm(full), np.linalg.norm(truncated)
    if norm == 0:
        return TruncationBias(window, float("nan"), float("nan"), float("nan"))
    cosine = truncated @ full / (norm * other) if other else float("nan")
    return TruncationBias(window, float(np.linalg.norm(truncated - full) / norm), float(cosine), float(other / norm))
