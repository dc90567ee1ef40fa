import json
import sys

import keras
import numpy as np
import pytest

from keras_seq import training

LAYER = """
import keras

@keras.saving.register_keras_serializable("tests")
class LogOfLayer(keras.layers.Layer):
    def call(self, x):
        return keras.ops.log(x)
"""


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The error of a run that fails in its third step, in a layer of the module `own_layers` in the run's folder."""
    folder = tmp_path_factory.mktemp("failed")
    (folder / "own_layers.py").write_text(LAYER)
    sys.path.insert(0, str(folder))
    import own_layers

    sys.path.remove(str(folder))
    x = np.ones((12, 2), "float32")
    x[9, 1] = 0
    inputs = {"x": keras.Input((2,), name="x")}
    outputs = keras.layers.Dense(1, name="last")(own_layers.LogOfLayer(name="logarithm")(inputs["x"]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    with pytest.raises(training.NotFiniteError) as raised:
        monitor = training.GradientMonitor(folder)
        model.fit({"x": x}, x[:, :1], batch_size=4, shuffle=False, verbose=0, callbacks=[monitor])
    del sys.modules["own_layers"], keras.saving.get_custom_objects()["tests>LogOfLayer"]
    return raised.value


def test_a_step_is_replayed(failed, keras_seq, monkeypatch):
    monkeypatch.chdir(failed.path.parent)
    result = keras_seq("replay", failed.path, "--import", "own_layers")
    assert result.code == 1, result.err
    assert result.lines[0] == f"Step 3 of {failed.path}, a batch of 4 rows"
    assert result.lines[1].startswith("The first Inf is in the output of operation Log in layer logarithm (LogOfLayer)")
    assert "own_layers.py:7, in call" in result.out and "Learning rate 0.1" in result.out
    again = keras_seq("replay", failed.path / "batch.npz", "--import", "own_layers", "--json")
    record = json.loads(again.out)
    assert record["step"] == 3 and record["origin"]["layer"] == "logarithm" and record["loss"] is None
    assert record["norms"]["gradient"].keys() == {"last"}
    assert again.code == 1


def test_the_message_of_fit_names_the_same_place_and_the_command(failed):
    told = str(failed).splitlines()
    assert told[0].startswith("Training stopped at step 3: ") and "layer logarithm (LogOfLayer)" in told[1]
    assert told[-1] == f"  Saved with the weights before the step: keras-seq replay {failed.path}"


def test_a_step_without_fault_and_wrong_paths(keras_seq, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    strings = np.array([b"a", b"bc"], object)  # an input that the model does not read
    batch = np.ones((2, 2), "float32"), np.ones((2, 1), "float32"), np.ones(2, "float32")
    path = training.save_step(tmp_path, model, batch, 7, {})
    result = keras_seq("replay", path)
    assert result.code == 0 and result.lines[1].startswith("The step is finite: the loss is "), result.err
    assert "is not the name of a module" in keras_seq("replay", path, "--import", "..").err
    assert "No module named 'no_such_module'" in keras_seq("replay", path, "--import", "no_such_module").err
    missing = keras_seq("replay", tmp_path)
    assert missing.code == 2 and f"{tmp_path} has no model.keras. Name a folder nan-step-N" in missing.err
    (path / "batch.npz").write_bytes((path / "batch.npz").read_bytes()[:200])
    damaged = keras_seq("replay", path)
    assert damaged.code == 2 and "batch.npz or step.json beside it is damaged" in damaged.err
    nest = {"inputs": [{"b": strings, "a": batch[0]}, None]}, batch[1]
    step = training.load_step(training.save_step(tmp_path, model, nest, 8, {}))
    assert step.batch[0]["inputs"][1] is None and step.batch[0]["inputs"][0]["b"].tolist() == [b"a", b"bc"]
    assert list(step.batch[0]["inputs"][0]) == ["b", "a"] and isinstance(step.batch, tuple)


def test_a_class_that_is_missing(failed, keras_seq):
    keras.saving.get_custom_objects().pop("tests>LogOfLayer", None)
    sys.modules.pop("own_layers", None)
    result = keras_seq("replay", failed.path)
    assert result.code == 2 and "needs LogOfLayer" in result.err and "--import own_layers" in result.err, result.err
