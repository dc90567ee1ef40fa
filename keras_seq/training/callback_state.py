"""The state of callbacks, as a checkpoint holds it: their attributes that are numbers, strings, truth values or None.

An attribute named as an argument of the constructor is a setting and no state: whoever goes on with another patience
means it.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, str, type(None), np.bool_, np.integer, np.floating)


def states(callbacks: Sequence[Any]) -> list[dict[str, Any]]:
    """The states, in what JSON can hold."""
    return [{"class": type(callback).__name__, "state": _state(callback)} for callback in callbacks]


def restore(callbacks: Sequence[Any], saved: Sequence[Mapping[str, Any]]) -> None:
    """Puts the states back, the n-th callback of a class getting that of the n-th one saved; warns of what is left."""
    left = list(saved)
    for callback in callbacks:
        name = type(callback).__name__
        mine = next((entry for entry in left if entry["class"] == name), None)
        if mine is None:
            warnings.warn(f"The checkpoint has no state for the callback {name}, which begins anew.", stacklevel=3)
            continue
        left.remove(mine)
        for attribute, value in mine["state"].items():
            setattr(callback, attribute, _decoded(value))
    if left:
        names = ", ".join(entry["class"] for entry in left)
        warnings.warn(f"The checkpoint has the state of callbacks that `Resume` was not given: {names}.", stacklevel=3)


def _state(callback: Any) -> dict[str, Any]:
    settings = set()
    for kind in type(callback).__mro__[:-1]:
        settings |= set(inspect.signature(kind.__init__).parameters)
    plain = {name: value for name, value in vars(callback).items() if isinstance(value, _PLAIN)}
    return {name: _encoded(value) for name, value in plain.items() if name not in settings}


def _encoded(value: Any) -> Any:
    return {"dtype": value.dtype.name, "value": value.item()} if isinstance(value, np.generic) else value


def _decoded(value: Any) -> Any:
    return np.dtype(value["dtype"]).type(value["value"]) if isinstance(value, dict) else value
