"""Tiny models as SavedModels, each written once for all tests of a process."""

import keras
import numpy as np
import pytest

LINES = ["the quick brown fox jumps over the lazy dog", "two men ride a horse", "über die straße läuft ein hund"]
TEXTS = ["two men ride", "", "a dog", " \t ", "zzz 🐎 b", "the horse " * 12, "ein hund"]
BYTES = [b"\xff\xfe a dog \x80", b"\0a\0 horse", b"\xed\xa0\x80", b"\n", "\u200b\ufffd ﷽".encode()]


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
    """name -> (kind of vocabulary, function from it to a model, function from it to a task)."""
    from keras_seq import export, layers, models, text

    def seq2seq(**options):
        return lambda v: models.Seq2Seq(v.size, **{"units": 16, "num_layers": 1, **options})

    def language_model(body):
        return lambda v: models.LanguageModel(v.size, body())

    return {
        "lstm, attention, subwords": (text.Subwords, seq2seq(), lambda v: export.Translation(v, num_beams=3)),
        "gru, reversed source, words": (
            text.Words,
            seq2seq(cell="gru", attention="none", bidirectional=False, reverse_source=True),
            lambda v: export.Translation(v, num_beams=3, num_return=2, max_length=9),
        ),
        "transformer, subwords": (
            text.Subwords,
            lambda v: models.Transformer(v.size, units=16, num_heads=2, num_layers=1),
            lambda v: export.Translation(v, search="greedy", max_length=12),
        ),
        "language model, lstm, words": (
            text.Words,
            language_model(lambda: layers.RecurrentStack("lstm", 16)),
            lambda v: export.Generation(v, search="sampling", top_p=0.9, seed=4, max_length=8),
        ),
        "language model, transformer, subwords": (
            text.Subwords,
            language_model(lambda: layers.TransformerStack(16, num_heads=2, num_layers=1)),
            lambda v: export.Generation(v, num_beams=2, num_return=2, first="end", max_length=7),
        ),
    }


class Case:
    """A model, its vocabulary and its task; the functions that were written, the folder, and what is loaded from it."""

    def __init__(self, name, folder):
        import tensorflow as tf

        from keras_seq.export.signatures import Exported

        kind, build, task = cases()[name]
        self.vocabulary = vocabulary_of(kind)
        self.model = loud(build(self.vocabulary))
        self.task = task(self.vocabulary)
        self.exported = Exported(self.model, self.task.signatures(self.model), self.task.resources)
        write(self.model, self.exported, folder)
        self.folder, self.loaded = folder, tf.saved_model.load(str(folder))


def write(model, exported, folder):
    import importlib

    importlib.import_module("keras_seq.export.saved_model").write(model, exported, folder)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """`exports(name)` is that `Case`."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Case(name, tmp_path_factory.mktemp("export") / "model")
        return made[name]

    return get
