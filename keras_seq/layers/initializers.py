"""Initializers: many from one, and biases of gates that remember from the start."""

import itertools

import keras
import numpy as np
from keras import ops

# The gates of each cell in the order of its bias: 1 keeps the state, -1 writes to it.
_GATES = {"lstm": (-1, 1, 0, 0), "gru": (1, 0, 0), "mingru": (-1, 0), "minlstm": (1, -1, 0)}


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


@keras.saving.register_keras_serializable("keras_seq")
class ChronoBias(keras.initializers.RandomUniform):
    """Biases with which each unit of a gated cell remembers for another time: chrono initialization.

        b_keep = log u,   b_write = -log u,   u uniform in [1, max_steps - 1]

    A unit with the gate sigmoid(log u) = u / (u + 1) forgets in about u + 1 steps. So the times of the units are spread
    between 2 and `max_steps`. The usual bias, 0 or 1, forgets in two to four steps, and no gradient reaches farther.

        RecurrentStack("lstm", 128, cell_options=chrono_options("lstm", 600))

    Args:
        cell: "lstm", "gru" (a row for the inputs' bias and one for the state's, or a single one), "mingru" or
            "minlstm". The keeping gate of a GRU is the update gate of Keras.
        max_steps: longest time, above 2: the number of steps to remember.
        seed: random seed, as for Keras's initializers.
    Raises:
        ValueError: for another cell, `max_steps` of 2 or less, or a bias without a part for each gate.
    Source: Tallec and Ollivier 2018, section 2.2, arXiv:1804.11188.
    """

    def __init__(self, cell, max_steps, seed=None):
        if cell not in _GATES:
            raise ValueError(f"`cell` must be one of {sorted(_GATES)}. Received: {cell!r}")
        if max_steps <= 2:
            raise ValueError(f"`max_steps` must be above 2. Received: {max_steps}")
        super().__init__(1.0, max_steps - 1.0, seed)
        self.cell = cell
        self.max_steps = max_steps

    def __call__(self, shape, dtype=None):
        gates = _GATES[self.cell]
        if len(shape) > 2 or shape[-1] % len(gates):
            raise ValueError(
                f"The bias of {self.cell!r} has the shape ({len(gates)} * units,). Received: {tuple(shape)}. An LSTM "
                "needs `unit_forget_bias=False`."
            )
        times = ops.log(super().__call__((shape[-1] // len(gates),), dtype))
        bias = ops.concatenate([sign * times for sign in gates])
        if len(shape) == 1:
            return bias
        return ops.concatenate([bias[None], ops.zeros((shape[0] - 1, shape[1]), bias.dtype)])

    def get_config(self):
        config = super().get_config()
        return {"cell": self.cell, "max_steps": self.max_steps, "seed": config["seed"]}


def chrono_options(cell, max_steps, seed=None):
    """`cell_options` of a `RecurrentStack` with chrono initialization.

    Args:
        cell, max_steps, seed: see `ChronoBias`.
    """
    options = {"bias_initializer": ChronoBias(cell, max_steps, seed)}
    return {**options, "unit_forget_bias": False} if cell == "lstm" else options
