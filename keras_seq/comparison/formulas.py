"""The gates, states and parameters of the architectures, as closed formulas."""

from collections.abc import Callable
from typing import NamedTuple

from keras_seq.inspection import parameters


class Facts(NamedTuple):
    """An architecture on paper.

    Attributes:
        label: name in the literature.
        gates: number of gates.
        states: number of vectors that a step passes on. 0 if nothing of fixed size is passed on.
        formula: parameters of a layer with d inputs and h units. "" if there is no single formula.
        count: the formula as a function of d and h.
    """

    label: str
    gates: int
    states: int
    formula: str = ""
    count: Callable[[int, int], int] | None = None


FACTS = {
    "rnn": Facts("RNN", 0, 1, "dh + hh + h", parameters.simple_rnn),
    "gru": Facts("GRU", 2, 1, "3(dh + hh + 2h)", parameters.gru),
    "lstm": Facts("LSTM", 3, 2, "4(dh + hh + h)", parameters.lstm),
    "mingru": Facts("minGRU", 1, 1, "2(dh + h)", lambda d, h: 2 * (d * h + h)),
    "minlstm": Facts("minLSTM", 2, 1, "3(dh + h)", lambda d, h: 3 * (d * h + h)),
    "rglru": Facts("RG-LRU", 2, 1, "3(dh + h) + h", lambda d, h: 3 * (d * h + h) + h),
    # Keys, queries, values and output, two dense layers of 4h and h, two normalizations.
    "transformer": Facts("Transformer", 0, 0, "12hh + 13h", lambda d, h: 12 * h * h + 13 * h),
    "feedforward": Facts("Feed-forward", 0, 0, "dh + h", parameters.dense),
    "cnn": Facts("CNN", 0, 0),
}


def facts(architecture: str) -> Facts:
    """The facts about an architecture. A cell of the user has its name alone."""
    return FACTS.get(architecture, Facts(architecture, 0, 1))


def formula(
    architecture: str, d: int, units: int, num_layers: int = 1, bidirectional: bool = False
) -> tuple[str, int] | None:
    """The formula for one layer, and the number of parameters of all layers by it.

    Args:
        architecture: name of the architecture.
        d: width of the input of the first layer.
        units: width of the output. A recurrent layer in two directions has half of it in each.
        num_layers, bidirectional: as for the stack.
    Returns:
        `("2 x (4(dh + hh + h)), d = 96, h = 48", 55680)`, or None if there is no formula.
    """
    known = facts(architecture)
    if known.count is None:
        return None
    twice = 2 if bidirectional and known.states else 1
    h = units // twice
    value = sum(twice * known.count(width, h) for width in [d, *[units] * (num_layers - 1)])
    text = f"{twice} x ({known.formula})" if twice > 1 else known.formula
    if architecture == "transformer":
        value += 2 * units + (0 if d == units else d * units + units)  # the last normalization, the projection
        return f"{text}, h = {h}; 2h after the last layer", value
    return f"{text}, d = {d}, h = {h}", value
