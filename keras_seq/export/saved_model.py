"""SavedModel export: vocabulary, model and search in one graph, for processes without this package."""

import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_seq.export.destination import check_folder, swap
from keras_seq.export.model_card import card_at, read_run, saved_model_usage, write_card
from keras_seq.export.verification import tolerance_for
from keras_seq.export.verification import verify as verify_elsewhere
from keras_seq.tasks.signatures import Exported, for_inference
from keras_seq.tasks.task import Task

SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra", "debug"}
KIND = ("SavedModel", "saved_model.pb")


def saved_model(
    task: Task,
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
    samples: Any = None,
    timeout: float = 900,
    overwrite: bool = True,
    run: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes a SavedModel for processes that import only tensorflow and tensorflow_text.

        export.saved_model(tasks.Translation(translator, subwords, num_beams=5), "saved_models/en-de")
        export.saved_model(tasks.Generation(prose, subwords, search="sampling", top_p=0.9), "saved_models/prose")
        export.saved_model(tasks.Classification(classifier, subwords, ["bad", "good"]), "saved_models/mood")

    Its signatures are functions of tensors by name, with strings if the task has strings. The task's first signature is
    also `serving_default`. Each is traced once, for batches of any size and texts of any length.

    It is written and verified beside `path` and then renamed, so that an export that fails or is interrupted leaves
    `path` unchanged.

    Beside it is `README.md`, a model card with what the run folder knows: task, data, figures, seed, command, limits.

    Args:
        task: one of `keras_seq.tasks`.
        path: the folder to write.
        verify: whether to load the SavedModel in a fresh process and run the task on `samples` there. The results must
            equal those of this process: the same strings, and numbers within 1e-4 (or the rounding of float16 or
            bfloat16, if the model computes in it).
        samples: strings or bytes, or other inputs of the task. None for the task's samples.
        timeout: time limit of the fresh process, in seconds.
        overwrite: whether to replace an existing SavedModel at `path`.
        run: run folder of the model, for the card. None: the folder that the task was loaded from, if any.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ValueError: if `path` is something other than a SavedModel, if it is a SavedModel and `overwrite=False`, or for
            an option out of its range, or if a file of the run folder is damaged.
        RuntimeError: if the fresh process fails, returns other results, or takes longer than `timeout`.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"A SavedModel needs Keras's TensorFlow backend. Received: {keras.backend.backend()!r}")
    path = Path(path)
    check_folder(path, overwrite, *KIND, SAVED_MODEL_FILES | card_at(path))
    known = read_run(task.folder if run is None else run)
    model = task.exported_model()
    exported = Exported(model, task.signatures(), task.resources)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        write(model, exported, new)
        if verify:
            calls = task.calls(exported.functions, task.samples if samples is None else samples)
            with for_inference(model):
                verify_elsewhere(new, exported.functions, calls, timeout, tolerance_for(model))
        check_folder(path, overwrite, *KIND, SAVED_MODEL_FILES | card_at(path))  # verifying takes a while
        write_card(
            new,
            path,
            kind=task.name,
            form="A SavedModel",
            model=model,
            usage=saved_model_usage(new, path, getattr(task, "verb", "")),
            known=known,
            has_text=getattr(task, "vocabulary", None) is not None,
        )
        swap(path, new, old)
    return path


def write(model, exported, folder):
    """Saves the module with all its functions as signatures. The first one is also the default."""
    signatures = exported.functions
    signatures["serving_default"] = next(iter(signatures.values()))
    # A served model is not trained. Without gradients it is written and loaded faster.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with for_inference(model):
        tf.saved_model.save(exported, str(folder), signatures, options)
