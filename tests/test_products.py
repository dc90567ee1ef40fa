"""Products of training in bfloat16 are near those of float32, and nothing else changes."""

import keras
import numpy as np
import pytest

from keras_seq import distribution, layers, losses, models, products
from tests.reference import array, quick, spread, tensorflow_only

RNG = np.random.default_rng(0)
ROUNDED = {"rtol": 0.03, "atol": 0.02}  # bfloat16 has 8 bits


@pytest.fixture(autouse=True)
def as_before():
    policy = keras.config.dtype_policy()
    yield
    products.set_dtype("float32")
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def small(monkeypatch):
    """Every product counts as large."""
    monkeypatch.setattr(products, "SMALLEST", 1)


def dense():
    return layers.Dense(7, activation="tanh"), [spread((3, 5, 6))]


def recurrent(kind, **options):
    return lambda: (getattr(layers, kind)(6, return_sequences=True, **options), [spread((3, 5, 4))])


def scores(**options):
    def make():
        layer = layers.TokenEmbedding(9, 4, **options)
        layer.build((None, None))
        return _Reversed(layer), [spread((3, 5, 4))]

    return make


def attention():
    return _SelfAttention(layers.MultiHeadAttention(8, 2)), [spread((3, 5, 8))]


class _Reversed(keras.layers.Layer):
    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def call(self, x, training=None):
        return self.embedding(x, reverse=True)


class _SelfAttention(keras.layers.Layer):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def call(self, x, training=None):
        return self.attention(x, self.attention.project_memory(x))


MAKERS = {
    "dense": dense,
    "attention": attention,
    "lstm": recurrent("LSTM"),
    "backward lstm": recurrent("LSTM", go_backwards=True, use_bias=False),
    "gru": recurrent("GRU"),
    "rnn": recurrent("SimpleRNN"),
    "tied scores": scores(),
    "scores": scores(tie_weights=False),
    "capped scores": scores(logit_soft_cap=0.5),
}


def values_and_gradients(layer, inputs, training=True):
    import tensorflow as tf

    inputs = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        for x in inputs:
            tape.watch(x)
        y = layer(*inputs, training=training)
        loss = tf.reduce_sum(y * tf.constant(spread(tuple(y.shape), start=5)))
    found = tape.gradient(loss, [*inputs, *layer.trainable_weights])
    return array(y), [array(tf.convert_to_tensor(g)) for g in found if g is not None]


@tensorflow_only("other backends have mixed policies")
@pytest.mark.parametrize("name", MAKERS)
def test_values_and_gradients_are_those_of_float32_rounded(name, small):
    layer, inputs = MAKERS[name]()
    expected, gradients = values_and_gradients(layer, inputs)
    products.set_dtype("bfloat16")
    found, rounded = values_and_gradients(layer, inputs)
    assert found.dtype == "float32" and (found != expected).any()
    np.testing.assert_allclose(found, expected, **ROUNDED)
    assert len(rounded) == len(gradients) >= 2
    largest = max(np.abs(gradient).max() for gradient in gradients)
    for one, other in zip(rounded, gradients, strict=True):
        assert one.dtype == "float32"
        np.testing.assert_allclose(one, other, rtol=0.03, atol=0.02 * largest)


@tensorflow_only("other backends have mixed policies")
@pytest.mark.parametrize("name", MAKERS)
def test_outside_of_training_nothing_changes(name, small):
    layer, inputs = MAKERS[name]()
    expected = array(layer(*inputs, training=False))
    products.set_dtype("bfloat16")
    np.testing.assert_array_equal(array(layer(*inputs, training=False)), expected)
    np.testing.assert_array_equal(array(layer(*inputs)), expected)


@tensorflow_only("other backends have mixed policies")
@pytest.mark.parametrize("chunk_size", quick([None, 4], few=[4]))
def test_a_model_trains_as_in_float32_and_is_evaluated_in_float32(chunk_size, small):
    x = {"source": RNG.integers(1, 9, (6, 5)), "target": RNG.integers(1, 9, (6, 5))}
    labels, histories = RNG.integers(1, 9, (6, 5)), {}
    for dtype in ("float32", "bfloat16"):
        products.set_dtype(dtype)
        keras.utils.set_random_seed(1)
        model = models.Seq2Seq(9, 9, units=8, num_layers=1, attention=None, bidirectional=False)
        loss = losses.TokenCrossentropy(chunk_size=chunk_size)
        model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
        histories[dtype] = model.fit(x, labels, batch_size=6, epochs=10, verbose=0).history["loss"]
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert histories["bfloat16"] != histories["float32"]
    np.testing.assert_allclose(histories["bfloat16"], histories["float32"], rtol=0.05)
    assert histories["bfloat16"][-1] < 0.95 * histories["bfloat16"][0]
    evaluated = model.evaluate(x, labels, batch_size=6, verbose=0)
    assert evaluated == pytest.approx(float(losses.TokenCrossentropy()(labels, model(x))), rel=1e-6)


@tensorflow_only("other backends have mixed policies")
def test_auto_asks_the_processor(monkeypatch):
    products.set_dtype("auto")
    for answer in (True, False):
        monkeypatch.setattr(products, "is_faster", lambda answer=answer: answer)
        assert products.in_bfloat16(True, "float32", products.SMALLEST) is answer
    products.set_dtype("bfloat16")
    assert products.in_bfloat16(True, "float32", products.SMALLEST)
    assert not products.in_bfloat16(True, "float32", products.SMALLEST - 1)
    assert not products.in_bfloat16(None, "float32", 10**6)
    for dtype in ("float64", "bfloat16", "float16"):
        assert not products.in_bfloat16(True, dtype, 10**6)


@tensorflow_only("distribution needs TensorFlow")
def test_the_scope_sets_it():
    distribution.scope("one_device", precision="auto")
    assert products._dtype == "auto" and keras.config.dtype_policy().name == "float32"
    distribution.scope("one_device", precision="bfloat16")
    assert products._dtype == "float32"


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="`dtype` must be one of float32, bfloat16, auto. Received: 'int8'"):
        products.set_dtype("int8")


def test_a_layer_has_the_weights_and_the_configuration_of_keras():
    ours, keras_layer = layers.Dense(3, activation="relu"), keras.layers.Dense(3, activation="relu")
    x = spread((2, 4))
    ours(x), keras_layer(x)
    ours.set_weights(keras_layer.get_weights())
    np.testing.assert_array_equal(array(ours(x)), array(keras_layer(x)))
    assert {**ours.get_config(), "name": ""} == {**keras_layer.get_config(), "name": ""}
