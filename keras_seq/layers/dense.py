"""Keras's dense layer with products that may be in bfloat16 in training."""

import keras
from keras import ops

from keras_seq import products


@keras.saving.register_keras_serializable("keras_seq")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` whose product follows `keras_seq.products`: the same arguments and weights.

    Args:
        args, kwargs: arguments of `keras.layers.Dense`.
    """

    def call(self, inputs, training=None):
        if not products.in_bfloat16(training, inputs.dtype, inputs.shape[-1] * self.units):
            return super().call(inputs, training=training)
        x = products.rounded_matmul(inputs, self.kernel)
        x = x if self.bias is None else ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode=None, type_check=True, config=None):
        return super().quantize(mode, type_check=False, config=config)  # Keras refuses subclasses
