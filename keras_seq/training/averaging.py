"""Averages the weights of several checkpoints, which reduces the noise of the last updates."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_seq.training.checkpoints import Checkpoints, load
from keras_seq.training.run_folder import Run, atomic_write


def average_checkpoints(model, paths: Sequence[str | os.PathLike]) -> None:
    """Sets the model's weights to the mean of checkpoints, usually the last k of `Checkpoints(run_dir).paths()`.

    The mean is computed in float64. Weights that are not floats (counters) are those of the last checkpoint. The
    optimizer's state does not change.

    Args:
        model: a built model that fits the checkpoints.
        paths: paths of the checkpoints, oldest first.
    Raises:
        ValueError: if there are no paths, or a checkpoint does not fit the model (the model is then unchanged).
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
    """The validation scores of the best epoch and of the mean of the last ones, or None if there was no such choice.
    And whether the mean was better and is kept.
    """

    best: float
    mean: float | None
    mean_is_kept: bool = False


def choose_weights(model, run: Run, score: Callable[[], float], *, mode: str = "min") -> Chosen:
    """Sets the model to the best epoch's weights or to the mean of the last ones, whichever has the better score.

    The mean is over all checkpoints in the run folder, at least two (`Resume(keep=...)` sets their number). If its
    score is at least as good as that of the best epoch, the mean is used, and replaces `best.keras`.

    Args:
        model: a built model.
        run: the training run, with the `best.keras` of `EarlyStopping`.
        score: a function that scores the model on the validation data.
        mode: "max" if higher is better, "min" if lower is better.
    """
    best = keras.models.load_model(run.best, compile=False).get_weights()
    model.set_weights(best)
    of_best = score()
    paths = Checkpoints(run.path).paths()
    if len(paths) < 2:
        return Chosen(of_best, None)
    average_checkpoints(model, paths)
    of_mean = score()
    if of_mean >= of_best if mode == "max" else of_mean <= of_best:  # False if it is NaN
        with atomic_write(run.best) as temporary:
            model.save(temporary)
        return Chosen(of_best, of_mean, mean_is_kept=True)
    model.set_weights(best)
    return Chosen(of_best, of_mean)


def _is_float(variable) -> bool:
    return "float" in str(variable.dtype)
