import keras
import numpy as np
import pytest

from keras_seq.layers import TokenEmbedding
from keras_seq.layers.pooling import POOLINGS, AttentionPooling, Pooling
from keras_seq.optimizers import Adam
from tests.checks import check_layer
from tests.reference import array, backend_cases, fill, long_on_jax, program, softmax, spread

B, T, D = 4, 5, 3
X = spread((B, T, D))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], "bool")


def attention(x, weights):
    W, b, v = weights
    return softmax(np.tanh(x @ W + b) @ v[:, 0]) @ x


REFERENCES = {
    "last": lambda x, weights: x[-1],
    "mean": lambda x, weights: x.mean(0),
    "max": lambda x, weights: x.max(0),
    "attention": attention,
}
kinds = pytest.mark.parametrize("kind", backend_cases(POOLINGS, on_jax=["attention", "last"]))


def pooling(kind):
    layer = POOLINGS[kind]()
    layer.build((None, None, D))
    return fill(layer)


@kinds
@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "none"])
def test_each_row_is_the_pooling_of_its_real_steps(kind, mask):
    layer = pooling(kind)
    rows = [x if mask is None else x[m] for x, m in zip(X.astype("float64"), MASK, strict=True)]
    expected = [REFERENCES[kind](x, layer.get_weights()) if len(x) else np.zeros(D) for x in rows]
    np.testing.assert_allclose(array(layer(X, mask=mask)), expected, atol=1e-6)


@kinds
def test_what_lies_under_the_padding_and_how_much_of_it_there_is_change_nothing(kind):
    layer = pooling(kind)
    expected = array(layer(X, mask=MASK))
    dirty = np.where(MASK[:, :, None], X, 99.0).astype("float32")
    np.testing.assert_allclose(array(layer(dirty, mask=MASK)), expected, atol=1e-6)
    longer = np.pad(dirty, ((0, 0), (2, 3), (0, 0)), constant_values=-99.0)
    np.testing.assert_allclose(array(layer(longer, mask=np.pad(MASK, ((0, 0), (2, 3))))), expected, atol=1e-6)


@kinds
def test_promises_of_a_layer(kind):
    check_layer(POOLINGS[kind], {"inputs": X, "mask": MASK}, weights=kind == "attention")
    check_layer(POOLINGS[kind], X, weights=kind == "attention")


@kinds
def test_the_mask_of_an_embedding_arrives_and_ends_here(kind, tmp_path):
    tokens = keras.Input((None,), dtype="int32")
    pooled = POOLINGS[kind]()(TokenEmbedding(9, D)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2)(pooled))
    assert getattr(pooled, "_keras_mask", None) is None
    ids = np.array([[4, 5, 6], [7, 8, 0], [0, 0, 0]], "int32")
    expected = array(program(model)(ids))
    np.testing.assert_allclose(array(program(model)(np.pad(ids, ((0, 0), (0, 4))))), expected, atol=1e-6)
    np.testing.assert_allclose(array(program(model)(ids[1:2, :2])), expected[1:2], atol=1e-6)
    np.testing.assert_allclose(expected[2], 0, atol=1e-6)  # the bias of `Dense` starts at zero

    model.compile("sgd", "mse", run_eagerly=keras.backend.backend() == "tensorflow")
    model.fit(ids, spread((3, 2)), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(program(loaded)(ids)), array(program(model)(ids)), atol=1e-6)


@kinds
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
@long_on_jax
def test_long_rows_of_large_numbers_in_half_precision(kind, dtype):
    """4000 times 64 is more than float16 holds."""
    layer = POOLINGS[kind](dtype=dtype)
    mask = np.arange(4000) < np.array([[4000], [0]])
    pooled = array(keras.ops.cast(layer(np.full((2, 4000, 2), 64.0, "float32"), mask=mask), "float32"))
    np.testing.assert_allclose(pooled, [[64, 64], [0, 0]], rtol=2e-2)


def test_attention_pooling_learns_what_a_mean_cannot_tell():
    """The label is the second feature of the one step whose first feature is set."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    marks = np.arange(6) == random.integers(0, 6, (256, 1))  # (B, T)
    values = random.normal(size=(256, 6))
    x = np.stack([3 * marks, values], axis=-1).astype("float32")
    y = values[marks]
    model = keras.Sequential([keras.Input((None, 2)), AttentionPooling(8), keras.layers.Dense(1)])
    model.compile(Adam(0.05), "mse")
    model.optimizer.build(model.trainable_variables)
    model.fit(np.tile(x, (40, 1, 1)), np.tile(y, 40), batch_size=64, shuffle=False, verbose=0)
    error = np.mean((array(program(model)(x))[:, 0] - y) ** 2)
    assert error < 0.1  # the best that a mean of all steps allows is 5 / 6


def test_errors_name_the_rule_and_the_value():
    with pytest.raises(ValueError, match="`units` must be positive. Received: 0"):
        AttentionPooling(0)


def test_a_pooling_says_how_it_pools():
    class Unpooled(Pooling):
        """Without a `pool`."""

    with pytest.raises(TypeError, match="Unpooled must define `pool\\(inputs, mask\\)`"):
        Unpooled().pool(None, None)
