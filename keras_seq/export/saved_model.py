"""A SavedModel that takes strings and gives strings: vocabulary, model and search in one graph."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from keras_seq.decoding import power_penalty
from keras_seq.decoding.generate import padded_width
from keras_seq.decoding.searching import search_with_vocabulary

SAMPLES = (
    "A man rides a horse.",
    "",
    " ",
    "four hundred and six",
    "🐎 🙂🙃 👩‍👩‍👧",  # emoji, one of them joined of several
    "Ψ ж 漢字 ﷽ \u200b\ufffd",  # characters of other scripts
    "a " * 2000,  # 2,000 words
)
LONG = 500  # characters; longer samples are tried alone, for they would make their whole batch long
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra", "debug"}


def saved_model(
    model,
    path,
    vocabulary,
    *,
    source_vocabulary=None,
    num_beams=5,
    num_return=1,
    max_length=None,
    length_penalty=power_penalty(1.0),  # noqa: B008, a function of no state
    early_stop="first",
    verify=True,
    samples=SAMPLES,
    timeout=900,
    overwrite=True,
) -> Path:
    """Writes a SavedModel that translates, for processes that import only tensorflow and tensorflow_text.

    Its signature `translate` (and `serving_default`) takes `text`, strings `(B,)`, and gives `text`, strings, and
    `score`, float32: `(B,)`, or `(B, n)` best first where `num_return=n` is above 1. It decodes as
    `decoding.generate` decodes one batch. A text without any token gives "" with score 0. The score is the search's;
    where it found fewer than n, the slots left are "" with score -inf.

    It is written and verified beside `path` and then put there by renaming, so that an export that fails or is
    interrupted leaves what was there.

    Args:
        model: a built Keras model with `encode` and `decode`, see `decoding.search`.
        path: the folder to write.
        vocabulary: of the target; and of the source, unless that has its own. A `tf.Module` that tokenizes and
            detokenizes in the graph, such as those of `text`.
        source_vocabulary: when it is not the same.
        num_beams, num_return, length_penalty, early_stop: see `decoding.Beam`.
        max_length: of a result, the end token counted. Default: twice the longest source of the batch, and 10.
        verify: whether a fresh process loads what was written and translates `samples`, each alone and the short ones
            together, which must give the texts of this process, and the scores but for 1e-4.
        samples: strings or bytes.
        timeout: seconds that the fresh process may take.
        overwrite: whether a SavedModel that stands at `path` is replaced.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ValueError: if `path` holds something that is not a SavedModel, or a SavedModel with `overwrite=False`; for an
            option out of its range.
        RuntimeError: if the fresh process fails, translates otherwise, or takes longer than `timeout`.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"A SavedModel needs Keras's TensorFlow backend. Received: {keras.backend.backend()!r}")
    path = Path(path)
    check_target(path, overwrite)
    translator = Translator(
        model,
        vocabulary,
        source_vocabulary,
        num_beams=num_beams,
        num_return=num_return,
        max_length=max_length,
        length_penalty=length_penalty,
        early_stop=early_stop,
    )
    with without_cudnn(model):
        translate = translator.translate.get_concrete_function()

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        tf.saved_model.save(translator, str(new), {"translate": translate, "serving_default": translate})
        if verify:
            _verify(new, translator, samples, timeout)
        check_target(path, overwrite)  # verifying takes a while
        swap(path, new, old)
    return path


class Translator(tf.Module):
    """The translation of a batch of strings as one graph, of one trace for all shapes.

    Args:
        model: see `saved_model`. Only its weights become part of the module: no optimizer, no metrics.
        vocabulary, source_vocabulary: see `saved_model`.
        num_return: results for a text.
        options: of `decoding.search`.
    """

    def __init__(self, model, vocabulary, source_vocabulary=None, *, num_return=1, **options):
        super().__init__(name="translator")
        self.weights = [weight.value for weight in model.weights]
        self.vocabulary = vocabulary
        self.source_vocabulary = source_vocabulary = source_vocabulary or vocabulary

        def found(source):
            """Ids `(B, S)` -> texts and scores, `(B, R)`."""
            tokens, _, _, scores = search_with_vocabulary(model, vocabulary, source, num_return=num_return, **options)
            texts = vocabulary.detokenize(tf.reshape(tokens, (-1, tf.shape(tokens)[2])))  # (B, R, T) -> (B * R,)
            return tf.reshape(texts, (-1, num_return)), scores

        def translate(text):
            ids = source_vocabulary.tokenize(text)
            some = ids.row_lengths() > 0  # (B,)
            source = tf.ragged.boolean_mask(ids, some)
            texts, scores = found(_padded(source, source_vocabulary))
            # Back to where they were; all texts without a token share one more row at the end.
            texts = tf.concat([texts, tf.fill([1, num_return], "")], axis=0)
            scores = tf.concat([scores, tf.zeros([1, num_return])], axis=0)
            some = tf.cast(some, tf.int32)
            row = tf.where(some > 0, tf.cumsum(some) - 1, tf.reduce_sum(some))  # (B,)
            texts, scores = tf.gather(texts, row), tf.gather(scores, row)
            if num_return == 1:
                texts, scores = texts[:, 0], scores[:, 0]
            return {"text": texts, "score": scores}

        signature = [tf.TensorSpec([None], tf.string, name="text")]
        self.translate = tf.function(translate, input_signature=signature, autograph=False)


def _padded(ids, vocabulary):
    """Ragged ids -> `(B, S)`, the end token behind each, as wide as `decoding.generate` makes a batch."""
    end = tf.fill([ids.nrows(tf.int32), 1], tf.constant(vocabulary.end_id, tf.int32))
    longest = tf.reduce_max(tf.concat([ids.row_lengths(), [0]], axis=0))  # no rows at all: 0
    shape = tf.stack([-1, padded_width(longest)])  # -1: as many rows as there are
    return tf.ensure_shape(tf.concat([ids, end], axis=1).to_tensor(vocabulary.pad_id, shape=shape), (None, None))


@contextlib.contextmanager
def without_cudnn(model):
    """Traces recurrent layers without the kernels that only a GPU has: the SavedModel must run anywhere."""
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    before = [layer.use_cudnn for layer in layers]
    try:
        for layer in layers:
            layer.use_cudnn = False
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.use_cudnn = value


def check_target(path, overwrite, kind="SavedModel", main="saved_model.pb", files=frozenset(SAVED_MODEL_FILES)):
    """Raises `ValueError` where writing to `path` would lose something.

    Args:
        kind: what it is a folder of.
        main: the file by which such a folder is known.
        files: all that may be in one.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path}: is a file; a {kind} is a folder. Give another `path`.")
    names = {entry.name for entry in path.iterdir()}
    if names and main not in names:
        raise ValueError(f"{path}: holds no {kind} but {_some(names)}; it is left alone. Give another `path`.")
    if names and not overwrite:
        raise ValueError(f"{path}: holds a {kind} already. Give another `path` or `overwrite=True`.")
    if names - files:
        raise ValueError(
            f"{path}: holds a {kind} and also {_some(names - files)}, which would be lost. "
            "Move that, or give another `path`."
        )


def _some(names):
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def swap(path, new, old):
    """Puts the folder `new` where `path` is, and what was there to `old` and then away."""
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


# Strings travel as latin-1, one character for a byte: no byte is lost in JSON.
FRESH_PROCESS = """
import json, sys
import tensorflow as tf
import tensorflow_text
assert "keras_seq" not in sys.modules
folder, batches, results = sys.argv[1:]
translate = tf.saved_model.load(folder).signatures["translate"]
found = []
for batch in json.load(open(batches)):
    result = translate(text=tf.constant([text.encode("latin-1") for text in batch], tf.string, [len(batch)]))
    texts = [text.decode("latin-1") for text in result["text"].numpy().ravel().tolist()]
    found.append({"text": texts, "score": result["score"].numpy().ravel().tolist()})
json.dump(found, open(results, "w"))
"""


def _verify(folder, translator, samples, timeout):
    """Compares what a fresh process makes of the SavedModel with what this one makes of the samples."""
    samples = [sample.encode() if isinstance(sample, str) else bytes(sample) for sample in samples]
    batches = [[sample] for sample in samples] + [[sample for sample in samples if len(sample) <= LONG], []]
    elsewhere = _translate_elsewhere(folder, batches, timeout)
    with _full_precision():
        here = [translator.translate(tf.constant(batch, tf.string, [len(batch)])) for batch in batches]
    for batch, one, other in zip(batches, here, elsewhere, strict=True):
        texts, scores = one["text"].numpy().ravel().tolist(), one["score"].numpy().ravel().tolist()
        others = [text.encode("latin-1") for text in other["text"]]
        if len(texts) != len(others):
            raise RuntimeError(f"The SavedModel gives {len(others)} results for {len(batch)} texts, not {len(texts)}.")
        for i, found in enumerate(zip(texts, scores, strict=True)):
            score = other["score"][i]
            if found[0] != others[i] or not math.isclose(found[1], score, rel_tol=1e-5, abs_tol=1e-4):
                text = batch[i // (len(texts) // len(batch))]
                raise RuntimeError(
                    f"The SavedModel translates otherwise in a fresh process. Of {_short(text)} this process makes "
                    f"{_short(found[0])} (score {found[1]:.6g}), the fresh one {_short(others[i])} (score {score:.6g})."
                )


def _translate_elsewhere(folder, batches, timeout):
    """Translates batches of bytes with the SavedModel in a process that knows nothing of this one."""
    with tempfile.TemporaryDirectory() as scratch:  # also where it runs: no package of ours lies there
        given, results = Path(scratch, "given.json"), Path(scratch, "results.json")
        given.write_text(json.dumps([[text.decode("latin-1") for text in batch] for batch in batches]))
        command = [sys.executable, "-c", FRESH_PROCESS, str(folder.resolve()), str(given), str(results)]
        # Without a GPU: this process may hold all of its memory.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        try:
            done = subprocess.run(
                command, cwd=scratch, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f"The fresh process took longer than `timeout`={timeout} seconds to load and try the SavedModel, and "
                "was ended. Give more seconds, fewer or shorter `samples`, or a `max_length`."
            ) from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()[-15:]
            raise RuntimeError(
                f"The SavedModel fails in a fresh process (exit status {done.returncode}):\n" + "\n".join(lines)
            )
        return json.loads(results.read_text())


@contextlib.contextmanager
def _full_precision():
    """A GPU computes float32 products as a CPU does, not in TensorFloat-32."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)


def _short(text):
    text = text.decode("utf-8", "backslashreplace")
    return repr(text) if len(text) <= 200 else f"{text[:200]!r}... ({len(text)} characters)"
