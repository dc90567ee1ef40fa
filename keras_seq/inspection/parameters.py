"""How many parameters a layer has: the closed formulas, and a table of any model that agrees with them."""

from typing import NamedTuple

import keras


def simple_rnn(d: int, h: int) -> int:
    """d inputs, h units: input weights, recurrent weights, a bias."""
    return d * h + h * h + h


def lstm(d: int, h: int) -> int:
    """d inputs, h units: three gates and the candidate."""
    return 4 * (d * h + h * h + h)


def gru(d: int, h: int, reset_after: bool = True) -> int:
    """d inputs, h units: two gates and the candidate; with `reset_after`, Keras's default, a second bias each."""
    return 3 * (d * h + h * h + (2 * h if reset_after else h))


def dense(d: int, h: int) -> int:
    """d inputs, h units and their bias."""
    return d * h + h


def embedding(v: int, d: int) -> int:
    """A vector of d numbers for each of v ids."""
    return v * d


class Row(NamedTuple):
    """One layer that has weights of its own: where it stands, what it is, how many, and why so many."""

    path: str
    layer: str
    parameters: int
    formula: str


def table(model: keras.Layer) -> list[Row]:
    """A row for each layer that has weights of its own, in the order of the weights; shared layers once.

    The rows of a model add up to its parameters. `formula` is the closed formula with this layer's numbers in it, for
    the layers that have one here, and else the shapes of the weights.

    Raises:
        ValueError: if the model is not built yet.
    """
    if not model.built:
        raise ValueError(f"`model` must be built, so that its weights exist. Received: {model.name!r}, not built")
    rows, seen = [], set()
    _collect(model, [], rows, seen)
    return rows


def shown(rows: list[Row]) -> str:
    """The table as text, the sum below."""
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
    if not formula:  # a layer with one is a row as a whole
        for child in layer._layers:
            if isinstance(child, keras.Layer):
                _collect(child, path, rows, seen)
    own = [weight for weight in layer.weights if id(weight) not in seen]
    if own:
        seen.update(map(id, own))
        rows.append(Row("/".join(path[1:]) or layer.name, type(layer).__name__, _size(own), formula or _shapes(own)))


def _formula(layer) -> str:
    """The closed formula of a layer with its numbers in it; nothing where it is not the whole truth."""
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
