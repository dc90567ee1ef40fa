"""The gradient of a loss at one step with respect to the states of all steps before it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq.inspection.gradients.losses import Loss, at_step, first_output, has_steps, output_mask, values_of
from keras_seq.inspection.gradients.recording import (
    Steps,
    called,
    inputs_of,
    real_steps,
    recorded,
    tensors_of,
    watched_layers,
)


@dataclasses.dataclass(frozen=True)
class GradientNorms:
    """The gradients of a loss with respect to one state of a layer at every step.

    Args:
        rows: norms, float `(B, T)`, in the order of the input. NaN at masked steps.
        units: root mean square over the rows of each unit's gradient, float `(T, D)`. NaN at a step without real rows.
        steps_back: int `(B, T)`, number of steps from the state to the loss. Negative for states after the loss.
    """

    rows: np.ndarray
    units: np.ndarray
    steps_back: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The mean of the norms over the rows, float `(T,)`. NaN at a step without real rows."""
        return _mean(self.rows, ~np.isnan(self.rows))

    def by_steps_back(self) -> np.ndarray:
        """The mean of the norms over the rows, by the number of steps from the state to the loss, float `(N,)`.

        For rows of different lengths, whose last steps have different numbers.
        """
        there = (self.steps_back >= 0) & ~np.isnan(self.rows)
        longest = int(self.steps_back[there].max(initial=-1)) + 1
        masks = ((self.steps_back == n) & there for n in range(longest))
        return np.array([self.rows[mask].mean() if mask.any() else np.nan for mask in masks])

    def slope(self, first: int = 0, last: int | None = None) -> float:
        """The slope of the logarithm of the norm in nats per step back, by least squares.

        Negative for a gradient that vanishes: each step back multiplies the norm by exp(slope).

        Args:
            first, last: the range of steps back. None: the earliest state.
        Returns:
            NaN with fewer than two norms above zero.
        """
        norms = self.by_steps_back()
        steps = np.arange(len(norms))
        usable = (norms > 0) & np.isfinite(norms) & (steps >= first) & (steps <= (len(norms) if last is None else last))
        if usable.sum() < 2:
            return float("nan")
        return float(np.polyfit(steps[usable], np.log(norms[usable]), 1)[0])


def gradient_norms(
    model: keras.Layer,
    x: Any,
    y: Any = None,
    loss: Loss = None,
    *,
    at: int | None = -1,
    layers: Sequence[str | keras.Layer] | None = None,
    mask: Any = None,
    training: bool = False,
) -> dict[str, GradientNorms]:
    """The norm of dL_T/dh_t for every recurrent layer, state and step t.

    It is the total derivative: through all later steps and all layers above. For other layers, such as the blocks of a
    Transformer, h_t is the layer's output at step t. Outputs `(B, D)` of several calls are the steps of a loop.

    The model is run once, eagerly and step by step, with its weights and without changing it. Any Keras layer with a
    cell works, also `keras.layers.RNN` with a custom cell, in a model of any kind.

    L_T is the loss of each row at its step T. Without `y` and `loss` it is ||o_T||^2, the squared norm of the model's
    first output at the last real step, or of the whole output if that has no steps: a vector, or an image of rank 4.

    Args:
        model: a model, or a layer.
        x: the inputs of the model: an array, or a structure of them.
        y: the labels.
        loss: a Keras loss, its name, or a function `(y, output)` of values for each row, `(B,)`, or for each row and
            step, `(B, T)`. None: the loss of `compile` if there is `y`.
        at: the step T: from the start, or if negative from the last real step of each row. None: L is the sum over
            all real steps.
        layers: layers of the model, or their paths or names. None: all recurrent layers, and the blocks with
            attention. If there is none, the layers of the model.
        mask: bool `(B, T)`, the real steps, for a model whose layers or output have no Keras mask.
        training: whether layers such as dropout behave as in training.
    Returns:
        `GradientNorms` by path of the layer and name of the state: "lstm/h", "lstm/c", "block_0/output". States of
        several numbers in several axes are one vector.
    Raises:
        ValueError: if no layer can be recorded, one of `layers` is not in the model or not called by it, `at` is not
            a step, or the loss does not fit.
    Source: Pascanu et al. 2013, section 2, arXiv:1211.5063.
    """
    x = inputs_of(model, x)
    chosen = watched_layers(model, layers)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        with recorded(model, chosen, watch=tape.watch) as recording:
            outputs = called(model, x, training)
        output = first_output(outputs)
        mask = output_mask(output, mask) if has_steps(output) else mask
        values = values_of(model, outputs, None if y is None else tensors_of(y), loss)
        total, there, step = at_step(values, mask if has_steps(output) else None, at)
    _check_calls(recording.calls, chosen, layers, model)
    sources = {
        f"{path}/{part}": (steps, tensors)
        for path, steps in recording.calls.items()
        for part, tensors in steps.parts.items()
    }
    gradients = tape.gradient(
        total, {name: tensors for name, (_, tensors) in sources.items()}, unconnected_gradients="zero"
    )
    real = real_steps(recording.calls, mask)
    return {
        name: _norms(gradients[name], steps, real[name.rpartition("/")[0]], there, _end(output, step))
        for name, (steps, _) in sources.items()
    }


def _end(output: Any, step: np.ndarray | None) -> tuple[int, np.ndarray] | None:
    """The number of steps of the output, and the step of the loss in each row."""
    return None if step is None else (output.shape[1], step)


def _check_calls(calls: dict[str, Steps], chosen: dict, wanted: Sequence | None, model: keras.Layer) -> None:
    missing = [path for path in chosen if path not in calls]
    if missing and (wanted is not None or not calls):
        raise ValueError(
            f"The model {model.name!r} does not call these layers, or they return no floats (B, D) or (B, T, ...): "
            f"{', '.join(missing)}. Give `layers` that it calls."
        )


def _norms(gradient: Any, steps: Steps, real: np.ndarray, there: np.ndarray, end: tuple | None) -> GradientNorms:
    """The norms of gradients, `(B, T, ...)` or T times `(B, ...)`."""
    if len(there) == len(real):  # a layer inside `TimeDistributed` has other rows
        real = real & there[:, None]
    gradient = np.array(gradient) if tf.is_tensor(gradient) else np.stack([each.numpy() for each in gradient], axis=1)
    gradient = gradient.reshape(*real.shape, -1)
    gradient = gradient.astype("float64") if gradient.dtype != np.float64 else gradient
    gradient = np.where(real[:, :, None], gradient, np.nan)
    rows = np.sqrt(np.where(real, np.square(gradient).sum(axis=2), np.nan))
    counted = np.maximum(real.sum(axis=0), 1)[:, None]
    squares = np.where(real[:, :, None], np.square(gradient), 0.0).sum(axis=0)
    units = np.where(real.any(axis=0)[:, None], np.sqrt(squares / counted), np.nan)
    return GradientNorms(rows, units, _steps_back(steps, real, end))


def _steps_back(steps: Steps, real: np.ndarray, end: tuple[int, np.ndarray] | None) -> np.ndarray:
    """The number of steps of the layer from each state to the loss, int `(B, T)`.

    To the last step that the layer computes, if the loss is not that of one step, or the layer has other steps.
    """
    B, T = real.shape
    ends = real.argmax(axis=1) if steps.go_backwards else T - 1 - real[:, ::-1].argmax(axis=1)
    if end is not None and (end[0], len(end[1])) == (T, B):
        ends = end[1]
    ahead = ends[:, None] - np.arange(T)[None, :]
    return -ahead if steps.go_backwards else ahead


def _mean(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The mean over the rows, of the entries that are there. NaN without any."""
    totals = np.where(there, values, 0.0).sum(axis=0)
    return np.where(there.any(axis=0), totals / np.maximum(there.sum(axis=0), 1), np.nan)
