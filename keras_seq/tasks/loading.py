"""Loads a trained model as a task, from a run folder, a `.keras` file in it, or a SavedModel."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_seq.tasks.classification import Classification, labels_file
from keras_seq.tasks.decoding_files import together
from keras_seq.tasks.forecasting import Forecasting, columns_file
from keras_seq.tasks.generation import Generation
from keras_seq.tasks.run_folder import is_saved_model, load_keras, load_part, run_files
from keras_seq.tasks.saved_model import SavedModelTask
from keras_seq.tasks.tagging import Tagging, tags_file
from keras_seq.tasks.task import TASK_FILE, Task
from keras_seq.tasks.tensors import Tensors
from keras_seq.tasks.transcription import Transcription, writes_down
from keras_seq.tasks.translation import Translation

KINDS = {
    kind.name: kind for kind in (Translation, Generation, Classification, Tagging, Forecasting, Transcription, Tensors)
}


def load_as(path: Any, *kinds: str, weights: Sequence[float] = ()) -> Any:
    """Like `load`, for a task that must be of one of these kinds.

    Raises:
        ValueError: if it is of another kind. Names the verb for that kind.
    """
    return expect(load(path, weights, kinds[0]), *kinds)


def load(
    path: str | os.PathLike | Sequence[str | os.PathLike], weights: Sequence[float] = (), kind: str | None = None
) -> Task:
    """Loads a trained model as a task.

        task = keras_seq.load("runs/translation")             # or "saved_models/translation"
        task(["A man rides a horse."])                        # ["Ein Mann reitet ein Pferd."]
        keras_seq.load(["runs/one", "runs/two"])              # models that decode together

    Args:
        path: a run folder, a `.keras` file in one, or a SavedModel. Or several run folders of translators or language
            models with the same vocabularies, whose models decode as one.
        weights: weights of several models in their mean. Empty: equal weights.
        kind: kind of a run folder that has neither `task.json` nor the files of another kind.
    Returns:
        A task. A call maps inputs to outputs, `details` returns all results in full.
    Raises:
        FileNotFoundError: if `path` does not exist.
        ValueError: if it is damaged or of no supported kind. Names the file and the remedy.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    if weights and (len(weights) != len(paths) or not all(0 < weight < math.inf for weight in weights)):
        raise ValueError(
            f"`weights` must be a positive number for each of {len(paths)} models, or none. Received: "
            f"{' '.join(f'{weight:g}' for weight in weights)}"
        )
    if not paths:
        raise ValueError("Name at least one run folder or SavedModel. Received: none")
    if len(paths) == 1:
        return _load(pathlib.Path(paths[0]), kind)
    members = [load_run(pathlib.Path(path), "a mean of several models") for path in paths]
    for member in members:
        if not isinstance(member, Translation | Generation):
            raise ValueError(
                f"{member.where} is a task of {member.name}. Only tasks with a search take several models."
            )
    return together(members, weights)


def _load(path: pathlib.Path, kind: str | None) -> Task:
    return SavedModelTask(path) if is_saved_model(path) else load_run(path, "", kind)


def load_run(path: pathlib.Path, what: str, kind: str | None = None) -> Task:
    """Loads a run folder.

    Args:
        what: name of the function that needs a run folder, for the error about a SavedModel.
        kind: see `load`.
    Raises:
        FileNotFoundError, ValueError: see `load`.
    """
    refuse_saved_models([path], what)
    folder, file = run_files(path)
    if (folder / TASK_FILE).exists():
        options = load_part(folder / TASK_FILE, _read, "")
        return KINDS[options.pop("task")].load(folder, file, options)
    found, model = _found(folder, file)
    found = KINDS[kind] if found is Tensors and kind is not None else found
    return found.load(folder, file, {}, model)


def refuse_saved_models(paths: Sequence[pathlib.Path], what: str) -> None:
    """Raises `ValueError` for a SavedModel, if `what` needs more than it has."""
    for path in paths:
        if is_saved_model(path):
            raise ValueError(
                f"{path} is a SavedModel, but {what} needs the weights and the vocabulary in a run folder. "
                "Give the run folder that it was exported from."
            )


def _read(file: pathlib.Path) -> dict[str, Any]:
    import json

    options = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(options, dict) or options.get("task") not in KINDS:
        raise ValueError(f'"task" must be one of {", ".join(KINDS)}')
    return options


def _found(folder: pathlib.Path, file: pathlib.Path) -> tuple[type, Any]:
    """The kind of a run that is unfinished, or older than `task.json`: by its files and its model."""
    for kind, known_by in ((Forecasting, columns_file), (Tagging, tags_file), (Classification, labels_file)):
        if known_by(folder).exists():
            return kind, None
    model = load_keras(file)
    if writes_down(model):
        return Transcription, model
    decodes = callable(getattr(model, "decode", None)) and getattr(model, "source_front_end", None) is None
    if not decodes:
        return Tensors, model
    return (Translation if hasattr(model, "encode") else Generation), model


def expect(task: Task, *kinds: str) -> Any:
    """Returns the task, if it is of one of these kinds.

    Raises:
        ValueError: if it is not. Names the verb for its kind.
    """
    if task.name in kinds:
        return task
    use = "keras_seq.load in Python" if task.name == "tensors" else f"keras-seq {task.verb}"
    raise ValueError(
        f"{task.where} is a task of {task.name}, not of {' or '.join(kinds)}. Use {use}, or give another model."
    )


def find_task(model: Any, vocabulary: Any, **options: Any) -> Task:
    """The task for a model with a search: `Translation` for a model that encodes and decodes, `Transcription` if it has
    a front end for its source, `Generation` for a language model.

    Raises:
        ValueError: for any other model.
    """
    if hasattr(model, "encode"):
        reads_text = getattr(model, "source_front_end", None) is None
        return (Translation if reads_text else Transcription)(model, vocabulary, **options)
    if hasattr(model, "initial_state"):
        return Generation(model, vocabulary, **options)
    raise ValueError(
        f"A {type(model).__name__} neither translates nor continues texts. Choose its task from keras_seq.tasks."
    )
