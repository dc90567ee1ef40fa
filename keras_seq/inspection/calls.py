"""Records the calls of all layers in one call of a model: their shapes, how often they run, and their real steps."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from keras.src import backend

from keras_seq.inspection.layer_calls import layer_paths, replaced, sublayers
from keras_seq.inspection.shapes import is_shapes, symbolic_inputs
from keras_seq.layers.masks import carried_mask


class Spec(NamedTuple):
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a layer, or of an operation of a functional model.

    Attributes:
        layer, path: the layer and its path in the model.
        arguments: the arguments of `call` by name, with a `Spec` in place of each tensor.
        outputs: the outputs, likewise.
        times: how often the call runs: the number of steps for a call inside a loop, else 1.
        mask: its mask, bool `(B, T)`, or that of the last call before with the same `(B, T)`. None if there is none.
        masked: whether the call itself got that mask.
        attended: share of the pairs of query and key that are real and that an attention allows, or None.
    """

    layer: keras.Operation
    path: str
    arguments: dict[str, Any]
    outputs: Any
    times: int = 1
    mask: np.ndarray | None = None
    masked: bool = False
    attended: float | None = None

    @property
    def inputs(self) -> list[Spec]:
        return specs(self.arguments)

    @property
    def x(self) -> Spec:
        """The first tensor among the arguments."""
        return self.inputs[0]

    @property
    def real(self) -> float | None:
        """Share of its positions that are not padding, for an attention that of its pairs. None if it is unknown."""
        if self.attended is not None:
            return self.attended
        return None if self.mask is None else float(self.mask.mean())

    @property
    def y(self) -> Spec:
        """The first of the outputs."""
        return specs(self.outputs)[0]


def specs(nest: Any) -> list[Spec]:
    found, waiting = [], [nest]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, Spec):
            found.append(each)
        elif isinstance(each, Mapping):
            waiting[:0] = list(each.values())
        elif isinstance(each, (list, tuple)):
            waiting[:0] = list(each)
    return found


def paths(model: keras.Layer) -> dict[int, tuple[str, keras.Operation]]:
    """The path of a model and of each layer and operation inside it, by `id`, in the order of creation."""
    inside = layer_paths(model, lambda layer: [*sublayers(layer), *_operations(layer)])
    return {id(model): (model.name, model)} | {id(each): (path, each) for path, each in inside.items()}


def _operations(layer: Any) -> list[keras.Operation]:
    """The operations of a functional model that are no layers."""
    return [each for each in getattr(layer, "operations", []) if not isinstance(each, keras.Layer)]


def recorded(model: keras.Layer, batch: Any, whole: tuple[type, ...] = (), training: bool = False) -> list[Call]:
    """Calls a model once and records the calls of its layers. Its weights and states stay as they are.

    Args:
        model: a built model.
        batch: its inputs as arrays, or their shapes: `(32, 20)`, `{"source": (32, 20), "target": (32, 18)}`. With
            shapes nothing is computed, and padding is unknown.
        whole: classes of layers whose inner calls are not recorded.
        training: the argument of the call.
    Returns:
        the calls in the order in which they end.
    Raises:
        ValueError: if the model is not built, or a shape has an axis without a size.
    """
    if not model.built:
        raise ValueError(f"`model` must be built, so that its weights exist. Received: {model.name!r}, not built")
    recorder = _Recorder(paths(model), whole)
    symbolic = is_shapes(batch)
    inputs = symbolic_inputs(model, batch) if symbolic else keras.tree.map_structure(ops.convert_to_tensor, batch)
    with keras.StatelessScope(), recorder.listening():
        if symbolic:
            backend.compute_output_spec(functools.partial(model, training=training), inputs)
        else:
            model(inputs, training=training)
    return recorder.calls


class _Recorder:
    def __init__(self, known, whole):
        self.known = known
        self.whole = whole
        self.calls = []
        self.times = [1]  # of the loops around the present call
        self.silent = False
        self.cells = {}  # of the loop around the present call: whether its cell was called, by `id`
        self.masks = {}  # the last mask that was seen, by (B, T)

    def listening(self):
        """Replaces `call` of each layer, on the instance alone, for as long as the context lasts."""
        return replaced([(each, "call", functools.partial(self._wrapped, each)) for _, each in self.known.values()])

    def _wrapped(self, layer, call):
        signature = inspect.signature(call)

        @functools.wraps(call)
        def wrapper(*args, **kwargs):
            if self.silent or self.cells.get(id(layer)):  # a loop may call its cell more than once
                return self._silently(call, args, kwargs)
            if id(layer) in self.cells:
                self.cells[id(layer)] = True
            arguments = dict(signature.bind(*args, **kwargs).arguments)
            path, times = self.known[id(layer)][0], self.times[-1]
            if isinstance(layer, self.whole):
                outputs = self._silently(call, args, kwargs)
            elif isinstance(layer, keras.layers.RNN):
                outputs = self._looped(layer, call, args, kwargs, times * args[0].shape[1])
            else:
                outputs = call(*args, **kwargs)
            masks = self._masks(layer, arguments)
            tensors = {name: keras.tree.map_structure(_spec, value) for name, value in arguments.items()}
            self.calls.append(Call(layer, path, tensors, keras.tree.map_structure(_spec, outputs), times, *masks))
            return outputs

        return wrapper

    def _silently(self, call, args, kwargs):
        before, self.silent = self.silent, True
        try:
            return call(*args, **kwargs)
        finally:
            self.silent = before

    def _looped(self, layer, call, args, kwargs, times):
        before, self.cells = self.cells, {id(layer.cell): False}
        self.times.append(times)
        try:
            return call(*args, **kwargs)
        finally:
            self.times.pop()
            self.cells = before

    def _masks(self, layer, arguments):
        """`mask`, `masked` and `attended` of a call. One without a mask has the last one of the same (B, T)."""
        x = next(iter(arguments.values()), None)
        if not _is_sequence(x):
            return None, False, None
        place, mask = tuple(x.shape[:2]), _value(arguments.get("mask"))
        if mask is None:
            mask = _value(carried_mask(x))
        if (
            mask is None
            and isinstance(layer, keras.Layer)
            and type(layer).compute_mask is not keras.layers.Layer.compute_mask
        ):
            mask = _value(layer.compute_mask(x, None))
        masked = mask is not None and mask.shape[:2] == place
        if masked:
            self.masks[place] = mask.reshape(place)
        mask, memory = self.masks.get(place), arguments.get("memory")
        pairs = _value(arguments.get("attention_mask"))
        if pairs is None and isinstance(memory, Mapping):
            pairs = _value(memory.get("mask"))
            pairs = None if pairs is None else pairs[:, None]
        if pairs is not None and mask is not None and len(pairs) in (1, len(mask)):
            pairs = np.logical_and(pairs, mask[:, :, None])  # (B, Q, S)
        return mask, masked, None if pairs is None else float(pairs.mean())


def _spec(x):
    return Spec(tuple(x.shape), keras.backend.standardize_dtype(x.dtype)) if hasattr(x, "shape") else x


def _is_sequence(x):
    """Whether x may have a time axis: a tensor with three axes, or ids with two."""
    if not hasattr(x, "shape"):
        return False
    return len(x.shape) > 2 or (len(x.shape) == 2 and "int" in keras.backend.standardize_dtype(x.dtype))


def _value(mask):
    """A mask as a bool array, or None if it is symbolic or none."""
    if isinstance(mask, (list, tuple)):
        mask = mask[0] if mask else None
    if mask is None:
        return None
    try:
        return np.asarray(ops.convert_to_numpy(mask), "bool")
    except Exception:  # a symbolic tensor, of any backend
        return None
