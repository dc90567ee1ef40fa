"""`inspect`, `average` and `export` of run folders that hold no text to text: what they are follows from the folder and
from the model."""

import shutil

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import export, models, tasks, text, training
from tests.commands.conftest import FRONT_END, WORDS
from tests.reference import quick

FRAMES = (6, 6, 1)
KINDS = ["ctc", "attention", "sounds", "clips", "pictures", "words"]


def run_folder(folder, model, checkpoints=2):
    """Weights that are drawn, and checkpoints of them, the second twice the first."""
    (folder / "vocabulary").mkdir(parents=True)
    random = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in weight.dtype:
            weight.assign(random.normal(size=weight.shape))
    model.save(folder / "best.keras")
    for epoch in range(1, checkpoints + 1):
        training.Checkpoints(folder).save(model, epoch)
        model.set_weights([2 * weight if weight.dtype.kind == "f" else weight for weight in model.get_weights()])
    return folder


def front_end(**changes):
    return models.audio_front_end(8, **FRONT_END, **changes)


@pytest.fixture
def runs(made_once):
    """Run folders by `KINDS`, as the recipes leave them."""
    root = made_once("runs", make_runs)
    return {kind: root / kind for kind in KINDS}


def make_runs(root):
    vocabulary = text.Words(WORDS)
    size, small = vocabulary.size, {"architecture": "gru", "units": 8, "bidirectional": False}
    options = {"units": 8, "num_layers": 1, "cell": "gru", "attention": "dot", "bidirectional": False}
    hears = models.Seq2Seq(None, size, source_front_end=front_end(sampling_rate=16000), **options)
    made = {
        "ctc": models.recognizer(size, front_end=front_end(), num_layers=1, **small),
        "attention": hears,
        "sounds": models.recognizer(3, head="classes", front_end=front_end(), num_layers=1, **small),
        "clips": models.video_classifier(FRAMES, 3, filters=(4,), **small),
        "pictures": models.frame_predictor(FRAMES, filters=(4,), patch_size=2, architecture="gru", units=8),
        "words": models.tagger(size, 3, **small),
    }
    found = {name: run_folder(root / name, model) for name, model in made.items()}
    for name in ("ctc", "attention", "sounds", "words"):
        vocabulary.save(found[name] / "vocabulary" / ("words.words" if name == "words" else "joint.words"))
    for name in ("sounds", "clips"):
        text.save_labels(found[name] / "vocabulary" / "labels.txt", WORDS)
    text.save_labels(found["words"] / "vocabulary" / "tags.txt", WORDS)


def load(run, name="best.keras"):
    return keras.models.load_model(run / name, compile=False)


def refused(result, *told):
    assert result.code == 2 and not result.out and result.err.count("\n") == 1, result.err
    assert all(str(part) in result.err for part in told), result.err


@pytest.mark.parametrize("kind", quick(KINDS, few=["words"]))
def test_all_are_inspected_and_averaged(kind, keras_seq, runs, tmp_path):
    run = shutil.copytree(runs[kind], tmp_path / "run")
    (found,) = keras_seq("inspect", "--model", run, "--json").records
    best = load(run)
    assert found["parameters"] == best.count_params() > 0 and len(found["checkpoints"]) == 2
    read = {"ctc": ["joint"], "attention": ["joint"], "words": ["words"]}.get(kind, [])
    assert list(found["vocabularies"]) == read  # those which the model uses
    assert found.get("labels") == (WORDS if kind in ("sounds", "clips") else None)
    assert found.get("tags") == (WORDS if kind == "words" else None)
    assert found.get("sampling_rate") == {"ctc": 8000, "attention": 16000}.get(kind)
    page = keras_seq("inspect", "--model", run).out
    assert ("16,000 a second" in page) == (kind == "attention") and "checkpoints" in page
    assert keras_seq("average", "--model", run).code == 0
    for mean, weight in zip(load(run, "averaged.keras").weights, best.weights, strict=True):
        if "float" in weight.dtype:
            np.testing.assert_allclose(mean, 1.5 * weight.numpy(), rtol=1e-5)


SPEECH = np.random.default_rng(2).normal(size=(2, 4000)).astype("float32")
CLIPS = np.random.default_rng(3).random((2, 4, *FRAMES)).astype("float32")
EXPORTS = {  # kind -> its flags, the task that its recipe exports it for, the input
    "ctc": ([], lambda m, v: tasks.Transcription(m, v, search="greedy"), SPEECH),
    "attention": (["--max-length", 5], lambda m, v: tasks.Transcription(m, v, max_length=5, search="greedy"), SPEECH),
    "sounds": ([], lambda m, v: tasks.Classification(m, None, WORDS), SPEECH),
    "clips": ([], lambda m, v: tasks.Classification(m, None, WORDS), CLIPS),
    "pictures": ([], lambda m, v: tasks.Tensors(m), CLIPS),
    "words": ([], lambda m, v: tasks.Tagging(m, v, WORDS), np.array(["low high", "middle"])),
}


@pytest.fixture
def exported(keras_seq, monkeypatch):
    """Calls `keras-seq export`, up to the writing; gives what it says, the model and its signatures."""

    def call(run, *flags):
        given = []
        with monkeypatch.context() as patch:
            patch.setattr(export, "saved_model", lambda task, path, **options: given.append(task))
            result = keras_seq("export", "--model", run, "--output", "out", *flags)
        assert result.code == 0, result.err
        return result, given[0].model, given[0].signatures()

    return call


def answers(signatures, x):
    """What the default one gives, of all rows."""
    function, inputs, _ = next(iter(signatures.values()))
    return function(**{name: tf.constant(x) for name in inputs})


@pytest.mark.parametrize("kind", quick(KINDS, few=["ctc", "words", "pictures"]))
def test_what_is_exported_is_what_the_recipe_exports(kind, exported, runs):
    flags, task, x = EXPORTS[kind]
    result, model, signatures = exported(runs[kind], *flags)
    assert ("has no classes (labels.txt)" in result.err) == (kind == "pictures")
    recipes = task(model, text.Words(WORDS)).signatures()
    assert list(signatures) == list(recipes) and ("describe" in signatures) == (kind in ("ctc", "attention"))
    found, expected = answers(signatures, x), answers(recipes, x)
    for output in expected:
        np.testing.assert_array_equal(found[output], expected[output])


@pytest.mark.long
def test_searches_of_recognizers(keras_seq, exported, runs, tmp_path):
    for kind, short in (("ctc", []), ("attention", ["--max-length", 3])):
        *_, signatures = exported(runs[kind], "--search", "beam", "--num-beams", 4, "--num-return", 2, *short)
        assert answers(signatures, SPEECH)["text"].shape == (2, 2)
        flags = ["export", "--model", runs[kind], "--no-verify"]
        for wrong in (["--first", "end"], ["--num-beams", 4], ["--search", "greedy", "--alpha", 1]):
            refused(keras_seq(*flags, "--output", tmp_path / "none", *wrong), wrong[-2])
    for wrong in (["--max-length", 9], ["--search", "sampling"], ["--search", "beam", "--alpha", 1]):
        told = [wrong[-2], runs["ctc"], "--search beam with --num-beams"]
        refused(keras_seq("export", "--model", runs["ctc"], "--output", tmp_path / "none", *wrong), *told)
    assert not (tmp_path / "none").exists()


def test_flags_that_do_not_apply_are_refused(keras_seq, runs, tmp_path):
    for kind, what in (("sounds", "is a task of classification"), ("pictures", "is a task of tensors")):
        flags = ["export", "--model", runs[kind], "--output", tmp_path / "out", "--max-length", 3]
        refused(keras_seq(*flags), "--max-length", runs[kind], what)
    hears = models.Transformer(
        None, 7, source_front_end=front_end(), units=8, num_heads=2, num_layers=1, intermediate_dim=8
    )
    run = run_folder(tmp_path / "transformer", hears, checkpoints=0)
    text.Words(WORDS).save(run / "vocabulary" / "joint.words")
    for model in (run, runs["ctc"]):
        result = keras_seq("export", "--model", model, "--output", tmp_path / "out", "--format", "ctranslate2")
        refused(result, "CTranslate2", "--format saved_model")


def test_verbs_of_text_say_what_such_a_run_is(keras_seq, runs):
    refused(keras_seq("classify", "--model", runs["clips"], stdin="a"), runs["clips"], "classifies arrays")
    refused(keras_seq("translate", "--model", runs["attention"], stdin="low"), "keras-seq transcribe")


def test_without_names_the_tensors_are_exported(keras_seq, runs, tmp_path):
    run = shutil.copytree(runs["clips"], tmp_path / "run")
    (run / "vocabulary" / "labels.txt").unlink()
    result = keras_seq("export", "--model", run, "--output", tmp_path / "out", "--no-verify")
    assert result.code == 0 and str(run / "vocabulary") in result.err and "(labels.txt)" in result.err
    serve = tf.saved_model.load(str(tmp_path / "out")).signatures["serve"]
    np.testing.assert_allclose(serve(inputs=tf.constant(CLIPS))["outputs"], load(run)(CLIPS), rtol=1e-4, atol=1e-4)


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.Model):
    """It is called, and knows no inputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x) * 2


def test_a_model_that_knows_no_inputs(keras_seq, tmp_path):
    model = Doubled()
    model(np.ones((1, 3), "float32"))
    run = run_folder(tmp_path / "run", model, checkpoints=0)
    assert keras_seq("inspect", "--model", run, "--json").records[0]["parameters"] == 8
    result = keras_seq("export", "--model", run, "--output", tmp_path / "out")
    refused(result, run / "best.keras", "is a Doubled", "tasks.Tensors(model, example)")


def test_a_folder_of_run_folders_names_them(keras_seq, runs, tmp_path):
    (tmp_path / "copy-gru").mkdir()
    shutil.copytree(runs["ctc"], tmp_path / "copy-lstm")
    (tmp_path / "config.json").write_text("{}")
    refused(keras_seq("inspect", "--model", tmp_path), "there are run folders", "copy-lstm")
