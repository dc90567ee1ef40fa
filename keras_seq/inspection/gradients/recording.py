"""Runs a model once, eagerly, and records the states of its recurrent layers and the outputs of its other layers.

The model stays as it is. While it runs, each recurrent layer computes step by step with its cell, in place of its fast
loop, and every state is a tensor that a gradient tape can watch.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq import layers as our_layers
from keras_seq.inspection.layer_calls import layer_paths, replaced, sublayers
from keras_seq.layers.masks import carried_mask

_ATTENTION = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
    our_layers.MultiHeadAttention,
)


@dataclasses.dataclass
class Steps:
    """One call of a recurrent layer, or of another layer with outputs of every step.

    Args:
        parts: for each name of a state, such as "h", its values. For a recurrent layer a list of T tensors `(B, ...)`,
            in the order of the input, each before masking. For another layer its output, one tensor `(B, T, ...)`, or
            a list of those `(B, D)` of T calls.
        mask: bool `(B, T)`, or None.
        go_backwards: whether the layer starts at the last step.
        layer: the recurrent layer.
        inputs: of a recurrent layer, a list of T tensors `(B, Dx)`.
        before: of a recurrent layer, the states that each step starts from: a list of T structures of tensors.
    """

    parts: dict[str, Any]
    mask: np.ndarray | None = None
    go_backwards: bool = False
    layer: keras.Layer | None = None
    inputs: list = dataclasses.field(default_factory=list)
    before: list = dataclasses.field(default_factory=list)


def is_recurrent(layer: Any) -> bool:
    """Whether a layer has the two things that are recorded: a cell, and a loop that calls it."""
    return hasattr(layer, "inner_loop") and hasattr(layer, "cell")


def recorded_paths(model: keras.Layer) -> dict[str, keras.Layer]:
    """All layers inside a model by path ("encoder/forward_0"), in order, and without those inside a recurrent cell.

    A layer that is not a model, and a recurrent layer, stands under its name.
    """
    if is_recurrent(model) or not sublayers(model):
        return {model.name: model}
    return layer_paths(model, lambda layer: [] if is_recurrent(layer) else sublayers(layer))


def watched_layers(model: keras.Layer, wanted: Sequence[str | keras.Layer] | None = None) -> dict[str, keras.Layer]:
    """The layers to record by path.

    Args:
        model: a model or a layer.
        wanted: layers, or their paths or names. None: all recurrent layers, and all layers that contain an attention
            layer (its blocks), or the attention layer itself if that container is the model. If there is none, the
            layers of the model.
    Raises:
        ValueError: if one of `wanted` is not a layer of the model.
    """
    paths = recorded_paths(model)
    if wanted is not None:
        return dict(_named(paths, each) for each in wanted)
    blocks = set()
    for layer in paths.values():
        blocks |= {id(layer) for child in sublayers(layer) if isinstance(child, _ATTENTION)}
    blocks |= {id(child) for child in sublayers(model) if isinstance(child, _ATTENTION)}
    found = {path: layer for path, layer in paths.items() if is_recurrent(layer) or id(layer) in blocks}
    top = {id(layer) for layer in (sublayers(model) or [model])}
    return found or {path: layer for path, layer in paths.items() if id(layer) in top}


def _named(paths: dict[str, keras.Layer], wanted: str | keras.Layer) -> tuple[str, keras.Layer]:
    for path, layer in paths.items():
        if layer is wanted or wanted in (path, layer.name):
            return path, layer
    shown = wanted if isinstance(wanted, str) else wanted.name
    raise ValueError(f"`layers` must be layers of the model: {', '.join(paths)}. Received: {shown!r}")


class Recording:
    """The calls of the watched layers, `calls`, by path.

    A second call of a layer has the path "lstm (call 2)", unless the calls are steps: outputs `(B, D)`.
    """

    def __init__(self, watch: Callable | None, window: int | None):
        self.calls: dict[str, Steps] = {}
        self.watch = watch or (lambda tensor: None)
        self.window = window

    def add(self, path: str, steps: Steps) -> None:
        name, number = path, 2
        while name in self.calls:
            name, number = f"{path} (call {number})", number + 1
        self.calls[name] = steps

    def _add_output(self, path: str, layer: keras.Layer, output: Any, mask: np.ndarray | None) -> None:
        """Outputs `(B, D)` of several calls are the steps of a loop: a cell in a loop of the user, for example."""
        if len(output.shape) > 2:
            self.add(path, Steps({"output": output}, mask, layer=layer))
            return
        before = self.calls[path].parts["output"] if path in self.calls else None
        if isinstance(before, list) and before[0].shape == output.shape:
            before.append(output)
        else:
            self.add(path, Steps({"output": [output]}, layer=layer))

    def loop_of(self, path: str, layer: Any, loop: Callable) -> Callable:
        """The replacement of the `inner_loop` of a recurrent layer."""

        def inner_loop(sequences, initial_state, mask, training=False):
            if not tf.executing_eagerly():  # Keras traces a layer that it builds
                return loop(sequences, initial_state, mask=mask, training=training)
            steps, result = run_steps(layer, sequences, initial_state, mask, training, self.watch, self.window)
            self.add(path, steps)
            return result

        return inner_loop

    def call_of(self, path: str, layer: keras.Layer, call: Callable) -> Callable:
        """The replacement of the `call` of another layer."""

        def recorded_call(*args, **kwargs):
            outputs = call(*args, **kwargs)
            output = next(iter(keras.tree.flatten(outputs)), None)
            if tf.executing_eagerly() and tf.is_tensor(output) and output.dtype.is_floating and len(output.shape) > 1:
                self.watch(output)
                self._add_output(path, layer, output, _mask_of(output, args, kwargs))
            return outputs

        return recorded_call


def _mask_of(output: Any, args: tuple, kwargs: dict) -> np.ndarray | None:
    """The mask that a layer gets, or that of its first argument, if it is one of the steps of the output."""
    mask = kwargs.get("mask")
    if mask is None and args:
        mask = next((carried_mask(each) for each in keras.tree.flatten(args[0]) if tf.is_tensor(each)), None)
    fits = tf.is_tensor(mask) and tuple(mask.shape) == tuple(output.shape[:2])
    return mask.numpy() if fits else None


@contextlib.contextmanager
def recorded(
    model: keras.Layer, layers: Mapping[str, keras.Layer], watch: Callable | None = None, window: int | None = None
) -> Iterator[Recording]:
    """Records all calls of layers inside the block. Variables that a call changes, such as a state, are restored.

    Args:
        model: the model that is called inside the block.
        layers: the layers to record by path, as `watched_layers` returns them.
        watch: a function that gets each recorded tensor, such as `tape.watch`.
        window: number of steps after which gradients stop, counted from the last step. None: never.
    """
    recording = Recording(watch, window)
    replacements = []
    for path, layer in layers.items():
        name = "inner_loop" if is_recurrent(layer) else "call"
        make = recording.loop_of if is_recurrent(layer) else recording.call_of
        replacements.append((layer, name, functools.partial(make, path, layer)))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Bidirectional):  # its fused kernels call neither layer
            for name in ("_can_attempt_fused_lstm", "_can_attempt_fused_gru"):
                replacements.append((layer, name, lambda method: lambda mask, state: False))
    eagerly = tf.config.functions_run_eagerly()
    kept = [(variable, tf.identity(variable.value)) for variable in _changeable(model)]
    tf.config.run_functions_eagerly(True)
    try:
        with replaced(replacements):
            yield recording
    finally:
        tf.config.run_functions_eagerly(eagerly)
        for variable, value in kept:
            variable.assign(value)


def _changeable(model: keras.Layer) -> list[keras.Variable]:
    """The variables that a call may change: those that are not trained, and the states of `stateful` layers."""
    states = [getattr(layer, "states", None) or [] for layer in model._flatten_layers() if is_recurrent(layer)]
    return [*(variable for variable in model.variables if not variable.trainable), *keras.tree.flatten(states)]


def run_steps(layer, sequences, initial_state, mask, training, watch, window=None):
    """The loop of a recurrent layer, with one call of its cell for each step. Numbers and arguments are Keras's.

    Returns:
        `(Steps, (last output, outputs, final states))`. The outputs `(B, T, ...)` are in the order of computation.
    """
    T, backwards = sequences.shape[1], bool(layer.go_backwards)
    states = layer.get_initial_state(sequences.shape[0]) if initial_state is None else initial_state
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    states = keras.tree.map_structure(tf.convert_to_tensor, states)  # those of a stateful layer are variables
    mask = _flat_mask(mask)
    takes_training = isinstance(layer.cell, keras.Layer) and layer.cell._call_has_training_arg
    options = {"training": training} if takes_training else {}
    # Keras's outputs before the first real step are zeros. Those of our parallel layers are the initial state.
    held = None if hasattr(layer, "zero_output_for_mask") else states[0]
    # Not slices: the gradient of each would be as large as the sequence.
    inputs, real = tf.unstack(sequences, axis=1), None if mask is None else tf.unstack(mask, axis=1)
    steps = Steps({}, None if mask is None else mask.numpy(), backwards, layer)
    outputs = []
    for tensor in (*inputs, *keras.tree.flatten(states)):
        if tensor.dtype.is_floating:
            watch(tensor)  # so that the tape has all of the first step too: h = o tanh(c)
    for n in range(T):
        t = T - 1 - n if backwards else n
        if window and n and (T - n) % window == 0:
            states = keras.tree.map_structure(tf.stop_gradient, states)
        output, new = layer.cell(inputs[t], states, **options)
        new = list(new) if isinstance(new, (list, tuple)) else [new]
        steps.inputs.append(inputs[t])
        steps.before.append(states)
        _keep(steps.parts, layer.cell, output, new, watch)
        if real is not None:
            held = tf.zeros_like(output) if held is None or getattr(layer, "zero_output_for_mask", False) else held
            output = _where(real[t], output, held)
            new = keras.tree.map_structure(lambda a, b, t=t: _where(real[t], a, b), new, states)
        held, states = output, new
        outputs.append(output)
    if backwards:
        for values in (steps.inputs, steps.before, *steps.parts.values()):
            values.reverse()
    return steps, (outputs[-1], tf.stack(outputs, axis=1), states)


def _keep(parts: dict[str, list], cell, output, new, watch) -> None:
    """Adds the states of one step, and the output if it is none of them."""
    flat = keras.tree.flatten(new)
    names = ["h", "c"] if hasattr(cell, "unit_forget_bias") else ["h", *(f"state {n}" for n in range(1, len(flat)))]
    named = [(name, state) for name, state in zip(names, flat, strict=False) if state.dtype.is_floating]
    if all(output is not state for state in flat):
        named.append(("output", output))
    for name, tensor in named:
        watch(tensor)
        parts.setdefault(name, []).append(tensor)


def _where(real, value, otherwise):
    real = tf.reshape(real, (-1, *[1] * (len(value.shape) - 1)))
    return tf.where(real, value, otherwise)


def _flat_mask(mask):
    """The mask as bool `(B, T)`, or None."""
    masks = [] if mask is None else keras.tree.flatten(mask)
    if not masks:
        return None
    mask = tf.cast(masks[0], "bool")
    return mask[..., 0] if len(mask.shape) == 3 else mask


def real_steps(calls: Mapping[str, Steps], mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The real steps of each call, bool `(B, T)`.

    By the mask that the layer gets or returns, else `mask` if it fits, else that of another layer, else all steps.
    """
    shapes, masks = {}, {}
    for name, steps in calls.items():
        (tensors, *_) = steps.parts.values()
        whole = tf.is_tensor(tensors)
        shapes[name] = tuple(tensors.shape[:2]) if whole else (tensors[0].shape[0], len(tensors))
        carried = carried_mask(tensors) if whole else None
        masks[name] = steps.mask if carried is None else carried
    known = [np.array(each, bool) for each in [mask, *masks.values()] if each is not None]
    found = {}
    for name, shape in shapes.items():
        candidates = known if masks[name] is None else [np.array(masks[name], bool)]
        found[name] = next((each for each in candidates if each.shape == shape), np.ones(shape, bool))
    return found


def tensors_of(x: Any) -> Any:
    """A structure of arrays or tensors as tensors."""
    return keras.tree.map_structure(lambda each: each if tf.is_tensor(each) else tf.convert_to_tensor(each), x)


def inputs_of(model: keras.Layer, x: Any) -> Any:
    """The inputs as tensors, after a call that builds the model if it is not built."""
    x = tensors_of(x)
    if not model.built:
        called(model, x, training=False)
    return x


def called(model: keras.Layer, x: Any, training: bool) -> Any:
    """The output of a model or layer, which takes `training` or not."""
    return model(x, training=training) if model._call_has_training_arg else model(x)
