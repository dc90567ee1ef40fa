"""The gradient and the next update of every weight."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_seq.inspection.gradients.losses import Loss, training_loss
from keras_seq.inspection.gradients.recording import called, inputs_of, recorded, tensors_of


class ParameterNorm(NamedTuple):
    """Euclidean norms of one weight, its gradient and its next update.

    Args:
        path: path of the weight, such as "lstm/lstm_cell/kernel".
        shape: shape of the weight.
        weight, gradient: norms. A weight that the loss does not depend on has the gradient 0.
        update: norm of the change by one step of the optimizer. NaN without an optimizer.
    """

    path: str
    shape: tuple[int, ...]
    weight: float
    gradient: float
    update: float

    @property
    def ratio(self) -> float:
        """Norm of the update divided by that of the weight. Infinite for a weight of zeros that changes."""
        if self.weight:
            return self.update / self.weight
        return float("inf") if self.update > 0 else self.update


def parameter_norms(
    model: keras.Layer,
    x: Any,
    y: Any = None,
    loss: Loss = None,
    *,
    optimizer: keras.optimizers.Optimizer | None = None,
    sample_weight: Any = None,
    training: bool = False,
) -> list[ParameterNorm]:
    """The norms of the gradient and of the next update of every trainable weight.

    The update is one step of a copy of the optimizer, with its slots, clipping and weight decay, on copies of the
    weights. Model and optimizer are not changed.

    Args:
        model: a model, or a layer.
        x: the inputs of the model: an array, or a structure of them.
        y, loss: labels and loss, as for `gradient_norms`. The loss is that of training: by default that of `compile`,
            with the regularizers.
        optimizer: None: that of `compile`.
        sample_weight: weights of the labels, for the loss of `compile`.
        training: whether layers such as dropout behave as in training.
    Returns:
        a `ParameterNorm` for each weight, in the order of `model.trainable_variables`.
    Raises:
        ValueError: as for `gradient_norms`.
    """
    x, y = inputs_of(model, x), None if y is None else tensors_of(y)
    with tf.GradientTape() as tape, recorded(model, {}):
        outputs = called(model, x, training)
        value = training_loss(model, x, y, outputs, loss, sample_weight)
    variables = model.trainable_variables
    gradients = tape.gradient(value, [variable.value for variable in variables], unconnected_gradients="zero")
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    optimizer = getattr(model, "optimizer", None) if optimizer is None else optimizer
    updates = [np.nan] * len(variables) if optimizer is None else _updates(optimizer, variables, gradients)
    return [
        ParameterNorm(variable.path, tuple(variable.shape), _norm(variable), _norm(gradient), float(update))
        for variable, gradient, update in zip(variables, gradients, updates, strict=True)
    ]


def _updates(optimizer, variables, gradients) -> list[float]:
    """The norms of the changes by one step of a copy of the optimizer."""
    copies = []
    for variable in variables:
        copied = keras.Variable(variable.numpy(), name=variable.name, dtype=variable.dtype)
        copied.constraint = getattr(variable, "constraint", None)
        copies.append(copied)
    twin = type(optimizer).from_config(optimizer.get_config())
    twin.build(copies)
    if optimizer.built:
        if [v.shape for v in optimizer.variables] != [v.shape for v in twin.variables]:
            raise ValueError(
                "`optimizer` must be new, or that of the model's trainable weights. Received: "
                f"{optimizer.name!r}, built for other weights"
            )
        for slot, value in zip(twin.variables, optimizer.variables, strict=True):
            slot.assign(value)
    twin.apply(gradients, copies)
    return [_norm(copied.value - variable.value) for copied, variable in zip(copies, variables, strict=True)]


def _norm(x: Any) -> float:
    return float(np.linalg.norm(np.asarray(x, "float64").ravel()))
