"""The state that a language model carries over batches of streams."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.losses import TokenCrossentropy
from keras_seq.models import LanguageModel
from tests.reference import array, fill, tensorflow_only

V, UNITS, B = 9, 6, 3
CELLS = ("rnn", "lstm", "gru", "mingru", "minlstm", "rglru")
IDS = np.array([4, 5, 6, 7, 8, 4, 4, 6, 5, 3, 8, 7, 4, 5, 5, 6, 4, 8, 7, 6, 4, 5, 5, 6], "int32")
pytestmark = tensorflow_only("what is assigned in a call is Keras's own matter on JAX")


def language_model(cell, **options):
    model = LanguageModel(V, RecurrentStack(cell, UNITS, num_layers=2), streams=B, **options)
    fill(model, scale=0.7)
    return model


def streams(length=3):
    from keras_seq import data

    return data.streams(IDS, B, length, start_id=2)


@pytest.mark.parametrize("cell", CELLS)
def test_pieces_of_streams_are_the_streams(cell):
    model = language_model(cell)
    (whole, *_), *_ = streams(8)
    expected = array(model(whole["tokens"]))  # without a state: each row from its beginning
    for _ in range(2):  # what the first epoch has left is forgotten when the second one begins
        logits = np.concatenate([array(model(inputs)) for inputs, *_ in streams(2)], axis=1)
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_each_row_starts_anew_where_it_is_told():
    model = language_model("lstm")
    tokens = ops.convert_to_tensor(IDS[:12].reshape(B, 4))
    alone = array(model(tokens))
    model({"tokens": tokens, "starts": ops.convert_to_tensor([True] * B)})
    logits = array(model({"tokens": tokens, "starts": ops.convert_to_tensor([False, True, False])}))
    np.testing.assert_allclose(logits[1], alone[1], atol=1e-5)
    assert np.abs(logits[0] - alone[0]).max() > 1e-2 < np.abs(logits[2] - alone[2]).max()


def test_fit_carries_and_a_saved_model_goes_on(tmp_path):
    def fitted(batches, model):
        model.fit(batches, epochs=1, verbose=0, shuffle=False)
        return model

    def compiled(**options):
        model = language_model("gru")
        model.compile(keras.optimizers.SGD(0.1), TokenCrossentropy(), jit_compile=False, **options)
        return model

    # In a graph and eagerly, which is quicker.
    at_once = fitted(streams(2), compiled())
    half = fitted(streams(2).take(2), compiled(run_eagerly=True))
    half.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    again.run_eagerly = True
    assert max(np.abs(array(state)).max() for state in again.carried) > 0.1
    fitted(streams(2).skip(2), again)
    for one, other in zip(again.weights, at_once.weights, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-6, err_msg=one.path)


def test_the_gradient_ends_where_the_batch_begins():
    import tensorflow as tf

    model = language_model("lstm")
    (inputs, labels, weights), *_ = streams(3)
    later = {**inputs, "starts": tf.fill([B], False)}
    model(inputs)
    with tf.GradientTape() as tape:
        loss = TokenCrossentropy()(labels, model(later), weights)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert len(model.carried) == 4 and not any(state.trainable for state in model.carried)


def test_it_decodes_from_zeros_whatever_it_carries():
    model, tokens = language_model("lstm"), ops.convert_to_tensor(IDS[:4].reshape(1, 4))
    before = array(model.decode(tokens, model.initial_state(1))[0])
    fill(model, scale=0.7)
    for state in model.carried:
        state.assign(ops.ones(state.shape))
    np.testing.assert_allclose(array(model.decode(tokens, model.initial_state(1))[0]), before, atol=1e-6)


def test_it_says_what_is_wrong():
    with pytest.raises(ValueError, match="state of fixed size.*TransformerStack"):
        LanguageModel(V, TransformerStack(UNITS, num_heads=3, num_layers=1), streams=B)
    batch = {"tokens": np.ones((2, 3), "int32"), "starts": np.array([True, False])}
    for model in (language_model("gru"), LanguageModel(V, RecurrentStack("gru", UNITS))):
        with pytest.raises(ValueError, match="streams=2"):
            model(batch)
