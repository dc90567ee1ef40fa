import importlib
import importlib.util
import pathlib

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras_seq.export needs TensorFlow", allow_module_level=True)
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

from keras_seq import export, layers, models  # noqa: E402, tests without the packages end above
from tests.export.test_litert import FORWARD, IDS, V, built, changed, dense  # noqa: E402
from tests.reference import quick  # noqa: E402

module = importlib.import_module("keras_seq.export.onnx")  # `export.onnx` is the function


# Why, the models that tf2onnx or onnxruntime have no operations for.
WITHOUT = {
    **dict.fromkeys([name for name in FORWARD if "recognizer" in name or "hears" in name], "No Op registered for RFFT"),
    "forecaster, transformer": "No Op registered for Erfc",
    "tagger, gru, n-grams, crf": "No Op registered for BitwiseXor",
}


@pytest.mark.parametrize(
    "name",
    quick([name for name in FORWARD if name not in WITHOUT], few=["language model, lstm", "classifier, feedforward"]),
)
def test_the_file_computes_what_the_model_computes(name, tmp_path):
    model, example = built(name)
    path = export.onnx(model, tmp_path / "new" / "a.onnx", example)
    session = onnxruntime.InferenceSession(str(path))
    names = [x.name for x in session.get_outputs()]
    other = keras.tree.map_structure(lambda x: changed(x, 3, x.shape[1] - 2), example)
    feed = {f"args_0_{key}": x for key, x in other.items()} if isinstance(other, dict) else {"args_0": other}
    assert {x.name for x in session.get_inputs()} == set(feed)
    found, expected = dict(zip(names, session.run(None, feed), strict=True)), model(other)
    for key, y in (expected if isinstance(expected, dict) else {names[0]: expected}).items():
        np.testing.assert_allclose(found[key], y, atol=1e-4)
    assert [p.name for p in path.parent.iterdir()] == ["a.onnx"]


@pytest.mark.long
@pytest.mark.parametrize("name", WITHOUT)
def test_what_onnxruntime_has_not_is_an_error_that_says_so(name, tmp_path):
    model, example = built(name)
    with pytest.raises(RuntimeError, match=f"onnxruntime cannot load the file: .*{WITHOUT[name]}"):
        export.onnx(model, tmp_path / "a.onnx", example)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_best_path_of_a_crf_is_beyond_tf2onnx(tmp_path):
    model = models.best_tags(models.tagger(V, 4, crf=True, units=8))
    with pytest.raises(
        RuntimeError, match="tf2onnx cannot express .* failure: Cannot find node with output 'best_tagger"
    ):
        export.onnx(model, tmp_path / "a.onnx", IDS)


def test_a_file_that_does_not_run_is_found_out(tmp_path):
    """As those of Transformers with free length, where never trained: see docs/export.md."""
    model, example = dense()
    content = export.onnx(model, tmp_path / "a.onnx", example, free_length=False).read_bytes()
    with pytest.raises(RuntimeError, match="(?s)onnxruntime cannot run.*Expected: 6.*Try `free_length=False`"):
        module._verify(content, model, example, keras.tree.map_structure(lambda x: True, example))


def test_what_computes_otherwise_is_found_out(tmp_path, monkeypatch):
    model, example = dense()
    path = export.onnx(model, tmp_path / "a.onnx", example, free_length=False)
    content = path.read_bytes()
    model.weights[-1].assign(model.weights[-1] + 1e-3)
    with pytest.raises(
        RuntimeError, match=r"onnxruntime computes other results: its 'outputs' .* differs by up to 0.001"
    ):
        module._verify(content, model, example, False)


def test_paths_and_missing_packages(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must end in '.onnx'"):
        export.onnx(None, tmp_path / "a", IDS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs the package tf2onnx: pip install "keras-seq\[onnx\]"'):
        export.onnx(None, tmp_path / "a.onnx", IDS)


@pytest.mark.parametrize("free_length", [True, False])
def test_inputs_in_a_list(free_length, tmp_path):
    """A series of any length, and a vector beside it whose width is none."""
    series, beside = keras.Input((None, 3), name="series"), keras.Input((2,), name="beside")
    model = keras.Model([series, beside], keras.layers.Concatenate()([layers.SimpleRNN(4)(series), beside]))
    random = np.random.default_rng(0)
    example = [random.normal(size=(2, 5, 3)).astype("float32"), random.normal(size=(2, 2)).astype("float32")]
    path = export.onnx(model, tmp_path / "a.onnx", example, free_length=free_length)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    longer = [np.concatenate([example[0]] * 2, axis=1), example[1]] if free_length else example
    names = sorted((x.name for x in session.get_inputs()), key=lambda name: (len(name), name))
    (found,) = session.run(None, dict(zip(names, longer, strict=True)))
    np.testing.assert_allclose(found, model(longer), atol=1e-5)


def test_a_length_that_a_sequential_model_tells(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    model = keras.Sequential([keras.Input((5, 3)), layers.GRU(4)])
    session = onnxruntime.InferenceSession(str(export.onnx(model, tmp_path / "a.onnx", x)))
    (given,) = session.get_inputs()
    assert given.shape[1:] == [5, 3]
    np.testing.assert_allclose(session.run(None, {given.name: x[:1]})[0], model(x[:1]), atol=1e-5)


def test_a_state_that_is_carried_is_refused(tmp_path):
    x = keras.Input(batch_shape=(2, 5, 3))
    model = keras.Model(x, layers.LSTM(4, stateful=True, name="goes_on")(x))
    with pytest.raises(ValueError, match="'goes_on' has `stateful=True`"):
        export.onnx(model, tmp_path / "a.onnx", np.zeros((2, 5, 3), "float32"))


def test_another_backend_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="An ONNX file needs Keras's TensorFlow backend here. Received: 'jax'"):
        export.onnx(None, tmp_path / "a.onnx", IDS)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("[NotImplemented] : Could not find: No Op registered for Erfc with version 1", "No Op registered for Erfc"),
        ("\n first. \nsecond", "first"),
        (400 * "x", 300 * "x"),
        ("", "ValueError"),
    ],
)
def test_what_is_told_of_a_long_error(message, line):
    assert module._first_line(ValueError(message)) == line


@pytest.mark.parametrize(
    ("free_length", "shapes"), [(True, [(None, None, 3), (None, None)]), (False, [(None, 5, 3), (None, 5)])]
)
def test_axes_of_a_model_that_does_not_describe_its_inputs(free_length, shapes):
    example = [np.zeros((2, 5, 3)), np.zeros((2, 5))]
    assert module._shapes(object(), example, free_length) == shapes


def test_a_file_that_is_not_compared(tmp_path, monkeypatch):
    model, example = dense()
    calls = []

    def written(path, **options):
        calls.append(options)
        pathlib.Path(path).write_bytes(b"no model")

    monkeypatch.setattr(model, "export", written)
    path = export.onnx(model, tmp_path / "a.onnx", example, verify=False, opset=17)
    assert path.read_bytes() == b"no model"
    ((spec,),) = [options["input_signature"] for options in calls]
    assert (spec.shape.as_list(), calls[0]["opset_version"], calls[0]["format"]) == ([None, 6], 17, "onnx")
    with pytest.raises(
        RuntimeError, match="onnxruntime cannot load the file: .*Export a part of the model without that"
    ):
        export.onnx(model, tmp_path / "b.onnx", example)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_what_tf2onnx_cannot_express_is_told(tmp_path, monkeypatch):
    def fails(path, **options):
        raise KeyError("No Op registered for RFFT")

    model, example = dense()
    monkeypatch.setattr(model, "export", fails)
    with pytest.raises(
        RuntimeError, match="tf2onnx cannot express this model: No Op registered for RFFT. Export a part"
    ):
        export.onnx(model, tmp_path / "a.onnx", example)
    assert not list(tmp_path.iterdir())
