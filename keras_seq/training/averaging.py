"""Averages the weights of several checkpoints, which evens out the noise of the last updates."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_seq.training.checkpoints import Checkpoints, load
from keras_seq.training.run_folder import Run, atomic_write


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


class Chosen(NamedTuple):
    """The validation scores of the best epoch and of the mean of the last ones; None where there was no such choice."""

    best: float
    mean: float | None


def choose_weights(model, run: Run, score: Callable[[], float], *, mode: str = "min") -> Chosen:
    """Leaves the model with the best epoch's weights or the mean of the last ones, whichever validates better.

    The mean is that of all checkpoints in the run folder, two at least (`Resume(keep=...)` says how many there are).
    Where it is as good as the best epoch, it is taken, and `best.keras` is written anew.

    Args:
        model: a built model.
        run: of the training, with `best.keras`, as `EarlyStopping` leaves it.
        score: measures the model on the validation data.
        mode: "max" where more is better, "min" where less is.
    """
    best = keras.models.load_model(run.best, compile=False).get_weights()
    model.set_weights(best)
    of_best = score()
    paths = Checkpoints(run.path).paths()
    if len(paths) < 2:
        return Chosen(of_best, None)
    average_checkpoints(model, paths)
    of_mean = score()
    if of_mean >= of_best if mode == "max" else of_mean <= of_best:  # never where it is no number
        with atomic_write(run.best) as temporary:
            model.save(temporary)
    else:
        model.set_weights(best)
    return Chosen(of_best, of_mean)


def _is_float(variable) -> bool:
    return "float" in str(variable.dtype)
