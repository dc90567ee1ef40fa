"""Where a NaN or an infinity of a training step arose: the step once more, eagerly, layer by layer."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq.training.value_origins import (
    Call,
    Origin,
    Origins,
    Place,
    all_finite,
    described,
    is_float,
    kind_of,
    path_of,
)

_PARTS: tuple[Place, ...] = ("input", "label", "sample weight")


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The results of a training step, and the origin of its first value that is not finite.

    Attributes:
        origin: the first operation, layer, weight or part of the batch. None if the step is
            finite, or ended in `error`.
        loss: the loss, None if it was not computed.
        bad_gradients: paths of the weights whose gradients are not finite.
        bad_weights: paths of the weights, trainable or not, that are not finite before the step.
        bad_optimizer: paths of the variables of the optimizer that are not finite before the step.
        error: message of an exception that ended the step, such as that of a label out of range.
        remedies: sentences.
    """

    origin: Origin | None
    loss: float | None
    bad_gradients: tuple[str, ...] = ()
    bad_weights: tuple[str, ...] = ()
    bad_optimizer: tuple[str, ...] = ()
    error: str = ""
    remedies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([_sentence(self), *(f"  {line}" for line in _details(self))])


def diagnose(model: keras.Model, batch: Any) -> Diagnosis:
    """Repeats the training step of a batch without the update, and finds where its first NaN or infinity arose.

    The step is the model's `train_step`, run eagerly, with the loss scale left out. A value that the loss does not
    depend on, such as one of padding, is no fault. Weights and random states are the same afterwards.

    Args:
        model: compiled and built model, of one replica.
        batch: `(x, y)` or `(x, y, sample_weight)`, as `fit` gets it: any nest of arrays.
    Returns:
        The diagnosis. Its `origin` is None if the step is finite.
    """
    weights = {variable.path: variable for variable in [*model.variables, *model.optimizer.variables]}
    bad = {path: variable for path, variable in weights.items() if _is_bad(variable)}
    bad_weights = tuple(variable.path for variable in model.variables if variable.path in bad)
    handles = {bad[path].value.handle._id: path for path in bad_weights}
    data = tf.nest.map_structure(lambda array: None if array is None else tf.convert_to_tensor(array), batch)
    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    step, error = _Step(model), ""
    try:
        with Origins(handles) as origins:
            _mark_batch(origins, data)
            step.run(data, origins)
    except (ValueError, tf.errors.InvalidArgumentError) as raised:
        error = " ".join(str(raised).split())[:500]
    finally:
        for variable, value in state:
            variable.assign(value)
    bad_gradients = tuple(v.path for v, g in step.gradients if g is not None and not all_finite(g.numpy()))
    origin = None if error else _origin(origins, step, bad_gradients, bad)
    if origin is not None and origin.place == "weight":
        origin = _of_weight(model, weights[origin.name])
    diagnosis = Diagnosis(
        origin=origin,
        loss=None if step.loss is None else float(step.loss),
        bad_gradients=bad_gradients,
        bad_weights=bad_weights,
        bad_optimizer=tuple(v.path for v in model.optimizer.variables if v.path in bad),
        error=error,
    )
    return dataclasses.replace(diagnosis, remedies=tuple(_remedies(diagnosis, model.optimizer)))


def diagnose_weights(model: keras.Model) -> Diagnosis:
    """The diagnosis of a model with weights that are not finite, without a step."""
    bad = [variable for variable in model.variables if _is_bad(variable)]
    diagnosis = Diagnosis(_of_weight(model, bad[0]), None, (), tuple(v.path for v in bad))
    return dataclasses.replace(diagnosis, remedies=tuple(_remedies(diagnosis, model.optimizer)))


def _of_weight(model: keras.Model, weight: Any) -> Origin:
    value = weight.numpy()
    return Origin("weight", kind_of(value), weight.path, _layer_of(model, weight), detail=described(value))


class _Step:
    """The `train_step` of a model, whose optimizer hands over the loss and the gradients and changes nothing."""

    def __init__(self, model: keras.Model):
        self.model, self.loss, self.gradients = model, None, []

    def run(self, data: Any, origins: Origins) -> None:
        optimizer = self.model.optimizer

        def scale_loss(loss):
            self.loss, origins.phase = tf.convert_to_tensor(loss), "backward"
            return loss

        def apply(grads, trainable_variables=None):
            variables = optimizer._trainable_variables if trainable_variables is None else trainable_variables
            dense = [None if grad is None else tf.convert_to_tensor(grad) for grad in grads]
            self.gradients = list(zip(variables, dense, strict=True))

        vars(optimizer).update(scale_loss=scale_loss, apply=apply)
        try:
            self.model.train_step(data)
        finally:
            del vars(optimizer)["scale_loss"], vars(optimizer)["apply"]


def _mark_batch(origins: Origins, data: Any) -> None:
    parts = keras.utils.unpack_x_y_sample_weight(data)
    for place, part in zip(_PARTS, parts, strict=True):
        for path, tensor in zip(tf.nest.flatten(_paths(part)), tf.nest.flatten(part), strict=True):
            if tensor is not None and is_float(tensor) and not all_finite(tensor.numpy()):
                origins.mark(tensor, place, path, _cell(tensor.numpy()))


def _paths(part: Any) -> Any:
    paths = [".".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(part)]
    return tf.nest.pack_sequence_as(part, paths)


def _cell(value: np.ndarray) -> str:
    """`row 3, step 5, feature 0`, and the number of values."""
    names = {1: ("row",), 2: ("row", "feature"), 3: ("row", "step", "feature")}.get(value.ndim)
    if names is None:
        return described(value)
    bad = ~np.isfinite(value)
    first = np.argwhere(bad)[0].tolist()
    cell = ", ".join(f"{name} {index}" for name, index in zip(names, first, strict=True))
    return f"{cell} (counted from 0; {bad.sum():,} of {bad.size:,} values)"


def _origin(origins: Origins, step: _Step, bad_gradients: Sequence[str], bad: dict) -> Origin | None:
    if step.loss is not None and not all_finite(step.loss.numpy()):
        origin = origins.of(step.loss)
        if origin is not None and origin.place == "forward" and not origin.layer:
            origin = dataclasses.replace(origin, place="loss")
        return origin or Origin("loss", kind_of(step.loss.numpy()), detail="its origin could not be followed")
    if bad_gradients:
        return _backward_origin(origins, step, set(bad_gradients))
    unused = [variable for variable in step.model.variables if variable.path in bad]
    return _of_weight(step.model, unused[0]) if unused else None  # a row of an embedding, perhaps


def _backward_origin(origins: Origins, step: _Step, bad_gradients: set[str]) -> Origin:
    """The innermost layer that received finite gradients alone, and returned others or has others for its weights."""
    first = [g for _, g in step.gradients if g is not None and not all_finite(g.numpy())]
    found = [origin for origin in map(origins.of, first) if origin is not None]
    origin = min(found, key=lambda each: each.order, default=Origin("backward", kind_of(first[0].numpy())))
    if origin.place in (*_PARTS, "weight") or (origin.place == "forward" and origin.layer):
        return origin  # it does not reach the loss, but it is a factor of the gradient

    def blamed(call: Call) -> bool:
        own = any(variable.path in bad_gradients for variable in call.layer.trainable_variables)
        return call.received and not call.bad_output and (call.bad_input or own)

    calls = [call for call in origins.calls if blamed(call)]
    tainted = {id(call.layer) for call in origins.calls if call.bad_output}  # called more than once
    calls = [call for call in calls if call.bad_input or id(call.layer) not in tainted]
    if not calls:
        return dataclasses.replace(origin, place="loss", layer="", layer_class="")
    call = max(calls, key=lambda call: (call.depth, -call.at))
    return dataclasses.replace(
        origin, place="backward", layer=path_of(call.layer), layer_class=type(call.layer).__name__
    )


def _is_bad(variable: Any) -> bool:
    value = variable.numpy()
    return value.dtype.kind not in "iubSUO" and not all_finite(value)


def _layer_of(model: keras.Model, weight: Any) -> str:
    """The path of the innermost layer that has the weight."""
    owners = [layer for layer in model._flatten_layers() if any(weight is v for v in _own_variables(layer))]
    return path_of(owners[0]) if owners else weight.path.rpartition("/")[0]


def _own_variables(layer: keras.layers.Layer) -> Iterable[Any]:
    return [*layer._trainable_variables, *layer._non_trainable_variables]


# Text


def _sentence(diagnosis: Diagnosis) -> str:
    origin = diagnosis.origin
    if diagnosis.error:
        return f"The step ends with an error: {diagnosis.error}"
    if origin is None:
        if diagnosis.loss is None:
            return "All weights are finite."
        if diagnosis.bad_optimizer:
            return (
                f"The step is finite, but variables of the optimizer are not: {', '.join(diagnosis.bad_optimizer[:3])}."
            )
        return f"The step is finite: the loss is {diagnosis.loss:.4g}."
    layer = f"layer {origin.layer}" + (f" ({origin.layer_class})" if origin.layer_class else "")
    operation = f"operation {origin.operation}" if origin.operation else "an operation"
    part = f"the {origin.place}" + (f" {origin.name!r}" if origin.name else "")
    sentences = {
        "weight": f"The weight {origin.name} of {layer} is {origin.kind} already before the step",
        "forward": f"The first {origin.kind} is in the output of {operation} in {layer}, in the forward pass",
        "backward": f"The first {origin.kind} is in the gradient of {layer}: {operation}",
        "loss": f"The first {origin.kind} is in the loss function or its gradient: {operation}",
    }
    return f"{sentences.get(origin.place, f'The batch has {origin.kind} in {part}')}."


def _details(diagnosis: Diagnosis) -> list[str]:
    origin, lines = diagnosis.origin, []
    if origin is not None and origin.detail:
        lines.append(f"Place: {origin.detail}.")
    if origin is not None and origin.source:
        lines.append(f"Source: {origin.source}.")
    if diagnosis.loss is not None and origin is not None:
        lines.append(f"Loss of the step: {diagnosis.loss:.4g}.")
    if diagnosis.bad_gradients and origin is not None and origin.place == "backward":
        lines.append(f"Gradients that are not finite: {_several(diagnosis.bad_gradients)}.")
    if len(diagnosis.bad_weights) > 1:
        lines.append(f"Weights that were not finite before the step: {_several(diagnosis.bad_weights)}.")
    return [*lines, *(f"Remedy: {remedy}" for remedy in diagnosis.remedies)]


def _several(names: Sequence[str]) -> str:
    return f"{len(names)}, {', '.join(names[:3])}" + (", ..." if len(names) > 3 else "")


_DIVISIONS = {"Div", "RealDiv", "DivNoNan", "Reciprocal", "Rsqrt", "Sqrt", "Inv", "Pow", "Xdivy"}
_CLIP = "Clip the gradients (`global_clipnorm=1.0` of the optimizer), lower the learning rate or lengthen its warm-up."


def _remedies(diagnosis: Diagnosis, optimizer: Any) -> Iterable[str]:
    origin = diagnosis.origin
    if diagnosis.error:
        yield "Correct the labels or the number of classes, if the error names a label."
    elif origin is None:
        if diagnosis.bad_optimizer:
            yield "Start again from a checkpoint before this step. " + _CLIP
    elif origin.place in _PARTS:
        yield "Correct or drop that row. The readers of `keras_seq.data` refuse such cells."
    elif origin.place == "weight":
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if getattr(inner, "epsilon", None) == 0:
            yield "Give the optimizer a positive `epsilon`: a gradient of 0 made its update 0/0."
        yield "An earlier update broke it. Start again from a checkpoint before this step. " + _CLIP
    else:
        names = set(origin.operation.replace(",", " ").split())
        hidden = diagnosis.loss is not None and np.isfinite(diagnosis.loss)
        if hidden:
            yield "A value that `where` leaves out of the loss still has a gradient: replace it before the operation."
        if names & {"Log", "Log1p"}:
            yield "Keep the argument of the logarithm positive: `log(x + 1e-7)`, or a loss that takes logits."
        elif names & _DIVISIONS:
            yield "Keep the divisor, or the argument of the root, away from 0: add an epsilon inside it."
        elif names & {"Exp", "Expm1", "Sinh", "Cosh"}:
            yield "Bound the argument of the exponential, for example by its maximum."
        elif not hidden:
            yield _CLIP
