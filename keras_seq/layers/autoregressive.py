"""An autoregressive decoder for real-valued sequences."""

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.recurrent_stack import RecurrentStack


@keras.saving.register_keras_serializable("keras_seq")
class AutoregressiveDecoder(CompositeLayer):
    """A recurrent stack that receives its previous output as input at every step, in training too.

    Args:
        cell: recurrent cell, as for `RecurrentStack`.
        units: width of the stack, D.
        num_layers: number of layers.
        steps: number of steps, H.
    Call arguments:
        first: float `(B, F)`, the input of the first step.
        states: initial states of the stack, such as the final states of a stack of the same size.
        known: float `(B, H, K)`, features of each step that are available in advance, or None.
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
        place = ops.arange(1, self.steps + 1, dtype=self.compute_dtype) / self.steps  # the distance of each step
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
    """One step, for `keras.layers.RNN`. Its state is the last output and the flat states of the stack."""

    def __init__(self, stack, dense, states_shape, **kwargs):
        super().__init__(**kwargs)
        self.stack = stack
        self.dense = dense
        # Plain lists: Keras wraps lists set as attributes, and its wrapper does not match the structure of a state.
        self.nest = keras.tree.map_shape_structure(lambda shape: shape[-1], states_shape)
        self.state_size = [dense.units, *keras.tree.flatten(self.nest)]
        self.output_size = dense.units

    def build(self, input_shape):
        pass  # the parts are built already

    def call(self, inputs, states):
        said, *states = states
        x = ops.concatenate([inputs, said], axis=-1)[:, None]  # (B, 1, K + F)
        # No dropout inside the loop, so a step is a single call of each cell, in training too.
        x, states = self.stack(x, initial_state=keras.tree.pack_sequence_as(self.nest, states), training=False)
        said = self.dense(x[:, 0])
        return said, [said, *keras.tree.flatten(states)]
