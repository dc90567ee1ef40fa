"""A step of training compiled by XLA is the step without it, which the quick tests take."""

import keras
import numpy as np
import pytest

from keras_seq import layers
from tests.reference import fill, spread, tensorflow_only

pytestmark = [pytest.mark.long, tensorflow_only("JAX compiles with XLA anyway")]
TOKENS = np.array([[4, 5, 6, 7, 8, 3], [8, 4, 0, 0, 0, 0], [5, 3, 7, 0, 0, 0]], "int32")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("architecture", layers.ARCHITECTURES)
def test_a_step_of_training_is_the_same(architecture, bidirectional):
    def trained(jit_compile):
        tokens = keras.Input((None,), dtype="int32")
        x = layers.TokenEmbedding(9, 8)(tokens)
        y, _ = layers.sequence_backbone(architecture, 8, num_heads=2, num_layers=2, bidirectional=bidirectional)(x)
        model = fill(keras.Model(tokens, keras.layers.Dense(3)(y)))
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        loss = model.train_on_batch(TOKENS, spread((3, 6, 3)))
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
        return [np.asarray(loss), *model.get_weights()]

    for compiled, plain in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)
