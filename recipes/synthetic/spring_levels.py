r"""Synthetic time series: hourly levels of rhythmic springs.

Behind such a spring, a basin in the rock fills with seeping water. When it is full, a siphon starts to drain it. The
basin empties in a few hours, until the siphon takes air, and then fills again. The inflow depends on the rain of the
last weeks, so the springs have no fixed period: the level of a day ago is of little use, and no linear map of the past
predicts when the water turns. A model has to detect how fast the level rises and how far it is from the top.

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
HOURS_TO_FILL = (11.0, 14.0, 18.0)  # of each spring, in mean weather
HOURS_TO_EMPTY = 4.0
WEATHER_HOURS = 24 * 20  # duration of a wet or a dry period
WEATHER = 0.3  # standard deviation of the logarithm of the inflow
BOTTOM, HEIGHT = np.array([20.0, 35.0, 10.0]), np.array([60.0, 45.0, 110.0])  # cm
NOISE = 0.02  # noise of the gauge, as a share of the height
BEGINS = datetime.datetime(2020, 1, 1)


def levels(hours: int = 4_000, seed: int = 0) -> data.Series:
    """The levels of all springs from the beginning of 2020 on, a series of three columns."""
    random = np.random.default_rng(seed)
    inflow = _weather(hours, random)[:, None] / np.array(HOURS_TO_FILL)  # (hours, springs), basins an hour
    level, drawing = random.uniform(0, 1, len(NAMES)), np.zeros(len(NAMES), bool)
    fill = np.empty((hours, len(NAMES)))
    for hour in range(hours):
        fill[hour] = level
        level = level + inflow[hour] - drawing / HOURS_TO_EMPTY
        drawing = np.where(drawing, level > 0, level >= 1)
        level = np.clip(level, 0, 1)
    fill += NOISE * random.normal(size=fill.shape)
    times = np.datetime64(BEGINS, "us") + np.arange(hours) * np.timedelta64(1, "h")
    return data.Series(np.round(BOTTOM + HEIGHT * fill, 2), NAMES, times, report=data.SeriesReport(hours, hours))


def _weather(hours: int, random: np.random.Generator) -> np.ndarray:
    """The relative inflow of each hour, about 1: an autoregressive process with random innovations."""
    stays = 1 - 1 / WEATHER_HOURS
    weather, state = np.empty(hours), random.normal()
    for hour in range(hours):
        weather[hour] = state
        state = stays * state + np.sqrt(1 - stays**2) * random.normal()
    return np.exp(WEATHER * weather)
