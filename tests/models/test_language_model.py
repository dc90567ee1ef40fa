import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import decoding
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.losses import TokenCrossentropy
from keras_seq.models import LanguageModel
from keras_seq.optimizers import Adam
from tests.cells import LeakyCell
from tests.checks import check_layer
from tests.reference import (
    array,
    backend_cases,
    compiled,
    fill,
    in_graph,
    long_on_jax,
    program,
    quick,
    spread,
    tensorflow_only,
)

V, UNITS, ROOM = 11, 8, 12
TOKENS = np.array([[2, 4, 5, 6, 7, 8], [2, 9, 4, 0, 0, 0], [2, 10, 4, 5, 0, 0]], "int32")
LENGTHS = (TOKENS != 0).sum(1)


def recurrent(cell, **options):
    return lambda: RecurrentStack(cell, UNITS, num_layers=2, **options)


def transformer(positions, num_layers=1, **options):
    return lambda: TransformerStack(
        UNITS, num_heads=4, num_layers=num_layers, intermediate_dim=6, positions=positions, layer_options=options
    )


BODIES = {
    "lstm": recurrent("lstm"),
    "gru-residual": recurrent("gru", residual_from=1, layer_norm=True),
    "mingru": recurrent("mingru"),
    "rglru": recurrent("rglru"),
    "own": recurrent(LeakyCell),
    "rotary": transformer("rotary", 2, num_key_value_heads=2, layer_normalization="rms", activation="swiglu"),
    "learned": transformer("learned", normalize_first=False),
    "alibi": transformer("alibi", attention_window=2),
    "sinusoidal": transformer("sinusoidal", num_key_value_heads=1),
}
SOME = ["lstm", "mingru", "own", "rotary", "alibi"]
ALL = quick(BODIES, few=["lstm", "gru-residual", "mingru", "own", "rotary", "learned", "alibi"])


@functools.cache
def model(name):
    """Shared between tests, which therefore do not train it."""
    return fill(LanguageModel(V, BODIES[name]()), scale=1.0)


def call(model, tokens):
    return array(program(model)(tokens))


@pytest.mark.parametrize("name", backend_cases(ALL, on_jax=SOME))
def test_in_pieces_as_at_once(name):
    lm = model(name)
    expected = call(lm, TOKENS)
    decode = compiled(lambda tokens, state: lm.decode(tokens, state))
    for pieces in ([1] * 6, [3, 1, 2]):
        state, logits, start = lm.initial_state(3, ROOM), [], 0
        for length in pieces:
            some, state = decode(ops.convert_to_tensor(TOKENS[:, start : start + length]), state)
            logits.append(array(some))
            start += length
        real = TOKENS != 0
        np.testing.assert_allclose(np.concatenate(logits, 1)[real], expected[real], atol=1e-5)


@pytest.mark.parametrize("name", backend_cases(ALL, on_jax=SOME))
@long_on_jax
def test_rows_of_any_length_go_on_where_they_end(name):
    """A padded batch of prompts, and a step after them, give what each prompt gives alone."""
    lm = model(name)
    decode = compiled(lambda tokens, state: lm.decode(tokens, state))
    _, state = decode(ops.convert_to_tensor(TOKENS), lm.initial_state(3, ROOM))
    following = np.array([[4], [5], [6]], "int32")
    logits, _ = decode(ops.convert_to_tensor(following), state)
    for row, length in enumerate(LENGTHS):
        alone = np.concatenate([TOKENS[row : row + 1, :length], following[row : row + 1]], axis=1)
        np.testing.assert_allclose(array(logits)[row, 0], call(lm, alone)[0, -1], atol=1e-5)


@tensorflow_only("in pieces as at once, there too, says that no step sees the future")
@pytest.mark.parametrize("name", quick(BODIES, few=["lstm", "mingru", "rotary", "alibi"]))
def test_the_past_matters_and_the_future_does_not(name):
    forward = in_graph(model(name))
    before = array(forward(TOKENS))
    for t in range(1, 6):
        changed = TOKENS.copy()
        changed[0, t] = 1
        after = array(forward(changed))
        np.testing.assert_allclose(after[0, :t], before[0, :t], atol=1e-6)
        assert np.abs(after[0, t] - before[0, t]).max() > 1e-5
        np.testing.assert_allclose(after[1:], before[1:], atol=1e-6)


@tensorflow_only("what is in the file is no backend's")
@pytest.mark.parametrize("name", ["lstm", "own", "rotary", "learned"])
def test_the_keras_file_holds_all(name, tmp_path):
    lm = model(name)
    lm.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == lm.get_config()
    np.testing.assert_allclose(call(loaded, TOKENS), call(lm, TOKENS), atol=1e-6)


@pytest.mark.parametrize("name", backend_cases(quick(["lstm", "mingru", "rotary"], few=["lstm"]), on_jax=["rotary"]))
@long_on_jax
def test_it_learns_decodes_and_leaves(name, tmp_path):
    """The language 4 5 6 7 8 9 10 4 5 ..., begun anywhere: one start, and everything after it is known."""
    keras.utils.set_random_seed(1)
    lm = LanguageModel(V, BODIES[name](), dropout=0.05)
    texts = 4 + (np.arange(12) + np.arange(7)[:, None]) % 7  # (7, 12)
    lm.compile(Adam(0.03), TokenCrossentropy())
    lm.optimizer.build(lm.trainable_variables)  # TensorFlow traces twice what makes variables
    often = np.tile(texts, (60, 1))
    lm.fit(often[:, :-1], often[:, 1:], batch_size=7, verbose=0, shuffle=False)

    prompts = ops.convert_to_tensor(texts[:, :3].astype("int32"))
    logits, state = lm.decode(prompts, lm.initial_state(7, ROOM))
    first = array(ops.argmax(logits[:, -1], axis=-1))
    assert first.tolist() == texts[:, 3].tolist()
    one = [x[:1] for x in keras.tree.flatten(state)]
    found = decoding.Greedy()(
        lm.decode,
        keras.tree.pack_sequence_as(state, one),
        batch_size=1,
        max_length=6,
        start_id=int(first[0]),
        end_id=3,
        pad_id=0,
    )
    assert array(found.tokens)[0, 0].tolist() == texts[0, 4:10].tolist()

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec((None, None), tf.int32)]
        lm.export(tmp_path / "exported", verbose=False, input_signature=signature)
        loaded = tf.saved_model.load(tmp_path / "exported")
        served = loaded.serve(tf.constant(texts[:, :5], tf.int32))
        np.testing.assert_allclose(served, call(lm, texts[:, :5].astype("int32")), atol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Outputs(keras.layers.Layer):
    """A stack's outputs, without the state, which is None where none was given."""

    def __init__(self, positions, **kwargs):
        super().__init__(**kwargs)
        self.positions = positions
        options = {"num_layers": 1, "intermediate_dim": 6, "positions": positions}
        self.stack = TransformerStack(UNITS, **options, dtype=self.dtype_policy)

    def call(self, x):
        return self.stack(x)[0]

    def get_config(self):
        return {**super().get_config(), "positions": self.positions}


@pytest.mark.parametrize("positions", backend_cases(quick(["rotary", "learned"], few=["learned"]), on_jax=["learned"]))
def test_promises_of_a_layer(positions):
    check_layer(Outputs(positions), spread((2, 5, UNITS)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageModel(V, RecurrentStack("gru", 8, bidirectional=True)), "bidirectional=True"),
        (lambda: TransformerStack(8, num_layers=0), "at least 1. Received: 0"),
        (lambda: TransformerStack(8, positions="t5"), "must be one of .* Received: 't5'"),
        (
            lambda: LanguageModel(V, TransformerStack(8, num_layers=1)).initial_state(2),
            "needs `max_length`, .* Received: None",
        ),
        (lambda: TransformerStack(8)(spread((2, 3, 6))), r"`units`=8. Received: shape \(2, 3, 6\)"),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_backbone_without_its_state_is_refused():
    with pytest.raises(ValueError, match="Received: a layer with return_state=False"):
        LanguageModel(V, TransformerStack(4, num_heads=2, num_layers=1, return_state=False))
