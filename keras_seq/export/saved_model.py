"""A SavedModel: vocabulary, model and search in one graph, for processes that know nothing of this package."""

import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_seq.export.destination import check_folder, swap
from keras_seq.export.verification import verify as verify_elsewhere
from keras_seq.tasks.signatures import Exported, without_cudnn
from keras_seq.tasks.task import Task

SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra", "debug"}
KIND = ("SavedModel", "saved_model.pb", SAVED_MODEL_FILES)


def saved_model(
    task: Task,
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
    samples: Any = None,
    timeout: float = 900,
    overwrite: bool = True,
) -> Path:
    """Writes a SavedModel for processes that import only tensorflow and tensorflow_text.

        export.saved_model(tasks.Translation(translator, subwords, num_beams=5), "saved_models/en-de")
        export.saved_model(tasks.Generation(prose, subwords, search="sampling", top_p=0.9), "saved_models/prose")
        export.saved_model(tasks.Classification(classifier, subwords, ["bad", "good"]), "saved_models/mood")

    What it can do are its signatures, functions of tensors by name, strings where the task is strings; the task's first
    one is also `serving_default`. Each is traced once, for batches of any size and texts of any length.

    It is written and verified beside `path` and then put there by renaming, so that an export that fails or is
    interrupted leaves what was there.

    Args:
        task: one of `keras_seq.tasks`.
        path: the folder to write.
        verify: whether a fresh process loads what was written and does the task for `samples`, which must give what it
            gives in this process: the same strings, and numbers but for 1e-4.
        samples: strings or bytes, or whatever the task takes; None for those of the task.
        timeout: seconds that the fresh process may take.
        overwrite: whether a SavedModel that stands at `path` is replaced.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ValueError: if `path` holds something that is not a SavedModel, or a SavedModel with `overwrite=False`; for an
            option out of its range.
        RuntimeError: if the fresh process fails, gives otherwise, or takes longer than `timeout`.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"A SavedModel needs Keras's TensorFlow backend. Received: {keras.backend.backend()!r}")
    path = Path(path)
    check_folder(path, overwrite, *KIND)
    model = task.exported_model()
    exported = Exported(model, task.signatures(), task.resources)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        write(model, exported, new)
        if verify:
            calls = task.calls(exported.functions, task.samples if samples is None else samples)
            with without_cudnn(model):
                verify_elsewhere(new, exported.functions, calls, timeout)
        check_folder(path, overwrite, *KIND)  # verifying takes a while
        swap(path, new, old)
    return path


def write(model, exported, folder):
    """Saves the module, all its functions as signatures, the first one as the default too."""
    signatures = exported.functions
    signatures["serving_default"] = next(iter(signatures.values()))
    # Nobody trains what is served: without gradients it is written and loaded faster.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with without_cudnn(model):
        tf.saved_model.save(exported, str(folder), signatures, options)
