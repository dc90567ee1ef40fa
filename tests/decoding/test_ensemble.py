import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import decoding
from keras_seq.decoding import Ensemble
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.models import LanguageModel, Seq2Seq, Transformer
from tests.decoding.models import IDS as TOY_IDS
from tests.decoding.models import random_models, sentences, slow_on_jax
from tests.decoding.test_beam import exhaustive
from tests.decoding.test_generate import HistoryModel, Letters
from tests.models.cases import IDS, INPUTS, PAD, SOURCE, START, TARGET, V
from tests.reference import array, arrays, backend_cases, compiled, long_on_jax, softmax, spread, tensorflow_only

WEIGHTS = [1, 2, 5]
TENSORFLOW = keras.backend.backend() == "tensorflow"


def varied(model, phase):
    """Weights that differ from model to model."""
    model.set_weights([spread(w.shape, start=7 * i + phase) for i, w in enumerate(model.get_weights())])
    return model


@pytest.fixture(scope="module")
def members():
    """A recurrent model with attention, one without, and a Transformer."""
    recurrent = {"units": 4, "num_layers": 1, "bidirectional": False}
    return [
        varied(Seq2Seq(V, cell="lstm", attention="general", **recurrent), 0),
        varied(Seq2Seq(V, V, cell="gru", attention=None, reverse_source=True, **recurrent), 1),
        varied(Transformer(V, units=4, num_heads=2, num_layers=1, dropout=0.0), 2),
    ]


@pytest.fixture(scope="module")
def language_models():
    backbones = [RecurrentStack("gru", 4), TransformerStack(4, num_heads=2, num_layers=1)]
    return [varied(LanguageModel(V, backbone), phase) for phase, backbone in enumerate(backbones)]


def mixture(probabilities, weights, average):
    """log of the mean of M arrays `(..., V)` of probabilities, in NumPy."""
    shares = np.array(weights) / np.sum(weights)
    if average == "probability":
        return np.log(sum(share * p for share, p in zip(shares, probabilities, strict=True)))
    product = np.prod([p**share for share, p in zip(shares, probabilities, strict=True)], axis=0)
    with np.errstate(divide="ignore"):
        return np.log(product / product.sum(-1, keepdims=True))


def log_probs(logits):
    logits = array(logits).astype("float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def stepwise(model, state, tokens):
    decode, steps = compiled(model.decode), []
    for t in range(tokens.shape[1]):
        shapes = keras.tree.map_structure(lambda x: x if x is None else tuple(x.shape), state)
        logits, state = decode(ops.convert_to_tensor(tokens[:, t : t + 1]), state)
        assert keras.tree.map_structure(lambda x: x if x is None else tuple(x.shape), state) == shapes
        steps.append(logits)
    return ops.concatenate(steps, axis=1)


@pytest.mark.parametrize("average", ["probability", "log_probability"])
@pytest.mark.parametrize("weights", backend_cases([None, WEIGHTS], on_jax=[WEIGHTS]))
def test_it_is_the_mean_of_its_models(members, average, weights):
    """Of all steps at once, and of one step after the other."""
    expected = mixture([softmax(array(model(INPUTS))) for model in members], weights or [1, 1, 1], average)
    assert np.ptp([log_probs(model(INPUTS)) for model in members], axis=0).max() > 1, "models that disagree"
    ensemble = Ensemble(members, weights, average)
    np.testing.assert_allclose(log_probs(ensemble(INPUTS)), expected, atol=1e-5)
    state = ensemble.encode(SOURCE, max_length=TARGET.shape[1])
    np.testing.assert_allclose(log_probs(stepwise(ensemble, state, TARGET)), expected, atol=1e-5)


@pytest.mark.parametrize("average", ["probability", "log_probability"])
@long_on_jax
def test_language_models_too(language_models, average):
    expected = mixture([softmax(array(model(TARGET))) for model in language_models], [3, 1], average)
    ensemble = Ensemble(language_models, [3, 1], average)
    np.testing.assert_allclose(log_probs(ensemble(TARGET)), expected, atol=1e-5)
    state = ensemble.initial_state(len(TARGET), TARGET.shape[1])
    real = TARGET != PAD  # within a row, padding is fed by no search
    np.testing.assert_allclose(log_probs(stepwise(ensemble, state, TARGET))[real], expected[real], atol=1e-5)


@pytest.mark.parametrize("average", ["probability", "log_probability"])
@long_on_jax
def test_one_model_or_twice_the_same_is_that_model(members, average):
    for model in members:
        expected = log_probs(model(INPUTS))
        for models in ([model], [model, model]):
            np.testing.assert_allclose(log_probs(Ensemble(models, average=average)(INPUTS)), expected, atol=1e-5)


def test_what_is_improbable_to_all_keeps_its_probability():
    """Below what float32 can hold, in the log it can."""

    class Certain:
        def encode(self, source, max_length=None):
            return {"position": ops.zeros_like(source[:, :1])}

        def decode(self, tokens, state):
            return ops.zeros((1, 1, 3)) + ops.convert_to_tensor([0.0, -200.0, -np.inf], "float32"), state

    ensemble = Ensemble([Certain(), Certain()])
    logits, _ = ensemble.decode(ops.zeros((1, 1), "int32"), ensemble.encode(ops.zeros((1, 1), "int32")))
    np.testing.assert_allclose(array(logits)[0, 0], [0.0, -200.0, -np.inf], rtol=1e-6)


@pytest.mark.parametrize("average", ["probability", "log_probability"])
@pytest.mark.parametrize("penalty", backend_cases([None, decoding.power_penalty(1.0)], on_jax=[None]))
def test_a_beam_over_an_ensemble_finds_what_exhaustive_search_of_the_mixture_finds(average, penalty):
    size, length, count = 4, 4, 60
    tables = [random_models(count, size, impossible=share, seed=seed) for share, seed in ((0.2, 31), (0.0, 32))]
    weights = [2, 3]
    mixed = mixture([np.exp(table) for table in tables], weights, average)
    beams = size * (size - 1) ** (length - 1)
    found = compiled(
        lambda source: decoding.search(
            Ensemble([HistoryModel(table) for table in tables], weights, average), source, max_length=length,
            num_beams=beams, num_return=beams, length_penalty=penalty, **TOY_IDS,
        )
    )(np.arange(count, dtype="int32")[:, None])  # fmt: skip
    for table, hypotheses in zip(mixed, sentences(found), strict=True):
        expected = exhaustive(table, length, penalty)[:beams]
        own = {tuple(tokens): score for tokens, score in expected}
        assert {tuple(h[0]) for h in hypotheses} == set(own)
        np.testing.assert_allclose([h[2] for h in hypotheses], [score for _, score in expected], atol=1e-5)


class Sharing(HistoryModel):
    """Takes its memory with a row for each sentence, whatever the number of beams."""

    shares_memory = True

    def decode(self, tokens, state):
        models = state["memory"]["model"]
        models = ops.repeat(models, tokens.shape[0] // models.shape[0])
        logits, new = super().decode(tokens, {**state, "memory": {"model": models}})
        return logits, {**new, "memory": state["memory"]}


def test_memory_is_shared_where_all_of_the_models_can():
    tables = [random_models(10, 6, impossible=0.2, seed=seed) for seed in (41, 42)]

    def found(*kinds):
        ensemble = Ensemble([kind(table) for kind, table in zip(kinds, tables, strict=True)])
        source = np.arange(10, dtype="int32")[:, None]
        run = compiled(lambda source: decoding.search(ensemble, source, max_length=5, num_beams=3, **TOY_IDS))
        return ensemble.shares_memory, arrays(run(source))

    (neither, expected), (both, shared), (one, mixed) = (
        found(HistoryModel, HistoryModel), found(Sharing, Sharing), found(HistoryModel, Sharing)
    )  # fmt: skip
    assert (neither, both, one) == (False, True, False)
    for result in (shared, mixed):
        for x, other in zip(result, expected, strict=True):
            np.testing.assert_allclose(x, other, rtol=1e-6)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX compiles an eager loop at every call")
def test_it_passes_the_audit(members):
    sources = [[8], [5, 5, 4, 6, 4, 8, 8]]
    report = decoding.audit(Ensemble(members[:2], WEIGHTS[:2]), sources, max_length=3, num_beams=2, num_return=2, **IDS)
    assert report.ok, f"\n{report}"


def test_a_compiled_search_returns_what_the_forced_pass_says(members):
    """In a graph whose sizes are not known, or jitted."""
    ensemble = Ensemble(members[1:], WEIGHTS[1:])

    def search(source):
        return decoding.search(ensemble, source, max_length=4, num_beams=2, **IDS)

    if TENSORFLOW:
        import tensorflow as tf

        wrapped = tf.function(search, input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    else:
        wrapped = compiled(search)
    found = arrays(wrapped(SOURCE))
    tokens, lengths, log_probs, _ = (x[:, 0] for x in found)
    each, _ = decoding.score(ensemble.decode, ensemble.encode(SOURCE), tokens, pad_id=-1, start_id=START)
    forced = (array(each) * (np.arange(4) < lengths[:, None])).sum(1)
    np.testing.assert_allclose(forced, log_probs, atol=1e-5)
    if TENSORFLOW:
        for one, other in zip(found, arrays(search(SOURCE)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@long_on_jax
def test_attention_is_the_mean_of_those_who_have_it(members):
    ensemble, T = Ensemble(members, WEIGHTS), TARGET.shape[1]
    state = ensemble.encode(SOURCE, max_length=T, attention_weights=True)
    assert array(state["attention"]).shape == (3, 1, SOURCE.shape[1])
    _, state = ensemble.decode(TARGET, state)
    own = [
        array(model.decode(TARGET, model.encode(SOURCE, max_length=T, attention_weights=True))[1]["attention"])
        for model in (members[0], members[2])
    ]
    np.testing.assert_allclose(array(state["attention"]), (1 * own[0] + 5 * own[1]) / 6, atol=1e-6)
    without = Ensemble(members[1:2])
    assert not without.has_attention and "attention" not in without.encode(SOURCE)
    with pytest.raises(ValueError, match="needs a model with attention"):
        without.encode(SOURCE, attention_weights=True)


@long_on_jax
def test_a_coverage_penalty_takes_it(members):
    """By the models' own `pad_id`, and the mean of their attention."""
    ensemble, T = Ensemble(members), 4
    options = {"num_beams": 2, "coverage_penalty": 0.5, "length_penalty": None}
    tokens, lengths, log_probs, scores = arrays(decoding.search(ensemble, SOURCE, max_length=T, **options, **IDS))
    state = ensemble.encode(SOURCE, max_length=T, attention_weights=True)
    said = np.concatenate([np.full((3, 1), START), tokens[:, 0, :-1]], axis=1).astype("int32")
    attention = array(ensemble.decode(said, state)[1]["attention"])  # (3, T, S)
    for row in range(3):
        covered = attention[row, : lengths[row, 0]].sum(0)[SOURCE[row] != PAD]
        penalty = 0.5 * np.log(np.minimum(covered, 1)).sum()
        np.testing.assert_allclose(scores[row, 0] - log_probs[row, 0], penalty, atol=1e-5)
    assert (scores[:2] < log_probs[:2] - 1e-3).all()  # the third source is a single token


@pytest.mark.parametrize("kind", backend_cases(["translators", "language models"], on_jax=["language models"]))
@long_on_jax
def test_forced_decoding_of_texts_is_the_mixture_too(members, language_models, kind):
    vocabulary, texts = Letters(), ["abc", "", "eddeb"]
    models, given = (members, {"sources": ["ab", "c", "bcd"]}) if kind == "translators" else (language_models, {})
    ensemble = decoding.perplexity(Ensemble(models), vocabulary, texts, **given)
    each = [decoding.perplexity(model, vocabulary, texts, **given) for model in models]
    for found, *own in zip(*(report.token_log_probs for report in (ensemble, *each)), strict=True):
        np.testing.assert_allclose(found, np.log(np.mean(np.exp(own), axis=0)), atol=1e-5)
    if given:
        total, _ = decoding.score_candidates(Ensemble(models), vocabulary, given["sources"], [[t] for t in texts])
        np.testing.assert_allclose(total[:, 0], ensemble.log_probs, atol=1e-4)


@slow_on_jax
def test_texts(members):
    texts = ["abc", "", "dede", "e"]
    options = {"max_length": 4, "num_beams": 2, "num_return": 2}
    found = decoding.generate(Ensemble(members), Letters(), texts, **options)
    assert found[1] == ["", ""] and [len(each) for each in found] == [2] * 4
    assert found == decoding.generate(Ensemble(members), Letters(), texts, batch_tokens=1, **options)
    assert decoding.generate(Ensemble(members[:1]), Letters(), texts, **options) == (
        decoding.generate(members[0], Letters(), texts, **options)
    )


@tensorflow_only("what is in the file is no backend's")
def test_the_keras_file_holds_all(members, tmp_path):
    ensemble = Ensemble(members, WEIGHTS, "log_probability")
    assert ensemble.count_params() == sum(model.count_params() for model in members)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert loaded.get_config() == ensemble.get_config()
    np.testing.assert_allclose(array(loaded(INPUTS)), array(ensemble(INPUTS)), atol=1e-6)


@long_on_jax
def test_keras_evaluates_it(members):
    ensemble = Ensemble(members)
    ensemble.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=TENSORFLOW)
    labels = np.array([[4, 5, 6, 3], [6, 3, PAD, PAD], [5, 4, 3, PAD]])
    expected = -np.take_along_axis(log_probs(ensemble(INPUTS)), labels[..., None], axis=2).mean()
    np.testing.assert_allclose(ensemble.evaluate(INPUTS, labels, verbose=0), expected, rtol=1e-5)


@pytest.mark.long
@pytest.mark.skipif(not TENSORFLOW, reason="a SavedModel needs TensorFlow")
def test_a_saved_model_of_an_ensemble(tmp_path):
    import tensorflow as tf

    from keras_seq import export, tasks, text

    vocabulary = text.Words(["a", "b", "c", "d"])
    options = {"units": 4, "num_layers": 1, "bidirectional": False}
    models = [varied(Seq2Seq(8, cell=cell, attention=None, **options), i) for i, cell in enumerate(("gru", "rnn"))]
    ensemble, texts = Ensemble(models, [2, 1]), ["a b", "", "d c b a", "zz"]
    export.saved_model(
        tasks.find_task(ensemble, vocabulary, num_beams=1, max_length=7), tmp_path / "served", verify=False
    )
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    found = [text.decode() for text in loaded.signatures["translate"](text=tf.constant(texts))["text"].numpy()]
    assert found == decoding.generate(ensemble, vocabulary, texts, num_beams=1, max_length=7)
    assert len(set(found)) > 1
    held = sum(int(tf.size(weight)) for weight in loaded.weights)
    assert held == ensemble.count_params()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, lm: Ensemble([]), "at least one"),
        (lambda m, lm: Ensemble([m[0], lm[0]]), "some of each"),
        (lambda m, lm: Ensemble(m[:2], average="median"), "Received: 'median'"),
        (lambda m, lm: Ensemble(m[:2], [1.0]), r"2 positive numbers.* Received: \[1.0\]"),
        (lambda m, lm: Ensemble(m[:2], [1.0, 0.0]), "positive"),
        (lambda m, lm: Ensemble(m[:2], [1.0, float("nan")]), "positive"),
        (lambda m, lm: Ensemble(m[:2], [1.0, float("inf")]), "positive"),
        (
            lambda m, lm: Ensemble([m[0], Transformer(V + 2, units=4, num_heads=2, num_layers=1)]),
            r"`source_vocabulary_size`.* 9, 11",
        ),
        (lambda m, lm: Ensemble([m[1], Seq2Seq(V, 7, units=4, num_layers=1)]), r"`target_vocabulary_size`.* 9, 7"),
        (lambda m, lm: Ensemble([lm[0], LanguageModel(5, RecurrentStack("rnn", 4))]), r"`vocabulary_size`.* 9, 5"),
        (lambda m, lm: Ensemble([m[0], Seq2Seq(V, units=4, num_layers=1, pad_id=1)]), r"`pad_id`.* 0, 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(members, language_models, make, message):
    with pytest.raises(ValueError, match=message):
        make(members, language_models)


def test_models_that_do_not_tell_their_sizes_are_found_out_by_the_first_step():
    tables = [random_models(1, size, impossible=0.0, seed=1) for size in (5, 7)]
    ensemble = Ensemble([HistoryModel(table) for table in tables])
    with pytest.raises(ValueError, match="the same number of tokens. Received: 5, 7"):
        decoding.search(ensemble, np.zeros((1, 1), "int32"), max_length=2, **TOY_IDS)


def test_it_is_told_by_its_methods_what_it_is(members, language_models):
    assert hasattr(Ensemble(members), "encode") and not hasattr(Ensemble(members), "initial_state")
    assert hasattr(Ensemble(language_models), "initial_state") and not hasattr(Ensemble(language_models), "encode")
    with pytest.raises(AttributeError, match="ensemble of language models"):
        _ = Ensemble(language_models).encode


def test_hidden_states_are_as_alike_as_their_mean_of_likenesses():
    ensemble = Ensemble.__new__(Ensemble)
    ensemble.shares, ensemble.translates = [0.25, 0.75], False
    hidden = [spread((2, 3, 4)), spread((2, 3, 5), start=30)]
    joined = ensemble._joined([{"hidden": ops.convert_to_tensor(each)} for each in hidden], False, True)
    assert joined["hidden"].shape == (2, 3, 9) and "attention" not in joined and "memory" not in joined
    units = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in hidden]
    expected = sum(share * each @ each.transpose(0, 2, 1) for share, each in zip((0.25, 0.75), units, strict=True))
    found = array(joined["hidden"])
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), expected, rtol=1e-4)
