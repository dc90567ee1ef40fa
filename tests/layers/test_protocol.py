"""What Keras promises of every layer, of every layer here: none is left out of `check_layer` unseen."""

import inspect

import keras
import numpy as np
import pytest

from keras_seq import layers
from tests.checks import check_layer, check_protocol
from tests.reference import array, quick, spread, tensorflow_only

X, IDS, CLIP = spread((2, 3, 4)), np.array([[1, 2, 0], [3, 0, 0]], "int32"), spread((2, 3, 4, 6, 1))
# Layers that other tests give to `check_layer`, with what they are called with here.
LAYERS = {
    "Affixes": (lambda: layers.Affixes(2), IDS[:, :, None]),
    "AttentionPooling": (lambda: layers.AttentionPooling(3), X),
    "BlankPadding": (layers.BlankPadding, X),
    "CRF": (lambda: layers.CRF(4), X),
    "CharacterEncoder": (lambda: layers.CharacterEncoder(6, 4, "cnn", 3), IDS[:, :, None]),
    "ConvSubsampling": (lambda: layers.ConvSubsampling(3, 1, filters=2), X),
    "TrailingPaddingMask": (layers.TrailingPaddingMask, X),
    "FrameCNN": (lambda: layers.FrameCNN((2,), 3), CLIP),
    "FrameConvolution": (lambda: layers.FrameConvolution(2), CLIP),
    "FrameDecoder": (lambda: layers.FrameDecoder((4, 6, 1), (2,)), X),
    "FramePairs": (layers.FramePairs, CLIP),
    "Dense": (lambda: layers.Dense(3), X),
    "GRU": (lambda: layers.GRU(3), X),
    "LSTM": (lambda: layers.LSTM(3, return_sequences=True), X),
    "LastPooling": (layers.LastPooling, X),
    "LastSteps": (lambda: layers.LastSteps(2), X),
    "LearnedPositions": (lambda: layers.LearnedPositions(4, 3), IDS),
    "LogMel": (lambda: layers.LogMel(8000, num_mel_bins=8), spread((2, 400))),
    "MaskedConv1D": (lambda: layers.MaskedConv1D(3, 2), X),
    "MaxPooling": (layers.MaxPooling, X),
    "MeanPooling": (layers.MeanPooling, X),
    "MinGRU": (lambda: layers.MinGRU(3), X),
    "MinLSTM": (lambda: layers.MinLSTM(3, return_sequences=True), X),
    "MovingAverage": (lambda: layers.MovingAverage(3), X),
    "NgramScores": (lambda: layers.NgramScores(3, num_rows=50), IDS),
    "Patches": (lambda: layers.Patches(2, 1), X),
    "FramePatches": (lambda: layers.FramePatches(2), CLIP),
    "QuantileOffsets": (layers.QuantileOffsets, CLIP[..., 0]),
    "RGLRU": (lambda: layers.RGLRU(3), X),
    "RecurrentStack": (lambda: layers.RecurrentStack("gru", 4, 2, bidirectional=True, return_state=False), X),
    "ReversibleNormalization": (layers.ReversibleNormalization, X),
    "SimpleRNN": (lambda: layers.SimpleRNN(3), X),
    "SpecAugment": (lambda: layers.SpecAugment(1, 2, 1, 2), X),
    "TokenEmbedding": (lambda: layers.TokenEmbedding(6, 4), IDS),
    "TransformerEncoderLayer": (lambda: layers.TransformerEncoderLayer(4, 2, 6), X),
    "TransformerStack": (lambda: layers.TransformerStack(4, 2, 1, return_state=False), X),
    "ViterbiDecoder": (layers.ViterbiDecoder, spread((2, 3, 4, 4))),
}
STATES = [[spread((2, 4))]]
# Layers of several inputs or several outputs.
OTHERS = {
    "Bridge": (lambda: layers.Bridge("dense"), (STATES,), {}),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True), CLIP, {}),
    "AutoregressiveDecoder": (lambda: layers.AutoregressiveDecoder("gru", 4, steps=2), (X[:, 0, :2], STATES), {}),
    "JoinFeatures": (layers.JoinFeatures, ([X, X],), {}),
    "ScheduledSampling": (lambda: layers.ScheduledSampling(0.5), (IDS, X), {}),
    "TransformerDecoderLayer": (lambda: layers.TransformerDecoderLayer(4, 2, 6, cross_attention=False), X, {}),
}
# Abstract ones; and those whose memory comes of a method, `project_memory`: tests/layers/test_attention.py calls it.
OF_A_MEMORY = {"CompositeLayer", "ParallelRecurrent", "MultiHeadAttention"} | {
    kind.__name__ for kind in layers.ATTENTIONS.values()
}


def public_layers():
    kinds = (getattr(layers, name) for name in layers.__all__)
    return {kind.__name__ for kind in kinds if inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)}


def test_no_layer_is_left_out():
    assert public_layers() == {*LAYERS, *OTHERS, *OF_A_MEMORY}


@tensorflow_only("shapes and weights are Keras's own")
@pytest.mark.parametrize("name", LAYERS)
def test_shapes_weights_and_wrappers(name):
    make, x = LAYERS[name]
    layer = make()
    check_protocol(layer, make, x, keras.tree.map_structure(array, layer(x)))


@tensorflow_only("shapes and weights are Keras's own")
@pytest.mark.parametrize("name", ["Bridge", "AutoregressiveDecoder", "TransformerDecoderLayer"])
def test_layers_of_several_inputs_or_outputs(name):
    make, inputs, options = OTHERS[name]
    check_layer(make, inputs, save=False, half_tolerance=None, **options)


def test_a_layer_that_returns_ids():
    layer = layers.ScheduledSampling(0.5)
    assert layer.compute_output_shape((2, 3), (2, 3, 4)) == layer(IDS, X).shape == (2, 3)
    spec = layers.ScheduledSampling(0.5).compute_output_spec(keras.KerasTensor((2, 3), "int32"))
    assert spec.shape == (2, 3) and spec.dtype == "int32"


@tensorflow_only("files are Keras's own")
@pytest.mark.parametrize(
    "name", quick(["RecurrentStack", "TransformerStack", "TransformerEncoderLayer"], few=["TransformerEncoderLayer"])
)
def test_sequential_models_with_and_without_an_input(name, tmp_path):
    make, x = LAYERS[name]
    known = keras.Sequential([keras.Input((None, 4)), make(), layers.MeanPooling(), keras.layers.Dense(1)])
    later = keras.Sequential([make(), layers.MeanPooling(), keras.layers.Dense(1)])
    later.build((None, None, 4))
    later.set_weights(known.get_weights())
    assert known.count_params() == later.count_params()
    expected = array(known(x))
    np.testing.assert_allclose(array(later(x)), expected, atol=1e-6)
    for number, model in enumerate((known, later)):
        assert model.compute_output_shape((2, 3, 4)) == (2, 1)
        model.save(tmp_path / f"{number}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{number}.keras")
        np.testing.assert_allclose(array(loaded(x)), expected, atol=1e-6)
    copy = keras.models.clone_model(known)
    copy.set_weights(known.get_weights())
    np.testing.assert_allclose(array(copy(x)), expected, atol=1e-6)


@tensorflow_only("files are Keras's own")
def test_slices_in_a_functional_model(tmp_path):
    """Layers of two axes of steps each: the words of sentences, the sentences of texts."""
    words = keras.Input((None, 3), dtype="int32")
    x = keras.layers.TimeDistributed(layers.TokenEmbedding(6, 4))(words)
    x = keras.layers.TimeDistributed(layers.RecurrentStack("rglru", 4, return_state=False))(x)
    x = keras.layers.TimeDistributed(layers.AttentionPooling())(x)
    model = keras.Model(words, keras.layers.Bidirectional(layers.MinGRU(2))(x))
    texts = np.stack([IDS, IDS[::-1]])
    expected = array(model(texts))
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(array(keras.saving.load_model(tmp_path / "model.keras")(texts)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "make", [lambda: layers.RecurrentStack("gru", 4), lambda: layers.TransformerEncoderLayer(4, 2, 6)]
)
def test_bidirectional_takes_no_stack(make):
    with pytest.raises(ValueError, match="bidirectional=True.*Received"):
        keras.layers.Bidirectional(make())


def test_what_cannot_be_built_by_a_shape_says_so():
    for layer in (
        layers.TransformerDecoderLayer(4, 2, 6),
        layers.MultiHeadAttention(4, 2),
        layers.AdditiveAttention(4),
    ):
        with pytest.raises(ValueError, match=r"project_memory\(value\).*Received: build\(\(2, 3, 4\)\)"):
            layer.build((2, 3, 4))


@pytest.mark.parametrize("option", ["stateful", "return_sequences", "go_backwards"])
def test_options_of_a_stack_are_of_its_cell(option):
    with pytest.raises(ValueError, match=f"options.*{option}"):
        layers.RecurrentStack("lstm", 4, cell_options={option: True})


@tensorflow_only("a batch without a row is a replica's share")
@pytest.mark.parametrize(
    "name", ["MaskedConv1D", "ConvSubsampling", "LogMel", "FrameCNN", "FrameConvolution", "FrameDecoder", "MaxPooling"]
)
def test_no_rows(name):
    """What TensorFlow's convolutions and mirrors make of no rows, eagerly and where their number is not known."""
    import tensorflow as tf

    make, x = LAYERS[name]
    layer = make()
    expected = (0, *layer(x).shape[1:])
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, *x.shape[1:]))])
    assert tuple(layer(x[:0]).shape) == tuple(graph(x[:0]).shape) == expected
    np.testing.assert_allclose(array(graph(x)), array(layer(x)), atol=1e-5)
