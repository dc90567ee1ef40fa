"""Tiny models as SavedModels, each written once for all tests."""

import functools

import keras
import numpy as np
import pytest

LINES = ["the quick brown fox jumps over the lazy dog", "two men ride a horse", "über die straße läuft ein hund"]
TEXTS = ["two men ride", "", "a dog", " \t ", "zzz 🐎 b", "the horse " * 5, "ein hund"]
BYTES = [b"\xff\xfe a dog \x80", b"\0a\0 horse", b"\xed\xa0\x80", b"\n", "\u200b\ufffd ﷽".encode()]
# These are tried in `make test`, the others in `make test-long`.
QUICK = ("gru, attention, subwords", "language model, lstm, words", "classifier, lstm, words", "recognizer, ctc")
QUICK += ("tagger, crf over words and characters", "forecaster, quantiles", "a cell that gives its state")
TAGS = ["NOUN", "VERB", "DET", "ADP"]
SPELLING = {"character_vocabulary_size": 30, "character_units": 8}


def loud(model):
    """Random weights, so large that the results differ from text to text."""
    random = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(weight + random.normal(0, 0.5 if len(weight.shape) > 1 else 0.1, weight.shape))
    return model


def vocabulary_of(kind):
    keras.utils.set_random_seed(3)  # before: it clears TensorFlow's kernels, and with them a SentencePiece tokenizer's
    return kind.train(LINES, 80, hard_vocab_limit=False) if kind.__name__ == "Subwords" else kind.train(LINES)


def cases():
    """name -> (kind of vocabulary, function from it to a model, function from model and vocabulary to a task)."""
    from keras_seq import data, decoding, layers, models, tasks, text

    SCALER = data.Scaler([10.0, -3.0, 100.0], [2.0, 1.0, 50.0], ["a", "b", "c"])

    def seq2seq(**options):
        return lambda v: models.Seq2Seq(v.size, **{"units": 16, "num_layers": 1, **options})

    def transformer(v):
        return models.Transformer(v.size, units=16, num_heads=2, num_layers=1)

    def language_model(backbone):
        return lambda v: models.LanguageModel(v.size, backbone())

    return {
        "gru, attention, subwords": (
            text.Subwords,
            seq2seq(cell="gru", attention="dot", bidirectional=False),
            lambda m, v: tasks.Translation(m, v, num_beams=3),
        ),
        "lstm, attention, subwords": (text.Subwords, seq2seq(), lambda m, v: tasks.Translation(m, v, num_beams=3)),
        "gru, reversed source, words": (
            text.Words,
            seq2seq(cell="gru", attention=None, bidirectional=False, reverse_source=True),
            lambda m, v: tasks.Translation(m, v, num_beams=3, num_return=2, max_length=9),
        ),
        "transformer, subwords": (
            text.Subwords,
            transformer,
            lambda m, v: tasks.Translation(m, v, search="greedy", max_length=12),
        ),
        "two models together": (
            text.Words,
            lambda v: decoding.Ensemble([seq2seq(cell="rnn", attention="dot")(v), transformer(v)]),
            lambda m, v: tasks.Translation(m, v, search="contrastive", top_k=2, max_length=7),
        ),
        "language model, lstm, words": (
            text.Words,
            language_model(lambda: layers.RecurrentStack("lstm", 16)),
            lambda m, v: tasks.Generation(m, v, search="sampling", top_p=0.9, seed=4, max_length=8),
        ),
        "language model, transformer, subwords": (
            text.Subwords,
            language_model(lambda: layers.TransformerStack(16, num_heads=2, num_layers=1)),
            lambda m, v: tasks.Generation(m, v, num_beams=2, num_return=2, first="end", max_length=7),
        ),
        "classifier, lstm, words": (
            text.Words,
            lambda v: models.classifier(v.size, 3, units=8),
            lambda m, v: tasks.Classification(m, v, ["bad", "good", "so so"]),
        ),
        "classifier, cnn, subwords": (
            text.Subwords,
            lambda v: models.classifier(v.size, 2, architecture="cnn", units=8, windows=(2, 3)),
            lambda m, v: tasks.Classification(m, v, ["ü", "no"], add_end=False),
        ),
        "tagger, words": (
            text.Words,
            lambda v: models.tagger(v.size, 4, architecture="gru", units=8),
            lambda m, v: tasks.Tagging(m, v, TAGS),
        ),
        "tagger, crf over words and characters": (
            text.Words,
            lambda v: models.tagger(
                v.size, 4, architecture="transformer", units=8, num_heads=2, crf=True, characters="cnn", **SPELLING
            ),
            lambda m, v: tasks.Tagging(m, v, TAGS, characters=text.Characters("abcdefghijklmnopqrstuvwxyz")),
        ),
        "recognizer, ctc": (
            text.Characters,
            lambda v: models.recognizer(v.size, architecture="gru", units=8, num_layers=1, front_end=ears(models)),
            lambda m, v: tasks.Transcription(m, v, search="beam", num_beams=4, num_return=2),
        ),
        "recognizer, ctc, labels": (
            None,
            lambda _: models.recognizer(4, architecture="rnn", units=8, num_layers=1, front_end=ears(models)),
            lambda m, _: tasks.Transcription(m, ["one", "two", "three"]),
        ),
        "recognizer, classes": (
            None,
            lambda _: models.recognizer(3, head="classes", architecture="mingru", units=8, front_end=ears(models)),
            lambda m, _: tasks.Classification(m, None, ["zero", "one", "two"]),
        ),
        "seq2seq that hears": (
            text.Characters,
            lambda v: models.Seq2Seq(None, v.size, source_front_end=ears(models), units=8, num_layers=1),
            lambda m, v: tasks.Transcription(m, v, search="greedy", max_length=9),
        ),
        "video classifier, two questions": (
            None,
            lambda _: models.video_classifier((8, 8, 1), {"digit": 3, "way": 2}, units=8, filters=(4,)),
            lambda m, _: tasks.Classification(m, None, {"digit": ["0", "1", "2"], "way": ["left", "right"]}),
        ),
        "forecaster, quantiles": (
            None,
            lambda _: models.forecaster(
                3,
                8,
                4,
                architecture="gru",
                units=8,
                patch_length=1,
                targets=[2],
                num_known=2,
                quantiles=(0.1, 0.5, 0.9),
            ),
            lambda m, _: tasks.Forecasting(m, SCALER, SCALER.select(["c"]), look_back=8, quantiles=(0.1, 0.5, 0.9)),
        ),
        "forecaster, linear": (
            None,
            lambda _: models.forecaster(3, 8, 4, architecture="linear"),
            lambda m, _: tasks.Forecasting(m, SCALER),
        ),
        "frame predictor": (
            None,
            lambda _: models.frame_predictor((8, 8, 1), filters=(4,)),
            lambda m, _: tasks.Tensors(m),
        ),
        "binary frame predictor": (
            None,
            lambda _: models.probabilities(models.binary_frame_predictor(5, architecture="gru", units=8)),
            lambda m, _: tasks.Tensors(m),
        ),
        "a cell that gives its state": (None, lambda _: streaming_cell(layers), lambda m, _: tasks.Tensors(m)),
    }


def ears(models):
    return models.audio_front_end(8, num_mel_bins=8)


def streaming_cell(layers):
    """A functional model from steps and states to scores and states."""
    x, h = keras.Input((None, 2), name="x"), keras.Input((4,), name="h")
    y, ((h_after,),) = layers.RecurrentStack("gru", 4)(x, initial_state=[[h]])
    return keras.Model({"x": x, "h": h}, {"scores": keras.layers.Dense(3)(y), "h": h_after})


def marked(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in names]


class Case:
    """A model, its vocabulary and its task; the folder of its export, and what is loaded from it."""

    def __init__(self, name, made_once):
        import tensorflow as tf

        kind, build, task = cases()[name]
        keras.utils.set_random_seed(3)  # every process has the weights that one of them has written
        self.vocabulary = kind and vocabulary_of(kind)
        self.model = loud(build(self.vocabulary))
        self.task = task(self.model, self.vocabulary)
        self.model = self.task.exported_model()
        root = made_once(f"export: {name}", lambda root: write(self.model, self.exported, root / "model"))
        self.folder = root / "model"
        self.loaded = tf.saved_model.load(str(self.folder))

    @functools.cached_property
    def exported(self):
        """The functions that are written."""
        from keras_seq.tasks.signatures import Exported

        return Exported(self.model, self.task.signatures(), self.task.resources)


def write(model, exported, folder):
    import importlib

    importlib.import_module("keras_seq.export.saved_model").write(model, exported, folder)


@pytest.fixture
def rewriting():
    """TensorFlow rewrites graphs, as it does for users: tests/conftest.py turns that off. On a CPU `tf.nn.conv1d` gives
    the channels of its input where the batch is empty, and a bias that is not made part of it then fails."""
    import tensorflow as tf

    off = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": off})


@pytest.fixture(scope="session")
def exports(made_once):
    """`exports(name)` is that `Case`."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Case(name, made_once)
        return made[name]

    return get
