"""Cross-validation: one training run for each fold, and the mean and spread of their scores."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from keras_seq import data, distribution
from keras_seq.experiment.options import T
from keras_seq.experiment.reporting import Result

Rows = np.ndarray


def cross_validate(
    options: T,
    labels: Sequence[int] | np.ndarray,
    scope: distribution.scope,
    score: Callable[[T, Rows, Rows], Mapping[str, float] | None],
) -> list[Result]:
    """Trains on all folds but one and scores that one, for each of `options.folds` folds.

    Args:
        options: options of the recipe. Each fold gets a run folder inside `options.run`, and a different seed.
        labels: classes `(N,)`. Each class is spread evenly over the folds.
        scope: scope of `setup`.
        score: function that trains on the first rows and scores the second ones. It returns None in a worker that is
            not the chief.
    Returns:
        The mean and the standard deviation of each score, or an empty list in a worker that is not the chief.
    """
    fold_of, scores = data.folds(labels, options.folds, options.seed), []
    for fold in range(options.folds):
        folder, seed = options.run / f"fold-{fold + 1:02}", options.seed + fold
        keras.utils.set_random_seed(seed)  # independent of the folds that an interrupted run has finished
        rows = (np.flatnonzero(where) for where in (fold_of != fold, fold_of == fold))
        values = score(dataclasses.replace(options, run=folder, seed=seed), *rows)
        if scope.chief:
            scores.append(values)
            print(f"Fold {fold + 1}: " + ", ".join(f"{name} {value:.2%}" for name, value in values.items()))
            scope.any_worker(False)  # the other workers have waited since the end of the fit
    if not scope.chief:
        scope.any_worker(False)
        return []
    return _spread(scores, f"{options.folds} folds")


def _spread(scores: Sequence[Mapping[str, float]], split: str) -> list[Result]:
    results = []
    for name in scores[0]:
        values = [score[name] for score in scores]
        note = f"from {min(values):.2%} to {max(values):.2%}"
        results += [Result(f"{name}, mean", np.mean(values), note=note, split=split)]
        results += [Result(f"{name}, standard deviation", np.std(values, ddof=1), split=split)]
    return results
