import keras
import numpy as np
import pytest

from keras_seq.layers import MaskedConv1D
from tests.checks import check_layer
from tests.reference import array, fill, spread

X = spread((2, 5, 3))
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "bool")


@pytest.mark.parametrize(("padding", "size"), [("same", 3), ("same", 4), ("causal", 3)])
def test_real_steps_see_zeros_beyond_the_text(padding, size):
    """NumPy: each real step's window, with zeros where nothing real is."""
    layer = fill_built(MaskedConv1D(2, size, padding=padding))
    kernel, bias = layer.get_weights()
    before = size - 1 if padding == "causal" else (size - 1) // 2
    outputs = array(layer(X, mask=MASK))
    for row, length in enumerate(MASK.sum(1)):
        text = np.pad(X[row, :length], ((before, size - 1 - before), (0, 0)))
        for t in range(length):
            expected = np.einsum("td,tdf->f", text[t : t + size], kernel) + bias
            np.testing.assert_allclose(outputs[row, t], expected, rtol=1e-5, atol=1e-6)


def fill_built(layer):
    layer.build(X.shape)
    return fill(layer)


def test_keeps_what_keras_promises():
    outputs = check_layer(MaskedConv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"), (X,))
    assert outputs.shape == (2, 5, 4)
    check_layer(lambda: MaskedConv1D(4, 3), {"inputs": X, "mask": MASK})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "valid"}, "'same' or 'causal'. Received: 'valid'"),
        ({"strides": 2}, "`strides` must be 1 .* Received: 2"),
        ({"data_format": "channels_first"}, "Received: 1 and 'channels_first'"),
    ],
)
def test_steps_keep_their_places(options, message):
    with pytest.raises(ValueError, match=message):
        MaskedConv1D(4, 3, **options)


@pytest.fixture
def rewritten_graphs():
    """As users have them: without, TensorFlow's convolution of no rows fails where its bias is added."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's graph that fails")
@pytest.mark.parametrize("kernel_size", [1, 5])
def test_no_rows_at_all_in_a_graph(kernel_size, rewritten_graphs):
    import tensorflow as tf

    x = keras.Input((None, 8))
    model = keras.Model(x, keras.layers.Dense(3)(MaskedConv1D(4, kernel_size, activation="relu")(x)))
    compute = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec((None, None, 8))])
    for shape in ((0, 3, 8), (0, 1, 8), (2, 3, 8)):
        assert compute(np.zeros(shape, "float32")).shape == (*shape[:2], 3)
