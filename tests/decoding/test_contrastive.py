import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import decoding
from keras_seq.decoding import Contrastive, Ensemble, NoRepeat, PromptedModel, search
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.models import LanguageModel, Seq2Seq, Transformer
from tests.decoding.models import arrays, slow_on_jax
from tests.decoding.test_generate import Letters
from tests.models.cases import END, IDS, PAD, SOURCE, START, TARGET, V
from tests.reference import array, backend_cases, compiled, in_graph, long_on_jax, quick, spread

PROMPTS = np.array([[START, 4, 5, 6, 7], [START, PAD, PAD, PAD, PAD], [START, 8, 4, PAD, PAD]], "int32")
T = 5


def varied(model, phase=0):
    model.set_weights([spread(w.shape, start=7 * i + phase) for i, w in enumerate(model.get_weights())])
    return model


MAKE = {
    "recurrent": lambda: varied(LanguageModel(V, RecurrentStack("gru", 6, num_layers=2))),
    "rotary": lambda: varied(LanguageModel(V, TransformerStack(8, num_heads=2, num_layers=1))),
    "lstm": lambda: varied(Seq2Seq(V, units=6, num_layers=2, cell="lstm", attention="additive", embedding_dim=5)),
    "location": lambda: varied(Seq2Seq(V, units=6, num_layers=1, cell="gru", attention="location"), 4),
    "transformer": lambda: varied(Transformer(V, units=8, num_heads=2, num_layers=1, dropout=0.0)),
}
LANGUAGE_MODELS = ("recurrent", "rotary")


@functools.cache
def model_of(name):
    """Shared between tests, which only read it."""
    return MAKE[name]()


@functools.lru_cache(4)
def decode_of(model):
    """A search of one sentence calls it a hundred times: in a graph."""
    return in_graph(lambda tokens, state: model.decode(tokens, state))


def step(model, state, token):
    """log p `(V,)` of the next token, the hidden state `(D,)` after this one, and the model's state."""
    logits, state = decode_of(model)(ops.convert_to_tensor([[token]], "int32"), state)
    logits = array(logits)[0, 0].astype("float64")
    return logits - np.log(np.exp(logits).sum()), array(state["hidden"])[0, 0].astype("float64"), state


def cosine(x, y):
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))


def literal(model, source, begin, top_k, alpha, banned=()):
    """The rule of the paper, word for word, for one sentence: (tokens, log p, smallest gap between two candidates)."""
    if hasattr(model, "encode"):
        state = model.encode(source[None], max_length=T + 1, hidden_states=True)
    else:
        state = model.initial_state(1, PROMPTS.shape[1] + T, hidden_states=True)
    before = []
    for token in begin:
        log_probs, hidden, state = step(model, state, token)
        before.append(hidden)
    tokens, total, gap = [], 0.0, np.inf
    while len(tokens) < T and END not in tokens:
        candidates = [int(v) for v in np.argsort(-log_probs, kind="stable") if v not in banned][:top_k]
        after = [step(model, state, v) for v in candidates]
        values = [
            (1 - alpha) * np.exp(log_probs[v]) - alpha * max(cosine(hidden, h) for h in before)
            for v, (_, hidden, _) in zip(candidates, after, strict=True)
        ]
        gap = min(gap, np.diff(np.sort(values)[-2:])[0])
        best = int(np.argmax(values))
        tokens.append(candidates[best])
        total += log_probs[candidates[best]]
        log_probs, hidden, state = after[best]
        before.append(hidden)
    return tokens, total, gap


def decoder(model):
    return model if hasattr(model, "encode") else PromptedModel(model, PAD)


def found(model, source, **options):
    model = decoder(model)
    return arrays(compiled(lambda source: search(model, source, max_length=T, **IDS, **options))(source))


def said(tokens, lengths, row):
    return tokens[row, 0, : lengths[row, 0]].tolist()


@pytest.mark.parametrize("name", backend_cases(quick(MAKE, few=["transformer", "lstm"]), on_jax=["rotary", "location"]))
def test_it_is_the_papers_rule(name):
    model, top_k, alpha = model_of(name), 4, 0.8
    source = PROMPTS if name in LANGUAGE_MODELS else SOURCE
    tokens, lengths, log_probs, scores = found(model, source, search="contrastive", top_k=top_k, alpha=alpha)
    assert tokens.shape == (3, 1, T) and (scores == log_probs).all()
    greedy = found(model, source, search="greedy")
    different = 0
    for row in range(3):
        begin = [token for token in source[row].tolist() if token != PAD] if name in LANGUAGE_MODELS else [START]
        expected, total, gap = literal(model, source[row], begin, top_k, alpha)
        assert gap > 1e-4, "the reference must be sure of its choice"
        assert said(tokens, lengths, row) == expected
        assert (tokens[row, 0, lengths[row, 0] :] == PAD).all()
        np.testing.assert_allclose(log_probs[row, 0], total, atol=1e-4)
        different += said(*greedy[:2], row) != expected
    assert different, "what comes out must differ from greedy search somewhere"


def test_a_model_that_repeats_itself_is_led_away():
    """Greedy search says one token for ever; contrastive search takes others that are nearly as likely."""

    class Repeats:
        """Finds token 4 likeliest, always; the hidden state of a token is its own direction."""

        def encode(self, source, max_length, hidden_states=False):
            return {"hidden": ops.zeros((ops.shape(source)[0], 1, V), "float32")} if hidden_states else {"x": source}

        def decode(self, tokens, state):
            chances = ops.convert_to_tensor(np.array([0, 0, 0, 0, 0.3, 0.2, 0.2, 0.2, 0.1], "float32"))
            logits = ops.log(ops.zeros((*ops.shape(tokens), 1)) + chances)
            return logits, {"hidden": ops.one_hot(tokens, V)} if "hidden" in state else state

    source = np.array([[4, END]], "int32")
    model = Repeats()
    assert arrays(search(model, source, max_length=4, search="greedy", **IDS))[0].tolist() == [[[4, 4, 4, 4]]]
    tokens, lengths, log_probs, _ = arrays(search(model, source, max_length=4, search="contrastive", top_k=4, **IDS))
    assert tokens[0, 0, 0] == 4 and len(set(tokens[0, 0].tolist())) == 4 and lengths.tolist() == [[4]]
    np.testing.assert_allclose(log_probs, np.log(0.3 * 0.2**3), rtol=1e-5)


@pytest.mark.parametrize(
    "name", backend_cases(quick(["recurrent", "transformer"], few=["recurrent"]), on_jax=["recurrent"])
)
@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"top_k": 1}])
@long_on_jax
def test_without_a_choice_or_a_penalty_it_is_greedy_search(name, options):
    """The search itself, too, and not only what `search` puts in its place."""
    model = model_of(name)
    source = PROMPTS if name in LANGUAGE_MODELS else SOURCE
    assert Contrastive(**options).simplify() == decoding.Greedy()
    expected = found(model, source, search="greedy")

    class Itself(Contrastive):
        def simplify(self, constraints=()):
            return self

    for one, other in zip(found(model, source, search=Itself(**options)), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@slow_on_jax
def test_constraints_come_before_the_candidates():
    model = model_of("lstm")
    tokens, lengths, log_probs, _ = found(
        model, SOURCE, search="contrastive", top_k=3, constraints=[decoding.Banned([[5], [6]])]
    )
    for row in range(3):
        expected, total, _ = literal(model, SOURCE[row], [START], 3, 0.6, banned=(5, 6))
        assert said(tokens, lengths, row) == expected
        np.testing.assert_allclose(log_probs[row, 0], total, atol=1e-4)
    tokens, lengths, *_ = found(model, SOURCE, search="contrastive", top_k=3, alpha=0.1, constraints=[NoRepeat(2)])
    for row in range(3):
        words = said(tokens, lengths, row)
        assert len(set(itertools.pairwise(words))) == len(words) - 1


@long_on_jax
def test_nothing_possible_is_an_empty_slot():
    model = model_of("lstm")

    def nothing(log_probs, progress):
        return ops.where(progress.length >= 2, -np.inf, log_probs)

    tokens, lengths, log_probs, scores = found(model, SOURCE, search="contrastive", constraints=[nothing])
    ended = (found(model, SOURCE, search="contrastive")[1] <= 2)[:, 0]
    assert (tokens[~ended] == PAD).all() and (lengths[~ended] == 0).all() and np.isneginf(scores[~ended]).all()
    assert np.isneginf(log_probs[~ended]).all() and (lengths[ended] > 0).all() and not ended.all()


@pytest.mark.parametrize(
    "name",
    backend_cases(quick(["recurrent", "location", "transformer"], few=["recurrent", "location"]), on_jax=["recurrent"]),
)
@long_on_jax
def test_neighbors_and_padding_do_not_matter(name):
    model = model_of(name)
    source = PROMPTS if name in LANGUAGE_MODELS else SOURCE
    together = found(model, np.pad(source[::-1], ((0, 0), (0, 3))), search="contrastive", top_k=3)
    for row in range(3):
        alone = found(model, source[row : row + 1], search="contrastive", top_k=3)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], other[2 - row], atol=1e-4)


@pytest.mark.long
@slow_on_jax
def test_an_ensemble_takes_the_mean_of_the_cosines():
    models, shares = [model_of("lstm"), varied(Transformer(V, units=8, num_heads=2, num_layers=1), 3)], [0.25, 0.75]
    ensemble = Ensemble(models, shares)
    tokens, lengths, *_ = found(ensemble, SOURCE, search="contrastive", top_k=3)
    for row in range(3):
        assert said(tokens, lengths, row) == literal(ensemble, SOURCE[row], [START], 3, 0.6)[0]

    def hidden(model):
        return array(model.decode(TARGET, model.encode(SOURCE, max_length=4, hidden_states=True))[1]["hidden"])[0]

    own, together = [hidden(model) for model in models], hidden(ensemble)
    mean = sum(share * cosine(h[0], h[2]) for share, h in zip(shares, own, strict=True))
    np.testing.assert_allclose(cosine(together[0], together[2]), mean, atol=1e-5)

    backbones = [RecurrentStack("gru", 6), TransformerStack(8, num_heads=2, num_layers=1)]
    ensemble = Ensemble([varied(LanguageModel(V, backbone), i) for i, backbone in enumerate(backbones)])
    tokens, lengths, *_ = found(ensemble, PROMPTS, search="contrastive", top_k=3)
    begin = PROMPTS[0].tolist()
    assert said(tokens, lengths, 0) == literal(ensemble, None, begin, 3, 0.6)[0]


@slow_on_jax
@pytest.mark.parametrize("name", quick(["rotary", "lstm"], few=["rotary"]))
def test_from_texts_to_texts(name):
    model, texts = model_of(name), ["abc", "d", "ba"]
    options = {"search": "contrastive", "top_k": 3, "max_length": 4}
    together = decoding.generate(model, Letters(), texts, **options)
    assert together == decoding.generate(model, Letters(), texts, batch_tokens=1, **options)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph with dynamic sizes")
@pytest.mark.parametrize("name", quick(["rotary", "lstm"], few=["rotary"]))
def test_one_graph_for_all_shapes_and_lengths(name):
    import tensorflow as tf

    model = decoder(model_of(name))
    source = PROMPTS if name in LANGUAGE_MODELS else SOURCE

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((), tf.int32)], autograph=False)
    def graph(source, max_length):
        return search(model, source, max_length=max_length, search="contrastive", top_k=3, **IDS)

    for rows, length in ((3, 5), (1, 1), (2, 3), (0, 2)):
        result = graph(source[:rows], length)
        assert result.tokens.shape == (rows, 1, length)
        if rows:
            expected = search(model, source[:rows], max_length=length, search="contrastive", top_k=3, **IDS)
            for one, other in zip(arrays(result), arrays(expected), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_exported_graph_takes_no_option_that_decides_its_shapes():
    search_inputs = pytest.importorskip("keras_seq.tasks.search_inputs")
    assert search_inputs.adjustable(Contrastive()) == {}
    assert search_inputs.adjustable(decoding.Sampling(top_k=4)) == {"temperature": 1.0, "top_k": 4, "seed": 0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Contrastive(top_k=0), "`top_k` must be a whole number of at least 1. Received: 0"),
        (lambda: Contrastive(top_k=2.5), "Received: 2.5"),
        (lambda: Contrastive(alpha=1.2), "`alpha` must be from 0 to 1. Received: 1.2"),
        (lambda: Contrastive(alpha=float("nan")), "`alpha`"),
        (lambda: search(model_of("lstm"), SOURCE, max_length=2, search="contrastive", top_k=V + 1, **IDS), "V=9"),
        (lambda: search(model_of("lstm"), SOURCE, max_length=0, search="contrastive", **IDS), "at least 1"),
    ],
)
@long_on_jax
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
