"""`keras-seq export` in four formats, and its errors."""

import importlib.util

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import export, models, tasks, text
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
