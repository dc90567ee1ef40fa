"""Averages the weights of several checkpoints, which evens out the noise of the last updates."""

import os
from collections.abc import Sequence

import numpy as np

from keras_seq.training.checkpoints import load


def average_checkpoints(model, paths: Sequence[str | os.PathLike]) -> None:
    """Sets the model's weights to the mean of those in the checkpoints: `Checkpoints(run_dir).paths()`, the last k.

    The mean is taken in float64. Weights which are no floats (counters) are the last checkpoint's. The optimizer's
    state stays as it was.

    Args:
        model: a built model that fits the checkpoints.
        paths: their files, oldest first.
    Raises:
        ValueError: if there are no paths, or a checkpoint does not fit the model (the model stays as it was).
    Source: Vaswani et al. 2017, section 6.1, arXiv:1706.03762.
    """
    if not paths:
        raise ValueError("There is no checkpoint to average: `paths` is empty.")
    optimizer = getattr(model, "optimizer", None)
    kept = [np.asarray(v) for v in optimizer.variables] if optimizer is not None and optimizer.built else None
    before, totals = model.get_weights(), None
    try:
        for path in paths:
            load(model, path)
            values = model.get_weights()
            if totals is None:
                totals = [np.zeros(value.shape, "float64") for value in values]
            for total, value in zip(totals, values, strict=True):
                total += value.astype("float64")
        averaged = [
            (total / len(paths)).astype(value.dtype) if _is_float(variable) else value
            for total, value, variable in zip(totals, values, model.weights, strict=True)
        ]
    except BaseException:
        averaged = before
        raise
    finally:
        model.set_weights(averaged)
        if kept is not None:
            for variable, value in zip(optimizer.variables, kept, strict=True):
                variable.assign(value)


def _is_float(variable) -> bool:
    return "float" in str(variable.dtype)
