"""Inspects runs and models. The parts are loaded on first use: `inspection.plots`."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from keras_seq.inspection import (
        certify,
        clips,
        cost,
        fast_path,
        gradients,
        hardware,
        parameters,
        plots,
        representations,
        sequences,
        speech_alignment,
    )

__all__ = [
    "certify",
    "clips",
    "cost",
    "fast_path",
    "gradients",
    "hardware",
    "parameters",
    "plots",
    "representations",
    "sequences",
    "speech_alignment",
]

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name: str):
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
