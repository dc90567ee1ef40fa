"""The Jacobian of one step of a recurrent layer, and its singular values at every step."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq.inspection.gradients.recording import (
    called,
    inputs_of,
    is_recurrent,
    real_steps,
    recorded,
    watched_layers,
)

_ROWS = 4096  # copies of rows in one call of a cell


def step_jacobian(layer: keras.Layer, x_t: Any, state: Any) -> np.ndarray:
    """The derivative of a state by the state before it, dh_t/dh_(t-1), for one step of a recurrent layer.

    Args:
        layer: a recurrent layer (of Keras, of keras_seq, or `keras.layers.RNN` with any cell) or its cell. Built.
        x_t: the input of the step, float `(Dx,)`, or `(B, Dx)` for several rows.
        state: the states before the step as the cell takes them: one array or a list, `(D,)` or `(B, D)` each. For an
            LSTM `[h, c]`.
    Returns:
        float `(N, N)` or `(B, N, N)`, where N is the number of all state values: for an LSTM those of h, then c. The
        entry (i, j) is the derivative of the new value i by the old value j.
    Raises:
        ValueError: if the layer is not recurrent or not built.
    """
    cell = layer.cell if is_recurrent(layer) else layer
    if not callable(cell) or not (is_recurrent(layer) or hasattr(cell, "state_size")):
        raise ValueError(f"`layer` must be a recurrent layer or a cell. Received: {layer!r}")
    if not layer.built:
        raise ValueError(f"`layer` must be built, so that its weights exist: call it once. Received: {layer!r}")
    x_t = tf.convert_to_tensor(x_t)
    states = keras.tree.map_structure(
        tf.convert_to_tensor, list(state) if isinstance(state, (list, tuple)) else [state]
    )
    one = len(x_t.shape) == 1
    if one:
        x_t, states = x_t[None], keras.tree.map_structure(lambda each: each[None], states)
    flat = keras.tree.flatten(states)
    N = sum(int(np.prod(each.shape[1:])) for each in flat)
    at_once = max(1, _ROWS // N)
    parts = [
        _jacobian(cell, x_t[first : first + at_once], [each[first : first + at_once] for each in flat], states, N)
        for first in range(0, x_t.shape[0], at_once)
    ]
    found = np.concatenate(parts)
    return found[0] if one else found


def _jacobian(cell, x, flat, structure, N) -> np.ndarray:
    """One row of the result per copy of a row of x: the i-th copy gives the gradient of the i-th value."""
    B = x.shape[0]
    inputs = [tf.repeat(each, N, axis=0) for each in flat]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        _, new = cell(tf.repeat(x, N, axis=0), keras.tree.pack_sequence_as(structure, inputs))
        values = tf.concat([tf.reshape(each, (B * N, -1)) for each in keras.tree.flatten(new)], axis=1)
        total = tf.reduce_sum(values * tf.tile(tf.eye(N, dtype=values.dtype), (B, 1)))
    gradients = tape.gradient(total, inputs, unconnected_gradients="zero")
    return tf.concat([tf.reshape(each, (B, N, -1)) for each in gradients], axis=2).numpy()


def jacobian_singular_values(
    model: keras.Layer,
    x: Any,
    *,
    layers: Sequence[str | keras.Layer] | None = None,
    rows: int = 4,
    mask: Any = None,
) -> dict[str, np.ndarray]:
    """The singular values of dh_t/dh_(t-1) at every step of every recurrent layer.

    If the largest one is below 1 at all steps, the gradient vanishes. If it is above 1, the gradient may explode
    (Pascanu et al. 2013, section 2.1, arXiv:1211.5063). For an LSTM the state is h and c together.

    Args:
        model: a model, or a layer.
        x: the inputs of the model: an array, or a structure of them.
        layers: recurrent layers of the model, or their paths or names. None: all.
        rows: number of rows of x to compute, the first ones. A matrix is as wide as the state, and its singular values
            take a time that grows with the third power of that.
        mask: bool `(B, T)`, the real steps, for layers that get no Keras mask.
    Returns:
        by path of the layer, float `(rows, T, N)`, the largest first. NaN at masked steps.
    Raises:
        ValueError: if there is no recurrent layer, `layers` has another one, or `rows` is below 1.
    """
    if rows < 1:
        raise ValueError(f"`rows` must be at least 1. Received: {rows}")
    x = keras.tree.map_structure(lambda each: each[:rows], inputs_of(model, x))
    chosen = recurrent_layers(model, layers)
    with recorded(model, chosen) as recording:
        called(model, x, training=False)
    real = real_steps(recording.calls, None if mask is None else np.asarray(mask)[:rows])
    found = {}
    for path, steps in recording.calls.items():
        B, T = real[path].shape
        states = keras.tree.map_structure(lambda *each: tf.concat(each, axis=0), *steps.before)
        jacobians = step_jacobian(steps.layer, tf.concat(steps.inputs, axis=0), states)  # (T * B, N, N)
        values = np.linalg.svd(jacobians, compute_uv=False).reshape(T, B, -1).swapaxes(0, 1)
        found[path] = np.where(real[path][:, :, None], values, np.nan)
    return found


def recurrent_layers(model: keras.Layer, layers: Sequence[str | keras.Layer] | None = None) -> dict[str, keras.Layer]:
    """The recurrent layers of a model by path, or those of `layers`.

    Raises:
        ValueError: if there is none, or `layers` has a layer that is not recurrent.
    """
    chosen = watched_layers(model, layers)
    found = {path: layer for path, layer in chosen.items() if is_recurrent(layer)}
    others = [path for path in chosen if path not in found]
    if not found or (layers is not None and others):
        raise ValueError(
            "Recurrent layers are needed, which have a cell. "
            f"Received: the model {model.name!r} with {', '.join(others) or 'no layers'}"
        )
    return found
