r"""A forecasting task without a download: hourly levels of rhythmic springs.

Behind such a spring a basin in the rock fills with what seeps in. At its brim a siphon begins to draw, and the basin
empties in a few hours, down to where the siphon takes air; then it fills again. How fast, the rain of the last weeks
says, so the springs have no fixed period: what was a day ago says little, and no linear map of the past says when the
water will turn. A model has to see how fast it rises and how far it still has to go.

    cm
     80 |    /|       /|       /|
        |  /  |     /  |     /  |
     20 |/     \ _/     \ _/     \ ...
"""

from __future__ import annotations

import datetime

import numpy as np

from keras_seq.lazy import data

NAMES = ("birch", "mill", "chapel")  # the springs
HOURS_TO_FILL = (11.0, 14.0, 18.0)  # of each, in mean weather
HOURS_TO_EMPTY = 4.0
WEATHER_HOURS = 24 * 20  # how long a wet or a dry time lasts
WEATHER = 0.3  # deviation of the logarithm of the inflow
BOTTOM, HEIGHT = np.array([20.0, 35.0, 10.0]), np.array([60.0, 45.0, 110.0])  # cm
NOISE = 0.02  # of the gauge, as a share of the height
BEGINS = datetime.datetime(2020, 1, 1)


def levels(hours: int = 4_000, seed: int = 0) -> data.Series:
    """The levels of all springs, so many hours from the beginning of 2020 on: a series of three columns."""
    random = np.random.default_rng(seed)
    inflow = _weather(hours, random)[:, None] / np.array(HOURS_TO_FILL)  # (hours, springs), basins an hour
    level, drawing = random.uniform(0, 1, len(NAMES)), np.zeros(len(NAMES), bool)
    found = np.empty((hours, len(NAMES)))
    for hour in range(hours):
        found[hour] = level
        level = level + inflow[hour] - drawing / HOURS_TO_EMPTY
        drawing = np.where(drawing, level > 0, level >= 1)
        level = np.clip(level, 0, 1)
    found += NOISE * random.normal(size=found.shape)
    times = np.datetime64(BEGINS, "us") + np.arange(hours) * np.timedelta64(1, "h")
    return data.Series(np.round(BOTTOM + HEIGHT * found, 2), NAMES, times, report=data.SeriesReport(hours, hours))


def _weather(hours: int, random: np.random.Generator) -> np.ndarray:
    """How wet it is, about 1: what stays of the hours before, and a little that is new."""
    stays = 1 - 1 / WEATHER_HOURS
    weather, state = np.empty(hours), random.normal()
    for hour in range(hours):
        weather[hour] = state
        state = stays * state + np.sqrt(1 - stays**2) * random.normal()
    return np.exp(WEATHER * weather)
