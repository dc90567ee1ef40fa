"""Derives many initializers from one."""

import itertools

import keras
import numpy as np


def seeded_copies(initializer):
    """Yields copies of an initializer without end, each with different random numbers.

    A Keras initializer returns the same numbers at every call, so two weights of one shape that share it start equal.

    Args:
        initializer: any argument of `keras.initializers.get`. If it has a seed, the copies' seeds derive from it. None
            yields None. A function cannot be copied and is yielded unchanged.
    """
    for i in itertools.count():
        copy = keras.initializers.get(initializer)
        if isinstance(copy, keras.initializers.Initializer):
            config = copy.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] = int(np.random.SeedSequence([config["seed"], i]).generate_state(1)[0])
            if not isinstance(config.get("seed"), dict):  # a `SeedGenerator` advances at each call
                copy = type(copy).from_config(config)
        yield copy
