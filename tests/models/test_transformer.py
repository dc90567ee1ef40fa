from types import SimpleNamespace

import numpy as np
import pytest

from keras_seq.layers import sinusoidal_positions
from keras_seq.models import Transformer
from keras_seq.models import transformer as module
from tests.models.cases import SOURCE, TARGET, model
from tests.reference import array, backend_cases, compiled, long_on_jax, program, spread


def test_parameters():
    """An attention has four D x D projections with bias, a feed-forward part two, a norm two vectors."""
    D, F, V, encoders, decoders = 4, 6, 11, 1, 2
    attention = 4 * (D * D + D)
    feed_forward = D * F + F + F * D + D
    norm = 2 * D
    encoder = attention + feed_forward + 2 * norm
    decoder = 2 * attention + feed_forward + 3 * norm
    options = {
        "units": D,
        "num_heads": 2,
        "intermediate_dim": F,
        "num_layers": encoders,
        "num_decoder_layers": decoders,
    }
    layers = encoders * encoder + decoders * decoder
    assert Transformer(V, **options).count_params() == V * D + layers + 2 * norm
    assert Transformer(V, normalize_first=False, **options).count_params() == V * D + layers
    separate = Transformer(V, 13, tie_embeddings=False, **options)
    assert separate.count_params() == V * D + 2 * 13 * D + layers + 2 * norm


@long_on_jax
def test_parameters_of_what_came_since():
    """K of H heads leave K / H of the decoder's keys and values, a gate is a hidden layer more, RMS has one vector."""
    D, F, V = 8, 6, 11
    heads = {"units": D, "num_heads": 4, "num_key_value_heads": 1, "intermediate_dim": F, "num_layers": 1}
    attention, grouped = 4 * (D * D + D), 2 * (D * D + D) + 2 * (D * D // 4 + D // 4)
    feed_forward = 2 * (D * F + F) + F * D + D
    layers = attention + feed_forward + 2 * D + 2 * grouped + feed_forward + 3 * D + 2 * D
    modern = {"layer_normalization": "rms", "activation": "swiglu", "positions": "rotary", **heads}
    transformer = Transformer(V, **modern)
    assert transformer.count_params() == V * D + layers
    cache = transformer.encode(SOURCE, max_length=6)["caches"][0]
    assert cache["keys"].shape == cache["values"].shape == (3, 1, 6, 2)
    learned = Transformer(V, **modern | {"positions": "learned", "max_positions": 13})
    assert learned.count_params() == V * D + layers + 2 * 13 * D


@pytest.mark.parametrize("pieces", backend_cases([(2, 2), (1, 3)], on_jax=[(2, 2)]))
def test_the_cache_takes_pieces_of_any_length(pieces):
    transformer = model("transformer-pre")
    decode = compiled(lambda tokens, state: transformer.decode(tokens, state))
    whole = array(program(transformer)({"source": SOURCE, "target": TARGET}))
    state, done = compiled(lambda source: transformer.encode(source, max_length=6))(SOURCE), 0
    for length in pieces:
        logits, state = decode(TARGET[:, done : done + length], state)
        np.testing.assert_allclose(array(logits), whole[:, done : done + length], atol=1e-5)
        done += length
        assert array(state["position"]).tolist() == [done] * 3


@long_on_jax
def test_rows_may_stand_at_different_places():
    """As beams do that a search has re-ordered: a state is put together from rows of two others."""
    transformer = model("transformer-post")
    whole = array(transformer({"source": SOURCE, "target": TARGET}))
    early = transformer.decode(TARGET[:, :1], transformer.encode(SOURCE, max_length=4))[1]
    late = transformer.decode(TARGET[:, :3], transformer.encode(SOURCE, max_length=4))[1]
    mixed = {"memory": early["memory"]}
    mixed["position"] = np.concatenate([array(early["position"])[:1], array(late["position"])[1:]])
    mixed["caches"] = [
        {name: np.concatenate([array(a[name])[:1], array(b[name])[1:]]) for name in a}
        for a, b in zip(early["caches"], late["caches"], strict=True)
    ]
    tokens = np.concatenate([TARGET[:1, 1:2], TARGET[1:, 3:4]])
    logits, state = transformer.decode(tokens, mixed)
    np.testing.assert_allclose(array(logits)[0, 0], whole[0, 1], atol=1e-5)
    np.testing.assert_allclose(array(logits)[1:, 0], whole[1:, 3], atol=1e-5)
    assert array(state["position"]).tolist() == [2, 4, 4]


def test_embeddings_are_scaled_before_positions_are_added():
    transformer = model("transformer-untied")
    matrix = array(transformer.source_embedding.embeddings)
    x = transformer._placed(transformer.source_embedding(SOURCE), None, np.arange(5)[None, :], False)
    expected = matrix[SOURCE] * 2 + array(sinusoidal_positions(np.arange(5)[None, :], 4))
    np.testing.assert_allclose(array(x), expected, rtol=1e-5, atol=1e-6)


def test_errors_name_the_rule_and_the_value():
    with pytest.raises(ValueError, match="needs `max_length`. Received: max_length=None"):
        model("transformer-pre").encode(SOURCE, attention_weights=True)
    with pytest.raises(ValueError, match="`positions` must be one of .* Received: 't5'"):
        Transformer(9, positions="t5")
    with pytest.raises(ValueError, match="positions for 9 steps. Received: 10 steps"):
        model("transformer-learned").encode(np.ones((1, 10), "int32"))
    with pytest.raises(ValueError, match="`num_heads` must divide `units`=6. Received: 4"):
        Transformer(9, units=6, num_heads=4)


class Adds:
    """In place of a decoder layer."""

    def project_memory(self, x):
        return x

    def __call__(self, x, source, mask, cache, positions, self_mask, training):
        return x + 1.0, cache


def test_hidden_states_are_what_the_scores_are_made_of(monkeypatch):
    vectors = spread((2, 3, 4))
    monkeypatch.setattr(module, "source_vectors", lambda model, source, training: (vectors, source != 0))
    parts = {"encoder_layers": [], "encoder_norm": None, "source_positions": None, "decoder_layers": [Adds()]}
    parts |= {"decoder_norm": None, "target_positions": None, "target_embedding": lambda tokens: vectors[:, :2]}
    stub = SimpleNamespace(**parts, units=4, compute_dtype="float32")
    stub._placed, stub._logits = lambda x, *options: x, lambda x, embedding: 2.0 * x
    state = Transformer.encode(stub, SOURCE[:2, :3], hidden_states=True)
    assert array(state["hidden"]).tolist() == np.zeros((2, 1, 4)).tolist()
    logits, state = Transformer.decode(stub, TARGET[:2, :2], state)
    np.testing.assert_allclose(array(state["hidden"]), vectors[:, :2] + 1, rtol=1e-6)
    np.testing.assert_allclose(array(logits), 2 * vectors[:, :2] + 2, rtol=1e-6)
    assert "hidden" not in Transformer.decode(stub, TARGET[:2, :2], Transformer.encode(stub, SOURCE[:2, :3]))[1]
