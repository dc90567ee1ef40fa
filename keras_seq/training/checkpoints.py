"""Checkpoints: the full training state, after an epoch or inside one, in one file each.

A checkpoint is a Keras `.weights.h5`, so `model.load_weights` reads it too. Keras 3.15 stores the optimizer's variables
in that file. But when it loads a file, it skips an optimizer that is not built or has another number of variables with
only a warning, and ignores layers that the model lacks without one. The random state of dropout is not in the file. So
each checkpoint also has a manifest (the position, and the names and shapes of its contents, which `restore` compares
first), the states of the model's seed generators and, inside an epoch, those of its metrics.
"""

import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np

from keras_seq.training.hdf5_file import hdf5_file
from keras_seq.training.run_folder import atomic_write

_GROUP = "keras_seq"


class Checkpoint(NamedTuple):
    """A checkpoint, as described by its manifest. The file name is only for people and has no effect.

    Attributes:
        path: path of the file.
        epoch: number of complete epochs when it was saved.
        step: number of trained steps of the next epoch.
        logs: logs of the last complete epoch. Empty inside an epoch.
        callbacks: states of the callbacks, from `callback_state.states`.
    """

    path: pathlib.Path
    epoch: int
    step: int
    logs: dict[str, float]
    callbacks: list[dict[str, Any]]

    @property
    def position(self) -> tuple[int, int]:
        return self.epoch, self.step


class Checkpoints:
    """The checkpoints of a run, in its folder `checkpoints`.

    `epoch-0003.weights.h5` was saved after epoch 3, `epoch-0003-step-00120.weights.h5` 120 steps later. The last `keep`
    files of the first kind are kept, and the newest of the second kind until its epoch ends.

    Args:
        run_dir: path of the run folder.
        keep: number of epochs whose checkpoints are kept. Each save deletes older ones.
        chief: whether this worker writes checkpoints. False for a worker that only reads them.
    Raises:
        ValueError: if `keep` is not positive.
    """

    def __init__(self, run_dir: str | os.PathLike, keep: int = 5, chief: bool = True):
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1. Received: {keep}")
        self.folder = pathlib.Path(run_dir) / "checkpoints"
        self.keep = keep
        self.chief = chief

    def paths(self) -> list[pathlib.Path]:
        """The files saved after an epoch, oldest first. Damaged ones are skipped with a warning."""
        return [checkpoint.path for checkpoint in self._whole() if not checkpoint.step]

    def save(
        self,
        model,
        epoch: int,
        logs: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        callbacks: Sequence[Mapping[str, Any]] = (),
    ) -> pathlib.Path:
        """Saves the state after `epoch` whole epochs and `step` steps of the next, then deletes old checkpoints.

        The file appears under its name only when it is complete. An error leaves all earlier checkpoints unchanged. All
        workers must call this at the same step, since variables of metrics are read together.

        Raises:
            OSError: if the file cannot be written. The error names the file and the remedy.
        """
        inside = f"-step-{step:05d}" if step else ""
        path = self.folder / f"epoch-{epoch:04d}{inside}.weights.h5"
        manifest = {
            "epoch": int(epoch),
            "step": int(step),
            "logs": {name: float(value) for name, value in (logs or {}).items()},
            "callbacks": list(callbacks),
        }
        metrics = [np.asarray(variable) for variable in model.metrics_variables] if step else []
        if self.chief:
            self.folder.mkdir(parents=True, exist_ok=True)

        def write(path):
            with hdf5_file(path) as file:
                model.save_weights(file)
                file.check()
                _write_manifest(file, model, manifest, metrics)

        written_by_chief(model, path, write, self.chief)
        if self.chief:
            self._delete_old((epoch, step), path)
        return path

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint, or None. Damaged ones are skipped with a warning."""
        return max(self._whole(), key=lambda checkpoint: checkpoint.position, default=None)

    def restore(self, model) -> Checkpoint | None:
        """Loads the newest complete checkpoint into the model and its optimizer. `load_metrics` loads the metrics.

        Returns:
            The checkpoint, or None.
        Raises:
            ValueError: if the model is not built, or the checkpoint does not fit it.
        """
        checkpoint = self.latest()
        if checkpoint is not None:
            load(model, checkpoint.path)
        return checkpoint

    def _whole(self) -> list[Checkpoint]:
        found = []
        for path in sorted(self.folder.glob("epoch-*.weights.h5")):
            try:
                found.append(_read_manifest(path)[0])
            except FileNotFoundError:  # deleted in the meantime by the chief
                continue
            except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
                message = f"The checkpoint {path} is damaged and was skipped. It can be deleted. {error}"
                warnings.warn(message, stacklevel=3)
        return sorted(found, key=lambda checkpoint: checkpoint.position)

    def _delete_old(self, position: tuple[int, int], saved: pathlib.Path) -> None:
        others = [checkpoint for checkpoint in self._whole() if checkpoint.path != saved]
        # Those after this position belong to a course of training that the run has left.
        useless = [other for other in others if other.step or other.position > position]
        epochs = [other for other in others if other not in useless]
        useless += epochs[: max(0, len(epochs) - self.keep + (not position[1]))]
        for checkpoint in useless:
            checkpoint.path.unlink(missing_ok=True)


def written_by_chief(model, path: pathlib.Path, write: Callable[[pathlib.Path], None], chief: bool) -> None:
    """Lets the chief write the model to `path`, replacing the old file, and makes the other workers take part.

    Keras also saves metrics that are attributes of a model or a layer. All workers must read these together, so for
    such a model the other workers write too, to a temporary folder.
    """
    if chief:
        with atomic_write(path) as temporary:
            write(temporary)
    elif any(layer._metrics for layer in model._flatten_layers()):
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder) / path.name)


def load(model, path: str | os.PathLike) -> None:
    """Loads one checkpoint into a built model, its optimizer (if it is compiled) and its seed generators.

    Raises:
        ValueError: if the model is not built, the checkpoint is damaged, or it does not fit the model. In the last
            case, the error names the first weight that differs, with both shapes.
    """
    path = pathlib.Path(path)
    if not model.built:
        raise ValueError(f"The model must be built before {path} is restored. Call it on one batch first.")
    _, manifest, arrays = _read_manifest(path)
    _check(path, "weight", manifest["weights"], _listed(model.weights))
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        if not optimizer.built:
            with model.distribute_strategy.scope():
                optimizer.build(model.trainable_variables)
        _check(path, "optimizer variable", manifest["optimizer"], _listed(optimizer.variables))
    try:
        model.load_weights(path)
    except (OSError, KeyError, RuntimeError) as error:  # from HDF5, if the manifest is intact and the rest is not
        message = f"The checkpoint {path} is damaged. Delete it, and an older one is used. {error}"
        raise ValueError(message) from error
    seeds = seed_states(model)
    if len(seeds) != len(arrays["random"]):
        warnings.warn(
            f"{path} has {len(arrays['random'])} random states and the model {len(seeds)}, which start over.",
            stacklevel=2,
        )
    else:
        for variable, value in zip(seeds, arrays["random"], strict=True):
            variable.assign(value)


def metrics_fit(model, path: str | os.PathLike) -> bool:
    """Whether the model has the metrics whose states are in the checkpoint. Keras creates them with the first step."""
    saved = _read_manifest(pathlib.Path(path))[1].get("metrics", [])
    return [shape for _, shape in saved] == [shape for _, shape in _listed(model.metrics_variables)]


def load_metrics(model, path: str | os.PathLike) -> None:
    """Restores the states of the metrics, so that they include the whole epoch.

    A model with other metrics than those in the checkpoint is left unchanged, with a warning.
    """
    if not metrics_fit(model, path):
        warnings.warn(
            f"{path} has the states of other metrics than the model's. This epoch's logs omit its first steps.",
            stacklevel=2,
        )
        return
    for variable, value in zip(model.metrics_variables, _read_manifest(pathlib.Path(path))[2]["metrics"], strict=True):
        variable.assign(value)


def _check(path: pathlib.Path, kind: str, saved: list, present: list) -> None:
    for index in range(max(len(saved), len(present))):
        there = saved[index] if index < len(saved) else None
        here = present[index] if index < len(present) else None
        if there is None or here is None or there[1] != here[1]:
            described = [f"`{entry[0]}` of shape {tuple(entry[1])}" if entry else "nothing" for entry in (there, here)]
            raise ValueError(
                f"The checkpoint {path} does not fit the model: {kind} {index} is {described[0]} in the checkpoint and "
                f"{described[1]} in the model. Build the model with the vocabulary and the options of that run (its "
                "config.json), or train in another folder."
            )


def _write_manifest(file, model, manifest: dict[str, Any], metrics: list[np.ndarray]) -> None:
    optimizer = getattr(model, "optimizer", None)
    manifest = manifest | {
        "weights": _listed(model.weights),
        "optimizer": _listed(optimizer.variables) if optimizer is not None else [],
        "metrics": _listed(model.metrics_variables) if metrics else [],
    }
    with h5py.File(file, "r+") as opened:
        group = opened.create_group(_GROUP)
        # A dataset, since an HDF5 attribute is limited to 64 KiB.
        group.create_dataset("manifest", data=json.dumps(manifest))
        for kind, values in (("random", map(np.asarray, seed_states(model))), ("metrics", metrics)):
            for index, value in enumerate(values):
                group.create_dataset(f"{kind}/{index}", data=value)


def _read_manifest(path: pathlib.Path) -> tuple[Checkpoint, dict[str, Any], dict[str, list[np.ndarray]]]:
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise ValueError(f"{path} is not a file.")
    with h5py.File(path, "r") as file:
        if _GROUP not in file:
            raise ValueError(f"{path} has no manifest, so it was not saved by `Checkpoints`.")
        group = file[_GROUP]
        manifest = json.loads(group["manifest"][()].decode("utf-8"))
        arrays = {
            kind: [group[f"{kind}/{index}"][()] for index in range(len(group.get(kind, ())))]
            for kind in ("random", "metrics")
        }
    place = manifest["epoch"], manifest.get("step", 0)  # files of an earlier version have no step
    return Checkpoint(path, *place, manifest["logs"], manifest.get("callbacks", [])), manifest, arrays


def _listed(variables) -> list[list]:
    return [[variable.path, list(variable.shape)] for variable in variables]


def seed_states(model) -> list:
    """The random states of the model's layers, those of dropout among them."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
