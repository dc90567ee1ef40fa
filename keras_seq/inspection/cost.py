"""The cost of a model by layer: parameters, FLOP, bytes and memory, from closed formulas."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_seq.inspection.calls import Call, Spec, paths, recorded, specs
from keras_seq.inspection.formulas import WHOLE, Work, formula_of
from keras_seq.inspection.shapes import counted_tokens
from keras_seq.layers import ScheduledSampling

__all__ = ["Cost", "Row", "cost", "grouped", "shown", "summary"]

# For each parameter: elementwise operations of an update, and numbers that the optimizer keeps. It reads these, the
# gradient and the weight, and writes all but the gradient.
OPTIMIZERS = {"Adam": (12, 2), "AdamW": (14, 2), "RMSprop": (8, 1), "SGD": (2, 0), "SGD with momentum": (4, 1)}
_BYTES = {"bool": 1, "int8": 1, "uint8": 1, "float16": 2, "bfloat16": 2, "float64": 8, "int64": 8}


@dataclasses.dataclass(frozen=True)
class Row:
    """The cost of one layer in one call of the model. A shared layer has one row for all its calls.

    Attributes:
        path, layer: path and type.
        parameters: number of parameters that are not in a row before.
        calls: number of calls, those in a loop once for each step.
        products: FLOP of products, forward.   elementwise: other operations, forward.
        training_products, training_elementwise: those of a training step: forward and backward.
        read, written: bytes, forward.
        activations: bytes that are kept for the gradient.
        steps: steps that must run one after another.
        real: share of the work on real tokens, or None if it is unknown.
        formula: the formula of `products`.
        known: whether there is a formula for the layer. If not, its own operations are not counted.
    """

    path: str
    layer: str
    parameters: int = 0
    calls: int = 0
    products: int = 0
    elementwise: int = 0
    training_products: int = 0
    training_elementwise: int = 0
    read: int = 0
    written: int = 0
    activations: int = 0
    steps: int = 0
    real: float | None = None
    formula: str = ""
    known: bool = True

    @property
    def flop(self) -> int:
        return self.products + self.elementwise

    @property
    def training_flop(self) -> int:
        return self.training_products + self.training_elementwise

    @property
    def bytes(self) -> int:
        return self.read + self.written


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one call of a model, and of one training step.

    Attributes:
        rows: a row for each layer, in the order of the model.
        optimizer: the row of the optimizer's update, which is part of a training step only.
        tokens, unit: number of tokens of the target or else of the first input, or of its steps or samples. Padding is
            excluded if the batch was given as arrays.
        memory: bytes of weights, gradients and states of the optimizer.
        unknown: layers without a formula, whose own operations are not counted: `"path (type)"`.
    """

    name: str
    rows: tuple[Row, ...]
    optimizer: Row
    tokens: int
    unit: str
    memory: int
    unknown: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def flop(self) -> int:
        """FLOP of a forward pass: products and elementwise operations."""
        return sum(row.flop for row in self.rows)

    @property
    def training_flop(self) -> int:
        """FLOP of a training step: forward, backward and update."""
        return sum(row.training_flop for row in (*self.rows, self.optimizer))

    @property
    def bytes(self) -> int:
        """Bytes read and written in a forward pass."""
        return sum(row.bytes for row in self.rows)

    @property
    def training_bytes(self) -> int:
        """Bytes read and written in a training step: three times those of a forward pass, and those of the update."""
        return 3 * self.bytes + self.optimizer.bytes

    @property
    def activations(self) -> int:
        """Bytes of activations at the end of the forward pass of a training step."""
        return sum(row.activations for row in self.rows)

    @property
    def steps(self) -> int:
        """Steps of a forward pass that must run one after another, whatever the hardware."""
        return sum(row.steps for row in self.rows)

    @property
    def padded(self) -> float | None:
        """Share of the FLOP of a forward pass on padding, and on pairs that an attention masks. None if unknown."""
        if all(row.real is None for row in self.rows):
            return None
        return sum(row.flop * (1 - row.real) for row in self.rows if row.real is not None) / max(self.flop, 1)


def cost(model: keras.Model, batch: Any, optimizer: str | None = None) -> Cost:
    """Counts the parameters, FLOP, bytes and memory of a model, by layer.

    Counted: products with 2 m n k, and each elementwise operation once. The gradient of a product is two more products
    of its size: with respect to its weights, unless they are frozen, and to its input, also where the input is data.
    The gradient of elementwise operations counts as much as they do. Bytes are those of inputs, outputs and weights of
    each layer, read and written once, and of the results in between that its formula names. A loop reads its recurrent
    weights at every step. Not counted: the loss, metrics, random numbers, reshapes and comparisons.

    Args:
        model: a built model.
        batch: its inputs as arrays, or their shapes: `(32, 20)`, `{"source": (32, 20), "target": (32, 18)}`. With
            arrays, the model runs once and the padding is counted.
        optimizer: a name of `OPTIMIZERS`. None: the one the model was compiled with, else Adam.
    Returns:
        a `Cost`. Layers without a formula are in `unknown`.
    Raises:
        ValueError: if the model is not built, a shape has an axis without a size, or the optimizer is unknown.
    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> inspection.cost.cost(model, np.zeros((5, 3), "float32")).parameters
        8
    """
    calls = recorded(model, batch, WHOLE)
    # Scheduled sampling decodes twice in training, the first time without a gradient.
    sampled = any(isinstance(layer, ScheduledSampling) for layer in model._flatten_layers())
    trained = recorded(model, batch, WHOLE, training=True) if sampled else calls
    # The cell of a recurrent layer is a part of its row, also where a decoder calls the cell alone.
    layers_by_path = paths(model)
    parts = {
        id(inside): key
        for key, (_, layer) in layers_by_path.items()
        if isinstance(layer, WHOLE)
        for inside in layer._flatten_layers(include_self=False)
    }
    once, in_training = (_by_layer(found, parts) for found in (calls, trained))
    rows, seen = [], set()
    for key, (path, layer) in layers_by_path.items():
        own = _own_weights(layer, seen)
        if key not in parts and (own or key in once):
            row = _row(path, layer, own, once.get(key, []), in_training.get(key, []))
            if row.parameters or row.bytes or row.training_flop or not row.known:
                rows.append(row)
    update, states = _update(model, optimizer)
    unknown = tuple(f"{row.path} ({row.layer})" for row in (*rows, update) if not row.known)
    trainable = sum(math.prod(w.shape) * _bytes(w.dtype) for w in model.trainable_weights)
    memory = sum(math.prod(w.shape) * _bytes(w.dtype) for w in model.weights) + (1 + states) * trainable
    return Cost(model.name, tuple(rows), update, *counted_tokens(model, calls, batch), memory, unknown)


def _by_layer(calls, parts):
    groups: dict[int, list[Call]] = {}
    for call in calls:
        groups.setdefault(parts.get(id(call.layer), id(call.layer)), []).append(call)
    return groups


def _own_weights(layer, seen):
    """The weights of a layer that are in no row yet: all of them if its formula covers the layers inside."""
    if not isinstance(layer, keras.Layer):
        return []
    inside = [] if isinstance(layer, WHOLE) else layer._flatten_layers(include_self=False)
    others = seen | {id(weight) for each in inside for weight in each.weights}
    own = [weight for weight in layer.weights if id(weight) not in others]
    seen.update(map(id, own))
    return own


def _row(path, layer, own, calls, trained):
    parameters = sum(math.prod(weight.shape) for weight in own)
    known = all(formula_of(call.layer) for call in calls)
    if not known or not calls:
        return Row(path, type(layer).__name__, parameters, sum(call.times for call in calls), known=known)
    works, first = ([(call, formula_of(call.layer)(call)) for call in found] for found in (calls, trained))

    def total(name, pairs=works):
        return sum(call.times * getattr(work, name) for call, work in pairs)

    weights = getattr(layer, "weights", [])
    frozen = bool(weights) and not layer.trainable_weights and any(work.weights != 0 for _, work in works)
    products, elementwise = total("products"), total("elementwise")
    read, written, kept = (sum(call.times * each for call, each in pairs) for pairs in _moved(works))
    return Row(
        path,
        type(layer).__name__,
        parameters,
        sum(call.times for call in calls),
        products,
        elementwise,
        total("products", first) + products * (1 if frozen else 2),
        total("elementwise", first) + elementwise + 2 * total("training"),
        read,
        written,
        kept,
        total("steps"),
        _real(works),
        next((work.formula for call, work in works if call.layer is layer), works[0][1].formula),
    )


def _moved(works: Sequence[tuple[Call, Work]]):
    """Bytes read, written and kept by each call."""
    read, written, kept = [], [], []
    for call, work in works:
        size = _bytes(getattr(call.layer, "compute_dtype", None) or "float32")
        weights = getattr(call.layer, "weights", [])
        if work.outputs == 0:  # the layers inside read and write
            outputs = inputs = loaded = 0
        else:
            outputs = sum(map(_size, specs(call.outputs)))
            inputs = sum(map(_size, call.inputs))
            loaded = sum(math.prod(weight.shape) for weight in weights) if work.weights is None else work.weights
        loaded *= _bytes(weights[0].dtype) if weights else 4
        read.append((call, inputs + loaded + work.moved // 2 * size))
        written.append((call, outputs + (work.moved + 1) // 2 * size))
        kept.append((call, outputs + (work.saved + work.training // 3) * size))
    return read, written, kept


def _real(works):
    known = [(call.times * (work.products + work.elementwise), call.real) for call, work in works]
    known = [(flop, real) for flop, real in known if real is not None]
    if not known:
        return None
    total = sum(flop for flop, _ in known)
    return sum(flop * real for flop, real in known) / total if total else known[0][1]


def _update(model, name):
    """The row of the optimizer, and the number of its states for each parameter."""
    given, optimizer = name is not None, getattr(model, "optimizer", None)
    if not given:
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
        name = type(optimizer).__name__ if optimizer is not None else "Adam"
        name += " with momentum" if name == "SGD" and optimizer.momentum else ""
    elif name not in OPTIMIZERS:
        raise ValueError(f"`optimizer` must be one of {tuple(OPTIMIZERS)}, whose cost is known. Received: {name!r}")
    if name not in OPTIMIZERS:
        return Row("update", name, known=False), 0
    operations, states = OPTIMIZERS[name]
    count = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    moved = {"read": (2 + states) * count * 4, "written": (1 + states) * count * 4}
    return Row("update", name, training_elementwise=operations * count, **moved), states


def _size(spec: Spec) -> int:
    return spec.size * _bytes(spec.dtype)


def _bytes(dtype) -> int:
    return _BYTES.get(keras.backend.standardize_dtype(dtype), 4)


def grouped(found: Cost, depth: int = 1) -> Cost:
    """The same cost with a row for each path of at most `depth` parts, whose layers inside are added up.

    Raises:
        ValueError: if `depth` is not positive.
    """
    if depth < 1:
        raise ValueError(f"`depth` must be positive. Received: {depth}")
    groups: dict[str, list[Row]] = {}
    for row in found.rows:
        groups.setdefault("/".join(row.path.split("/")[:depth]), []).append(row)
    return dataclasses.replace(found, rows=tuple(_merged(path, rows) for path, rows in groups.items()))


def _merged(path, rows):
    if len(rows) == 1 and rows[0].path == path:
        return rows[0]
    sums = {
        field.name: sum(getattr(row, field.name) for row in rows)
        for field in dataclasses.fields(Row)
        if field.type == "int" or field.type is int
    }
    (kind,) = [row.layer for row in rows if row.path == path] or [""]
    known = [(row.flop, row.real) for row in rows if row.real is not None]
    flop = sum(each for each, _ in known)
    real = sum(each * share for each, share in known) / flop if flop else None
    return Row(path, kind, **sums, real=real, known=all(row.known for row in rows))


def shown(found: Cost, training: bool = False) -> str:
    """The table as text: a line for each layer, and the totals."""
    lines = [("layer", "type", "parameters", "MFLOP", "share", "MB moved", "MB kept", "formula of the products")]
    flop = max(found.training_flop if training else found.flop, 1)
    for row in (*found.rows, found.optimizer) if training else found.rows:
        own = row.training_flop if training else row.flop
        if own or row.parameters or not row.known:
            moved = row.bytes * (3 if training and row is not found.optimizer else 1)
            cells = (f"{row.parameters:,}", _mega(own), f"{own / flop:.1%}", _mega(moved), _mega(row.activations))
            lines.append((row.path, row.layer, *(cells if row.known else (cells[0], *["unknown"] * 4)), row.formula))
    moved = found.training_bytes if training else found.bytes
    cells = (f"{found.parameters:,}", _mega(flop), "100.0%", _mega(moved), _mega(found.activations))
    lines.append(("total", "", *cells, ""))
    widths = [max(len(line[i]) for line in lines) for i in range(7)]
    aligned = [
        "  ".join(f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(line[:7])) + f"  {line[7]}"
        for line in lines
    ]
    return "\n".join([*(line.rstrip() for line in aligned), "", *summary(found)])


def summary(found: Cost) -> list[str]:
    """The totals in sentences."""
    lines = [
        f"FLOP for each of {found.tokens:,} {found.unit}s: {found.flop / found.tokens:,.0f} forward, "
        f"{found.training_flop / found.tokens:,.0f} in training.",
        f"Memory in training: {_mega(found.memory)} MB for weights, gradients and the optimizer, "
        f"{_mega(found.activations)} MB for activations.",
    ]
    if found.steps:
        lines.append(f"{found.steps:,} steps of recurrent layers, one after another.")
    if found.padded is not None:
        lines.append(f"{found.padded:.1%} of the FLOP are spent on padding and on masked pairs.")
    if found.unknown:
        lines.append(f"Not counted, since there is no formula: {', '.join(found.unknown)}.")
    return lines


def _mega(number: float) -> str:
    return f"{number / 1e6:,.3g}" if number < 1e8 else f"{number / 1e6:,.0f}"
