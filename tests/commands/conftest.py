"""Small trained models as run folders, and the command line in this process."""

import io
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

from keras_seq import __main__ as command_line
from keras_seq import data, export, models, tasks, text
from keras_seq.layers import RecurrentStack, TransformerStack

SOURCE = ["a man rides a horse", "two men ride", "the dog runs far", "a horse", "the quick brown fox jumps over a dog"]
TARGET = ["ein mann reitet ein pferd", "zwei reiten", "der hund läuft weit", "ein pferd", "der fuchs springt"]

LABELS = ["bad", "good", "so so"]
TAGS = ["ADJ", "NOUN", "VERB"]
WORDS = ["low", "middle", "high"]  # that recognizers know
FRONT_END = {"num_mel_bins": 8, "frequency_mask_width": 2, "conv_layers": 1}
COLUMNS = ("load", "OT")
QUANTILES = (0.1, 0.5, 0.9)
SCALER = data.Scaler([100.0, 20.0], [50.0, 4.0], COLUMNS)


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
    """Run folders: a translator "lstm", a language model "rnn", another "transformer", a "classifier" of `LABELS`;
    SavedModels: "served" of the translator, "prose" of the language model "rnn"."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the command line runs on TensorFlow")
    root = made_once("commands", make_folders)
    return {name: root / name for name in ("lstm", "rnn", "transformer", "classifier", "served", "prose")}


@pytest.fixture(scope="session")
def taggers(made_once):
    """Run folders of taggers: "spelled", by spelling and with a CRF, and "words"."""
    root = made_once("taggers", make_taggers)
    return {name: root / name for name in ("spelled", "words")}


@pytest.fixture(scope="session")
def recognizers(made_once):
    """Run folders of recognizers, "ctc" and "attention", and the SavedModel "served" of the first."""
    root = made_once("recognizers", make_recognizers)
    return {name: root / name for name in ("ctc", "attention", "served")}


@pytest.fixture(scope="session")
def forecasters(made_once):
    """Run folders of forecasters, "points" and "quantiles", and the SavedModel "served" of the latter."""
    root = made_once("forecasters", make_forecasters)
    return {name: root / name for name in ("points", "quantiles", "served")}


def make_folders(root):
    keras.utils.set_random_seed(3)
    vocabulary = text.Words.train(SOURCE + TARGET)
    translator = models.Seq2Seq(
        vocabulary.size, units=8, num_layers=1, cell="gru", attention="dot", bidirectional=False
    )
    run_folder(root / "lstm", translator, vocabulary)
    for name, backbone in (
        ("rnn", RecurrentStack("gru", 8, num_layers=1)),
        ("transformer", TransformerStack(8, num_heads=2, num_layers=1)),
    ):
        run_folder(root / name, models.LanguageModel(vocabulary.size, backbone), vocabulary)
    classifier = models.classifier(vocabulary.size, len(LABELS), architecture="gru", units=8)
    random = np.random.default_rng(1)
    for weight in classifier.weights:
        weight.assign(random.normal(size=weight.shape))
    run_folder(root / "classifier", classifier, vocabulary)
    text.save_labels(root / "classifier" / "vocabulary" / "labels.txt", LABELS)
    export.saved_model(tasks.Translation(translator, vocabulary, num_beams=3), root / "served", verify=False)
    language_model = keras.models.load_model(root / "rnn" / "best.keras")
    draws = {"search": "sampling", "seed": 5, "max_length": 6}
    export.saved_model(tasks.Generation(language_model, vocabulary, **draws), root / "prose", verify=False)


def make_taggers(root):
    words, characters = text.Words.train(SOURCE, lowercase=True), text.Characters.train(SOURCE)
    spelling = {"characters": "cnn", "character_vocabulary_size": characters.size, "character_units": 8, "crf": True}
    for name, options in (("spelled", spelling), ("words", {})):
        place = root / name / "vocabulary"
        place.mkdir(parents=True)
        words.save(place / "words.words")
        if name == "spelled":
            characters.save(place / "characters.characters")
        text.save_labels(place / "tags.txt", TAGS)
        (root / name / "config.json").write_text(json.dumps({"units": 8}))
        model = models.tagger(words.size, len(TAGS), architecture="gru", units=8, **options)
        random = np.random.default_rng(3)
        for weight in model.weights:
            weight.assign(random.normal(size=weight.shape))
        model.save(root / name / "best.keras")


def make_recognizers(root):
    keras.utils.set_random_seed(4)
    vocabulary, small = text.Words(WORDS), {"units": 8, "num_layers": 1}
    front_end = models.audio_front_end(8, **FRONT_END)
    ctc = models.recognizer(vocabulary.size, front_end=front_end, architecture="gru", **small)
    run_folder(root / "ctc", ctc, vocabulary)
    front_end = models.audio_front_end(8, **FRONT_END)
    options = {"cell": "gru", "attention": "dot", "bidirectional": False, **small}
    attention = models.Seq2Seq(None, vocabulary.size, source_front_end=front_end, **options)
    run_folder(root / "attention", attention, vocabulary)
    task = tasks.Transcription(ctc, vocabulary, search="greedy")
    export.saved_model(task, root / "served", verify=False)


def make_forecasters(root):
    for name, quantiles in (("points", ()), ("quantiles", QUANTILES)):
        keras.utils.set_random_seed(2)
        options = {"architecture": "gru", "units": 8, "num_layers": 1, "patch_length": 4, "targets": [1]}
        model = models.forecaster(2, 12, 3, quantiles=quantiles or None, **options)
        place = root / name / "vocabulary"
        place.mkdir(parents=True)
        model.save(root / name / "best.keras")
        (root / name / "config.json").write_text("{}")
        SCALER.save(place / "scaler.json")
        data.ForecastColumns(COLUMNS, ("OT",), 12, 3, quantiles).save(place / "forecast.json")
    task = tasks.Forecasting(model, SCALER, SCALER.select(["OT"]), look_back=12, quantiles=QUANTILES)
    export.saved_model(task, root / "served", verify=False)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.lines = out.split("\n")[:-1]

    @property
    def records(self):
        return [json.loads(line) for line in self.lines]


FACTS = ("ino", "size", "mtime_ns")
MOST_KEPT = 24  # models and traced functions: a search of a tiny model takes 20 MB


class Kept:
    """What a verb makes when it is called, kept for the calls to come in this process: models, as long as their files
    stay as they are, and functions that were traced of them."""

    def __init__(self):
        self.made, self.keys = {}, {}  # key -> what was made; id of a model -> its key

    def get(self, key, make):
        made = self.made.pop(key) if key in self.made else make()
        self.made[key] = made  # the last one that was wanted comes last
        if len(self.made) > MOST_KEPT:
            oldest = next(iter(self.made))
            del self.made[oldest]
            self.keys = {number: key for number, key in self.keys.items() if key != oldest}
        return made

    @staticmethod
    def state(folder):
        """Of the files in a folder, or of a lone file."""
        files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
        return tuple((str(file), *(getattr(file.lstat(), f"st_{x}") for x in FACTS)) for file in files)

    def patch(self, patch):
        from keras_seq.tasks import loading, scoring
        from keras_seq.tasks.task import Task

        def of_files(function):
            def call(path, *others):
                path = pathlib.Path(path)
                folder = path if path.is_dir() else path.parent
                key = (function.__name__, str(path), *others, self.state(folder))
                task = self.get(key, lambda: function(path, *others)) if folder.exists() else function(path, *others)
                self.keys[id(task)] = key
                return task

            return call

        def of_task(function, name):
            """Keeps the functions that a kept task has made."""

            def call(task, **options):
                if id(task) not in self.keys:
                    return function(task, **options)
                key = (name, self.keys[id(task)], repr(sorted(options.items())))
                return self.get(key, lambda: function(task, **options))

            return call

        if loading.load_run.__module__ == loading.__name__:  # and not what a test has put there
            patch.setattr(loading, "load_run", of_files(loading.load_run))
            patch.setattr(loading, "SavedModelTask", of_files(loading.SavedModelTask))
        for kind in (*loading.KINDS.values(), _saved_model_task()):
            assert issubclass(kind, Task)
            patch.setattr(kind, "predictor", of_task(kind.predictor, "predictor"))
        patch.setattr(scoring, "scoring", of_task(scoring.scoring, "scoring"))


def _saved_model_task():
    from keras_seq.tasks import SavedModelTask

    return SavedModelTask


@pytest.fixture(scope="module")
def kept():
    """For the calls of one file: those of all would be gigabytes."""
    return Kept()


@pytest.fixture
def keras_seq(capsys, monkeypatch, kept):
    """Calls `keras-seq ...`; gives exit code, stdout and stderr."""

    def call(*argv, stdin=b""):
        capsys.readouterr()
        content = stdin.encode() if isinstance(stdin, str) else stdin
        code = 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
            if argv[0] != "average":  # which changes the model that it has loaded
                kept.patch(patch)
            try:
                command_line.main([str(argument) for argument in argv])
            except SystemExit as stop:
                code = stop.code
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Result(code, told.out, told.err)

    return call
