import keras
import numpy as np
import pytest

from keras_seq.layers import AutoregressiveDecoder, RecurrentStack
from tests.cells import LeakyCell
from tests.reference import array, backend_cases, fill, long_on_jax, spread

FIRST, KNOWN = spread((2, 3)), spread((2, 4, 2), start=9)


@pytest.mark.parametrize(
    "known", backend_cases([None, KNOWN], on_jax=[KNOWN]), ids=lambda x: "alone" if x is None else "known"
)
@pytest.mark.parametrize(
    ("cell", "num_layers"), backend_cases([("lstm", 2), ("mingru", 1), (LeakyCell, 1)], on_jax=[("lstm", 2)])
)
@long_on_jax
def test_each_step_begins_with_what_the_last_one_said(cell, num_layers, known):
    _, begin = RecurrentStack(cell, 4, num_layers)(spread((2, 5, 3)))
    decoder = AutoregressiveDecoder(cell, 4, num_layers, steps=4)
    decoder(FIRST, begin, known)
    fill(decoder)
    said, states, expected = FIRST, begin, []
    for t in range(4):
        parts = [np.full((2, 1), (t + 1) / 4, "float32"), *([] if known is None else [known[:, t]]), said]
        x, states = decoder.stack(np.concatenate(parts, axis=1)[:, None], initial_state=states)
        said = array(decoder.dense(x[:, 0]))
        expected.append(said)
    for training in (False, True):
        outputs = array(decoder(FIRST, begin, known, training=training))
        np.testing.assert_allclose(outputs, np.stack(expected, axis=1), atol=1e-6)


@long_on_jax
def test_every_weight_learns_and_comes_back_from_a_file(tmp_path):
    first, x = keras.Input((3,)), keras.Input((None, 3))
    _, states = RecurrentStack("gru", 4, 2)(x)
    model = keras.Model([first, x], AutoregressiveDecoder("gru", 4, 2, steps=5)(first, states))
    assert model.output.shape == (None, 5, 3)
    fill(model)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    inputs = [FIRST, spread((2, 5, 3))]
    before = model.get_weights()
    model.train_on_batch(inputs, spread((2, 5, 3), start=4))
    for old, new, weight in zip(before, model.get_weights(), model.weights, strict=True):
        assert (old != new).any(), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(inputs)), array(model(inputs)), atol=1e-6)
