import shutil
import wave

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import data, decoding, export, models, tasks, text
from tests.commands.conftest import FRONT_END, WORDS, run_folder
from tests.reference import quick


def write_wav(path, waveform, rate=8000, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes((np.repeat(waveform, channels) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("files"), np.random.default_rng(2)
    found = []
    for number, size in enumerate((900, 4000, 2500, 8000)):
        tone = np.sin(2 * np.pi * random.uniform(200, 3000) * np.arange(size) / 8000)
        found.append(write_wav(folder / f"{number}.wav", 0.5 * tone))
    return found


def test_each_file_is_heard_by_itself(keras_seq, recognizers, files):
    model = keras.models.load_model(recognizers["ctc"] / "best.keras", compile=False)
    vocabulary = text.load(recognizers["ctc"] / "vocabulary" / "joint.words")
    flags = ["transcribe", "--model", recognizers["ctc"]]
    records = keras_seq(*flags, "--json", "--batch-seconds", 1.2, "--chunk", 3, *files).records
    for file, record in zip(files, records, strict=True):
        logits = model(data.read_audio([file], 8000).waveform(0)[None])
        found = decoding.ctc(logits, [logits.shape[1]])
        assert record["file"] == str(file)
        assert record["text"] == vocabulary.detokenize(found.tokens[:, 0])[0].numpy().decode()
        assert record["log_prob"] == pytest.approx(float(found.log_probs[0, 0]), abs=1e-2)
    assert len({record["text"] for record in records}) > 1
    assert keras_seq(*flags, *files).lines == [record["text"] for record in records]


@pytest.mark.parametrize("kind", quick(["ctc", "attention", "served"], few=["ctc"]))
def test_names_may_come_from_stdin(kind, keras_seq, recognizers, files):
    flags = ["transcribe", "--model", recognizers[kind], "--json"]
    named = keras_seq(*flags, *files).records
    listed = keras_seq(*flags, stdin="".join(f"{file}\n" for file in files)).records
    assert named == listed and [record["file"] for record in named] == [str(file) for file in files]
    if kind == "served":
        ours = keras_seq("transcribe", "--model", recognizers["ctc"], "--json", *files).records
        assert [one["text"] for one in ours] == [other["text"] for other in named]


def test_a_bad_file_stops_nothing(keras_seq, recognizers, files, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    argv = [files[0], tmp_path / "none.wav", bad, tmp_path, files[2], files[3]]
    flags = ["transcribe", "--model", recognizers["ctc"], "--max-seconds", 0.9]
    records = keras_seq(*flags, "--json", *argv).records
    assert [record["file"] for record in records] == [str(path) for path in argv]
    told = [record.get("error", "") for record in records]
    assert "does not exist" in told[1] and "is not a sound file" in told[2] and "more than --max-seconds 0.9" in told[5]
    assert [bool(why) for why in told] == [False, True, True, True, False, True]
    plain = keras_seq(*flags, *argv)
    assert plain.code == 0 and len(plain.lines) == 6 and plain.lines[1] == plain.lines[5] == ""
    assert "4 of 6 files have no result" in plain.err and str(bad) in plain.err


def test_other_rates_and_channels_are_converted(keras_seq, recognizers, tmp_path):
    time = np.arange(8000) / 8000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    plain = write_wav(tmp_path / "plain.wav", tone)
    stereo = write_wav(tmp_path / "stereo.wav", tone, channels=2)
    fast = write_wav(tmp_path / "fast.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), rate=16000)
    flags = ["transcribe", "--model", recognizers["ctc"]]
    one, two, three = keras_seq(*flags, plain, stereo, fast).lines
    assert one == two == three
    refused = keras_seq(*flags, "--sampling-rate", 16000, plain)
    assert refused.code == 2 and "trained at 8000" in refused.err


def test_other_models_and_options_are_refused(keras_seq, recognizers, folders, files, tmp_path):
    for model, told in (
        (folders[name], "is a task of translation, not of transcription") for name in ("lstm", "served")
    ):
        refused = keras_seq("transcribe", "--model", model, *files)
        assert refused.code == 2 and told in refused.err and refused.err.count("\n") == 1, refused.err
    for argv, told in ((["--chunk", 0], "--chunk must be positive"), (["-", files[0]], "excludes other files")):
        refused = keras_seq("transcribe", "--model", recognizers["ctc"], *argv)
        assert refused.code == 2 and told in refused.err and refused.err.count("\n") == 1, refused.err
    run = shutil.copytree(recognizers["ctc"], tmp_path / "run")
    words = run / "vocabulary" / "joint.words"
    words.write_text("\n".join(words.read_text().split("\n")[:-2]) + "\n")
    refused = keras_seq("transcribe", "--model", run, *files)
    assert refused.code == 2 and "cut short" in refused.err and str(run) in refused.err


@pytest.mark.long
def test_a_saved_model_tells_its_sampling_rate(keras_seq, recognizers, files, tmp_path):
    """Of a model for 16,000 samples a second."""
    front_end = models.audio_front_end(8, sampling_rate=16000, **FRONT_END)
    small = {"architecture": "gru", "units": 8, "num_layers": 1, "bidirectional": False}
    model = models.recognizer(7, front_end=front_end, **small)
    run, out = run_folder(tmp_path / "run", model, text.Words(WORDS)), tmp_path / "out"
    assert keras_seq("export", "--model", run, "--output", out, "--no-verify").code == 0
    assert tf.saved_model.load(str(out)).signatures["describe"]()["sampling_rate"].numpy() == 16000
    ours = keras_seq("transcribe", "--model", run, "--json", *files)
    served = keras_seq("transcribe", "--model", out, "--json", *files)
    for one, other in zip(ours.records, served.records, strict=True):
        assert one["text"] == other["text"] and one["score"] == pytest.approx(other["score"], abs=1e-3)
    assert not served.err
    assert keras_seq("transcribe", "--model", out, "--sampling-rate", 16000, "--json", *files).records == served.records
    for model in (run, out):
        refused = keras_seq("transcribe", "--model", model, "--sampling-rate", 8000, *files)
        assert refused.code == 2 and "--sampling-rate 8000" in refused.err and "trained at 16000" in refused.err


@pytest.mark.long
def test_a_saved_model_that_does_not_tell_is_taken_for_8000(keras_seq, recognizers, files, tmp_path, monkeypatch):
    model = keras.models.load_model(recognizers["ctc"] / "best.keras", compile=False)
    task = tasks.Transcription(model, text.Words(WORDS), search="greedy")
    signatures = task.signatures()
    assert signatures.pop("describe").function()["sampling_rate"] == 8000
    monkeypatch.setattr(task, "signatures", lambda: signatures)
    silent = export.saved_model(task, tmp_path / "silent", verify=False)
    flags = ["transcribe", "--model", silent, "--json"]
    guessed, given = keras_seq(*flags, *files), keras_seq(*flags, "--sampling-rate", 8000, *files)
    told = keras_seq("transcribe", "--model", recognizers["served"], "--json", *files)
    assert guessed.records == given.records == told.records
    assert str(silent) in guessed.err and "8,000" in guessed.err and "--sampling-rate" in guessed.err
    assert guessed.err.count("\n") == 1 and not given.err
    assert keras_seq(*flags, "--sampling-rate", 4000, *files).records != given.records
