"""Adapters of run folders, with models that are functions."""

import contextlib
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import distribution, text
from keras_seq.commands import certified, certified_decoders
from keras_seq.commands.certify import Certify
from keras_seq.inspection.certify import ModelAdapter
from keras_seq.inspection.certify_adapters import plainly
from keras_seq.inspection.sequences import Input, ids, numbers, texts

TOKENS = Input(ids(9), (None,))


@pytest.mark.parametrize(
    ("names", "predicted", "expected"),
    [
        (["target"], np.ones((1, 2)), {"logits": [[1, 1]]}),
        (["tokens"], np.ones((1, 2)), {"outputs": [[1, 1]]}),
        (["tokens"], {"tags": np.ones(1), "scores": np.zeros(1)}, {"tags": [1], "scores": [0]}),
    ],
)
def test_outputs_of_replicas(names, predicted, expected, monkeypatch):
    given = []

    def scope(strategy, replicas):
        given.append((strategy, replicas))
        return contextlib.nullcontext()

    def predict(batch, verbose):
        given.append(batch)
        return predicted

    model = types.SimpleNamespace(predict=predict, input=None, jit_compile=True)
    monkeypatch.setattr(distribution, "scope", scope, raising=False)
    monkeypatch.setattr("keras_seq.tasks.run_folder.load_keras", lambda file: model)
    answers = certified._replicated("best.keras", dict.fromkeys(names, TOKENS), 3)
    found = answers({names[0]: "a batch"})
    assert {name: x.tolist() for name, x in found.items()} == expected
    assert given == [("mirrored", 3), "a batch"] and model.jit_compile is False


def test_a_run_is_compared_with_its_replicas_and_a_recognizer_with_its_exports(monkeypatch):
    exported, asked = object(), []

    def written(model, adapter, place, task):
        asked.append((place.name, task))
        return "an export"

    monkeypatch.setattr(
        certified, "adapter_of_recognizer", lambda *given: (ModelAdapter({"source": TOKENS}, None), exported)
    )
    monkeypatch.setattr(certified, "_replicated", lambda *given: given)
    monkeypatch.setitem(certified.EXPORTED, "saved_model", written)
    task = types.SimpleNamespace(name="transcription", model=types.SimpleNamespace(encode=None), file="best.keras")
    options = Certify(model="run", replicas=3, formats=("saved_model", "ctranslate2"))
    with certified.adapter_of_run(task, options) as (adapter, left_out):
        replicas = ("best.keras", {"source": TOKENS}, 3)
        assert adapter.others == {"3 replicas": replicas, "saved_model": "an export"}
        assert not left_out and asked == [("saved_model", exported)]


def test_a_recognizer_with_attention_answers_with_texts(monkeypatch):
    class Model:
        encode = None

        def _flatten_layers(self):
            return []

        def __call__(self, batch, training):
            return batch["source"][:, :1] + batch["target"]

    class Task(types.SimpleNamespace):
        def __init__(self, model, vocabulary, **options):
            super().__init__(model=model, vocabulary=vocabulary, options=options)

    vocabulary = text.Words(["low", "high"])
    first = vocabulary.pieces(range(vocabulary.size)).index("low")
    asked = []

    def search(model, vocabulary, max_length):
        asked.append(max_length)
        return lambda source: {"tokens": tf.constant([[first, first + 1, vocabulary.end_id]])}

    monkeypatch.setattr(certified_decoders, "_search", search)
    monkeypatch.setattr(certified_decoders, "traced", plainly)
    task = Task(Model(), vocabulary)
    adapter, exported = certified_decoders.adapter_of_recognizer(task, Certify(model="run", max_length=7, longest=40))
    assert asked == [7] and exported.options == {"max_length": 7, "search": "beam"} and exported.model is task.model
    assert (adapter.inputs["source"].shape, adapter.inputs["source"].longest) == ((None,), 40)
    answers = adapter.answers({"source": np.array([[0.5, 1.0]]), "target": np.array([[1.0, 2.0]])})
    assert answers["text"].tolist() == [b"low high"] and answers["logits"].tolist() == [[1.5, 2.5]]


def test_texts_are_no_inputs_of_a_graph():
    inputs = {"tokens": TOKENS, "past": Input(numbers, (None, 2)), "text": Input(texts([b"a"]), ())}
    specs = []

    def twice(batch):
        specs.append({name: (x.dtype.name, x.shape.as_list()) for name, x in batch.items()})
        return 2 * batch["tokens"]

    call = certified_decoders.traced(twice, inputs)
    for steps in (1, 3):
        batch = {"tokens": np.ones((2, steps), "int32"), "past": np.ones((2, 1, 2), "float32"), "text": "a"}
        assert call(batch).numpy().tolist() == [[2] * steps] * 2
    assert specs == [{"tokens": ("int32", [None, None]), "past": ("float32", [None, None, 2])}]  # traced once
