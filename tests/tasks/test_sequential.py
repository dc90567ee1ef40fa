"""Tasks of `keras.Sequential` models, as users build them."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import keras_seq
from keras_seq import data, layers, tasks, text
from keras_seq.training import Run

WORDS = text.Words.train(["a b c", "b c a"])


def scored(**options):
    words = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(WORDS.size, 4, mask_zero=True)]
    return keras.Sequential([*words, layers.LSTM(4, **options), keras.layers.Dense(2)])


def test_a_classifier():
    model = scored()
    task = tasks.Classification(model, WORDS, ["no", "yes"], add_end=False)
    for string, found in zip(["a b", "c"], task(["a b", "c"]), strict=True):
        best = np.argmax(model(WORDS.tokenize([string]).to_tensor())[0])
        assert found == ["no", "yes"][best]


def test_a_tagger_is_kept_and_opened(tmp_path):
    task = tasks.Tagging(scored(return_sequences=True), WORDS, ["x", "y"])
    found = task(["a b", "c"])
    assert [len(row) for row in found] == [2, 1]
    task.save(Run(tmp_path / "run", {}))
    assert keras_seq.load(tmp_path / "run")(["a b", "c"]) == found


def test_tensors_without_an_example():
    model = keras.Sequential([keras.Input((5, 3)), layers.GRU(4)])
    x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_allclose(tasks.Tensors(model)(list(x)), model(x), atol=1e-6)


def test_a_forecaster():
    steps = [layers.GRU(4), keras.layers.Dense(2), keras.layers.Reshape((2, 1))]
    model = keras.Sequential([keras.Input((6, 1)), *steps])
    task = tasks.Forecasting(model, data.Scaler([3.0], [2.0], ["a"]), look_back=6)
    past = np.arange(6.0, dtype="float32")[:, None]
    np.testing.assert_allclose(task(past), np.array(model((past[None] - 3) / 2))[0] * 2 + 3, atol=1e-5)
