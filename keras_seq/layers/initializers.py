"""One initializer for many weights."""

import itertools

import keras
import numpy as np


def seeded_copies(initializer):
    """Copies of an initializer without end, each with random numbers of its own.

    An initializer of Keras gives equal numbers each time it is called: two weights of one shape that share it begin as
    one.

    Args:
        initializer: whatever `keras.initializers.get` takes; with a seed, the seeds of the copies follow from it.
            None gives None. A function, which cannot be copied, is given as it is.
    """
    for i in itertools.count():
        copy = keras.initializers.get(initializer)
        if isinstance(copy, keras.initializers.Initializer):
            config = copy.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] = int(np.random.SeedSequence([config["seed"], i]).generate_state(1)[0])
            if not isinstance(config.get("seed"), dict):  # a `SeedGenerator` goes on by itself
                copy = type(copy).from_config(config)
        yield copy
