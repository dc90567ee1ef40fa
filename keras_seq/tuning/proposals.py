"""The next trial of Bayesian optimization: the most promising of many candidates, by a Gaussian process with noise."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras_tuner
import numpy as np
import scipy.stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor, kernels

_CANDIDATES = 500  # drawn from the whole space, and as many beside the best trials
_BEST = 3
_STEP = 0.15  # standard deviation of a step beside a trial, in parts of a number's range

Values = dict[str, Any]


def propose(
    space: keras_tuner.HyperParameters,
    trials: Sequence[tuple[Values, float]],
    ongoing: Sequence[Values],
    random: np.random.RandomState,
    *,
    noise: float,
    unseen: Callable[[Values], bool] = lambda values: True,
) -> Values | None:
    """The candidate with the greatest expected improvement over the best predicted score of the trials.

    Scores are noisy: another seed gives another score. So trials are not compared by their scores, but by those that a
    Gaussian process predicts for them. Categories have no order: each two are equally far apart.

    Args:
        space: search space.
        trials: values and score of each finished trial, of which the largest is best.
        ongoing: values of trials that run. Their predicted scores stand for those to come.
        random: source of candidates.
        noise: variance of the noise of the scores, as a share of the variance of all scores.
        unseen: whether these values have not been tried yet.
    Returns:
        The values of the candidate, or None if all candidates have been tried.
    Source: Jones et al. 1998, doi:10.1023/A:1008306431147, with the predicted best of Vazquez et al. 2008.
    """
    x = np.array([features(space, values) for values, _ in trials])
    y = np.array([score for _, score in trials], "float64")
    # A length scale for each dimension: few parameters matter. Within bounds, since few trials are to decide.
    process = _fit(x, y, noise, kernels.Matern(np.ones(x.shape[1]), (0.5, 5.0), nu=2.5))
    if ongoing:
        running = np.array([features(space, values) for values in ongoing])
        x, y = np.concatenate([x, running]), np.concatenate([y, process.predict(running)])
        process = _fit(x, y, noise, process.kernel_, optimizer=None)
    expected = process.predict(x)
    best = [trials[index][0] for index in np.argsort(-expected[: len(trials)], kind="stable")[:_BEST]]
    candidates = [sample(space, random) for _ in range(_CANDIDATES)]
    candidates += [beside(space, best[number % len(best)], random) for number in range(_CANDIDATES)]
    candidates = [values for values in candidates if unseen(values)]
    if not candidates:
        return None
    mean, deviation = process.predict(np.array([features(space, each) for each in candidates]), return_std=True)
    deviation = np.maximum(deviation, 1e-9)
    z = (mean - expected.max()) / deviation
    return candidates[int(np.argmax(deviation * (z * scipy.stats.norm.cdf(z) + scipy.stats.norm.pdf(z))))]


def _fit(x: np.ndarray, y: np.ndarray, noise: float, kernel: Any, **options: Any) -> GaussianProcessRegressor:
    process = GaussianProcessRegressor(kernel, alpha=noise, normalize_y=True, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is one too
        return process.fit(x, y)


def features(space: keras_tuner.HyperParameters, values: Values) -> list[float]:
    """The values as a vector in which distances are differences: 0 to 1 for a number, a dimension for each category.

    A number that does not exist with these values has its default, and a category is none of them.
    """
    vector: list[float] = []
    for hp in space.space:
        if isinstance(hp, keras_tuner.engine.hyperparameters.Fixed):
            continue
        if _is_category(hp):
            vector += [np.sqrt(0.5) * (values.get(hp.name) == category) for category in hp.values]
        else:
            vector.append(hp.value_to_prob(values.get(hp.name, hp.default)))
    return vector


def sample(space: keras_tuner.HyperParameters, random: np.random.RandomState) -> Values:
    """Random values."""
    return _filled(space, lambda hp: hp.prob_to_value(random.uniform()))


def beside(space: keras_tuner.HyperParameters, values: Values, random: np.random.RandomState) -> Values:
    """Values like these: some of them, and at least one, have changed."""
    active = [name for name in values if not name.startswith("tuner/")]
    changed = {name for name in active if random.uniform() < 1 / 3} or {active[random.randint(len(active))]}

    def value(hp: Any) -> Any:
        if hp.name in values and hp.name not in changed:
            return values[hp.name]
        if hp.name not in values or _is_category(hp):
            return hp.prob_to_value(random.uniform())
        return hp.prob_to_value(min(max(hp.value_to_prob(values[hp.name]) + random.normal(0, _STEP), 0.0), 1.0))

    return _filled(space, value)


def _filled(space: keras_tuner.HyperParameters, value: Callable[[Any], Any]) -> Values:
    """The values of the parameters that exist with the values of those before them."""
    result = keras_tuner.HyperParameters()
    for hp in space.space:
        result.merge([hp])
        if result.is_active(hp):
            result.values[hp.name] = hp.value if isinstance(hp, _FIXED) else value(hp)
    return result.values


_FIXED = keras_tuner.engine.hyperparameters.Fixed


def _is_category(hp: Any) -> bool:
    return isinstance(hp, keras_tuner.engine.hyperparameters.Boolean) or not getattr(hp, "ordered", True)
