"""A SavedModel around functions that stand in for its own."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import os
from types import SimpleNamespace

import tensorflow as tf

from keras_seq import data, tasks
from keras_seq.tasks import Forecast, Generated, Outputs, saved_model
from tests.tasks.stand_ins import STRINGS, Function

FOUND = ("text", "score", "log_prob", "finished")
FUNCTIONS = {
    "translate": Function(outputs=FOUND, text=STRINGS),
    "tag": Function(outputs=("words", "tags"), text=STRINGS),
    "forecast": Function(outputs=("forecast",), past=tf.TensorSpec([None, None, 2])),
    "serve": Function(outputs=("outputs",), inputs=tf.TensorSpec([None, 3])),
}


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """A task from a SavedModel with these functions."""

    def make(**functions):
        monkeypatch.setattr(saved_model, "load_module", lambda folder: SimpleNamespace(signatures=functions))
        return tasks.SavedModelTask(tmp_path / "saved")

    return make


def of(saved, verb):
    return saved(**{verb: FUNCTIONS[verb]})


@pytest.mark.parametrize(
    ("functions", "has"),
    [({}, "none"), ({"embed": Function(), "translate": Function(outputs=("text",))}, "embed, translate")],
)
def test_functions_of_no_task(saved, functions, has):
    verbs = "translate, generate, classify, tag, transcribe, forecast, serve"
    with pytest.raises(ValueError, match=rf"saved has no signature of a task, .* \({verbs}\)\. It has: {has}\. keras"):
        saved(**functions)


@pytest.mark.parametrize(
    ("verb", "result", "output"),
    [
        ("translate", Generated(["a"], [0.0], [0.0], [True]), "a"),
        ("translate", Generated(["a", "b"], [0.0, 0.0], [0.0, 0.0], [True, True], "on "), ["on a", "on b"]),
        ("serve", Outputs({"outputs": 3}), 3),
        ("serve", Outputs({"state": 1, "outputs": 3}), {"state": 1, "outputs": 3}),
        ("forecast", Forecast("numbers", ["OT"]), "numbers"),
    ],
)
def test_the_output_of_a_result(saved, verb, result, output):
    assert of(saved, verb).output(result) == output


def test_a_series_is_one_input_of_a_forecaster(saved):
    series = data.Series(np.ones((4, 1)), ("OT",))
    table = SimpleNamespace(columns=["OT"])
    assert [of(saved, "forecast").is_one(x) for x in (series, table, [series])] == [True, True, False]
    assert not of(saved, "translate").is_one(series)
    assert [of(saved, "serve").is_one(x) for x in ({"inputs": 1}, np.ones(3), np.ones((2, 3)))] == [True, True, False]


def test_what_a_saved_model_lacks(saved):
    with pytest.raises(
        ValueError, match="lacks the signatures `forecast` and `describe`, .* It has: forecast. keras-seq"
    ):
        of(saved, "forecast").columns  # noqa: B018
    with pytest.raises(ValueError, match="has no signature `tag_words`, .* It has: tag. Export it again."):
        of(saved, "tag").predictor()
    with pytest.raises(
        ValueError, match="^`alpha`: .* is a SavedModel with a fixed search. Leave the options of the sea"
    ):
        of(saved, "translate").predictor(alpha=1.0)
    with pytest.raises(
        ValueError, match="saved is a SavedModel, which has no weights to train on. Save the task of the"
    ):
        of(saved, "serve").save("run")


def test_the_files_of_a_saved_model_are_checked(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    saved_model._check_files(tmp_path)  # an old one, without a fingerprint
    (tmp_path / "fingerprint.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="saved_model.pb holds no graph"):
        saved_model._check_files(tmp_path)
    (tmp_path / "assets").mkdir()
    os.mkfifo(tmp_path / "assets/pipe")
    with pytest.raises(ValueError, match="assets/pipe is not a file"):
        saved_model._check_files(tmp_path)
