"""Inspects runs and models. The parts are loaded on first use: `inspection.plots`."""

import importlib

_PARTS = ("certify", "clips", "speech_alignment", "parameters", "plots", "sequences")


def __getattr__(name: str):
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PARTS])
