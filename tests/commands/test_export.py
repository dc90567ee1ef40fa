"""`keras-seq export` in four formats, and its errors."""

import importlib.util
import pathlib
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import export, models, tasks, text
from keras_seq.commands import export as command
from tests.commands.conftest import FRONT_END, SOURCE, WORDS

needs_onnx = pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="tf2onnx is not installed")


def refused(result, *parts):
    assert result.code == 2 and not result.out and result.err.count("\n") == 1, result.err
    assert all(str(part) in result.err for part in parts), result.err


def loaded(run):
    return keras.models.load_model(run / "best.keras", compile=False)


@needs_onnx
def test_onnx(keras_seq, folders, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    result = keras_seq("export", "--model", folders["classifier"], "--format", "onnx", "--output", tmp_path / "a.onnx")
    assert result.code == 0 and result.err.endswith(f"{tmp_path / 'a.onnx'}: written and compared.\n")
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    ids = np.array([[4, 5, 6, 7, 3], [5, 3, 0, 0, 0]], "int32")  # of another length than the example
    (logits,) = session.run(None, {session.get_inputs()[0].name: ids})
    np.testing.assert_allclose(logits, loaded(folders["classifier"])(ids), atol=1e-4)


def test_litert(keras_seq, taggers, folders, tmp_path):
    flags = ["--format", "litert", "--output", tmp_path / "a.tflite"]
    assert keras_seq("export", "--model", taggers["words"], *flags, "--length", 6).code == 0
    interpreter = tf.lite.Interpreter(str(tmp_path / "a.tflite"))
    ids = np.array([[4, 5, 6, 7, 3, 0]], "int32")
    outputs = interpreter.get_signature_runner("serve")(inputs=ids)
    np.testing.assert_allclose(outputs["outputs"], loaded(taggers["words"])(ids), atol=1e-4)
    refused(keras_seq("export", "--model", taggers["words"], *flags, "--steps", 4), "--steps", "does not decode")
    assert keras_seq("export", "--model", folders["rnn"], *flags, "--steps", 4, "--no-verify", "--overwrite").code == 0
    assert list(tf.lite.Interpreter(str(tmp_path / "a.tflite")).get_signature_list()) == ["decode"]


@pytest.mark.long
@pytest.mark.parametrize("format", ["litert", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize("name", ["lstm", "rnn", "spelled", "points", "clips", "sounds"])
def test_models_of_all_tasks(name, format, keras_seq, folders, taggers, forecasters, tmp_path):
    runs = {**folders, **taggers, **forecasters, "clips": tmp_path / "clips", "sounds": tmp_path / "sounds"}
    if name == "clips":
        model = models.video_classifier((6, 6, 1), 3, filters=(4,), architecture="gru", units=8)
        tasks.Classification(model, None, WORDS).save(runs[name])
    if name == "sounds":
        front_end = models.audio_front_end(8, **FRONT_END)
        model = models.recognizer(3, head="classes", front_end=front_end, num_layers=1, architecture="gru", units=8)
        tasks.Classification(model, None, WORDS).save(runs[name])
    file = tmp_path / ("a.onnx" if format == "onnx" else "a.tflite")
    result = keras_seq("export", "--model", runs[name], "--format", format, "--output", file)
    if (name, format) == ("sounds", "onnx"):  # onnxruntime has no Fourier transform
        refused(result, file, "RFFT", "--format saved_model")
    else:
        assert result.code == 0 and file.stat().st_size > 0, result.err


def test_ctranslate2(keras_seq, tmp_path):
    library = pytest.importorskip("ctranslate2")
    vocabulary = text.Words.train(SOURCE)
    model = models.Transformer(vocabulary.size, units=8, num_heads=2, num_layers=1, intermediate_dim=8)
    tasks.Translation(model, vocabulary).save(tmp_path / "run")
    flags = ["--model", tmp_path / "run", "--format", "ctranslate2", "--output", tmp_path / "out"]
    assert keras_seq("export", *flags).code == 0
    assert library.Translator(str(tmp_path / "out")).translate_batch([["a", "horse"]])[0].hypotheses
    refused(keras_seq("export", *flags), "--output", "--overwrite")


def test_options_of_another_format_are_refused(keras_seq, folders, tmp_path):
    flags = ["export", "--model", folders["classifier"], "--output", tmp_path / "a.onnx"]
    for format, wrong in (
        ("saved_model", ["--length", 8]),
        ("saved_model", ["--quantization", "int8"]),
        ("onnx", ["--steps", 3]),
        ("litert", ["--no-free-length"]),
        ("litert", ["--num-beams", 3]),
        ("ctranslate2", ["--rows", 2]),
        ("onnx", ["--length", 0]),
    ):
        refused(keras_seq(*flags, "--format", format, *wrong), wrong[0].replace("--no-", "--"))
    refused(
        keras_seq(*flags[:3], "--format", "onnx", "--output", tmp_path / "a"), tmp_path / "a", "must end in '.onnx'"
    )


def test_errors_are_one_line_without_usage_and_traceback(keras_seq, folders, tmp_path, monkeypatch):
    refused(keras_seq("export", "--model", folders["rnn"], tmp_path / "out"), "required: --output", "--help")
    flags = ["export", "--model", folders["rnn"], "--output", tmp_path / "out"]
    refused(keras_seq(*flags, "--no-verfy"), "--no-verfy", "Did you mean --no-verify?")
    trace = "Traceback (most recent call last):\n  File x\nInvalidArgumentError: " + "no kernel\n" * 40

    def fails(*args, **options):
        raise RuntimeError(f"The SavedModel fails:\n{trace}")

    monkeypatch.setattr(export, "saved_model", fails)
    refused(keras_seq(*flags), f"{tmp_path / 'out'} was not written: The SavedModel fails")


def task_of(name, **others):
    return types.SimpleNamespace(name=name, where="saved", model=None, folder=None, **others)


@pytest.mark.parametrize(
    ("flags", "search"),
    [
        ({}, None),
        ({"first": "end"}, {"first": "end"}),
        ({"num_beams": 3, "first": "start"}, {"num_beams": 3, "first": "start"}),
    ],
)
def test_the_first_token_is_part_of_the_search_of_a_language_model(flags, search, tmp_path):
    task = task_of("generation", with_search=lambda options: options)
    found = command._with_search(task, command.Export(model=tmp_path, output=tmp_path, **flags))
    assert found == (task if search is None else search)


def test_only_language_models_have_a_first_token(tmp_path):
    options = command.Export(model=tmp_path, output=tmp_path, first="end")
    with pytest.raises(
        ValueError, match="--first: saved is a task of translation, not a language model. Leave it out."
    ):
        command._with_search(task_of("translation"), options)


@pytest.mark.parametrize(
    ("flags", "columns", "length"),
    [
        ({}, 24, 25),  # one more than the model reads: the verification tries one less
        ({"free_length": False}, 24, 24),
        ({"length": 30}, 24, 30),
        ({}, None, 10),
    ],
)
def test_an_onnx_file_of_a_forecaster_is_tried_with_one_row_less(flags, columns, length, monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(export, "onnx", lambda model, path, inputs, **options: written.append((inputs, options)))
    x = keras.KerasTensor((None, None, 2))
    task = task_of("forecasting", columns=columns and types.SimpleNamespace(look_back=columns))
    task.model = types.SimpleNamespace(inputs=[x], input=x)
    command._onnx(command.Export(model=tmp_path, output=tmp_path / "a.onnx", rows=3, verify=False, **flags), task)
    ((inputs, options),) = written
    assert inputs.shape == (3, length, 2)
    assert options == {"free_length": flags.get("free_length", True), "verify": False, "overwrite": False}


@pytest.mark.parametrize(
    ("error", "traced", "kind", "told"),
    [
        (ImportError("needs a package"), None, ImportError, "needs a package"),
        (RuntimeError("no\nkernel"), None, ValueError, "a.onnx was not written: no kernel."),
        (ValueError("`overwrite=True` replaces it"), None, ValueError, "--overwrite replaces it"),
        (RuntimeError("no\nkernel"), "1", RuntimeError, "no\nkernel"),
    ],
)
def test_what_an_export_that_fails_raises(error, traced, kind, told, monkeypatch, tmp_path):
    def fails(options, task):
        raise error

    monkeypatch.setattr("keras_seq.tasks.loading.load_run", lambda *args: None)
    monkeypatch.setitem(command.FORMATS, "onnx", fails)
    monkeypatch.setenv("KERAS_SEQ_TRACEBACK", traced or "")
    with pytest.raises(kind) as raised:
        command.export(command.Export(model=tmp_path, output=pathlib.Path("a.onnx"), format="onnx"))
    assert str(raised.value) == told
