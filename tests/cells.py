"""A cell that nobody else has, as a user would write it: two states, one of them narrower than the output."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("tests")
class LeakyCell(keras.layers.Layer):
    """h' = leak * h + (1 - leak) * tanh(x W + h U + count v): and a count of the steps."""

    def __init__(self, units, leak=0.25, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.leak = leak
        self.state_size = [units, 2]
        self.output_size = units

    def build(self, input_shape):
        for name, rows in (("w", input_shape[-1]), ("u", self.units), ("v", 2)):
            setattr(self, name, self.add_weight(shape=(rows, self.units), initializer="glorot_uniform", name=name))

    def call(self, inputs, states):
        h, count = states
        count = count + 0.1
        new = ops.tanh(ops.matmul(inputs, self.w) + ops.matmul(h, self.u) + ops.matmul(count, self.v))
        h = self.leak * h + (1 - self.leak) * new
        return h, [h, count]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "leak": self.leak}
