"""Checks of numeric options, before a model is built."""

from numbers import Integral, Real


def check_counts(**counts):
    """Raises a `ValueError` if a count is not an integer of at least 1. None stands for a default."""
    for name, value in counts.items():
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool) or value < 1):
            raise ValueError(f"`{name}` must be an integer of at least 1. Received: {value!r}")


def check_rates(**rates):
    """Raises a `ValueError` if a rate of dropout is not from 0 to 1, 1 excluded. None stands for a default."""
    for name, value in rates.items():
        if value is not None and (not isinstance(value, Real) or not 0 <= value < 1):
            raise ValueError(f"`{name}` must be a number from 0 to 1, 1 excluded. Received: {value!r}")
