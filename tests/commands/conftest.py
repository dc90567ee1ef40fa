"""Small trained models as run folders, and the command line in this process."""

import io
import json
import sys

import keras
import numpy as np
import pytest

from keras_seq import __main__ as command_line
from keras_seq import export, models, text
from keras_seq.layers import RecurrentStack, TransformerStack

SOURCE = ["a man rides a horse", "two men ride", "the dog runs far", "a horse", "the quick brown fox jumps over a dog"]
TARGET = ["ein mann reitet ein pferd", "zwei reiten", "der hund läuft weit", "ein pferd", "der fuchs springt"]

LABELS = ["bad", "good", "so so"]


def run_folder(folder, model, vocabulary):
    """Weights three times as large, so that what comes out differs from line to line."""
    for weight in model.weights:
        weight.assign(3 * weight)
    (folder / "vocabulary").mkdir(parents=True)
    vocabulary.save(folder / "vocabulary" / "joint.words")
    (folder / "config.json").write_text(json.dumps({"units": 8}))
    model.save(folder / "best.keras")
    return folder


@pytest.fixture(scope="session")
def folders(made_once):
    """Run folders: a translator "lstm", a language model "rnn", another "transformer", a "classifier" of `LABELS`; a
    SavedModel "served"."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the command line runs on TensorFlow")
    root = made_once("commands", make_folders)
    return {name: root / name for name in ("lstm", "rnn", "transformer", "classifier", "served")}


def make_folders(root):
    keras.utils.set_random_seed(3)
    vocabulary = text.Words.train(SOURCE + TARGET)
    translator = models.Seq2Seq(
        vocabulary.size, units=8, num_layers=1, cell="gru", attention="dot", bidirectional=False
    )
    run_folder(root / "lstm", translator, vocabulary)
    for name, body in (
        ("rnn", RecurrentStack("gru", 8, num_layers=1)),
        ("transformer", TransformerStack(8, num_heads=2, num_layers=1)),
    ):
        run_folder(root / name, models.LanguageModel(vocabulary.size, body), vocabulary)
    classifier = models.classifier(vocabulary.size, len(LABELS), architecture="gru", units=8)
    random = np.random.default_rng(1)
    for weight in classifier.weights:
        weight.assign(random.normal(size=weight.shape))
    run_folder(root / "classifier", classifier, vocabulary)
    text.save_labels(root / "classifier" / "vocabulary" / "labels.txt", LABELS)
    export.saved_model(translator, root / "served", vocabulary, verify=False, num_beams=3)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.lines = out.split("\n")[:-1]

    @property
    def records(self):
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def keras_seq(capsys, monkeypatch):
    """Calls `keras-seq ...`; gives exit code, stdout and stderr."""

    def call(*argv, stdin=b""):
        capsys.readouterr()
        content = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        code = 0
        try:
            command_line.main([str(argument) for argument in argv])
        except SystemExit as stop:
            code = stop.code
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Result(code, told.out, told.err)

    return call
