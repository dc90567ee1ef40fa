import importlib

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import export, layers, models, tasks, text
from keras_seq.export import destination, verification
from keras_seq.tasks.signatures import Call, Signature, definitions
from tests.export.conftest import BYTES, TEXTS, cases, loud, vocabulary_of

module = importlib.import_module("keras_seq.export.saved_model")  # `export.saved_model` is the function


FRESH = ("classifier, lstm, words",)
SMALL = {"num_layers": 1, "cell": "rnn", "attention": None, "bidirectional": False}


def a_saved_model(folder):
    old = tf.Module()
    old.number = tf.Variable(1.0)
    tf.saved_model.save(old, str(folder))
    return folder


class Counter(tf.Module):
    """Its `down` is 3 here, and 2 where it was saved."""

    def __init__(self, folder):
        super().__init__()
        self.down = tf.Variable(2)
        tf.saved_model.save(self, str(folder), {"count": self.count})
        self.down.assign(3)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "state"), tf.TensorSpec([], tf.bool, "up")])
    def count(self, state, up):
        return {"state": state + tf.where(up, 1, -self.down), "before": state}


@pytest.mark.parametrize("names", [FRESH, pytest.param((), marks=pytest.mark.long)], ids=["quick", "all"])
def test_one_fresh_process_gives_the_same_for_many_and_finds_what_is_otherwise(names, exports, tmp_path, monkeypatch):
    """Of what is exported here; of what the other tests of this folder look at, too; and at last of a counter that goes
    on with its own results."""
    work = []
    for case in map(exports, names or cases()):
        functions, samples = case.exported.functions, case.task.samples
        calls = case.task.calls(functions, samples if samples is None else samples[:5])
        work.append((case.folder, functions, calls))
    counter = Counter(tmp_path / "counter")
    calls = [
        Call("count", {"state": np.array([1, 5]), "up": np.array(True)}),
        Call("count", {"up": np.array(False)}, goes_on=True),
    ]
    work.append((tmp_path / "counter", {"count": counter.count}, calls))

    def verified(folder, functions, calls, timeout, tolerance):
        told = "For state=2, up=0 `count` returns .*state=-1.* here, and .*state=0.* there"
        with pytest.raises(RuntimeError, match=told):
            verification.verify_all([(folder, functions, calls), *work], timeout, tolerance)

    monkeypatch.setattr(module, "verify_elsewhere", verified)
    vocabulary = vocabulary_of(text.Words)
    model = loud(models.Seq2Seq(vocabulary.size, units=16, **SMALL))
    (tmp_path / "b").mkdir()
    target = a_saved_model(tmp_path / "b" / "a")
    monkeypatch.chdir(tmp_path / "b")
    options = {"num_beams": 2, "num_return": 2, "max_length": 9}
    path = export.saved_model(
        tasks.Translation(model, vocabulary, **options), "a", samples=[*TEXTS[:3], *BYTES, "a " * 600]
    )
    assert path.resolve() == target and [p.name for p in target.parent.iterdir()] == ["a"]
    found = tf.saved_model.load(str(path)).signatures["translate"](text=tf.constant(TEXTS))
    assert found["score"].shape == (len(TEXTS), 2)


def test_only_the_weights_go_along(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dropout(0.1)(keras.layers.Dense(2)(inputs)))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)
    path = export.saved_model(tasks.Tensors(model), tmp_path / "a", verify=False)
    saved = [shape for name, shape in tf.train.list_variables(str(path / "variables" / "variables")) if shape]
    assert sum(np.prod(shape) for shape in saved) == model.count_params()


def test_no_trace_takes_kernels_that_only_a_gpu_has(tmp_path, monkeypatch):
    inputs, seen, call = keras.Input((None, 2)), [], keras.layers.LSTM.call
    model = keras.Model(inputs, keras.layers.LSTM(3)(inputs))

    def watched(self, sequences, initial_state=None, mask=None, training=False):
        seen.append(self.use_cudnn)
        return call(self, sequences, initial_state, mask, training)

    class Task:
        name, folder, resources = "double", None, ()

        def exported_model(self):
            return model

        def signatures(self):
            one = Signature(lambda x: {"y": model(x)}, {"x": tf.TensorSpec([None, None, 2])})
            other = one._replace(inputs={"x": tf.TensorSpec([1, 1, 2])}, defaults={"x": [[[0.0, 0.0]]]})
            return {"one": one, "other": other}

    monkeypatch.setattr(keras.layers.LSTM, "call", watched)
    export.saved_model(Task(), tmp_path / "a", verify=False)
    assert seen == [False, False] and model.layers[1].use_cudnn == "auto"
    loaded = tf.saved_model.load(str(tmp_path / "a"))
    assert set(loaded.signatures) == {"one", "other", "serving_default"}
    np.testing.assert_allclose(loaded.other()["y"], model(np.zeros((1, 1, 2))), atol=1e-6)
    defaults = {name: sorted(x.defaults) for name, x in definitions(tmp_path / "a").items() if x.inputs}
    assert defaults == {"one": [], "other": ["x"], "serving_default": []}


@pytest.mark.parametrize("where", ["save", "verify"])
def test_what_fails_or_is_interrupted_leaves_the_old_one(where, tmp_path, monkeypatch):
    old, inputs = a_saved_model(tmp_path / "a"), keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(*{"save": (tf.saved_model, "save"), "verify": (module, "verify_elsewhere")}[where], interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.saved_model(tasks.Tensors(model), old)
    assert tf.saved_model.load(str(old)).number.numpy() == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_rename_that_fails_leaves_the_old_one(tmp_path):
    old = a_saved_model(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        destination.swap(old, tmp_path / "missing", tmp_path / "aside")
    assert tf.saved_model.load(str(old)).number.numpy() == 1.0


def test_what_is_not_a_saved_model_is_left_alone(tmp_path):
    file, folder, mixed = tmp_path / "file", tmp_path / "folder", a_saved_model(tmp_path / "mixed")
    folder.mkdir()
    for path in (file, folder / "thesis.txt", mixed / "notes.txt"):
        path.write_text("mine")
    for path, message in (
        (file, "is a file"),
        (folder, "not a SavedModel and holds thesis.txt"),
        (mixed, "also notes.txt"),
    ):
        with pytest.raises(ValueError, match=message):
            export.saved_model(None, path)
    with pytest.raises(ValueError, match="overwrite=True"):
        export.saved_model(None, a_saved_model(tmp_path / "b"), overwrite=False)
    assert (folder / "thesis.txt").read_text() == (mixed / "notes.txt").read_text() == file.read_text() == "mine"


def test_a_stateful_layer_goes_on_from_call_to_call(tmp_path):
    inputs = keras.Input(batch_shape=(2, 5, 3))
    model = keras.Model(inputs, layers.LSTM(4, stateful=True)(inputs))
    chunks = np.random.default_rng(0).normal(size=(2, 2, 5, 3)).astype("float32")
    path = export.saved_model(tasks.Tensors(model), tmp_path / "a", verify=False)
    serve = tf.saved_model.load(str(path)).signatures["serve"]
    _, found = [serve(inputs=tf.constant(chunk))["outputs"].numpy() for chunk in chunks]
    whole = layers.LSTM(4)
    whole.build((2, 10, 3))
    whole.set_weights(model.layers[-1].get_weights()[:3])
    np.testing.assert_allclose(found, whole(np.concatenate(list(chunks), axis=1)), atol=1e-6)


def test_another_backend_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="A SavedModel needs Keras's TensorFlow backend. Received: 'jax'"):
        export.saved_model(None, tmp_path / "a")


def test_a_rename_that_fails_where_nothing_was_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        destination.swap(tmp_path / "a", tmp_path / "missing", tmp_path / "old")
    assert not list(tmp_path.iterdir())
