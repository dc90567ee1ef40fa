"""The state of callbacks in a checkpoint: their attributes that are numbers, strings, booleans or None.

Attributes named like constructor arguments are settings, not state, and are not restored, so a resumed run may use
another `patience`. A callback whose numbers are elsewhere, on a device, has a method `collect_state`, which is called
before they are saved.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, str, type(None), np.bool_, np.integer, np.floating)


def states(callbacks: Sequence[Any]) -> list[dict[str, Any]]:
    """The states, as JSON values."""
    return [{"class": type(callback).__name__, "state": _state(callback)} for callback in callbacks]


def restore(callbacks: Sequence[Any], saved: Sequence[Mapping[str, Any]]) -> None:
    """Restores the states. The n-th callback of a class gets the n-th saved state of it. Warns of unused states."""
    left = list(saved)
    for callback in callbacks:
        name = type(callback).__name__
        mine = next((entry for entry in left if entry["class"] == name), None)
        if mine is None:
            warnings.warn(f"The checkpoint has no state for the callback {name}, which starts over.", stacklevel=3)
            continue
        left.remove(mine)
        for attribute, value in mine["state"].items():
            setattr(callback, attribute, _decoded(value))
    if left:
        names = ", ".join(entry["class"] for entry in left)
        warnings.warn(f"The checkpoint has the state of callbacks that `Resume` did not get: {names}.", stacklevel=3)


def _state(callback: Any) -> dict[str, Any]:
    getattr(callback, "collect_state", lambda: None)()
    settings = set()
    for kind in type(callback).__mro__[:-1]:
        settings |= set(inspect.signature(kind.__init__).parameters)
    plain = {name: value for name, value in vars(callback).items() if isinstance(value, _PLAIN)}
    return {name: _encoded(value) for name, value in plain.items() if name not in settings}


def _encoded(value: Any) -> Any:
    return {"dtype": value.dtype.name, "value": value.item()} if isinstance(value, np.generic) else value


def _decoded(value: Any) -> Any:
    return np.dtype(value["dtype"]).type(value["value"]) if isinstance(value, dict) else value
