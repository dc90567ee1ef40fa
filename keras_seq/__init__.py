"""Sequence models on Keras 3: layers, models, bucketed data, decoding, and a SavedModel that takes strings.

The parts are sub-packages (`keras_seq.layers`, `keras_seq.data`, ...), loaded when they are first used:
`import keras_seq` alone is instant and loads neither Keras nor TensorFlow. It is enough for
`keras.models.load_model("model.keras")`, which finds the classes of keras_seq by their names.
"""

import importlib
from typing import TYPE_CHECKING

from keras_seq import serialization

if TYPE_CHECKING:  # for editors and type checkers
    from keras_seq import (
        callbacks,
        cli,
        data,
        decoding,
        distribution,
        experiment,
        export,
        inspection,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        products,
        schedules,
        scores,
        tasks,
        text,
        training,
    )
    from keras_seq.tasks import load

__version__ = "0.1.0"

__all__ = [  # loaded on first use
    "callbacks",
    "cli",
    "data",
    "decoding",
    "distribution",
    "experiment",
    "export",
    "inspection",
    "layers",
    "load",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "products",
    "schedules",
    "scores",
    "serialization",
    "tasks",
    "text",
    "training",
]
_INSTEAD = {  # names that come to mind
    "load_model": "keras_seq.load for a task, or keras.models.load_model for a Keras model",
    "pipeline": "keras_seq.load",
}

serialization.register_with_keras()  # for `keras.models.load_model`

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name: str):
        if name == "load":
            from keras_seq.tasks import load

            return load
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
