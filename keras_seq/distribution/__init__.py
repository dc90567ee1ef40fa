"""Many devices and many workers, with TensorFlow's own tf.distribute: one scope around the model."""

import importlib

# Loaded on first use: the launcher starts workers and needs no TensorFlow.
_HOME = {"check_distributed": "check", "data_service": "data_workers", "divide_cpu": "strategy", "scope": "strategy"}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
