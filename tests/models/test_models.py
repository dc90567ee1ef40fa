"""What every model that decodes promises: the step protocol, and that padding and neighbors do not matter."""

import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import decoding, models
from keras_seq.losses import TokenCrossentropy
from tests.models.cases import ALL, CASES, END, FEW, IDS, INPUTS, PAD, SOURCE, START, TARGET, TWO, fresh, model
from tests.reference import (
    array,
    arrays,
    backend_cases,
    compiled,
    in_graph,
    long_on_jax,
    program,
    quick,
    tensorflow_only,
)

# Of masks and unbuilt layers nothing is said when a model is called, and (`fresh`) when it is built.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")
T = TARGET.shape[1]
ATTENTIVE = [name for name in CASES if "none" not in name]


def call(model, source=SOURCE, target=TARGET):
    return array(program(model)({"source": source, "target": target}))


def stepwise(model, source=SOURCE, target=TARGET, **options):
    """Logits `(B, T, V)` and, where asked for, attention weights `(B, T, S)`, by steps of one token."""
    state = compiled(lambda source: model.encode(source, max_length=T + 2, **options))(source)
    decode = compiled(lambda tokens, state: model.decode(tokens, state))
    logits, weights = [], []
    for t in range(target.shape[1]):
        before = keras.tree.map_structure(lambda x: tuple(x.shape), state)
        step, state = decode(target[:, t : t + 1], state)
        assert keras.tree.map_structure(lambda x: tuple(x.shape), state) == before, "a loop variable keeps its shape"
        logits.append(array(step))
        if "attention" in state:
            weights.append(array(state["attention"]))
    return np.concatenate(logits, 1), np.concatenate(weights, 1) if weights else None


@pytest.mark.parametrize("name", ALL)
def test_step_by_step_is_the_teacher_forced_pass(name):
    """And padding of source and target, and the neighbors in the batch, change nothing."""
    expected = call(model(name))
    assert expected.shape == (3, T, model(name).target_vocabulary_size or model(name).source_vocabulary_size)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3, "the model must not be indifferent to its source"

    # The same sentences in another order, with two columns of padding more on both sides.
    wider = [np.pad(x[::-1], ((0, 0), (0, 2)), constant_values=PAD) for x in (SOURCE, TARGET)]
    padded = call(model(name), *wider)[::-1, :T]
    real = TARGET != PAD
    np.testing.assert_allclose(padded[real], expected[real], atol=1e-5)

    steps, weights = stepwise(model(name), attention_weights=name in ATTENTIVE)
    np.testing.assert_allclose(steps, expected, atol=1e-5)
    if weights is not None:
        assert weights.shape == (3, T, SOURCE.shape[1])
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
        assert (weights[np.broadcast_to((SOURCE == PAD)[:, None, :], weights.shape)] == 0).all()


@tensorflow_only("step by step as at once, there too, says that no step sees the future")
@pytest.mark.parametrize("name", FEW)
def test_the_source_and_the_past_matter_and_the_future_does_not(name):
    forward = in_graph(model(name))
    before = array(forward(INPUTS))
    for t in range(1, T):
        target = TARGET.copy()
        target[0, t] = 1
        after = array(forward({"source": SOURCE, "target": target}))
        np.testing.assert_allclose(after[0, :t], before[0, :t], atol=1e-6)
        assert np.abs(after[0, t] - before[0, t]).max() > 1e-5
    for s in range(SOURCE.shape[1] - 1):
        source = SOURCE.copy()
        source[0, s] = 1
        after = array(forward({"source": source, "target": TARGET}))
        assert np.abs(after[0] - before[0]).max() > 1e-5, f"source token {s} changes nothing"
        np.testing.assert_allclose(after[1:], before[1:], atol=1e-6)


@pytest.mark.parametrize("name", backend_cases(FEW, on_jax=TWO))
def test_the_keras_file_holds_all(name, tmp_path):
    """Weights that are neither zeros nor ones, so that none can be forgotten unseen."""
    model(name).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model(name))
    assert loaded.get_config() == model(name).get_config()
    for ours, theirs in zip(loaded.weights, model(name).weights, strict=True):
        np.testing.assert_array_equal(array(ours), array(theirs), err_msg=theirs.path)
    np.testing.assert_allclose(call(loaded), call(model(name)), atol=1e-6)


@pytest.mark.parametrize("name", backend_cases(FEW, on_jax=TWO))
def test_every_weight_learns(name):
    learner = fresh(name)
    # Which is much quicker than to trace a step: one is traced, and of a recurrent model in test_scheduled_sampling.py.
    eagerly = keras.backend.backend() == "tensorflow" and name != "transformer-modern"
    # A step small enough for any model to go down.
    learner.compile(keras.optimizers.SGD(1e-3), TokenCrossentropy(), run_eagerly=eagerly)
    learner.optimizer.build(learner.trainable_variables)  # TensorFlow traces twice what makes variables
    labels = np.array([[4, 5, 6, END], [6, END, PAD, PAD], [5, 4, END, PAD]], "int32")
    before = [array(v) for v in learner.trainable_weights]
    losses = [learner.train_on_batch(INPUTS, labels, labels != PAD) for _ in range(3)]
    assert losses[2] < losses[0]
    for v, start in zip(learner.trainable_weights, before, strict=True):
        # A key's bias adds the same to all scores of a query, and the softmax takes it away again.
        if not v.path.endswith("key/bias"):
            assert (array(v) != start).any(), f"{v.path} has not learned"


@pytest.mark.parametrize("num_beams", backend_cases(quick([1, 3], few=[3]), on_jax=[3]))
@pytest.mark.parametrize(
    "name", backend_cases(["lstm-none-reversed-deep", "gru-additive-reversed-deep", "transformer-pre"], on_jax=TWO)
)
@long_on_jax
def test_what_a_search_returns_is_what_the_forced_pass_says(name, num_beams):
    translator = model(name)  # made here: under JAX nothing that is made while tracing may outlive the trace

    def search(source):
        return decoding.search(translator, source, max_length=5, num_beams=num_beams, num_return=num_beams, **IDS)

    tokens, lengths, log_probs, _ = arrays(compiled(search)(SOURCE))
    assert tokens.shape == (3, num_beams, 5)
    assert (lengths > 0).all()

    def score(source, target):
        state = translator.encode(source, max_length=5)
        return decoding.score(translator.decode, state, target, pad_id=PAD, start_id=START)[1]

    forced = array(compiled(score)(np.repeat(SOURCE, num_beams, axis=0), tokens.reshape(-1, 5)))
    # The padding token itself may be said before the end; `score` leaves it out, so only rows without it can be held.
    said_padding = ((tokens == PAD) & (np.arange(5) < lengths[:, :, None])).any(-1)
    assert not said_padding.all()
    np.testing.assert_allclose(forced.reshape(3, num_beams)[~said_padding], log_probs[~said_padding], atol=1e-5)


@pytest.mark.parametrize(
    ("policy", "name"),
    backend_cases(
        [
            ("mixed_float16", "lstm-general-deep-untied"),
            ("mixed_bfloat16", "transformer-pre"),
            pytest.param("mixed_bfloat16", "lstm-general-deep-untied", marks=pytest.mark.long),
            pytest.param("mixed_float16", "transformer-pre", marks=pytest.mark.long),
        ],
        on_jax=[("mixed_bfloat16", "transformer-pre")],
    ),
)
def test_half_precision(name, policy):
    half = fresh(name, policy)
    assert {keras.backend.standardize_dtype(v.dtype) for v in half.weights} <= {"float32", "uint32"}
    logits = array(ops.cast(program(half)(INPUTS), "float32"))
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits, call(model(name)), atol=0.25)
    steps, _ = stepwise(half)
    assert np.isfinite(steps.astype("float32")).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="shapes are static elsewhere")
@pytest.mark.parametrize(
    "name",
    quick(
        ["lstm-none-reversed-deep", "gru-additive-reversed-deep", "transformer-pre", "transformer-untied"],
        few=["transformer-untied"],
    ),
)
def test_one_graph_for_all_shapes(name):
    import tensorflow as tf

    translator = model(name)
    tokens = tf.TensorSpec((None, None), tf.int32)

    @tf.function(input_signature=[tokens, tokens])
    def forward(source, target):
        whole = translator({"source": source, "target": target})
        state = translator.encode(source, max_length=tf.shape(target)[1])
        return whole, translator.decode(target, state)[0]

    for rows in (slice(0, 3), slice(0, 1)):
        for width in (T, T - 2):
            expected = call(translator, SOURCE[rows], TARGET[rows, :width])
            for logits in forward(SOURCE[rows], TARGET[rows, :width]):
                np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [models.LanguageModel, models.Seq2Seq, models.Transformer])
def test_what_is_built_is_not_built_again(monkeypatch, kind):
    calls = []
    monkeypatch.setattr(sys.modules[kind.__module__], "build_by_call", lambda *given: calls.append(given))
    kind.build(SimpleNamespace(built=True))
    assert calls == []
