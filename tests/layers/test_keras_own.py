"""Keras's own tests of its recurrent layers, as installed, with our layers put in the place of Keras's."""

import importlib.util
import pathlib
import types

import keras
import pytest

from keras_seq.layers import GRU, LSTM, SimpleRNN

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fast loop is TensorFlow's: elsewhere ours are Keras's own"
)
FOLDER = pathlib.Path(keras.__file__).parent / "src" / "layers" / "rnn"
OURS = {"SimpleRNN": SimpleRNN, "GRU": GRU, "LSTM": LSTM}


def classes_of(name):
    """The test classes of one of Keras's files, which finds our layers in its `layers`."""
    path = FOLDER / f"{name}_test.py"
    if not path.exists():
        pytest.skip(f"this Keras comes without {path.name}", allow_module_level=True)
    spec = importlib.util.spec_from_file_location(f"keras_own_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.layers = types.SimpleNamespace(**{**vars(module.layers), **OURS})
    return {found: value for found, value in vars(module).items() if isinstance(value, type) and "Test" in found}


for _name in ("simple_rnn", "lstm", "gru", "bidirectional"):
    globals().update({f"{_name}_{found}": value for found, value in classes_of(_name).items() if found != "TestCase"})
