"""Training on several devices and workers with tf.distribute: one scope around the model."""

import importlib

# Loaded on first use, so that the launcher can start workers without TensorFlow.
_HOME = {"check_distributed": "check", "data_service": "data_workers", "divide_cpu": "strategy", "scope": "strategy"}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
