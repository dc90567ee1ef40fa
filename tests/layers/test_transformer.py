import keras
import numpy as np
import pytest

from keras_seq.layers import TransformerDecoderLayer, TransformerEncoderLayer, causal_mask, empty_cache
from tests.checks import check_layer
from tests.reference import array, arrays, fill, softmax, spread

X = spread((2, 4, 4))
SOURCE = spread((2, 3, 4), start=50)
SOURCE_MASK = np.array([[True] * 3, [True, True, False]])
STEPS = np.arange(4)[None, :]


@keras.saving.register_keras_serializable("tests")
class Decode(keras.layers.Layer):
    """A decoder layer with its memory and its masks made inside."""

    def __init__(self, num_heads=2, normalize_first=True, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.options = {"num_heads": num_heads, "normalize_first": normalize_first, "dropout": dropout}
        self.layer = TransformerDecoderLayer(4, intermediate_dim=6, dtype=self.dtype_policy, **self.options)

    def call(self, x, source, source_mask):
        positions = keras.ops.arange(keras.ops.shape(x)[1])[None, :]
        memory = self.layer.remember(source)
        return self.layer(x, memory, source_mask, None, positions, causal_mask(positions, positions))[0]

    def get_config(self):
        return {**super().get_config(), **self.options}


def encoder(num_heads=2, **options):
    layer = TransformerEncoderLayer(4, num_heads, 6, **options)
    layer(X)
    return fill(layer)


def decoder(num_heads=2, **options):
    layer = Decode(num_heads, **options)
    layer(X, SOURCE, SOURCE_MASK)
    return fill(layer)


@pytest.mark.parametrize("normalize_first", [True, False])
def test_promises_of_a_layer(normalize_first):
    check_layer(TransformerEncoderLayer(4, 2, 6, normalize_first=normalize_first, activation="gelu"), X)
    check_layer(
        Decode(normalize_first=normalize_first), {"x": X, "source": SOURCE, "source_mask": SOURCE_MASK}, weights=True
    )


def test_configuration():
    layer = TransformerDecoderLayer(4, 2, 6, dropout=0.2, activation="gelu", normalize_first=False)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert (copy.dropout, copy.normalize_first) == (0.2, False)


class Reference:
    """The layers of Vaswani et al. 2017 with one head, in NumPy, with the weights of ours."""

    def __init__(self, layer, normalize_first):
        self.layer = layer
        self.normalize_first = normalize_first

    def dense(self, layer, x):
        return x @ array(layer.kernel) + array(layer.bias)

    def norm(self, part, x):
        norm = self.layer.norms[part]
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * array(norm.gamma) + array(norm.beta)

    def attention(self, layer, x, memory, mask):
        q, k, v = (
            self.dense(dense, y)
            for dense, y in ((layer.query_dense, x), (layer.key_dense, memory), (layer.value_dense, memory))
        )
        scores = np.where(mask, q @ k.transpose(0, 2, 1) / np.sqrt(x.shape[-1]), -np.inf)
        return self.dense(layer.output_dense, softmax(scores) @ v)

    def around(self, part, function, x):
        if self.normalize_first:
            return x + function(self.norm(part, x))
        return self.norm(part, x + function(x))

    def feed_forward(self, x):
        return self.dense(self.layer.output_dense, np.maximum(self.dense(self.layer.hidden_dense, x), 0))

    def run(self, x, mask, memory=None, memory_mask=None):
        x = self.around("self", lambda x: self.attention(self.layer.self_attention, x, x, mask), x)
        if memory is not None:
            cross = self.layer.cross_attention
            x = self.around("cross", lambda x: self.attention(cross, x, memory, memory_mask), x)
        return self.around("feed_forward", self.feed_forward, x)


@pytest.mark.parametrize("normalize_first", [True, False])
def test_the_encoder_layer_in_numpy(normalize_first):
    layer = encoder(1, normalize_first=normalize_first)
    mask = np.array([[True] * 4, [True, True, False, False]])
    expected = Reference(layer, normalize_first).run(X, mask[:, None, :])
    np.testing.assert_allclose(array(layer(X, mask=mask)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalize_first", [True, False])
def test_the_decoder_layer_in_numpy(normalize_first):
    layer = decoder(1, normalize_first=normalize_first)
    causal = np.tril(np.ones((4, 4), "bool"))[None]
    expected = Reference(layer.layer, normalize_first).run(X, causal, SOURCE, SOURCE_MASK[:, None, :])
    np.testing.assert_allclose(array(layer(X, SOURCE, SOURCE_MASK)), expected, rtol=1e-4, atol=1e-5)


def test_the_future_changes_no_past():
    layer = decoder()
    before = array(layer(X, SOURCE, SOURCE_MASK))
    for t in range(1, 4):
        other = X.copy()
        other[:, t:] = -3.0
        after = array(layer(other, SOURCE, SOURCE_MASK))
        np.testing.assert_allclose(after[:, :t], before[:, :t], atol=1e-6)
        assert (np.abs(after[:, t:] - before[:, t:]).max(-1) > 1e-3).all()


def test_padding_changes_nothing():
    other, noise = X.copy(), SOURCE.copy()
    other[1, 2:], noise[1, 2:] = 9.0, 9.0
    mask = np.array([[True] * 4, [True, True, False, False]])
    layer = encoder()
    np.testing.assert_allclose(array(layer(other, mask=mask))[mask], array(layer(X, mask=mask))[mask], atol=1e-6)
    layer = decoder()
    np.testing.assert_allclose(array(layer(X, noise, SOURCE_MASK)), array(layer(X, SOURCE, SOURCE_MASK)), atol=1e-6)


def test_the_mask_of_the_input_arrives_and_goes_on():
    tokens = np.array([[1, 2, 0, 0], [1, 2, 3, 4]], "int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(tokens)
    layer = encoder()
    y = layer(x)
    np.testing.assert_allclose(array(y), array(layer(array(x), mask=tokens != 0)), atol=1e-6)
    np.testing.assert_array_equal(array(y._keras_mask), tokens != 0)


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1), (3, 1), (4,)])
@pytest.mark.parametrize("normalize_first", [True, False])
def test_with_a_cache_as_without(normalize_first, pieces):
    """In any pieces, with room to spare, and with rows that stand at different places."""
    whole = decoder(normalize_first=normalize_first)
    expected = array(whole(X, SOURCE, SOURCE_MASK))
    layer = whole.layer
    memory = layer.remember(SOURCE)
    cache = empty_cache(2, 7, 2, 2, "float32")
    offset, done = np.array([[0], [2]]), 0  # the second row's first two places are empty and hidden
    filled = np.arange(7)[None, :] >= offset
    for length in pieces:
        positions = offset + done + np.arange(length)[None, :]
        self_mask = array(causal_mask(positions, np.arange(7)[None, :])) & filled[:, None, :]
        x, cache = layer(X[:, done : done + length], memory, SOURCE_MASK, cache, positions, self_mask)
        np.testing.assert_allclose(array(x), expected[:, done : done + length], atol=1e-5)
        done += length


def test_attention_weights_are_put_where_they_are_asked_for():
    layer = decoder().layer
    cache = {**empty_cache(2, 4, 2, 2, "float32"), "attention": np.zeros((2, 1, 3), "float32")}
    without = {name: cache[name] for name in ("keys", "values")}
    self_mask = causal_mask(STEPS, STEPS)
    memory = layer.remember(SOURCE)
    positions = np.repeat(STEPS, 2, axis=0)
    x, cache = layer(X, memory, SOURCE_MASK, cache, positions, self_mask)
    y, without = layer(X, memory, SOURCE_MASK, without, positions, self_mask)
    np.testing.assert_array_equal(array(x), array(y))
    assert set(without) == {"keys", "values"}
    weights = arrays(cache)["attention"]
    assert weights.shape == (2, 4, 3)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert (weights[1, :, 2] == 0).all()


def test_dropout_is_for_training_only():
    layer = encoder(dropout=0.5)
    np.testing.assert_array_equal(array(layer(X)), array(encoder()(X)))
    assert np.abs(array(layer(X, training=True)) - array(layer(X))).max() > 1e-3
