"""Baselines of forecasts: repeating the last value, repeating the last season, and the best linear map.

The linear map is fitted by least squares, not trained: each future step is a weighted sum of the past, with the same
weights for all columns. As in `layers.ReversibleNormalization`, every past is first normalized to mean 0 and standard
deviation 1, and its forecast is scaled back. The strength of the penalty on large weights is chosen on the validation
windows. The fit takes seconds, and on many published series few networks are better.

Source: Toner and Darlow 2024, arXiv:2403.14587, least squares on normalized windows; Hoerl and Kennard 1970,
doi:10.2307/1267351, ridge regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_seq.lazy import data, keras

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)  # penalties, as shares of the mean square of a step
EPSILON = 1e-5  # added to the variance, as in ReversibleNormalization
ROWS = 512  # windows processed together


def repeat_last(past: np.ndarray, horizon: int) -> np.ndarray:
    """Repeats the last value for each future step: `(B, L, C)` to `(B, H, C)`."""
    return np.repeat(past[:, -1:], horizon, axis=1)


def seasonal(past: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Repeats the last season, such as a day: `(B, L, C)`, L at least `season`, to `(B, H, C)`."""
    return past[:, past.shape[1] - season + np.arange(horizon) % season]


class Linear(NamedTuple):
    """A linear map of normalized pasts to normalized futures.

    Attributes:
        kernel: float32 `(L, H)`.
        bias: float32 `(H,)`.
        ridge: penalty of the fit, one of `RIDGES`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    ridge: float

    def __call__(self, past: np.ndarray) -> np.ndarray:
        """The forecasts of pasts `(B, L, C)`: `(B, H, C)`."""
        x, mean, deviation = _normalized(past)
        y = x @ self.kernel + self.bias  # (B, C, H)
        return np.swapaxes(y * deviation + mean, 1, 2)


def fit_linear(train: data.Windows, valid: data.Windows, targets: Sequence[int]) -> Linear:
    """Fits the linear map by least squares on the training windows, with the ridge that is best in validation.

    Args:
        train, valid: windows of the same look-back and horizon.
        targets: indices of the columns to forecast among the columns of the past.
    """
    L, H = train.look_back, train.horizon
    squares, products = np.zeros((L + 1, L + 1)), np.zeros((L + 1, H))
    for past, future in pairs(train):
        x, mean, deviation = _normalized(past[..., targets])
        y = (np.swapaxes(future, 1, 2) - mean) / deviation
        x = np.concatenate([x, np.ones_like(mean)], axis=-1).reshape(-1, L + 1)  # the last column is for the bias
        squares += x.T @ x
        products += x.T @ y.reshape(-1, H)
    punished = np.diag(np.append(np.full(L, np.trace(squares[:L, :L]) / L), 0.0))
    # A tiny addition, so that a constant series, whose steps are all 0, has a solution too.
    punished += 1e-12 * np.eye(L + 1) * max(1.0, squares[L, L])
    fits = []
    for ridge in RIDGES:
        solution = np.linalg.solve(squares + ridge * punished, products).astype("float32")
        linear = Linear(solution[:L], solution[L], ridge)
        error = sum(np.square(linear(past[..., targets]) - future).sum(dtype=float) for past, future in pairs(valid))
        fits.append((error, linear))
    return min(fits, key=lambda pair: pair[0])[1]


_ROUNDING = 1e-6  # relative rounding error of float32, below which a network adds nothing


def temper(model: keras.Model, linear: Linear, valid: data.Windows) -> float:
    """Scales a network's addition to the linear map by the factor from 0 to 1 with the least validation error.

    Args:
        model: a `models.forecaster` with a residual, of all columns.
        linear: the linear map inside the model.
        valid: windows that the model was not trained on.
    Returns:
        The factor, which is applied to the weights of the model's layer "forecast".
    """
    along, across, rounding = 0.0, 0.0, 0.0
    for past, future in pairs(valid):
        straight = linear(past)
        added = model.predict_on_batch(past) - straight
        along += np.sum(added * (future - straight), dtype=float)
        across += np.sum(np.square(added), dtype=float)
        rounding += np.sum(np.square(_ROUNDING * straight), dtype=float)
    share = float(np.clip(along / across, 0, 1)) if across > rounding else 1.0
    layer = model.get_layer("forecast")
    layer.set_weights([share * weight for weight in layer.get_weights()])
    return share


def pairs(windows: data.Windows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All windows in order, in batches: pasts `(B, L, C)` and futures `(B, H, targets)`."""
    past, target = (windows.arrays[name].numpy() for name in ("past", "target"))
    steps = np.arange(windows.look_back + windows.horizon)
    for first in range(0, len(windows), ROWS):
        rows = windows.starts[first : first + ROWS, None] + steps
        yield past[rows[:, : windows.look_back]], target[rows[:, windows.look_back :]]


def _normalized(past: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalizes `(B, L, C)` to `(B, C, L)`, and returns the means and standard deviations `(B, C, 1)`."""
    x = np.swapaxes(past, 1, 2)
    mean, deviation = x.mean(axis=2, keepdims=True), np.sqrt(x.var(axis=2, keepdims=True) + EPSILON)
    return (x - mean) / deviation, mean, deviation
