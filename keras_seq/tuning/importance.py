"""The importance of the parameters of a search: the share of the score's variance that each one explains."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_seq.inspection.plots.scales import is_number, needs_log
from keras_seq.tuning.records import TrialRecord, best_of

FEWEST = 4  # trials with a score
_TREES = 200
_SUBSTITUTES = 64  # values of other trials that replace the value of a trial, at most


def importance(trials: Sequence[TrialRecord], mode: str) -> dict[str, float]:
    """The share of the variance of the score that each parameter explains, the largest first.

    A random forest predicts the score from the values. The importance of a parameter is the increase of the forest's
    squared error, on trials that a tree was not trained on, when the value of the parameter is replaced by those of
    other trials. It includes the interactions of the parameter with others.

    A parameter that is inactive in a trial has its most common value there (a number: its median). Positive numbers
    that span more than a factor of 30 are compared by their logarithms. A failed trial counts with the worst score of
    the others. The order of the trials has no effect.

    Args:
        trials: trials of a search. Those that are running or invalid are ignored.
        mode: "max" or "min", the direction of better scores.
    Returns:
        Shares by name, which sum to 1. Empty if fewer than 4 trials have a score, if all scores are equal, or if the
        forest predicts the scores of unseen trials no better than their mean: the shares would be chance.
    Raises:
        ImportError: if scikit-learn is not installed.
    Source: Breiman 2001, "Random Forests", section 10, with the substitutes of Fisher et al. 2019, arXiv:1801.01489.
    """
    scored = [trial for trial in trials if trial.has_score]
    if len(scored) < FEWEST or len({trial.score for trial in scored}) == 1:
        return {}
    worst = best_of(scored, "min" if mode == "max" else "max").score
    rows = [(trial.values, trial.score) for trial in scored]
    rows += [(trial.values, worst) for trial in trials if trial.status == "failed"]
    names = sorted({name for values, _ in rows for name in values})
    columns = {name: _features([values.get(name, _INACTIVE) for values, _ in rows]) for name in names}
    columns = {name: column for name, column in columns.items() if np.ptp(column, axis=0).any()}
    if not columns:
        return {}
    x, y = np.concatenate(list(columns.values()), axis=1).astype("float32"), np.array([score for _, score in rows])
    order = np.lexsort([*x.T, y])  # the forest draws rows by their position
    errors = _increase_of_error(
        x[order], y[order], np.repeat(range(len(columns)), [c.shape[1] for c in columns.values()])
    )
    errors = np.maximum(errors, 0.0)  # below 0 is chance
    if not errors.sum() > 0:
        return {}
    shares = dict.fromkeys(names, 0.0) | dict(zip(columns, map(float, errors / errors.sum()), strict=True))
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


_INACTIVE = object()


def _features(values: list[Any]) -> np.ndarray:
    """The columns of a parameter, `(N, 1)` for numbers, and `(N, categories)` of 0 and 1 for others."""
    active = [value for value in values if value is not _INACTIVE]
    if all(map(is_number, active)):
        middle = sorted(active)[(len(active) - 1) // 2]
        numbers = np.array([middle if value is _INACTIVE else value for value in values], "float64")
        return (np.log(numbers) if needs_log(active) else numbers)[:, None]
    counts = collections.Counter(map(repr, active))
    common = min(counts, key=lambda name: (-counts[name], name))
    names = [common if value is _INACTIVE else repr(value) for value in values]
    return np.array([[name == category for category in sorted(counts)] for name in names], "float64")


def _increase_of_error(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean increase of the squared error, for each group of the columns of x `(N, D)`, whose values are replaced.

    All are 0 if the forest predicts no better than the mean.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise ImportError('The importance of parameters needs scikit-learn: pip install "keras-seq[tuning]"') from error
    forest = RandomForestRegressor(_TREES, random_state=0).fit(x, y)
    N, count = len(y), groups[-1] + 1
    shifts = np.unique(np.linspace(1, N - 1, min(N - 1, _SUBSTITUTES)).astype(int))
    replaced = np.repeat(x[None, None], len(shifts), axis=1).repeat(count, axis=0)  # (G, shifts, N, D)
    for index, shift in enumerate(shifts):
        rolled = np.roll(x, shift, axis=0)
        for group in range(count):
            replaced[group, index][:, groups == group] = rolled[:, groups == group]
    plain, changed = np.zeros(N), np.zeros((count, len(shifts), N))
    uses = np.zeros(N)
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = np.setdiff1d(np.arange(N), drawn)
        predicted = tree.tree_.predict(np.ascontiguousarray(replaced[:, :, unseen].reshape(-1, x.shape[1])))
        changed[:, :, unseen] += predicted.reshape(count, len(shifts), len(unseen))
        plain[unseen] += tree.tree_.predict(x[unseen]).ravel()
        uses[unseen] += 1
    seen = uses > 0
    plain, changed, y = plain[seen] / uses[seen], changed[:, :, seen] / uses[seen], y[seen]
    error = ((plain - y) ** 2).mean()
    return ((changed - y) ** 2).mean(axis=(1, 2)) - error if error < y.var() else np.zeros(count)
