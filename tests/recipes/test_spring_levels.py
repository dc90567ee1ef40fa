"""The generated springs: what they are, and that they have no period that would give them away."""

import numpy as np

from recipes.baselines import linear_forecast
from recipes.synthetic import spring_levels


def basins(series):
    return (series.values - spring_levels.BOTTOM) / spring_levels.HEIGHT


def test_a_spring_rises_slowly_and_falls_fast():
    level = basins(spring_levels.levels(3_000, seed=1))
    assert -0.1 < level.min() < 0.05 and 0.95 < level.max() < 1.1
    steps = np.diff(level, axis=0)
    for rises, falls in zip(np.maximum(steps, 0).T, np.maximum(-steps, 0).T, strict=True):  # of each spring
        assert (rises > 0).mean() > 1.3 * (falls > 0).mean()
        assert falls[falls > 0].mean() > 1.3 * rises[rises > 0].mean()
    turns = ((level[:-1] < 0.5) & (level[1:] >= 0.5)).sum(axis=0)
    assert turns[0] > turns[1] > turns[2] > 60  # the smaller the basin, the oftener


def test_levels_are_a_function_of_the_seed():
    one = spring_levels.levels(500, seed=3)
    np.testing.assert_array_equal(one.values, spring_levels.levels(500, seed=3).values)
    assert np.abs(one.values - spring_levels.levels(500, seed=4).values).max() > 10
    assert one.columns == spring_levels.NAMES and len(one) == 500
    assert (np.diff(one.times) == np.timedelta64(1, "h")).all()


def test_a_day_ago_says_little():
    level = spring_levels.levels(5_000, seed=2).values
    level = (level - level.mean(axis=0)) / level.std(axis=0)
    past, future = level[None, :24], level[None, 24:]
    assert np.mean((linear_forecast.seasonal(past, 24, 24) - future[:, :24]) ** 2) > 0.2
    assert np.mean((level[24:] - level[:-24]) ** 2) > 1.2  # what has nothing to do with it: 2
