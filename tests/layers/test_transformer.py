import keras
import numpy as np
import pytest

from keras_seq import layers, models
from keras_seq.layers import TransformerDecoderLayer, TransformerEncoderLayer, causal_mask, create_cache
from tests.checks import check_layer
from tests.reference import array, arrays, backend_cases, fill, long_on_jax, quick, softmax, spread, tensorflow_only

X = spread((2, 4, 4))
SOURCE = spread((2, 3, 4), start=50)
SOURCE_MASK = np.array([[True] * 3, [True, True, False]])
STEPS = np.arange(4)[None, :]


@keras.saving.register_keras_serializable("tests")
class Decode(keras.layers.Layer):
    """A decoder layer with its memory and its masks made inside."""

    def __init__(self, num_heads=2, units=4, options=None, **kwargs):
        super().__init__(**kwargs)
        self.options = {"num_heads": num_heads, "units": units, "options": options or {}}
        self.layer = TransformerDecoderLayer(units, num_heads, 6, dtype=self.dtype_policy, **self.options["options"])

    def call(self, x, source, source_mask):
        positions = keras.ops.arange(keras.ops.shape(x)[1])[None, :]
        memory = self.layer.project_memory(source)
        return self.layer(x, memory, source_mask, None, positions, causal_mask(positions, positions))[0]

    def get_config(self):
        return {**super().get_config(), **self.options}


def encoder(num_heads=2, **options):
    layer = TransformerEncoderLayer(4, num_heads, 6, **options)
    layer(X)
    return fill(layer)


def decoder(num_heads=2, **options):
    layer = Decode(num_heads, options=options)
    layer(X, SOURCE, SOURCE_MASK)
    return fill(layer)


# What has come since 2017, together and one by one; of four heads two and two share their keys.
MODERN = {
    "layer_normalization": "rms",
    "activation": "swiglu",
    "num_key_value_heads": 2,
    "relative_positions": "rotary",
}
SINCE = [{name: value} for name, value in MODERN.items()]
SINCE += [{"num_key_value_heads": 1}, {"relative_positions": "alibi"}, {"attention_window": 1}]
SINCE += [MODERN | {"normalize_first": False}, {"relative_positions": "alibi", "attention_window": 2}]
WIDE = spread((2, 4, 8))


def language_layer(**options):
    layer = TransformerDecoderLayer(8, 4, 6, cross_attention=False, **options)
    layer(WIDE)
    return fill(layer)


SOME = backend_cases(SINCE, on_jax=SINCE[-2:])
DECODED = {"x": X, "source": SOURCE, "source_mask": SOURCE_MASK}


LAYERS = [
    (TransformerEncoderLayer(4, 2, 6, activation="gelu"), X),
    (Decode(options={"normalize_first": False}), DECODED),
    (TransformerEncoderLayer(8, 4, 6, relative_positions="alibi", attention_window=1), WIDE),
    (TransformerDecoderLayer(8, 4, 6, cross_attention=False, **MODERN), WIDE),
]


@pytest.mark.parametrize(
    ("layer", "inputs"),
    backend_cases(quick(LAYERS, few=LAYERS[1:3]), on_jax=LAYERS[1::2]),
)
def test_promises_of_a_layer(layer, inputs):
    check_layer(layer, inputs)


def test_configuration():
    layer = TransformerDecoderLayer(4, 2, 6, dropout=0.2, activation="gelu", normalize_first=False)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert (copy.dropout, copy.normalize_first) == (0.2, False)
    layer = TransformerDecoderLayer(8, 4, 6, cross_attention=False, attention_window=3, **MODERN)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert copy.get_config().items() >= {"cross_attention": False, "attention_window": 3, **MODERN}.items()


class Reference:
    """The layers in NumPy, float64, with the weights of ours; written head by head and step by step."""

    def __init__(self, layer):
        self.layer = layer

    def dense(self, layer, x):
        return x @ array(layer.kernel).astype("float64") + array(layer.bias)

    def norm(self, part, x):
        norm = self.layer.norms[part]
        if self.layer.layer_normalization == "rms":
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * array(norm.scale)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * array(norm.gamma) + array(norm.beta)

    def rotated(self, x):
        """Each pair of features as one complex number, turned by the position times the pair's rate."""
        half = x.shape[-1] // 2
        angles = np.arange(x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
        pairs = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
        return np.concatenate([pairs.real, pairs.imag], -1)

    def attention(self, layer, x, memory, mask, relative=None, window=None):
        q, k, v = (
            self.dense(dense, y)
            for dense, y in ((layer.query_dense, x), (layer.key_dense, memory), (layer.value_dense, memory))
        )
        width = q.shape[-1] // layer.num_heads
        distance = np.abs(np.arange(x.shape[1])[:, None] - np.arange(memory.shape[1]))
        if window is not None:
            mask = mask & (distance <= window)
        context = []
        for h in range(layer.num_heads):
            shared = h // (layer.num_heads // layer.num_key_value_heads)  # the head of keys that this head looks at
            query, keys = q[..., h * width : (h + 1) * width], k[..., shared * width : (shared + 1) * width]
            if relative == "rotary":
                query, keys = self.rotated(query), self.rotated(keys)
            scores = query @ keys.transpose(0, 2, 1) / np.sqrt(width)
            if relative == "alibi":
                scores = scores - distance * 2.0 ** (-8 * (h + 1) / layer.num_heads)
            weights = softmax(np.where(mask, scores, -np.inf))
            context.append(weights @ v[..., shared * width : (shared + 1) * width])
        return self.dense(layer.output_dense, np.concatenate(context, -1))

    def around(self, part, function, x):
        if self.layer.normalize_first:
            return x + function(self.norm(part, x))
        return self.norm(part, x + function(x))

    def feed_forward(self, x):
        hidden = self.dense(self.layer.hidden_dense, x)
        if self.layer.activation == "swiglu":
            hidden = hidden / (1 + np.exp(-hidden)) * self.dense(self.layer.gate_dense, x)
        else:
            hidden = np.maximum(hidden, 0)
        return self.dense(self.layer.output_dense, hidden)

    def run(self, x, mask, memory=None, memory_mask=None):
        own, near = self.layer.self_attention, (self.layer.relative_positions, self.layer.attention_window)
        x = self.around("self", lambda x: self.attention(own, x, x, mask, *near), x.astype("float64"))
        if memory is not None:
            cross = self.layer.cross_attention
            x = self.around("cross", lambda x: self.attention(cross, x, memory, memory_mask), x)
        return self.around("feed_forward", self.feed_forward, x)


@pytest.mark.parametrize("normalize_first", [True, False])
def test_the_encoder_layer_in_numpy(normalize_first):
    layer = encoder(1, normalize_first=normalize_first)
    mask = np.array([[True] * 4, [True, True, False, False]])
    expected = Reference(layer).run(X, mask[:, None, :])
    np.testing.assert_allclose(array(layer(X, mask=mask))[mask], expected[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalize_first", [True, False])
def test_the_decoder_layer_in_numpy(normalize_first):
    layer = decoder(1, normalize_first=normalize_first)
    causal = np.tril(np.ones((4, 4), "bool"))[None]
    expected = Reference(layer.layer).run(X, causal, SOURCE, SOURCE_MASK[:, None, :])
    np.testing.assert_allclose(array(layer(X, SOURCE, SOURCE_MASK)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", SOME, ids=str)
def test_what_has_come_since_in_numpy(options):
    mask = np.array([[True] * 4, [True, True, False, True]])  # padding may be anywhere
    layer = TransformerEncoderLayer(8, 4, 6, **options)
    layer(WIDE)
    expected = Reference(fill(layer)).run(WIDE, mask[:, None, :])
    np.testing.assert_allclose(array(layer(WIDE, mask=mask))[mask], expected[mask], rtol=1e-4, atol=1e-5)
    layer = language_layer(**options)
    causal = np.tril(np.ones((4, 4), "bool"))[None]
    np.testing.assert_allclose(array(layer(WIDE)[0]), Reference(layer).run(WIDE, causal), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", SOME, ids=str)
@long_on_jax
def test_a_language_layer_step_by_step(options):
    """With a cache that has fewer heads where keys are shared, and with rows that stand at different places."""
    layer = language_layer(**options)
    whole = array(layer(WIDE)[0])
    cache = create_cache(2, 6, layer.self_attention.num_key_value_heads, 2, "float32")
    rows, starts = np.arange(2), np.array([0, 2])
    _, filled = layer(WIDE[:, :2], cache=cache, positions=np.array([[0, 1]] * 2))
    # The first row begins anew, the second goes on from its third step.
    cache = {name: np.where(starts[:, None, None, None] > 0, array(x), 9.0) for name, x in filled.items()}
    for t in range(2):
        x, cache = layer(WIDE[rows, starts + t][:, None], cache=cache, positions=(starts + t)[:, None])
        np.testing.assert_allclose(array(x)[:, 0], whole[rows, starts + t], atol=1e-5)


@pytest.mark.parametrize("window", [0, 1, 2])
def test_the_window_bounds_what_matters(window):
    layer = TransformerEncoderLayer(8, 4, 6, attention_window=window)
    layer(WIDE)
    before = array(fill(layer)(WIDE))
    language = language_layer(attention_window=window)
    causal = array(language(WIDE)[0])
    for s in range(4):
        other = WIDE.copy()
        other[:, s] *= -2.0
        distance = np.arange(4) - s
        moved = np.abs(array(layer(other)) - before).max((0, 2)) > 1e-4
        assert moved.tolist() == (np.abs(distance) <= window).tolist()
        moved = np.abs(array(language(other)[0]) - causal).max((0, 2)) > 1e-4
        assert moved.tolist() == ((distance >= 0) & (distance <= window)).tolist()


@pytest.mark.parametrize("relative_positions", ["rotary", "alibi"])
def test_relative_positions_know_distances_only(relative_positions):
    layer = language_layer(relative_positions=relative_positions)
    here, there = (array(layer(WIDE, positions=np.arange(4)[None, :] + n)[0]) for n in (0, 37))
    np.testing.assert_allclose(there, here, atol=1e-4)
    further = array(layer(WIDE, positions=np.arange(0, 8, 2)[None, :])[0])
    assert np.abs(further - here)[:, 1:].max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformerEncoderLayer(4, 2, 6, layer_normalization="batch"), "'layer' or 'rms'. Received: 'batch'"),
        (lambda: TransformerEncoderLayer(4, 2, 6, relative_positions="t5"), "must be one of .* Received: 't5'"),
        (
            lambda: TransformerEncoderLayer(4, 4, 6, relative_positions="rotary")(X),
            "must be even .* Received: 1",
        ),
        (lambda: TransformerEncoderLayer(4, 2, 6, attention_window=-1)(X), "must not be negative. Received: -1"),
        (lambda: TransformerDecoderLayer(4, 2, 6)(X), "Received: cross_attention=True, memory not given"),
        (
            lambda: TransformerDecoderLayer(4, 2, 6, cross_attention=False)(X, {"keys": X, "values": X}),
            "Received: cross_attention=False, memory given",
        ),
        (
            lambda: TransformerDecoderLayer(4, 2, 6, cross_attention=False)(X, cache={"keys": X, "values": X}),
            "needs the `positions` .* Received: positions=None",
        ),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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


@pytest.mark.parametrize("pieces", backend_cases([(1, 1, 1, 1), (3, 1), (4,)], on_jax=[(3, 1)]))
@pytest.mark.parametrize("normalize_first", backend_cases([True, False], on_jax=[True]))
@long_on_jax
def test_with_a_cache_as_without(normalize_first, pieces):
    """In any pieces, with room to spare, and with rows that stand at different places."""
    whole = decoder(normalize_first=normalize_first)
    expected = array(whole(X, SOURCE, SOURCE_MASK))
    layer = whole.layer
    memory = layer.project_memory(SOURCE)
    cache = create_cache(2, 7, 2, 2, "float32")
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
    cache = {**create_cache(2, 4, 2, 2, "float32"), "attention": np.zeros((2, 1, 3), "float32")}
    without = {name: cache[name] for name in ("keys", "values")}
    self_mask = causal_mask(STEPS, STEPS)
    memory = layer.project_memory(SOURCE)
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


@tensorflow_only("XLA compiles here what TensorFlow runs otherwise")
@pytest.mark.parametrize("kind", quick(["stack", "translator"], few=["stack"]))
def test_steps_beyond_the_room_of_a_cache_are_seen(kind):
    import tensorflow as tf

    if kind == "stack":
        model = models.LanguageModel(9, layers.TransformerStack(4, 2, 1))
        state = model.initial_state(1, max_length=2)
    else:
        model = models.Transformer(9, units=4, num_heads=2, num_layers=1)
        state = model.encode(np.array([[4, 3]]), max_length=2)
    tokens = np.array([[4, 5, 6]])
    found = tf.function(lambda: model.decode(tokens, state)[0], jit_compile=True)()
    assert np.isfinite(found[:, :2]).all() and np.isnan(found[:, 2]).all()
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.decode(tokens, state)


def test_shapes_without_a_call():
    assert TransformerEncoderLayer(4, 2, 6).compute_output_shape((2, 5, 4)) == (2, 5, 4)
    layer = TransformerDecoderLayer(8, 4, 6, num_key_value_heads=2)
    assert layer.compute_output_shape((2, 5, 8)) == ((2, 5, 8), {"keys": (2, 2, 5, 2), "values": (2, 2, 5, 2)})
    cache = {"keys": (2, 2, 9, 2), "values": (2, 2, 9, 2)}
    assert layer.compute_output_shape((2, 5, 8), cache_shape=cache) == ((2, 5, 8), cache)
    seen = {**cache, "attention": (2, 1, 7)}
    expected = {**cache, "attention": (2, 5, 7)}
    assert layer.compute_output_shape((2, 5, 8), cache_shape=seen) == ((2, 5, 8), expected)
    assert seen["attention"] == (2, 1, 7)
    stack = {"units": 4, "num_heads": 2, "num_layers": 1}
    assert layers.TransformerStack(**stack).compute_output_shape((2, 5, 4)) == ((2, 5, 4), {})
    assert layers.TransformerStack(**stack).compute_output_shape((2, 5, 4), cache) == ((2, 5, 4), cache)
    assert layers.TransformerStack(**stack, return_state=False).compute_output_shape((2, 5, 4)) == (2, 5, 4)


def test_a_stack_adds_the_positions_it_is_told(monkeypatch):
    stack = layers.TransformerStack(4, num_heads=2, num_layers=1, positions="sinusoidal")
    monkeypatch.setattr(stack, "transformer_layers", [lambda x, cache, positions, training: (x, cache)])
    monkeypatch.setattr(stack, "norm", None)
    found, state = stack.call(keras.ops.convert_to_tensor(X))
    np.testing.assert_allclose(array(found), X + array(layers.sinusoidal_positions(STEPS, 4)), atol=1e-6)
    assert state == {}
