"""Training on several devices and workers with tf.distribute: one scope around the model."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from keras_seq.distribution.check import check_distributed
    from keras_seq.distribution.data_workers import data_service
    from keras_seq.distribution.strategy import divide_cpu, scope

# Loaded on first use, so that the launcher can start workers without TensorFlow.
_HOME = {"check_distributed": "check", "data_service": "data_workers", "divide_cpu": "strategy", "scope": "strategy"}

__all__ = ["check_distributed", "data_service", "divide_cpu", "scope"]

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name: str):
        if name in _HOME:
            return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
