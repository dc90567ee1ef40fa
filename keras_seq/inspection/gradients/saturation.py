"""Gates that are shut or open for good, and units that never move."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq import layers as our_layers
from keras_seq.inspection.gradients.jacobians import recurrent_layers
from keras_seq.inspection.gradients.recording import (
    called,
    inputs_of,
    is_recurrent,
    real_steps,
    recorded,
    recorded_paths,
    sublayers,
    watched_layers,
)


class GateSaturation(NamedTuple):
    """Activations of one gate, over all rows, real steps and units.

    Args:
        layer: path of the layer.
        gate: name of the gate: i, f, o of an LSTM; z, r of a GRU; z of a minGRU; f, i and a = f / (f + i) of a
            minLSTM; r, i and a (the factor of the state) of an RG-LRU.
        low, high: shares of the activations below the lower and above the upper bound.
        mean: mean activation.
    """

    layer: str
    gate: str
    low: float
    high: float
    mean: float


def gate_saturation(
    model: keras.Layer,
    x: Any,
    *,
    bounds: tuple[float, float] = (0.05, 0.95),
    layers: Sequence[str | keras.Layer] | None = None,
    mask: Any = None,
) -> list[GateSaturation]:
    """The share of each gate's activations that are almost 0 or almost 1, where its gradient is almost 0.

    A custom cell takes part with a method `gates(x, states)`, from inputs `(B, Dx)` and the states before the step to a
    dict of gates `(B, D)` by name.

    Args:
        model: a model, or a layer.
        x: the inputs of the model: an array, or a structure of them.
        bounds: activations below the first are low, above the second high.
        layers: recurrent layers with gates, or their paths or names. None: all.
        mask: bool `(B, T)`, the real steps, for layers that get no Keras mask.
    Returns:
        a `GateSaturation` for each layer and gate.
    Raises:
        ValueError: if `bounds` are not ascending in [0, 1], no layer has gates, or one of `layers` has none.
    """
    low, high = bounds
    if not 0 <= low < high <= 1:
        raise ValueError(f"`bounds` must be ascending and between 0 and 1. Received: {bounds}")
    x = inputs_of(model, x)
    chosen = recurrent_layers(model, layers)
    gated = {path: layer for path, layer in chosen.items() if _gates_of(layer) is not None}
    if not gated or (layers is not None and len(gated) < len(chosen)):
        raise ValueError(
            "Recurrent layers with gates are needed: an LSTM, a GRU, or a custom cell with a method "
            f"`gates(x, states)`. Received: {', '.join(path for path in chosen if path not in gated)}"
        )
    with recorded(model, gated) as recording:
        called(model, x, training=False)
    real = real_steps(recording.calls, None if mask is None else np.asarray(mask))
    found = []
    for path, steps in recording.calls.items():
        states = keras.tree.map_structure(lambda *each: tf.concat(each, axis=0), *steps.before)
        gates = _gates_of(steps.layer)(tf.concat(steps.inputs, axis=0), states)  # (T * B, D) each
        for gate, values in gates.items():
            values = np.array(values, "float64")[real[path].T.ravel()]
            found.append(
                GateSaturation(path, gate, float((values < low).mean()), float((values > high).mean()), values.mean())
            )
    return found


def _gates_of(layer: Any) -> Callable | None:
    """The function from inputs and states to the gates of a recurrent layer, or None."""
    if isinstance(layer, our_layers.ParallelRecurrent):
        return _FUNCTIONS.get(type(layer)) and (lambda x, states: _FUNCTIONS[type(layer)](layer, x))
    return _gates_of_cell(layer.cell)


def _gates_of_cell(cell: Any) -> Callable | None:
    if hasattr(cell, "gates"):
        return cell.gates
    if isinstance(cell, keras.layers.LSTMCell):
        return lambda x, states: _lstm_gates(cell, x, states)
    if isinstance(cell, keras.layers.GRUCell):
        return lambda x, states: _gru_gates(cell, x, states)
    if isinstance(cell, keras.layers.StackedRNNCells) and any(map(_gates_of_cell, cell.cells)):
        return lambda x, states: _stacked_gates(cell, x, states)
    return None


def _lstm_gates(cell, x, states) -> dict[str, Any]:
    z = ops.matmul(x, cell.kernel) + ops.matmul(states[0], cell.recurrent_kernel)
    z = z + cell.bias if cell.use_bias else z
    i, f, _, o = (cell.recurrent_activation(part) for part in ops.split(z, 4, axis=1))
    return {"i": i, "f": f, "o": o}


def _gru_gates(cell, x, states) -> dict[str, Any]:
    D = 2 * cell.units
    z = ops.matmul(x, cell.kernel[:, :D]) + ops.matmul(states[0], cell.recurrent_kernel[:, :D])
    if cell.use_bias:
        z = z + (ops.sum(cell.bias, axis=0) if cell.reset_after else cell.bias)[:D]
    update, reset = (cell.recurrent_activation(part) for part in ops.split(z, 2, axis=1))
    return {"z": update, "r": reset}


def _stacked_gates(stack, x, states) -> dict[str, Any]:
    found = {}
    for number, (cell, state) in enumerate(zip(stack.cells, states, strict=True)):
        function, state = _gates_of_cell(cell), list(state) if isinstance(state, (list, tuple)) else [state]
        for name, values in (function(x, state) if function else {}).items():
            found[f"{number}/{name}"] = values
        x, _ = cell(x, state)
    return found


def _parts(layer, x):
    return ops.split(ops.matmul(x, layer.kernel) + layer.bias, layer.parts, axis=1)


def _min_gru_gates(layer, x) -> dict[str, Any]:
    return {"z": ops.sigmoid(_parts(layer, x)[0])}


def _min_lstm_gates(layer, x) -> dict[str, Any]:
    f, i, candidate = _parts(layer, x)
    return {"f": ops.sigmoid(f), "i": ops.sigmoid(i), "a": layer.gates_and_values(f, i, candidate)[0]}


def _rglru_gates(layer, x) -> dict[str, Any]:
    r, i, candidate = _parts(layer, x)
    return {"r": ops.sigmoid(r), "i": ops.sigmoid(i), "a": layer.gates_and_values(r, i, candidate)[0]}


_FUNCTIONS = {
    our_layers.MinGRU: _min_gru_gates,
    our_layers.MinLSTM: _min_lstm_gates,
    our_layers.RGLRU: _rglru_gates,
}


class DeadUnits(NamedTuple):
    """Units of a layer that do not move over a data set.

    Args:
        layer: path of the layer.
        units: number of units.
        constant: indices of the units whose output does not move.
        zero: indices of those that are always 0, such as units of a ReLU.
    """

    layer: str
    units: int
    constant: np.ndarray
    zero: np.ndarray


def dead_units(
    model: keras.Layer,
    data: Any,
    *,
    tolerance: float = 1e-6,
    layers: Sequence[str | keras.Layer] | None = None,
) -> list[DeadUnits]:
    """The units whose outputs are the same at all real steps of all rows of a data set.

    Args:
        model: a model, or a layer.
        data: an array or a dict of arrays, the inputs of one batch. Or an iterable of batches, such as a
            `tf.data.Dataset` of inputs or of tuples that begin with them.
        tolerance: a unit is constant if its largest and smallest outputs differ by no more than this.
        layers: layers of the model, or their paths or names. None: recurrent layers, layers with weights and without
            sublayers, and activation layers.
    Returns:
        a `DeadUnits` for each call of a layer, in the order of the calls. The units are the last axis.
    Raises:
        ValueError: if `data` has no batch, or as for `gradient_norms`.
    """
    least, most = {}, {}
    for x in _batches(data):
        x = inputs_of(model, x)
        chosen = watched_layers(model, layers) if layers is not None else _active_layers(model)
        with recorded(model, chosen) as recording:
            called(model, x, training=False)
        real = real_steps(recording.calls)
        for path, steps in recording.calls.items():
            part = next(iter(steps.parts.values()))
            values = np.array(part if tf.is_tensor(part) else tf.stack(part, axis=1))
            values = values[real[path]] if values.ndim > 2 else values
            values = values.reshape(-1, values.shape[-1])
            if len(values):
                least[path] = np.minimum(least.get(path, np.inf), values.min(axis=0))
                most[path] = np.maximum(most.get(path, -np.inf), values.max(axis=0))
    if not least:
        raise ValueError("`data` must have at least one batch with real steps. Received: none")
    return [
        DeadUnits(
            path,
            len(low),
            np.flatnonzero(most[path] - low <= tolerance),
            np.flatnonzero((low == 0) & (most[path] == 0)),
        )
        for path, low in least.items()
    ]


def _active_layers(model: keras.Layer) -> dict[str, keras.Layer]:
    activations = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
    return {
        path: layer
        for path, layer in recorded_paths(model).items()
        if is_recurrent(layer) or (layer.weights and not sublayers(layer)) or isinstance(layer, activations)
    }


def _batches(data: Any) -> Iterable:
    if isinstance(data, (np.ndarray, dict)) or tf.is_tensor(data):
        return [data]
    return (batch[0] if isinstance(batch, tuple) else batch for batch in data)
