"""Hostile strings through every string signature of SavedModels, in a process without keras_seq, and as pieces."""

import importlib
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

from keras_seq import decoding, export, models, tasks, text
from keras_seq.tasks.signatures import Exported
from tests import hostile

OPTIONS = {"num_beams": 2, "max_length": 6}
LONGEST = 2_000  # bytes: attention over a source needs memory by the square of its length
BATCH = 32  # 64 of the longest would need 14 GB
VOCABULARIES = {
    "subwords": lambda lines: text.Subwords.train(lines, 120, hard_vocab_limit=False),
    "words": text.Words.train,
    "lowercase words": lambda lines: text.Words.train(lines, lowercase=True),
    "characters": text.Characters.train,
    "bytes": text.Bytes.train,
}
MODELS = {
    "seq2seq": lambda size: models.Seq2Seq(size, units=8, num_layers=1, cell="gru"),
    "transformer": lambda size: models.Transformer(size, units=8, num_heads=2, num_layers=1),
}
# Strings travel as latin-1, one character for a byte.
FRESH = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
assert "keras_seq" not in sys.modules
given, found = json.load(open(sys.argv[1])), {}
batches = [[string.encode("latin-1") for string in batch] for batch in given["batches"]]
for folder in given["folders"]:
    for name, function in tf.saved_model.load(folder).signatures.items():
        taken = list(function.structured_input_signature[1].values())
        strings = [spec.name for spec in taken if (spec.dtype, spec.shape.rank) == (tf.string, 1)]
        if not strings:
            continue
        options = {spec.name: tf.ones(spec.shape, spec.dtype) for spec in taken if spec.name not in strings}
        rows = found[f"{folder} {name}"] = []
        for batch in batches:
            # A target as long as a source of some thousands: additive attention of 32 rows would need 15 GB.
            sides = (batch, [string[:200] for string in batch[::-1]])
            texts = {side: tf.constant(own, tf.string, [len(batch)]) for side, own in zip(strings, sides)}
            outputs = function(**texts, **options)
            for key, output in outputs.items():
                output = output.numpy()
                assert len(output) == len(batch), (name, key, output.shape)
                assert output.dtype.kind != "f" or not (np.isnan(output) | (output == np.inf)).any(), (name, key)
            if "text" in outputs:
                rows.append([string.decode("latin-1") for string in outputs["text"].numpy().tolist()])
json.dump(found, open(given["found"], "w"))
"""


def built(model, kind, larger=3):
    keras.utils.set_random_seed(3)
    vocabulary = VOCABULARIES[kind](hostile.SENTENCES * 3)
    made = model(vocabulary.size)
    for weight in made.weights:  # so that what comes out differs from text to text
        weight.assign(larger * weight)
    return made, vocabulary


def batches_of(seed, count):
    """Strings of like length together, and a batch of none."""
    strings = sorted((string[:LONGEST] for string in hostile.strings(count, seed)), key=len)
    return [strings[first : first + BATCH] for first in range(0, count, BATCH)] + [[]]


def generated(model, vocabulary, batch, **options):
    return decoding.generate(model, vocabulary, batch, batch_tokens=10**6, **OPTIONS | options)


@pytest.mark.long
def test_in_this_process(tmp_path):
    import tensorflow as tf

    options = {"units": 8, "num_layers": 1, "cell": "gru", "attention": "dot", "bidirectional": False}
    model, vocabulary = built(lambda size: models.Seq2Seq(size, **options), "characters")
    greedy = {"num_beams": 1, "max_length": 4}
    task = tasks.Translation(model, vocabulary, **greedy)
    exported = Exported(model, {"translate": task.signatures()["translate"]}, task.resources)
    importlib.import_module("keras_seq.export.saved_model").write(model, exported, tmp_path / "a")
    loaded = tf.saved_model.load(str(tmp_path / "a"))
    for batch in batches_of(1, BATCH):
        found = loaded.signatures["translate"](text=tf.constant(batch, tf.string, [len(batch)]))
        assert [one.decode() for one in found["text"].numpy().tolist()] == generated(model, vocabulary, batch, **greedy)
        assert found["score"].shape == (len(batch),) and np.isfinite(found["score"]).all()


@pytest.mark.long
@pytest.mark.parametrize("kind", VOCABULARIES)
def test_in_a_fresh_process(kind, tmp_path):
    """All signatures that take strings, of two models, give text and no NaN; every tenth batch is compared."""
    batches, made, folders = batches_of(2, 5_000), {}, []
    for name in MODELS:
        made[name] = built(MODELS[name], kind)
        folders.append(str(export.saved_model(tasks.find_task(*made[name], **OPTIONS), tmp_path / name, verify=False)))
    given = {
        "folders": folders,
        "batches": [[string.decode("latin-1") for string in batch] for batch in batches],
        "found": str(tmp_path / "found.json"),
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", FRESH, str(tmp_path / "given.json")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for name, folder in zip(MODELS, folders, strict=True):
        names = ("translate", "serving_default", "translate_with_options", "score", "encode")
        assert {f"{folder} {name}" for name in names} <= found.keys()
        rows = found[f"{folder} translate"]
        assert rows == found[f"{folder} serving_default"] and len({one for row in rows for one in row}) > 100
        for row, batch in list(zip(rows, batches, strict=True))[::10]:
            assert [one.encode("latin-1").decode() for one in row] == generated(*made[name], batch)


@pytest.mark.parametrize(
    ("kind", "count"),
    [("characters", 30), *(pytest.param(kind, 5_000, marks=pytest.mark.long) for kind in VOCABULARIES)],
)
def test_ctranslate2(kind, count, tmp_path):
    """It says the same of hostile strings, in pieces of spaces, line feeds and bytes."""
    pytest.importorskip("ctranslate2")
    # Three times as large, both implementations are some 2e-4 a token away from the same in float64.
    model, vocabulary = built(MODELS["transformer"], kind, larger=2)
    export.ctranslate2(model, tmp_path / "a", vocabulary, samples=list(hostile.strings(count, 3)))
