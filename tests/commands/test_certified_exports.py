"""Batches for exported models, with onnxruntime replaced."""

import sys
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq.commands import certified_exports
from keras_seq.inspection.certify import ModelAdapter
from keras_seq.inspection.sequences import Input, ids, numbers


def model_with(**parts):
    return types.SimpleNamespace(**parts)


@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        (model_with(encode=None), {"source": 1, "target": 2, "text": 3}, {"source": 1, "target": 2}),
        (model_with(), {"source": 1, "target": 2, "text": 3}, 2),
        (model_with(input={"words": 0, "characters": 0}), {"words": 1, "characters": 2}, {"words": 1, "characters": 2}),
        (model_with(input=0), {"tokens": 1}, 1),
    ],
)
def test_a_model_gets_the_inputs_that_it_takes(model, batch, expected):
    assert certified_exports.called_with(model, batch) == expected


class Model:
    """Scores `10 words + characters`, or of one input."""

    def __init__(self, names):
        self.input = dict.fromkeys(names) if len(names) > 1 else None

    def __call__(self, x, training):
        assert training is False
        return {"b": 10 * x["words"], "a": x["words"] + x["characters"]} if self.input else 10 * x


@pytest.fixture
def runtime(monkeypatch):
    """Replaces the export and onnxruntime. Returns the session, whose names and function a test sets."""
    session = types.SimpleNamespace(names=["x"], run=None, options=None)

    class Session:
        def __init__(self, content, options, providers):
            assert content == b"a file" and providers == ["CPUExecutionProvider"]
            session.options = options

        def get_inputs(self):
            return [types.SimpleNamespace(name=name) for name in session.names]

        def run(self, outputs, inputs):
            assert outputs is None
            return session.run(**inputs)

    def write(model, path, example, verify):
        assert path.suffix == ".onnx" and verify is False
        session.example = example
        path.write_bytes(b"a file")
        return path

    library = types.SimpleNamespace(SessionOptions=types.SimpleNamespace, InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    monkeypatch.setattr("keras_seq.export.onnx", write)
    return session


def test_inputs_and_outputs_of_an_onnx_file_are_matched_by_their_order(runtime, tmp_path):
    runtime.names = ["in_b", "in_a"]  # of the words and of the characters
    runtime.run = lambda in_a, in_b: [in_a + in_b, 10 * in_b]
    inputs = {"words": Input(ids(9), (None,)), "characters": Input(ids(9), (None,), like="words")}
    model = Model(["words", "characters"])
    answers = certified_exports.onnx(model, ModelAdapter(inputs, None), tmp_path / "a", None)
    assert {name: x.shape for name, x in runtime.example.items()} == {"words": (2, 14), "characters": (2, 14)}
    assert runtime.options.log_severity_level == 4
    found = answers({"words": np.array([[1, 2]]), "characters": np.array([[3, 4]])})
    assert {name: x.tolist() for name, x in found.items()} == {"a": [[4, 6]], "b": [[10, 20]]}


def test_a_decoder_has_logits(runtime, tmp_path):
    runtime.run = lambda x: [x + 1]
    inputs = {"source": Input(ids(9), (None,)), "target": Input(numbers, (3,))}
    answers = certified_exports.onnx(Model(["target"]), ModelAdapter(inputs, None), tmp_path / "a", None)
    assert runtime.example.shape == (2, 3)
    assert answers({"target": np.array([1.0])}) == {"logits": 2.0}


def test_an_onnx_file_that_does_not_run(runtime, tmp_path):
    def run(x):
        raise OSError("no kernel")

    runtime.run = run
    adapter = ModelAdapter({"x": Input(numbers, (3,))}, None)
    with pytest.raises(RuntimeError, match="onnxruntime cannot run the ONNX file of this model: no kernel"):
        certified_exports.onnx(Model(["x"]), adapter, tmp_path / "a", None)
