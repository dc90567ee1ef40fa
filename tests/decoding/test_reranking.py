import itertools

import numpy as np
import pytest

from keras_seq import scores
from keras_seq.decoding.perplexity import perplexity
from keras_seq.decoding.reranking import minimum_bayes_risk, rerank, score_candidates, tune_weights
from keras_seq.models import Seq2Seq, Transformer
from tests.decoding.test_generate import Letters
from tests.reference import backend_cases, compiled, fill, long_on_jax, quick

NAN, INF = np.nan, np.inf


def test_rerank_by_hand():
    features = {"smt": [[-1.0, -2.0, -3.0], [-1.0, NAN, -2.0]], "lstm": [[-9.0, -2.0, -2.0], [-3.0, -1.0, -2.0]]}
    order, mixed = rerank(features)  # evenly, as in 2014
    np.testing.assert_allclose(mixed, [[-5.0, -2.0, -2.5], [-2.0, -INF, -2.0]])
    assert order.tolist() == [[1, 2, 0], [0, 2, 1]]  # the empty slot last, equals as given
    order, mixed = rerank(features, {"lstm": 0.0, "smt": 2.0})
    np.testing.assert_allclose(mixed, [[-2.0, -4.0, -6.0], [-2.0, -INF, -4.0]])
    assert order.tolist() == [[0, 1, 2], [0, 2, 1]]
    order, _ = rerank(features, {"lstm": 0.0, "smt": -1.0})
    assert order.tolist() == [[2, 1, 0], [2, 0, 1]]


def test_a_slot_is_empty_where_any_score_lacks_and_minus_infinity_marks_it_too():
    order, mixed = rerank({"a": [[-INF, 1.0, NAN]], "b": [[5.0, 1.0, 5.0]]}, {"a": 0.0, "b": 1.0})
    assert mixed.tolist() == [[-INF, 1.0, -INF]] and order.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize(
    ("features", "weights", "message"),
    [
        ({"a": [[1.0]], "b": [[1.0, 2.0]]}, None, r"\(1, 2\)"),
        ({"a": [1.0]}, None, r"\(1,\)"),
        ({}, None, "one shape"),
        ({"a": [[1.0]]}, {"b": 1.0}, r"\['b'\]"),
        ({"a": [[1.0]], "c": [[INF]]}, None, r"\['c'\]"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, weights, message):
    with pytest.raises(ValueError, match=message):
        rerank(features, weights)


def lists_of(seed, sentences=60, candidates=8):
    """Candidates of a hidden quality, and three scores: two know a part of it each, one is on another scale."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, sentences, candidates))
    quality = parts.sum(0)
    features = {"one": parts[0] + 3.0, "two": 100.0 * parts[1], "noise": 5.0 * rng.normal(size=quality.shape)}
    features["two"][:, -1] = NAN  # the last slot is empty
    return features, quality


def test_tuning_finds_a_mixture_that_beats_each_score_and_never_ends_below_any():
    features, quality = lists_of(seed=0)
    rows, asked = np.arange(len(quality)), []

    def objective(choices):
        asked.append(choices.tobytes())
        return float(quality[rows, choices].mean())

    weights, value = tune_weights(features, objective)
    assert len(set(asked)) == len(asked)  # the same choices are never scored twice
    assert objective(rerank(features, weights)[0][:, 0]) == value
    for start in (None, *({name: float(name == only) for name in features} for only in features)):
        assert value >= objective(rerank(features, start)[0][:, 0])
    best = quality[:, :-1].max(1).mean()
    assert value > 0.95 * best > objective(rerank({"one": features["one"], "two": features["two"] / 1e9})[0][:, 0])
    held_out, quality = lists_of(seed=1)
    chosen = rerank(held_out, weights)[0][:, 0]
    assert quality[rows, chosen].mean() > 0.9 * quality[:, :-1].max(1).mean()


def test_tuning_does_not_depend_on_the_unit_of_a_score():
    features, quality = lists_of(seed=0)
    features, rows = {name: np.nan_to_num(x) for name, x in features.items()}, np.arange(len(quality))

    def tuned(unit):
        scaled = {**features, "one": unit * features["one"]}
        return tune_weights(scaled, lambda choices: float(quality[rows, choices].mean()))

    (weights, value), (other, same) = tuned(1.0), tuned(1e6)
    assert same == value and other["one"] * 1e6 == pytest.approx(weights["one"])


def test_tuning_survives_scores_that_do_not_differ_and_lists_without_candidates():
    features = {"flat": np.zeros((2, 3)), "a": np.array([[1.0, 2.0, 3.0], [NAN, NAN, NAN]])}
    weights, value = tune_weights(features, lambda choices: float(choices[0]))
    assert value == 2.0 and weights["a"] > 0
    weights, _ = tune_weights({"a": np.full((2, 3), NAN)}, lambda choices: 0.0)
    assert weights == {"a": 1.0}


VOCABULARY = Letters()
SOURCES = ["abc", "", "a much longer source", "x"]
CANDIDATES = [["de", "", "a long candidate"], ["q"], [], ["x", "x", "what a very long candidate that is", "y", "z"]]
MODELS = {
    "Seq2Seq": lambda: Seq2Seq(32, units=4, cell="gru", num_layers=1, attention="general"),
    "Transformer": lambda: Transformer(32, units=4, num_heads=2, num_layers=1, dropout=0.0),
}


@pytest.mark.parametrize("kind", backend_cases(quick(MODELS, few=["Transformer"]), on_jax=["Transformer"]))
@long_on_jax
def test_candidates_are_scored_as_each_pair_would_be_alone(kind, monkeypatch):
    model = fill(MODELS[kind](), scale=1.0)
    pairs = [(source, text) for source, texts in zip(SOURCES, CANDIDATES, strict=True) for text in texts]
    sources, texts = (list(side) for side in zip(*pairs, strict=True))
    expected = perplexity(model, VOCABULARY, texts, sources=sources, compiled=compiled)
    for batch_tokens, chunk in ((60, 2), (10_000, 10_000)):
        monkeypatch.setattr("keras_seq.decoding.reranking.CHUNK", chunk)
        candidates = (iter(texts) for texts in CANDIDATES)  # generators will do
        options = {"batch_tokens": batch_tokens, "compiled": compiled}
        log_probs, lengths = score_candidates(model, VOCABULARY, iter(SOURCES), candidates, **options)
        assert log_probs.shape == lengths.shape == (4, 5)
        assert np.isfinite(log_probs).sum(1).tolist() == (lengths > 0).sum(1).tolist() == [3, 1, 0, 5]
        np.testing.assert_allclose(log_probs[lengths > 0], expected.log_probs, atol=1e-4)
        assert lengths[lengths > 0].tolist() == expected.lengths.tolist()
    np.testing.assert_allclose(log_probs[3, 0], log_probs[3, 1], rtol=1e-6)  # the same text twice


@long_on_jax
def test_a_source_is_encoded_once_for_its_candidates_of_a_batch():
    model, encoded = fill(MODELS["Seq2Seq"](), scale=1.0), []

    class Counting:
        decode = staticmethod(model.decode)

        @staticmethod
        def encode(source, max_length=None):
            encoded.append(tuple(source.shape))
            return model.encode(source, max_length=max_length)

    candidates = [[letter * 3 for letter in "abcdefgh" * 40], ["abc"]]
    score_candidates(Counting, VOCABULARY, ["hello", "bee"], candidates, batch_tokens=512)
    assert len(encoded) == 6 and all(rows <= 2 for rows, _ in encoded)  # 321 candidates, 64 a batch


def test_candidates_that_do_not_fit_the_sources_are_refused():
    model = object()
    with pytest.raises(ValueError, match="`candidates` ends after 1"):
        score_candidates(model, VOCABULARY, ["a", "b"], [[]])
    with pytest.raises(ValueError, match="`sources` ends after 0"):
        score_candidates(model, VOCABULARY, [], [["a"]])
    with pytest.raises(TypeError, match="source 0"):
        score_candidates(model, VOCABULARY, ["a"], ["hello"])
    with pytest.raises(TypeError, match="`sources`"):
        score_candidates(model, VOCABULARY, "a", [["hello"]])
    log_probs, lengths = score_candidates(model, VOCABULARY, [], [])
    assert log_probs.shape == lengths.shape == (0, 0)


def test_minimum_bayes_risk_is_the_choice_of_the_double_loop():
    words = ["the cat", "the cat sat", "a dog", "the cat", "the bat sat", ""]
    rng = np.random.default_rng(3)
    asked = []

    def chrf(hypothesis, reference):
        asked.append((hypothesis, reference))
        return scores.chrf([hypothesis], [reference]).value

    table = {pair: chrf(*pair) for pair in itertools.product(words, words)}
    for weights in (None, rng.random(6).tolist(), [0, 0, 1, 0, 0, 0], [0.0, 3.0, 0.0, 1.0, 1.0, 0.0]):
        asked.clear()
        best, utilities = minimum_bayes_risk(words, chrf, weights)
        even = weights or [1.0] * 6
        expected = [
            sum(weight * table[ours, theirs] for weight, theirs in zip(even, words, strict=True)) / sum(even)
            for ours in words
        ]
        np.testing.assert_allclose(utilities, expected, atol=1e-9)
        assert best == max(range(6), key=lambda number: (round(expected[number], 9), -number))
        assert len(set(asked)) == len(asked) <= 25  # equal texts are compared once
    assert minimum_bayes_risk(["alone"], chrf)[0] == 0


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, NAN], [1.0, INF]])
def test_weights_that_are_no_weights_are_refused(weights):
    with pytest.raises(ValueError, match="`weights` must be 2 numbers"):
        minimum_bayes_risk(["a", "b"], lambda *pair: 0.0, weights)


def test_without_candidates_there_is_no_choice():
    with pytest.raises(ValueError, match="at least one"):
        minimum_bayes_risk([], lambda *pair: 0.0)
    with pytest.raises(TypeError, match="'hello'"):
        minimum_bayes_risk("hello", lambda *pair: 0.0)
