"""Searches give the same with caches that grow as with caches for all steps, and attend to what there is alone."""

import keras
import numpy as np
import pytest

from keras_seq import decoding
from keras_seq.decoding import Ensemble, PromptedModel, growing_caches
from keras_seq.layers import TransformerStack
from keras_seq.models import LanguageModel, Transformer
from tests.decoding.test_ensemble import varied
from tests.models.cases import IDS, PAD, SOURCE, V
from tests.reference import arrays, in_graph, quick, tensorflow_only

pytestmark = tensorflow_only("elsewhere the tensors of a loop have one size")
OPTIONS = {"units": 4, "num_heads": 2, "num_layers": 2, "dropout": 0.0}
SEARCHES = {
    "greedy": {"search": "greedy"},
    "beam": {"search": "beam", "num_beams": 3, "num_return": 2},
    "groups": {"search": "beam", "num_beams": 4, "num_groups": 2, "num_return": 2},
    "coverage": {"search": "beam", "num_beams": 3, "coverage_penalty": 0.2},
    "sampling": {"search": "sampling", "seed": 3},
    "contrastive": {"search": "contrastive", "top_k": 3},
}


def language_model(phase=0):
    return varied(LanguageModel(V, TransformerStack(**OPTIONS, positions="rotary")), phase)


MODELS = {
    "translator": lambda: varied(Transformer(V, **OPTIONS, num_key_value_heads=1), 0),
    "language model": lambda: PromptedModel(language_model(), PAD),
    "ensemble": lambda: PromptedModel(Ensemble([language_model(1), language_model(2)]), PAD),
}
CASES = [(model, search) for model in MODELS for search in SEARCHES if (model, search) != ("ensemble", "coverage")]
CASES = [case for case in CASES if case != ("language model", "coverage")]


@pytest.mark.parametrize(
    ("model", "search"),
    quick(CASES, few=[("translator", "beam"), ("language model", "sampling"), ("ensemble", "contrastive")]),
)
def test_the_results_are_those_with_room_for_all_steps(model, search, monkeypatch):
    built = MODELS[model]()

    def found(first_steps):
        monkeypatch.setattr(growing_caches, "FIRST_STEPS", first_steps)
        run = in_graph(lambda source: decoding.search(built, source, max_length=13, **IDS, **SEARCHES[search]))
        return arrays(run(SOURCE))

    for growing, whole in zip(found(2), found(99), strict=True):
        np.testing.assert_allclose(growing, whole, rtol=1e-5)


class Watched:
    """A model that notes the length of its caches at each step."""

    shares_memory = True

    def __init__(self, model):
        self._model, self.encode, self.lengths = model, model.encode, []

    def decode(self, tokens, state):
        self.lengths.append(int(state["caches"][0]["keys"].shape[2]))
        return self._model.decode(tokens, state)


def test_a_step_sees_at_most_twice_as_many_steps_as_there_are(monkeypatch):
    monkeypatch.setattr(growing_caches, "FIRST_STEPS", 2)
    model = Watched(MODELS["translator"]())
    no_end = decoding.MinLength(11)
    decoding.search(model, SOURCE, max_length=11, constraints=[no_end], search="greedy", **IDS)
    assert model.lengths == [2, 2, 4, 4, 8, 8, 8, 8, 11, 11, 11]


def test_prompts_of_different_lengths_leave_room_for_the_longest(monkeypatch):
    monkeypatch.setattr(growing_caches, "FIRST_STEPS", 2)
    model, lengths = language_model(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda tokens, state: lengths.append(_length(state)) or decode(tokens, state))
    prompts = np.array([[5, 6, 7, 8, 4], [5, PAD, PAD, PAD, PAD]], "int32")
    decoding.search(PromptedModel(model, PAD), prompts, max_length=6, constraints=[decoding.MinLength(6)], **IDS)
    assert lengths[0] == 12 and lengths[1:] == [6, 6, 12, 12, 12, 12]  # the prompts, then 4 steps and those to come


def _length(state):
    return int(state["backbone"]["caches"][0]["keys"].shape[2])


def test_code_that_xla_compiles_keeps_its_sizes():
    import tensorflow as tf

    state = {"position": tf.zeros((2,), "int32"), "caches": [{"keys": tf.zeros((2, 1, 40, 4))}]}
    seen = []

    def cut():
        seen.append(growing_caches.GrowingCaches(state).cut(state)["caches"][0]["keys"].shape[2])
        return state["position"]

    tf.function(cut, jit_compile=True)()
    tf.function(cut)()
    assert seen == [40, None]


def test_a_state_without_caches_is_left_alone():
    state = {"h": keras.ops.zeros((2, 3)), "members": [{"position": keras.ops.zeros((2,), "int32"), "parts": None}]}
    caches = growing_caches.GrowingCaches(state)
    assert caches.cut(state) is state and caches.grown(state) is state


def test_an_empty_batch_has_no_hypotheses():
    found = decoding.search(MODELS["translator"](), SOURCE[:0], max_length=30, search="beam", **IDS)
    assert tuple(found.tokens.shape) == (0, 1, 30)
