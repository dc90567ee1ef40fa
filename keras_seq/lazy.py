"""Modules that load when they are first used: `from keras_seq.lazy import data, keras, tf`.

Recipes import by it what their options do not need. `--help` and errors about options then come at once, since Keras
and TensorFlow take seconds to load.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers
    import keras
    import tensorflow as tf

    from keras_seq import (
        callbacks,
        data,
        decoding,
        distribution,
        experiment,
        export,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        schedules,
        scores,
        tasks,
        text,
        training,
        tuning,
    )
    from keras_seq.inspection import clips, cost, hardware, parameters, plots

__all__ = [
    "callbacks",
    "clips",
    "cost",
    "data",
    "decoding",
    "distribution",
    "experiment",
    "export",
    "hardware",
    "keras",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "parameters",
    "plots",
    "schedules",
    "scores",
    "tasks",
    "text",
    "tf",
    "training",
    "tuning",
]

_MODULES = {
    "keras": "keras",
    "tf": "tensorflow",
    "clips": "keras_seq.inspection.clips",
    "cost": "keras_seq.inspection.cost",
    "hardware": "keras_seq.inspection.hardware",
    "parameters": "keras_seq.inspection.parameters",
    "plots": "keras_seq.inspection.plots",
}


class LazyModule(ModuleType):
    """Stands for the module `__name__`, which is imported at the first use of one of its names."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


def __getattr__(name: str) -> LazyModule:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return LazyModule(_MODULES.get(name, f"keras_seq.{name}"))
