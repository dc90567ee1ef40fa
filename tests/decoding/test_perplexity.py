import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding.perplexity import perplexity
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.models import LanguageModel, Seq2Seq, Transformer
from tests.decoding.models import PAD, slow_on_jax
from tests.decoding.test_generate import Letters
from tests.reference import array, backend_cases, compiled, fill, long_on_jax

TEXTS = ["zebra", "", "a long sentence", "hello"]
SOURCES = ["", "a much longer source than all the others", "x", "source"]
VOCABULARY = Letters()
SIZE = 32
OPTIONS = {"units": 4, "num_layers": 1}
TRANSLATORS = {
    "Seq2Seq": lambda: Seq2Seq(SIZE, cell="gru", attention="dot", **OPTIONS),
    "Transformer": lambda: Transformer(SIZE, num_heads=2, dropout=0.0, **OPTIONS),
}
BACKBONES = {
    "recurrent": lambda: RecurrentStack("gru", **OPTIONS),
    "Transformer": lambda: TransformerStack(num_heads=2, dropout=0.0, **OPTIONS),
}


def ids(text):
    return [*VOCABULARY.tokenize([text])[0], VOCABULARY.end_id]


def by_hand(call, text):
    """One text, no batch, no padding; `call` maps tokens (1, T) to logits."""
    target = ids(text)
    logits = array(call(np.array([[VOCABULARY.start_id, *target[:-1]]], "int32")))[0].astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return log_probs[np.arange(len(target)), target]


def check(report, expected):
    for ours, theirs in zip(report.token_log_probs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    total, count = sum(map(np.sum, expected)), sum(map(len, expected))
    np.testing.assert_allclose(report.log_probs, [values.sum() for values in expected], atol=1e-4)
    np.testing.assert_allclose(report.nats_per_token, [-values.mean() for values in expected], atol=1e-5)
    assert report.lengths.tolist() == [len(values) for values in expected] and report.num_tokens == count
    np.testing.assert_allclose([report.total, report.perplexity], [total, np.exp(-total / count)], rtol=1e-5)
    assert f"{count} tokens" in str(report) and f"{report.perplexity:.4f}" in str(report)


@pytest.mark.parametrize("backbone", backend_cases(BACKBONES, on_jax=["recurrent"]))
def test_of_a_language_model_it_is_what_each_text_gives_alone(backbone):
    model = fill(LanguageModel(SIZE, BACKBONES[backbone]()), scale=1.0)
    expected = [by_hand(compiled(model), text) for text in TEXTS]
    for batch_tokens in (1, 10_000):
        check(perplexity(model, VOCABULARY, TEXTS, batch_tokens=batch_tokens, compiled=compiled), expected)


@pytest.mark.parametrize("kind", backend_cases(TRANSLATORS, on_jax=["Transformer"]))
@long_on_jax
def test_of_translations_it_is_what_each_pair_gives_alone(kind):
    model = fill(TRANSLATORS[kind](), scale=1.0)
    call = compiled(lambda source, target: model({"source": source, "target": target}))
    expected = [
        by_hand(functools.partial(call, np.array([ids(source)], "int32")), text)
        for source, text in zip(SOURCES, TEXTS, strict=True)
    ]
    for batch_tokens in (40, 10_000):
        options = {"sources": SOURCES, "batch_tokens": batch_tokens, "compiled": compiled}
        check(perplexity(model, VOCABULARY, TEXTS, **options), expected)


class Uniform:
    """A language model that knows nothing; it notes the shapes it is asked for."""

    def __init__(self, size=8, impossible=None):
        row = np.zeros(size, "float32")
        row[impossible] = -np.inf if impossible is not None else 0.0
        self.row, self.shapes = ops.convert_to_tensor(row), []

    def initial_state(self, batch_size, max_length=None):
        return {"rows": ops.zeros((batch_size, 1))}

    def decode(self, tokens, state):
        self.shapes.append(tuple(tokens.shape))
        return ops.zeros((*ops.shape(tokens), 1)) + self.row, state


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    model = Uniform()
    report = perplexity(model, VOCABULARY, ["abc", "", "abcd"] * 20, batch_tokens=64)
    np.testing.assert_allclose(report.perplexity, 8.0, rtol=1e-6)
    assert all(rows * width <= 64 and width % 8 == 0 for rows, width in model.shapes) and len(model.shapes) == 8


def test_what_is_impossible_has_no_finite_perplexity():
    report = perplexity(Uniform(impossible=5), VOCABULARY, ["a", "b"])
    assert report.perplexity == np.inf and report.log_probs[1] == -np.inf and np.isfinite(report.log_probs[0])


@slow_on_jax
def test_it_can_be_compiled_by_the_caller():
    model = fill(TRANSLATORS["Seq2Seq"](), scale=1.0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        wrap = tf.function
    else:
        import jax

        wrap = jax.jit
    options = {"sources": SOURCES, "batch_tokens": 10_000}
    ours = perplexity(model, VOCABULARY, TEXTS, compiled=wrap, **options)
    np.testing.assert_allclose(ours.log_probs, perplexity(model, VOCABULARY, TEXTS, **options).log_probs, atol=1e-4)


def test_what_cannot_be_asked_is_refused():
    assert VOCABULARY.pad_id == PAD
    with pytest.raises(ValueError, match="at least one"):
        perplexity(Uniform(), VOCABULARY, [])
    with pytest.raises(ValueError, match="1 sources, 2 texts"):
        perplexity(Uniform(), VOCABULARY, ["a", "b"], sources=["a"])
    with pytest.raises(TypeError, match="'hello'"):
        perplexity(Uniform(), VOCABULARY, "hello")
