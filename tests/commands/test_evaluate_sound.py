"""Recordings of tables, and the errors of their transcripts."""

import types
import wave

import numpy as np
import pytest

from keras_seq.commands import evaluate_sound
from keras_seq.commands.evaluate import Evaluate
from keras_seq.tasks.results import Failure, Transcript

SOUNDS = {"one.wav": [0, 16384, -32768], "two.wav": [8192, 0], "three.wav": [0, 0, 0, 16384]}


@pytest.fixture
def tables(tmp_path):
    """Two tables, of one and of two recordings."""
    for name, samples in SOUNDS.items():
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.array(samples, "<i2").tobytes())
    (tmp_path / "a.tsv").write_text("file\ttext\none.wav\tlow middle\n")
    (tmp_path / "b.csv").write_text("two.wav, high \nthree.wav,low\n")
    return tmp_path / "a.tsv", tmp_path / "b.csv"


def recognizer(*results, **options):
    """A task with these results, which keeps the waveforms that it gets."""
    task = types.SimpleNamespace(waveforms=None, options=None, sampling_rate=8000, **options)

    def predictor(**search):
        def predict(waveforms):
            task.waveforms, task.options = waveforms, search
            return list(results)

        return predict

    task.predictor = predictor
    return task


def test_errors_of_transcripts(tables):
    task = recognizer(Transcript("low middle", 0.0, 0.0), Failure("too long"), Transcript("lo", 0.0, 0.0))
    found = evaluate_sound.score_transcripts(Evaluate(files=tables, num_beams=3), task)
    assert task.options == {"num_beams": 3}
    for ours, samples in zip(task.waveforms, SOUNDS.values(), strict=True):
        assert ours.tolist() == [sample / 32768 for sample in samples]
    assert found.record == {
        "word_error_rate": 2 / 4,  # of "high" and "low"
        "character_error_rate": 5 / 17,  # "high" and a letter
        "exact_match": 1 / 3,
        "recordings": 3,
    }
    assert found.rows == [
        ("word error rate", "50.00%", "4 words"),
        ("character error rate", "29.41%", "17 characters"),
        ("exact match", "33.33%", "3 recordings"),
    ]
    assert found.lines == ("", "1 of 3 recordings have no result and count as wrong; number 2: too long")


def test_recordings_have_the_rate_of_the_model(tables):
    layers = [types.SimpleNamespace(), types.SimpleNamespace(sampling_rate=4000)]
    model = types.SimpleNamespace(_flatten_layers=lambda: layers)
    read = evaluate_sound.read_recordings(Evaluate(files=tables), types.SimpleNamespace(model=model))
    assert [len(waveform) for waveform in read.waveforms] == [2, 1, 2] and read.texts == ["low middle", "high", "low"]
    layers.clear()  # without a rate, 8,000 a second are assumed
    read = evaluate_sound.read_recordings(Evaluate(files=tables), types.SimpleNamespace(model=model))
    assert [len(waveform) for waveform in read.waveforms] == [3, 2, 4]


def test_a_recording_that_cannot_be_read_names_its_line(tables):
    (tables[0].parent / "three.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"b\.csv:2: .*three\.wav"):
        evaluate_sound.read_recordings(Evaluate(files=tables), recognizer())
