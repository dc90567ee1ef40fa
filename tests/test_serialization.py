"""`import keras_seq` alone lets Keras load models of our classes, and imports neither Keras nor TensorFlow."""

import importlib
import json
import os
import pathlib
import pkgutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_seq
from keras_seq import layers, losses, metrics, models, optimizers, schedules, serialization
from keras_seq.layers.recurrent_stack import registered_class

# Modules that register no class, and that import what is not always there.
WITHOUT_CLASSES = ("commands", "experiment", "recipes", "__main__", "cli", "lazy", "series_options")


def registered_here():
    """The registered names of all classes of the package, its modules imported."""
    for module in pkgutil.walk_packages(keras_seq.__path__, "keras_seq."):
        if module.name.split(".")[1] not in WITHOUT_CLASSES:
            importlib.import_module(module.name)
    return {name: one for name, one in keras.saving.get_custom_objects().items() if name.startswith("keras_seq>")}


def test_the_table_of_names_is_complete():
    in_table = {f"keras_seq>{name}" for names in serialization.CLASSES.values() for name in names.split()}
    registered = registered_here()
    assert in_table == set(registered)
    assert not [name for name, one in registered.items() if not hasattr(one, "get_config")], "a stand-in was left"


def test_each_name_is_in_the_module_of_the_table():
    registered = registered_here()
    for module, names in serialization.CLASSES.items():
        for name in names.split():
            assert registered[f"keras_seq>{name}"].__module__.startswith(f"keras_seq.{module}"), name
            assert registered[f"keras_seq>{name}"].__name__ == name


def save_models(folder):
    """Models of layers, losses, metrics, optimizers, schedules and classes of all kinds, with what they predict."""
    tokens = keras.Input((None,), dtype="int32")
    x = layers.TokenEmbedding(8, 4)(tokens)
    x, _ = layers.RecurrentStack(layers.MinGRU, 4)(x)  # a cell that is named by its registered name
    outputs = keras.layers.Dense(3)(layers.AttentionPooling()(x))
    classifier = keras.Model(tokens, outputs)
    rate = schedules.InverseSquareRoot(0.01, 10)
    classifier.compile(
        optimizers.Adam(rate), losses.TokenCrossentropy(label_smoothing=0.1), weighted_metrics=[metrics.TokenAccuracy()]
    )
    classifier.save(folder / "classifier.keras")
    translator = models.Seq2Seq(8, units=4, cell="gru", attention="additive")
    batch = {"source": np.array([[4, 5, 3]]), "target": np.array([[2, 6]])}
    logits = translator(batch)
    translator.save(folder / "translator.keras")
    np.savez(folder / "expected.npz", classifier=classifier(batch["source"]), translator=logits)


PROGRAM = """
import json, sys
import keras_seq
assert "keras" not in sys.modules and "tensorflow" not in sys.modules
if {keras_first}:
    import keras
    sys.modules.pop("keras_seq"), sys.modules.pop("keras_seq.serialization")
    import keras_seq
import keras, numpy as np
assert not [name for name in sys.modules if name.startswith("keras_seq.layers")]
folder = {folder!r}
expected = np.load(folder + "/expected.npz")
classifier = keras.models.load_model(folder + "/classifier.keras")
translator = keras.models.load_model(folder + "/translator.keras")
batch = dict(source=np.array([[4, 5, 3]]), target=np.array([[2, 6]]))
np.testing.assert_allclose(classifier(batch["source"]), expected["classifier"], atol=1e-6)
np.testing.assert_allclose(translator(batch), expected["translator"], atol=1e-6)
parts = [classifier, classifier.optimizer, classifier.optimizer._learning_rate, classifier.loss, translator]
print(json.dumps([type(part).__module__ for part in parts]))
"""


@pytest.mark.long
@pytest.mark.parametrize("keras_first", [False, True])
def test_a_fresh_process_loads_models_after_import_keras_seq(made_once, keras_first):
    folder = made_once("keras_files", save_models)
    program = PROGRAM.format(folder=str(folder), keras_first=keras_first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "keras.src.models.functional",
        "keras_seq.optimizers",
        "keras_seq.schedules",
        "keras_seq.losses",
        "keras_seq.models.seq2seq",
    ]


@pytest.mark.long
def test_without_import_keras_seq_the_error_is_that_of_keras(made_once):
    folder = made_once("keras_files", save_models)
    program = f"import keras; keras.models.load_model({str(folder / 'classifier.keras')!r})"
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(keras_seq.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode and "Could not locate class 'TokenEmbedding'" in done.stderr


def test_a_stand_in_gives_instances_of_the_class():
    stand_in = serialization._stand_in("keras_seq.layers", "MinGRU")
    assert type(stand_in(3)) is layers.MinGRU and stand_in(3).units == 3
    assert type(stand_in.from_config(layers.MinGRU(3).get_config())) is layers.MinGRU


def test_within_a_scope_of_stand_ins_a_stack_finds_the_class():
    stand_in = serialization._stand_in("keras_seq.layers", "MinGRU")
    with keras.saving.custom_object_scope({"keras_seq>MinGRU": stand_in}):
        assert registered_class("keras_seq>MinGRU") is layers.MinGRU


def test_keras_looks_for_other_modules_as_before():
    assert serialization._KerasFinder().find_spec("keras_seq", None) is None
