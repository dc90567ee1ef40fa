"""A decoder of numbers that goes on from what it has said itself."""

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.recurrent_stack import RecurrentStack


@keras.saving.register_keras_serializable("keras_seq")
class AutoregressiveDecoder(CompositeLayer):
    """A recurrent stack whose every step begins with what came out of the one before, in training too.

    Args:
        cell: as for `RecurrentStack`.
        units: width of the stack, D.
        num_layers: how many layers.
        steps: how many steps to take, H.
    Call arguments:
        first: float `(B, F)`, what the first step begins with.
        states: the stack's first states, as another one of like size returns them.
        known: float `(B, H, K)`, what is known of each step beforehand; or None.
    Returns:
        float `(B, H, F)`.
    Source: Sutskever et al. 2014, arXiv:1409.3215, without teacher forcing.
    """

    def __init__(self, cell, units, num_layers=1, steps=1, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.num_layers = num_layers
        self.steps = steps
        self.stack = RecurrentStack(cell, units, num_layers, name="stack", dtype=self.dtype_policy)

    def build(self, first_shape, states_shape=None, known_shape=None):
        F, K = first_shape[-1], 1 if known_shape is None else known_shape[-1] + 1
        self.dense = keras.layers.Dense(F, name="dense", dtype=self.dtype_policy)
        self.dense.build((None, self.units))
        self.stack(keras.KerasTensor((None, 1, F + K), self.compute_dtype))
        self.loop = keras.layers.RNN(
            _FeedbackCell(self.stack, self.dense, states_shape, dtype=self.dtype_policy),
            return_sequences=True,
            name="loop",
            dtype=self.dtype_policy,
        )
        self.loop.build((None, self.steps, K))

    def call(self, first, states, known=None, training=False):
        place = ops.arange(1, self.steps + 1, dtype=self.compute_dtype) / self.steps  # how far away each step is
        inputs = ops.broadcast_to(place[None, :, None], (ops.shape(first)[0], self.steps, 1))
        if known is not None:
            inputs = ops.concatenate([inputs, known], axis=-1)
        initial_state = [ops.cast(x, self.compute_dtype) for x in (first, *keras.tree.flatten(states))]
        return self.loop(inputs, initial_state=initial_state, training=training)

    def compute_output_shape(self, first_shape, states_shape=None, known_shape=None):
        return first_shape[0], self.steps, first_shape[-1]

    def get_config(self):
        return {
            **super().get_config(),
            "cell": self.stack.cell,
            "units": self.units,
            "num_layers": self.num_layers,
            "steps": self.steps,
        }


class _FeedbackCell(keras.layers.Layer):
    """One step, as `keras.layers.RNN` wants it; its state is what was said, and the flat states of the stack."""

    def __init__(self, stack, dense, states_shape, **kwargs):
        super().__init__(**kwargs)
        self.stack = stack
        self.dense = dense
        # Python's lists: Keras's own, which it makes of a layer's attributes, are no nests of a state.
        self.nest = keras.tree.map_shape_structure(lambda shape: shape[-1], states_shape)
        self.state_size = [dense.units, *keras.tree.flatten(self.nest)]
        self.output_size = dense.units

    def build(self, input_shape):
        pass  # the parts are built

    def call(self, inputs, states):
        said, *states = states
        x = ops.concatenate([inputs, said], axis=-1)[:, None]  # (B, 1, K + F)
        # There is no dropout inside the loop, so that in training too a step is a single call of each cell.
        x, states = self.stack(x, initial_state=keras.tree.pack_sequence_as(self.nest, states), training=False)
        said = self.dense(x[:, 0])
        return said, [said, *keras.tree.flatten(states)]
