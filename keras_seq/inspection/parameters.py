"""Parameter counts of layers: closed formulas, and a table for any model that uses them."""

from typing import NamedTuple

import keras

__all__ = ["Row", "shown", "table"]


def simple_rnn(d: int, h: int) -> int:
    """Parameters for d inputs and h units: input weights, recurrent weights, a bias."""
    return d * h + h * h + h


def lstm(d: int, h: int) -> int:
    """Parameters for d inputs and h units: three gates and the candidate."""
    return 4 * (d * h + h * h + h)


def gru(d: int, h: int, reset_after: bool = True) -> int:
    """Parameters for d inputs and h units: two gates and the candidate, with a second bias each for `reset_after`."""
    return 3 * (d * h + h * h + (2 * h if reset_after else h))


def dense(d: int, h: int) -> int:
    """Parameters for d inputs and h units: weights and a bias."""
    return d * h + h


def embedding(v: int, d: int) -> int:
    """Parameters for a vector of d numbers for each of v ids."""
    return v * d


class Row(NamedTuple):
    """One layer with weights: its path, its type, its number of parameters, and the formula for it."""

    path: str
    layer: str
    parameters: int
    formula: str


def table(model: keras.Layer) -> list[Row]:
    """A row for each layer with weights outside its sublayers, in the order of the weights. A shared layer has one row.

    The rows of a model add up to its number of parameters. `formula` is the closed formula with this layer's numbers,
    if there is one here, or else the shapes of the weights.

    Raises:
        ValueError: if the model is not built yet.
    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> [(row.layer, row.parameters) for row in inspection.parameters.table(model)]
        [('Dense', 8)]
    """
    if not model.built:
        raise ValueError(f"`model` must be built, so that its weights exist. Received: {model.name!r}, not built")
    rows, seen = [], set()
    _collect(model, [], rows, seen)
    return rows


def shown(rows: list[Row]) -> str:
    """The table as text, with the total at the end."""
    lines = [("layer", "type", "parameters", "formula")]
    lines += [(row.path, row.layer, f"{row.parameters:,}", row.formula) for row in rows]
    lines += [("total", "", f"{sum(row.parameters for row in rows):,}", "")]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return "\n".join(
        f"{path:{widths[0]}}  {layer:{widths[1]}}  {parameters:>{widths[2]}}  {formula}".rstrip()
        for path, layer, parameters, formula in lines
    )


def _collect(layer, above, rows, seen):
    path = [*above, layer.name]
    formula = _formula(layer)
    if not formula:  # a layer with a formula is a single row
        for child in layer._layers:
            if isinstance(child, keras.Layer):
                _collect(child, path, rows, seen)
    own = [weight for weight in layer.weights if id(weight) not in seen]
    if own:
        seen.update(map(id, own))
        rows.append(Row("/".join(path[1:]) or layer.name, type(layer).__name__, _size(own), formula or _shapes(own)))


def _formula(layer) -> str:
    """The closed formula of a layer with its numbers, or an empty string if it does not give the exact count."""
    if isinstance(layer, keras.layers.LSTM):
        formula, count = "4(dh + hh + h)", lstm
    elif isinstance(layer, keras.layers.GRU) and layer.reset_after:
        formula, count = "3(dh + hh + 2h)", gru
    elif isinstance(layer, keras.layers.GRU):
        formula, count = "3(dh + hh + h)", lambda d, h: gru(d, h, reset_after=False)
    elif isinstance(layer, keras.layers.SimpleRNN):
        formula, count = "dh + hh + h", simple_rnn
    elif isinstance(layer, keras.layers.Dense):
        formula, count = "dh + h", dense
    elif isinstance(layer, keras.layers.Embedding):
        formula, count = "vd", embedding
    else:
        return ""
    first, second = layer.weights[0].shape[0], getattr(layer, "units", layer.weights[0].shape[-1])
    if count(first, second) != layer.count_params():
        return ""
    return f"{formula}, {'v' if formula == 'vd' else 'd'}={first} {'d' if formula == 'vd' else 'h'}={second}"


def _size(weights) -> int:
    return sum(int(keras.ops.size(weight)) for weight in weights)


def _shapes(weights) -> str:
    return " + ".join("x".join(map(str, weight.shape)) or "1" for weight in weights)
