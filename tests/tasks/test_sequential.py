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
SOUND = np.random.default_rng(1).normal(size=2000).astype("float32")
SCALER = data.Scaler([3.0], [2.0], ["a"])


def scored(**options):
    words = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(WORDS.size, 4, mask_zero=True)]
    return keras.Sequential([*words, layers.LSTM(4, **options), keras.layers.Dense(2)])


def forecasts():
    steps = [layers.GRU(4), keras.layers.Dense(2), keras.layers.Reshape((2, 1))]
    return keras.Sequential([keras.Input((6, 1)), *steps])


def heard():
    steps = [layers.LogMel(8000, num_mel_bins=8), layers.GRU(4, return_sequences=True), keras.layers.Dense(WORDS.size)]
    return keras.Sequential([keras.Input((None,)), *steps])


def test_a_classifier():
    model = scored()
    task = tasks.Classification(model, WORDS, ["no", "yes"], add_end=False)
    for string, found in zip(["a b", "c"], task(["a b", "c"]), strict=True):
        best = np.argmax(model(WORDS.tokenize([string]).to_tensor())[0])
        assert found == ["no", "yes"][best]


def test_a_tagger():
    model = scored(return_sequences=True)
    ((first, second),) = np.argmax(model(WORDS.tokenize(["a b"]).to_tensor()), axis=-1)
    assert tasks.Tagging(model, WORDS, ["x", "y"])("a b") == ["xy"[first], "xy"[second]]


def test_a_classifier_of_sounds():
    model = keras.Sequential(
        [keras.Input((None,)), keras.layers.Reshape((-1, 1)), layers.GRU(4), keras.layers.Dense(2)]
    )
    sound = np.random.default_rng(1).normal(size=40).astype("float32")
    best = np.argmax(model(sound[None])[0])
    assert tasks.Classification(model, None, ["no", "yes"])(sound) == ["no", "yes"][best]


@pytest.mark.parametrize("kind", ["tagging", "classification", "forecasting", "tensors", "transcription"])
def test_a_run_that_has_saved_it_is_opened(kind, tmp_path):
    """Training saves the model itself, not the functional one of the task."""
    model, task, given = {
        "tagging": lambda: (m := scored(return_sequences=True), tasks.Tagging(m, WORDS, ["x", "y"]), ["a b", "b c"]),
        "classification": lambda: (m := scored(), tasks.Classification(m, WORDS, ["x", "y"]), ["a b", "c"]),
        "forecasting": lambda: (m := forecasts(), tasks.Forecasting(m, SCALER, look_back=6), np.ones((6, 1))),
        "transcription": lambda: (m := heard(), tasks.Transcription(m, WORDS), [SOUND, SOUND[:1000]]),
        "tensors": lambda: (m := forecasts(), tasks.Tensors(m), np.ones((6, 1), "float32")),
    }[kind]()
    task.save(Run(tmp_path, {}))
    model.save(tmp_path / "best.keras")
    np.testing.assert_array_equal(keras_seq.load(tmp_path)(given), task(given))


def test_tensors_without_an_example():
    model = keras.Sequential([keras.Input((5, 3)), layers.GRU(4)])
    x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_allclose(tasks.Tensors(model)(list(x)), model(x), atol=1e-6)


def test_a_forecaster():
    model = forecasts()
    task = tasks.Forecasting(model, SCALER, look_back=6)
    past = np.arange(6.0, dtype="float32")[:, None]
    np.testing.assert_allclose(task(past), np.array(model((past[None] - 3) / 2))[0] * 2 + 3, atol=1e-5)
