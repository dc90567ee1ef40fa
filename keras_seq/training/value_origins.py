"""Follows values that are not finite through an eager step, from the operation where they arise.

TensorFlow calls a function of ours after each eager operation (its `op_callbacks`, which
`tf.debugging.enable_check_numerics` uses too). That one stops at the first NaN or infinity, also at the -inf of an
attention mask. Here each such tensor keeps its origin, so the origin of the loss is the one that did the damage.
Each call of a layer is noted, and its inputs and outputs have hooks that receive their gradients.
"""

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_callbacks

Place = Literal["input", "label", "sample weight", "weight", "forward", "loss", "backward"]
_PACKAGES = ("/tensorflow/", "/keras/", "/optree/", "/numpy/")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a value that is not finite arose.

    Attributes:
        place: a part of the batch, a weight, a pass, or the loss function.
        kind: "NaN" or "Inf".
        name: path of the part of the batch or of the weight, or "".
        layer: path of the innermost layer, or "" outside all layers.
        layer_class: name of its class, or "".
        operation: TensorFlow's name of the operation, or "".
        source: "file:line, in function", or "".
        detail: count and place of the values.
        constant: whether it is a -inf of the program, such as that of a mask.
        order: rank among the origins.
    """

    place: Place
    kind: str
    name: str = ""
    layer: str = ""
    layer_class: str = ""
    operation: str = ""
    source: str = ""
    detail: str = ""
    constant: bool = dataclasses.field(default=False, repr=False)
    order: int = dataclasses.field(default=0, repr=False)


@dataclasses.dataclass(eq=False)
class Call:
    """A call of a layer: its depth, and the gradients that came to its outputs and left its inputs."""

    layer: keras.layers.Layer
    depth: int
    received: bool = False  # whether the gradient of an output was finite
    returned: bool = False  # whether an input had a gradient
    bad_output: bool = False
    bad_input: bool = False
    at: int = sys.maxsize  # the time of the first gradient of an input that was not finite


class Origins:
    """A context in which the operations of this thread are followed.

    Args:
        weights: paths of the weights that are not finite already, by the ids of their resource handles.
    Attributes:
        calls: calls of layers, in order.
        phase: "forward", and "backward" after the loss.
    """

    def __init__(self, weights: Mapping[int, str]):
        self.calls: list[Call] = []
        self.phase: Place = "forward"
        self._weights = dict(weights)
        self._origins: dict[int, Origin] = {}
        self._stack: list[Call] = []
        self._time = 0

    def mark(self, tensor: tf.Tensor, place: Place, name: str, detail: str) -> None:
        """Marks a tensor of the batch whose values are not finite."""
        self._origins[tensor._id] = Origin(place, kind_of(tensor.numpy()), name, detail=detail, order=self._tick())

    def of(self, tensor: Any) -> Origin | None:
        """The origin of a tensor that is not finite, if it was followed."""
        return self._origins.get(getattr(tensor, "_id", None))

    def __enter__(self) -> "Origins":
        self._call = keras.Operation.__call__
        keras.Operation.__call__ = self._noted_call(self._call)
        self._eagerly = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        op_callbacks.add_op_callback(self._after)
        return self

    def __exit__(self, *raised: Any) -> None:
        op_callbacks.remove_op_callback(self._after)
        tf.config.run_functions_eagerly(self._eagerly)
        keras.Operation.__call__ = self._call

    def _tick(self) -> int:
        self._time += 1
        return self._time

    # Operations

    def _after(self, op_type, inputs, attrs, outputs, op_name=None, graph=None):
        if graph is not None:
            return
        op_type = op_type.decode() if isinstance(op_type, bytes) else op_type  # of gradient functions
        for output in outputs:
            if is_float(output) and not all_finite(value := output.numpy()):
                self._origins[output._id] = self._origin(op_type, inputs, value)

    def _origin(self, op_type: str, inputs: Iterable[Any], value: np.ndarray) -> Origin:
        kind, before, constant = kind_of(value), [], False
        for tensor in inputs:
            if tensor.dtype == tf.resource:
                if tensor._id in self._weights:
                    return Origin("weight", kind, self._weights[tensor._id], order=self._tick())
            elif self.of(tensor) is not None:
                before.append(self.of(tensor))
            elif is_float(tensor) and not all_finite(tensor.numpy()):  # a number in the program
                constant |= kind_of(tensor.numpy()) == "Inf" and (tensor.numpy() < np.inf).all()
        followed = [origin for origin in before if not origin.constant]
        if followed:
            return min(followed, key=lambda origin: origin.order)
        if before and kind == "Inf":
            return before[0]
        constant = kind == "Inf" and (value < np.inf).all() and (constant or op_type in ("Fill", "Const"))
        layer = self._stack[-1].layer if self._stack else None
        source, differentiated = _source()
        return Origin(
            self.phase,
            kind,
            layer="" if layer is None else path_of(layer),
            layer_class="" if layer is None else type(layer).__name__,
            operation=f"{op_type}, in the gradient of {differentiated}" if differentiated else op_type,
            source=source,
            detail=described(value),
            constant=constant,
            order=self._tick(),
        )

    # Layers

    def _noted_call(self, original):
        def __call__(operation, *args, **kwargs):
            if not isinstance(operation, keras.layers.Layer) or not tf.executing_eagerly():
                return original(operation, *args, **kwargs)
            call = Call(operation, len(self._stack))
            self.calls.append(call)
            same: dict[int, Any] = {}  # a layer may compare its arguments: `value is key`
            args, kwargs = keras.tree.map_structure(lambda x: _hooked(x, same, self._left(call)), (args, kwargs))
            self._stack.append(call)
            try:
                outputs = original(operation, *args, **kwargs)
            finally:
                self._stack.pop()
            return keras.tree.map_structure(lambda x: _hooked(x, {}, self._came(call)), outputs)

        return __call__

    def _came(self, call: Call):
        def note(gradient: tf.Tensor) -> None:
            finite = all_finite(gradient.numpy())
            call.received |= finite
            call.bad_output |= not finite

        return note

    def _left(self, call: Call):
        def note(gradient: tf.Tensor) -> None:
            call.returned = True
            if not all_finite(gradient.numpy()):
                call.bad_input = True
                call.at = min(call.at, self._tick())

        return note


def _hooked(value: Any, same: dict[int, Any], note) -> Any:
    """The value, with a function that receives its gradient."""
    if not tf.is_tensor(value) or isinstance(value, tf.RaggedTensor | tf.SparseTensor) or not value.dtype.is_floating:
        return value
    if id(value) not in same:

        @tf.custom_gradient
        def identity(x):
            def gradient(slope):
                note(tf.convert_to_tensor(slope))
                return slope

            return tf.identity(x), gradient

        hooked = identity(value)
        mask = getattr(value, "_keras_mask", None)
        if mask is not None:
            hooked._keras_mask = mask
        same[id(value)] = hooked
    return same[id(value)]


def path_of(layer: keras.layers.Layer) -> str:
    return getattr(layer, "path", None) or layer.name


def is_float(tensor: Any) -> bool:
    return tensor.dtype.is_floating or tensor.dtype.is_complex


def all_finite(value: np.ndarray) -> bool:
    return bool(np.isfinite(value).all())


def kind_of(value: np.ndarray) -> str:
    return "NaN" if np.isnan(value).any() else "Inf"


def described(value: np.ndarray) -> str:
    """`3 of 40 values, the first at [2, 0]`."""
    bad = ~np.isfinite(value)
    first = np.argwhere(bad)[0].tolist() if value.ndim else []
    return f"{bad.sum():,} of {bad.size:,} values" + (f", the first at {first}" if first else "")


def _source() -> tuple[str, str]:
    """The line that ran the operation, of the user or of keras_seq, or else of a layer or a loss of Keras, and the
    operation whose gradient TensorFlow was computing."""
    frame, found, differentiated = sys._getframe(2), "", ""
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if (file == __file__ and name == "__call__") or file.endswith("keras_seq/training/diagnosis.py"):
            break
        if file != __file__:
            line = f"{file}:{frame.f_lineno}, in {name}"
            if not any(package in file for package in _PACKAGES):
                return line, differentiated
            if not found and ("/keras/src/layers/" in file or "/keras/src/losses/" in file):
                found = line
            if file.endswith("_grad.py") and not differentiated:
                differentiated = name.strip("_").partition("Grad")[0]
        frame = frame.f_back
    return found, differentiated
