import keras
import numpy as np
import pytest

from keras_seq.layers import (
    ATTENTIONS,
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    MultiHeadAttention,
    create_cache,
    masked_softmax,
    update_cache,
)
from keras_seq.layers.attention import LocationSensitiveAttention, MemoryAttention, ScaledDotAttention
from keras_seq.layers.positions import distance_bias
from tests.checks import check_layer
from tests.reference import array, arrays, backend_cases, fill, quick, softmax, spread

QUERY = spread((2, 3, 4))
VALUE = spread((2, 5, 4), start=20)
MASK = np.arange(5) < np.array([[5], [2]])  # (B, S)


@keras.saving.register_keras_serializable("tests")
class Attend(keras.layers.Layer):
    """Both halves of an attention in one layer."""

    def __init__(self, kind, units=4, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.units = units
        self.attention = ATTENTIONS[kind](units, dtype=self.dtype_policy)

    def call(self, query, value, value_mask):
        return self.attention(query, self.attention.project_memory(value, value_mask))

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "units": self.units}


@keras.saving.register_keras_serializable("tests")
class AttendInHeads(keras.layers.Layer):
    def __init__(self, num_heads=2, units=4, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.options = {"num_heads": num_heads, "units": units, "use_bias": use_bias}
        self.attention = MultiHeadAttention(**self.options, dtype=self.dtype_policy)

    def call(self, query, value, value_mask):
        return self.attention(query, self.attention.project_memory(value), attention_mask=value_mask[:, None, :])

    def get_config(self):
        return {**super().get_config(), **self.options}


INPUTS = {"query": QUERY, "value": VALUE, "value_mask": MASK}


LAYERS = [*map(Attend, ATTENTIONS), AttendInHeads(), AttendInHeads(1, use_bias=False)]


FEW = [LAYERS[0], *LAYERS[2:-1]]


@pytest.mark.parametrize("layer", backend_cases(quick(LAYERS, FEW), on_jax=[LAYERS[0], LAYERS[-2]]))
def test_promises_of_a_layer(layer):
    check_layer(layer, INPUTS, weights=getattr(layer, "kind", "") not in ("dot", "scaled_dot"))


@pytest.mark.parametrize(
    "layer", [*(kind(4) for kind in ATTENTIONS.values()), MultiHeadAttention(4, 2, use_bias=False)]
)
def test_configuration(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()


def remembered(layer):
    """`(context, weights)` of a layer with weights other than zeros and ones, and these weights."""
    layer(QUERY, layer.project_memory(VALUE, MASK))
    fill(layer)
    return *arrays(layer(QUERY, layer.project_memory(VALUE, MASK))), layer.get_weights()


def additive(weights):
    W, b, U, v = weights
    return np.tanh((QUERY @ W + b)[:, :, None] + (VALUE @ U)[:, None]) @ v[:, 0]


@pytest.mark.parametrize(
    ("layer", "score"),
    [
        (AdditiveAttention(3), additive),
        (DotAttention(4), lambda weights: QUERY @ VALUE.transpose(0, 2, 1)),
        (ScaledDotAttention(4), lambda weights: QUERY @ VALUE.transpose(0, 2, 1) / 2),
        (GeneralAttention(4), lambda weights: QUERY @ (VALUE @ weights[0]).transpose(0, 2, 1)),
    ],
)
def test_the_formula(layer, score):
    context, weights, parameters = remembered(layer)
    expected = softmax(np.where(MASK[:, None], score(parameters), -np.inf))
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(context, expected @ VALUE, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ATTENTIONS.values())
def test_padding_gets_no_weight_at_all(kind):
    layer = kind(4)
    context, weights, _ = remembered(layer)
    assert (weights[1, :, 2:] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    other = VALUE.copy()
    other[1, 2:] = 99.0  # what lies under the padding is nobody's business
    np.testing.assert_array_equal(array(layer(QUERY, layer.project_memory(other, MASK))[0]), context)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_row_of_padding_only_gives_numbers(dtype):
    mask = np.array([[True, False], [False, False]])
    weights = masked_softmax(keras.ops.cast(spread((2, 2)), dtype), mask)
    assert array(keras.ops.cast(weights, "float32")).tolist() == [[1, 0], [0.5, 0.5]]


@pytest.mark.parametrize("kind", ATTENTIONS.values())
def test_without_a_mask_everything_is_real(kind):
    layer = kind(4)
    layer(QUERY, layer.project_memory(VALUE))
    everything = np.ones((2, 5), "bool")
    expected, got = (arrays(layer(QUERY, layer.project_memory(VALUE, mask))) for mask in (everything, None))
    np.testing.assert_array_equal(got[0], expected[0])


WITHOUT_PAST = [kind for kind in ATTENTIONS.values() if not kind.uses_past]


@pytest.mark.parametrize("kind", WITHOUT_PAST)
def test_one_query_at_a_time_is_all_at_once(kind):
    layer = kind(4)
    memory = layer.project_memory(VALUE, MASK)
    whole = array(layer(QUERY, memory)[0])
    steps = [array(layer(QUERY[:, t : t + 1], memory)[0]) for t in range(3)]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, atol=1e-6)


@pytest.mark.parametrize("num_heads", backend_cases([1, 2, 4], on_jax=[2]))
def test_multi_head_attention_in_numpy(num_heads):
    layer = MultiHeadAttention(4, num_heads)
    layer(QUERY, layer.project_memory(VALUE))
    names = {v.path.split("/")[-2] + "/" + v.name: array(v) for v in fill(layer).weights}
    attention_mask = np.broadcast_to(MASK[:, None, :], (2, 3, 5)) & (np.arange(5) <= np.arange(3)[:, None] + 1)

    def dense(name, x):
        return x @ names[f"{name}/kernel"] + names[f"{name}/bias"]

    q, k, v = dense("query", QUERY), dense("key", VALUE), dense("value", VALUE)
    width = 4 // num_heads
    context, weights = [], []
    for h in range(num_heads):
        part = slice(h * width, (h + 1) * width)
        scores = q[:, :, part] @ k[:, :, part].transpose(0, 2, 1) / np.sqrt(width)
        weights.append(softmax(np.where(attention_mask, scores, -np.inf)))
        context.append(weights[-1] @ v[:, :, part])
    memory = layer.project_memory(VALUE)
    np.testing.assert_allclose(
        array(layer(QUERY, memory, attention_mask)), dense("output", np.concatenate(context, -1)), atol=1e-5
    )
    shown = array(layer.weights_for(QUERY, memory, attention_mask))
    np.testing.assert_allclose(shown, np.mean(weights, 0), atol=1e-6)
    assert (shown[~attention_mask] == 0).all()


@pytest.mark.parametrize("num_key_value_heads", backend_cases([1, 2, 4], on_jax=[2]))
def test_shared_heads_are_heads_repeated(num_key_value_heads):
    """Grouped heads equal as many heads as queries have, each group with copies of one head's weights."""
    grouped, whole = MultiHeadAttention(8, 4, num_key_value_heads=num_key_value_heads), MultiHeadAttention(8, 4)
    positions, keys = np.arange(3)[None, :], np.arange(5)[None, :]
    where = {"attention_mask": MASK[:, None, :], "positions": positions, "bias": distance_bias(positions, keys, 4)}
    for layer in (grouped, whole):
        layer(QUERY, layer.project_memory(VALUE), **where)
    fill(grouped)
    for ours, theirs in (("query", 4), ("key", num_key_value_heads), ("value", num_key_value_heads), ("output", 4)):
        weights = [array(w) for w in getattr(grouped, f"{ours}_dense").get_weights()]
        if ours != "output":
            heads = [w.reshape(*w.shape[:-1], theirs, 2).repeat(4 // theirs, -2) for w in weights]
            weights = [w.reshape(*w.shape[:-2], 8) for w in heads]
        getattr(whole, f"{ours}_dense").set_weights(weights)
    memory, memory_of_all = grouped.project_memory(VALUE, keys), whole.project_memory(VALUE, keys)
    assert memory["keys"].shape == (2, num_key_value_heads, 5, 2)
    expected = array(whole(QUERY, memory_of_all, **where))
    np.testing.assert_allclose(array(grouped(QUERY, memory, **where)), expected, atol=1e-5)
    weights = array(grouped.weights_for(QUERY, memory, **where))
    np.testing.assert_allclose(weights, array(whole.weights_for(QUERY, memory_of_all, **where)), atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    plain = array(grouped.weights_for(QUERY, grouped.project_memory(VALUE), MASK[:, None, :]))
    assert np.abs(weights - plain).max() > 1e-3


def test_multi_head_attention_over_padding_only_gives_numbers():
    layer = MultiHeadAttention(4, 2)
    nothing = np.zeros((2, 1, 5), "bool")
    assert np.isfinite(array(layer(QUERY, layer.project_memory(VALUE), nothing))).all()
    assert np.isfinite(array(layer.weights_for(QUERY, layer.project_memory(VALUE), nothing))).all()


def test_each_row_writes_where_it_stands():
    cache = create_cache(2, 5, 1, 2, "float32")
    first = {"keys": spread((2, 1, 2, 2)), "values": spread((2, 1, 2, 2), start=9)}
    second = {"keys": spread((2, 1, 1, 2), start=30), "values": spread((2, 1, 1, 2), start=40)}
    cache = update_cache(cache, first, np.array([[0, 1], [2, 3]]))
    cache = arrays(update_cache(cache, second, np.array([[4], [0]])))
    for name in ("keys", "values"):
        expected = np.zeros((2, 1, 5, 2), "float32")
        expected[0, :, 0:2], expected[1, :, 2:4] = first[name]
        expected[0, :, 4], expected[1, :, 0] = second[name][:, :, 0]
        np.testing.assert_allclose(cache[name], expected, rtol=1e-6)


@keras.saving.register_keras_serializable("tests")
class AttendByLocation(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = LocationSensitiveAttention(3, filters=2, kernel_size=3, dtype=self.dtype_policy)

    def call(self, query, value, value_mask):
        return self.attention(query, self.attention.project_memory(value, value_mask))


def test_promises_of_location_sensitive_attention():
    check_layer(AttendByLocation(), INPUTS, graph=True)
    layer = LocationSensitiveAttention(3, filters=2, kernel_size=5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert (copy.filters, copy.kernel_size) == (2, 5)


def test_location_sensitive_attention_in_numpy():
    """With one query at a time, too, when the weights of the steps before are handed on."""
    layer = LocationSensitiveAttention(3, filters=2, kernel_size=3)
    context, weights, _ = remembered(layer)
    query, keys = layer.query_dense(QUERY), layer.key_dense(VALUE)
    filters, score = array(layer.location_filters.kernel)[:, 0], array(layer.score_dense.kernel)[:, 0]
    past, expected = np.zeros((2, 5)), []
    for t in range(3):
        padded = np.pad(past, ((0, 0), (1, 1)))
        features = np.stack([padded[:, s : s + 3] @ filters for s in range(5)], 1)  # (B, S, filters)
        hidden = array(query)[:, t, None] + array(keys) + features @ array(layer.location_dense.kernel)
        expected.append(softmax(np.where(MASK, np.tanh(hidden) @ score, -np.inf)))
        past = past + expected[-1]
    expected = np.stack(expected, 1)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(context, expected @ VALUE, rtol=1e-5, atol=1e-6)

    memory, past = layer.project_memory(VALUE, MASK), np.zeros((2, 5), "float32")
    for t in range(3):
        step, weights = arrays(layer(QUERY[:, t : t + 1], memory, past))
        np.testing.assert_allclose(step[:, 0], context[:, t], atol=1e-6)
        past = past + weights.sum(1)
    assert np.abs(array(layer(QUERY, memory, past)[1]) - expected).max() > 1e-4  # the past matters


@pytest.mark.parametrize("kind", WITHOUT_PAST)
def test_the_others_have_no_past(kind):
    layer = kind(4)
    context, _, _ = remembered(layer)
    past = np.ones((2, 5), "float32")
    np.testing.assert_array_equal(array(layer(QUERY, layer.project_memory(VALUE, MASK), past)[0]), context)


def test_scaled_products_fit_into_float16():
    layer = ScaledDotAttention(64, dtype="float16")
    wide = np.full((1, 2, 64), 60.0, "float16")  # 64 * 60 * 60 is no float16
    context, weights = arrays(layer(wide, layer.project_memory(wide)))
    np.testing.assert_allclose(weights, 0.5, rtol=1e-3)
    np.testing.assert_allclose(context.astype("float32"), 60.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdditiveAttention(0), "`units` must be positive. Received: 0"),
        (lambda: LocationSensitiveAttention(4, kernel_size=0), "must be positive. Received: 32, 0"),
        (lambda: MultiHeadAttention(8, 4, num_key_value_heads=3), "must divide `num_heads`=4. Received: 3"),
        (lambda: MultiHeadAttention(8, 3), "`num_heads` must divide `units`=8. Received: 3"),
        (lambda: MultiHeadAttention(8, 0), "`num_heads` must divide `units`=8. Received: 0"),
        (lambda: DotAttention(4)(QUERY, {"keys": VALUE[..., :3], "values": VALUE, "mask": MASK}), "query 4, memory 3"),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_base_class_has_no_score():
    class Unscored(MemoryAttention):
        """Without a score."""

    with pytest.raises(TypeError, match="Unscored must define `score\\(query, keys\\)`"):
        Unscored(4).score(None, None)


def test_the_shapes_of_a_context_and_its_weights():
    memory = {"keys": (2, 5, 3), "values": (2, 5, 4), "mask": (2, 5)}
    assert DotAttention(4).compute_output_shape((6, 3, 4), memory) == ((6, 3, 4), (6, 3, 5))
    assert MultiHeadAttention(8, 2).compute_output_shape((6, 3, 4), {}) == (6, 3, 8)


def test_what_build_makes_once_the_memory_is_known():
    attention = AdditiveAttention(6)
    with pytest.raises(
        ValueError, match="`build` does not receive the width of the memory. AdditiveAttention is built"
    ):
        attention.build((2, 3, 4))
    attention.key_dense.build((2, 5, 7))
    attention.build((2, 3, 4))
    assert [tuple(w.shape) for w in attention.weights] == [(4, 6), (6,), (7, 6), (6, 1)]
    other = AdditiveAttention(6)
    for dense, width in ((other.key_dense, 7), (other.score_dense, 6)):
        dense.build((2, 5, width))
    score = other.score_dense.kernel
    other.build((2, 3, 4))
    assert other.score_dense.kernel is score and tuple(other.query_dense.kernel.shape) == (4, 6)
    heads = MultiHeadAttention(6, 2)
    with pytest.raises(ValueError, match="MultiHeadAttention is built by its call"):
        heads.build((2, 3, 4))
    heads.key_dense.build((2, 5, 7))
    heads.build((2, 3, 4))
    assert tuple(heads.query_dense.kernel.shape) == (4, 6) and tuple(heads.output_dense.kernel.shape) == (6, 6)
