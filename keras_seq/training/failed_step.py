"""A training step in a folder: the model before it, its batch and its random states, to repeat it elsewhere.

nan-step-1234/
  model.keras    the model with its loss and its optimizer, before the step
  batch.npz      the arrays of the batch, and the random states
  step.json      the nest of the batch, the number of the step, the learning rate, the last good norms
"""

import importlib
import os
import pathlib
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_seq.training.checkpoints import seed_states, written_by_chief
from keras_seq.training.diagnosis import Diagnosis, diagnose
from keras_seq.training.run_folder import FAILED_STEP, atomic_write, read_config, write_json

_OF_KERAS = ("keras", "keras_seq", "builtins")


class FailedStep(NamedTuple):
    """A step that was read from its folder.

    Attributes:
        model: compiled model, before the step.
        batch: nest of arrays, as `fit` got it.
        facts: `step`, `learning_rate`, `loss` and `norms` of the last good step.
    """

    model: keras.Model
    batch: Any
    facts: dict[str, Any]

    def diagnose(self) -> Diagnosis:
        return diagnose(self.model, self.batch)


def save_step(
    folder: str | os.PathLike,
    model: keras.Model,
    batch: Any,
    step: int,
    facts: Mapping[str, Any],
    chief: bool = True,
) -> pathlib.Path:
    """Writes a step into the folder `nan-step-N` of a folder.

    Args:
        folder: folder, made if there is none.
        model: compiled and built model, before the step.
        batch: nest of arrays: `(x, y)` or `(x, y, sample_weight)`.
        step: number of the step, from 1.
        facts: further values for `step.json`.
        chief: whether this process writes. All workers must call this.
    Returns:
        The path of the folder.
    Raises:
        OSError: if it cannot be written. The error names the file and the remedy.
    """
    path = pathlib.Path(folder) / f"{FAILED_STEP}{step}"
    if chief:
        path.mkdir(parents=True, exist_ok=True)
    written_by_chief(model, path / "model.keras", model.save, chief)
    if not chief:
        return path
    arrays: dict[str, np.ndarray] = {}
    nest = _described(batch, arrays)
    arrays |= {f"random_{number}": np.asarray(state) for number, state in enumerate(seed_states(model))}
    with atomic_write(path / "batch.npz") as temporary:
        np.savez(temporary, **arrays)
    values = {"step": step, **facts, "batch": nest, "modules": _modules(model)}
    write_json(path / "step.json", values)
    return path


def load_step(path: str | os.PathLike, modules: Iterable[str] = ()) -> FailedStep:
    """Reads a step that `save_step` wrote.

    Args:
        path: folder, or a file in it.
        modules: names of modules to import first: those that register classes of the model with Keras.
    Raises:
        FileNotFoundError: if there is no such folder.
        ImportError: if a module cannot be imported.
        ValueError: if a file is damaged, or a class of the model is missing. The error names the module that has it.
    """
    path = pathlib.Path(path)
    path = path.parent if path.is_file() else path
    missing = [name for name in ("model.keras", "batch.npz", "step.json") if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(f"{path} has no {missing[0]}. Name a folder {FAILED_STEP}N that a training run left.")
    for module in modules:
        try:
            importlib.import_module(module)
        except (TypeError, ValueError) as error:  # a relative or an empty name
            raise ImportError(f"{module!r} is not the name of a module: {error}") from error
    facts = read_config(path / "step.json")
    try:
        with np.load(path / "batch.npz") as file:
            arrays = dict(file)
        batch = _filled(facts.pop("batch"), arrays)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path / 'batch.npz'} or step.json beside it is damaged: {error}") from error
    model = _load_model(path / "model.keras", facts.pop("modules", {}))
    for number, state in enumerate(seed_states(model)):
        if f"random_{number}" in arrays:
            state.assign(arrays[f"random_{number}"])
    return FailedStep(model, batch, facts)


def _load_model(file: pathlib.Path, modules: Mapping[str, str]) -> keras.Model:
    try:
        with warnings.catch_warnings():  # an optimizer of a scope has a variable more
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(file)
    except (TypeError, ValueError) as error:
        found = re.search(r"Could not (?:locate|deserialize) (?:class|function) '([^']*)'", str(error))
        name = found[1].rpartition(">")[2] if found else ""
        if not name:
            raise ValueError(f"{file} could not be read: {' '.join(str(error).split())[:500]}") from error
        module = modules.get(name, "the module that registers it")
        raise ValueError(
            f"{file} needs {name}, which is not registered with Keras here. Import its module: --import {module}"
            if name in modules
            else f"{file} needs {name}, which is not registered with Keras here. Name its module with --import."
        ) from error


def _modules(model: keras.Model) -> dict[str, str]:
    """The modules of the classes and functions of a model that are neither of Keras nor of keras_seq."""
    parts = [*model._flatten_layers(), model.optimizer, *keras.tree.flatten(getattr(model, "loss", None))]
    parts += [getattr(part, "cell", None) for part in parts]
    kinds = [part if hasattr(part, "__name__") else type(part) for part in parts]
    return {
        kind.__name__: kind.__module__
        for kind in kinds
        if kind.__module__ is not None and kind.__module__.partition(".")[0] not in _OF_KERAS
    }


def _described(nest: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The nest as JSON, with names in place of arrays, which are added to `arrays`."""
    if nest is None:
        return None
    if isinstance(nest, Mapping):
        return {"dict": {name: _described(part, arrays) for name, part in nest.items()}}
    if isinstance(nest, tuple | list):
        return {"tuple" if isinstance(nest, tuple) else "list": [_described(part, arrays) for part in nest]}
    array = np.asarray(nest)
    name = f"array_{len(arrays)}"
    arrays[name] = array.astype(bytes) if array.dtype == object else array  # strings
    return name


def _filled(nest: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if nest is None or isinstance(nest, str):
        return None if nest is None else arrays[nest]
    ((kind, parts),) = nest.items()
    if kind == "dict":
        return {name: _filled(part, arrays) for name, part in parts.items()}
    return {"tuple": tuple, "list": list}[kind](_filled(part, arrays) for part in parts)
