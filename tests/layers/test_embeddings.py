import keras
import numpy as np
import pytest

from keras_seq.layers import TokenEmbedding
from tests.checks import check_layer
from tests.reference import array, fill, spread

TOKENS = np.array([[5, 2, 0], [1, 0, 0]], "int32")
OPTIONS = [{}, {"scale": True}, {"pad_id": 2}, {"tie_weights": False}, {"embeddings_initializer": "ones"}]


def get_keras_mask(x):
    mask = getattr(x, "_keras_mask", None)
    return None if mask is None else array(mask)


@pytest.mark.parametrize("options", OPTIONS[:-1])
def test_promises_of_a_layer(options):
    check_layer(TokenEmbedding(6, 4, **options), TOKENS)


@pytest.mark.parametrize("options", OPTIONS)
def test_configuration(options):
    copy = TokenEmbedding.from_config(TokenEmbedding(6, 4, **options).get_config())
    assert {**copy.get_config(), **options} == copy.get_config() or "embeddings_initializer" in options
    layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(copy))
    assert layer.get_config() == copy.get_config()


@pytest.mark.parametrize("scale", [False, True])
def test_rows_of_the_matrix(scale):
    layer = TokenEmbedding(6, 4, scale=scale)
    layer.build()
    matrix = fill(layer).get_weights()[0]
    np.testing.assert_allclose(array(layer(TOKENS)), matrix[TOKENS] * (2.0 if scale else 1.0), rtol=1e-6)


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize(
    ("options", "dtype"),
    [({"dtype": "mixed_bfloat16"}, "bfloat16"), ({"dtype": "mixed_bfloat16", "reverse_dtype": "float32"}, "float32")],
    ids=["of the layer", "its own"],
)
def test_scores_are_computed_in_the_compute_dtype(options, dtype, tie_weights):
    layer = TokenEmbedding(6, 4, tie_weights=tie_weights, **options)
    scores = layer(keras.ops.cast(spread((2, 3, 4)), "bfloat16"), reverse=True)
    assert keras.backend.standardize_dtype(scores.dtype) == dtype
    assert layer.get_config()["reverse_dtype"] == options.get("reverse_dtype")
    assert TokenEmbedding.from_config({**layer.get_config(), "dtype": "float32"}).reverse_dtype == "float32"


@pytest.mark.parametrize("pad_id", [0, 2])
def test_the_mask_marks_all_but_padding(pad_id):
    np.testing.assert_array_equal(get_keras_mask(TokenEmbedding(6, 4, pad_id=pad_id)(TOKENS)), pad_id != TOKENS)


@pytest.mark.parametrize("scale", [False, True])
def test_scores_are_products_with_the_transposed_matrix(scale):
    layer = TokenEmbedding(6, 4, scale=scale)
    layer.build()
    matrix = fill(layer).get_weights()[0]
    x = spread((2, 3, 4))
    np.testing.assert_allclose(array(layer(x, reverse=True)), x @ matrix.T, rtol=1e-5, atol=1e-6)


def test_untied_scores_have_their_own_matrix():
    layer = TokenEmbedding(6, 4, tie_weights=False)
    layer.build()
    _, own = fill(layer).get_weights()
    x = spread((2, 3, 4))
    np.testing.assert_allclose(array(layer(x, reverse=True)), x @ own, rtol=1e-5, atol=1e-6)


def test_scores_keep_the_mask_of_what_is_scored():
    layer = TokenEmbedding(6, 4)
    np.testing.assert_array_equal(get_keras_mask(layer(layer(TOKENS), reverse=True)), TOKENS != 0)
    assert get_keras_mask(layer(spread((2, 3, 4)), reverse=True)) is None


def test_the_usual_scale_of_the_weights():
    """Embeddings times sqrt(D), and scores of vectors of length sqrt(D), have a variance of one."""
    keras.utils.set_random_seed(1)
    layer = TokenEmbedding(500, 64)
    layer.build()
    assert layer.get_weights()[0].std() == pytest.approx(64**-0.5, rel=0.05)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has ragged tensors")
def test_ragged_ids_are_refused_with_the_remedy():
    import tensorflow as tf

    tokens = keras.Input((None,), dtype="int32")
    model = keras.Model(tokens, TokenEmbedding(6, 4, pad_id=2)(tokens))
    ragged = tf.ragged.constant([[5, 1], [3]])
    with pytest.raises(ValueError, match=r"`ids.to_tensor\(2\)`. For strings.* put a task around the model"):
        model(ragged)
    np.testing.assert_array_equal(get_keras_mask(model(ragged.to_tensor(2))), [[True, True], [True, False]])
