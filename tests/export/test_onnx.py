import importlib
import importlib.util

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras_seq.export needs TensorFlow", allow_module_level=True)
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

from keras_seq import export  # noqa: E402, tests without the packages end above
from tests.export.test_litert import FORWARD, IDS, V, cases, mapping, stack  # noqa: E402

module = importlib.import_module("keras_seq.export.onnx")  # `export.onnx` is the function


def changed(x, rows, shorter):
    """Other numbers of another shape."""
    rng = np.random.default_rng(1)
    shape = (rows, x.shape[1] - shorter, *x.shape[2:])
    return rng.normal(size=shape).astype("float32") if x.ndim == 3 else rng.integers(4, V, shape, "int32")


@pytest.mark.parametrize("name", cases(FORWARD))
def test_the_file_computes_what_the_model_computes(name, tmp_path):
    model, example = FORWARD[name]()
    path = export.onnx(model, tmp_path / "new" / "a.onnx", example)
    session = onnxruntime.InferenceSession(str(path))
    names = {x.name for x in session.get_inputs()}
    assert names == ({"args_0_source", "args_0_target"} if isinstance(example, dict) else {"args_0"})
    other = keras.tree.map_structure(lambda x: changed(x, rows=3, shorter=2), example)
    feed = {f"args_0_{key}": x for key, x in other.items()} if isinstance(other, dict) else {"args_0": other}
    (found,) = session.run(None, feed)
    np.testing.assert_allclose(found, model(other), atol=1e-4)
    assert [p.name for p in path.parent.iterdir()] == ["a.onnx"]


def test_a_file_that_does_not_run_is_found_out(tmp_path):
    """As those of Transformers with free length, where never trained: see docs/export.md."""
    model, example = FORWARD["classifier, lstm"]()
    content = export.onnx(model, tmp_path / "a.onnx", example, free_length=False).read_bytes()
    with pytest.raises(RuntimeError, match="(?s)onnxruntime cannot run.*Expected: 6.*Try `free_length=False`"):
        module._verify(content, model, example, free_length=True)


def test_what_computes_otherwise_is_found_out(tmp_path, monkeypatch):
    model = mapping(stack("rnn"))
    path = export.onnx(model, tmp_path / "a.onnx", IDS, free_length=False)
    content = path.read_bytes()
    model.weights[-1].assign(model.weights[-1] + 1e-3)
    with pytest.raises(RuntimeError, match=r"onnxruntime computes otherwise: its 'outputs' .* is up to 0.001"):
        module._verify(content, model, IDS, False)


def test_paths_and_missing_packages(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must end in '.onnx'"):
        export.onnx(None, tmp_path / "a", IDS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs the package tf2onnx: pip install "keras-seq\[onnx\]"'):
        export.onnx(None, tmp_path / "a.onnx", IDS)
