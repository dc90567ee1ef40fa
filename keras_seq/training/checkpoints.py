"""Checkpoints: all that training needs to go on, after an epoch or inside one, in one file each.

A checkpoint is Keras's own `.weights.h5`, so `model.load_weights` reads it too. Keras 3.15 puts the optimizer's
variables into that file, but when it loads one it skips, with no more than a warning, an optimizer that is not built
or has another number of variables, and says nothing at all about layers which the model lacks; dropout's random state
is not in it. So each file also holds a manifest (the position, and the names and shapes of everything in it, which
`restore` compares first), the states of the model's seed generators and, inside an epoch, those of its metrics.
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
    """What a checkpoint says of itself; its name is for people, and counts for nothing.

    Attributes:
        path: its file.
        epoch: how many epochs were complete when it was saved.
        step: how many steps of the next epoch had been trained.
        logs: those of the last complete epoch; empty inside an epoch.
        callbacks: the states of callbacks, as `callback_state.states` gave them.
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
    of the first kind stay, and of the second kind the newest one, until its epoch ends.

    Args:
        run_dir: the run folder.
        keep: how many epochs' checkpoints stay; older ones are deleted when one is saved.
        chief: False for a worker that reads what another one writes.
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
        """The files saved after an epoch, oldest first; damaged ones are left out with a warning."""
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
        """Saves the state after `epoch` whole epochs and `step` steps of the next, then deletes what is too old.

        The file appears under its name only when it is whole; an error leaves all earlier checkpoints as they were. Of
        several workers all must call this at the same step: variables of metrics are read together.

        Raises:
            OSError: if the file cannot be written; names it and the remedy.
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
        """The newest checkpoint that is whole; a damaged one is passed over with a warning. None if there is none."""
        return max(self._whole(), key=lambda checkpoint: checkpoint.position, default=None)

    def restore(self, model) -> Checkpoint | None:
        """Puts the newest whole checkpoint into the model and its optimizer; the metrics are left to `load_metrics`.

        Returns:
            The checkpoint, None if there is none.
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
            except FileNotFoundError:  # deleted since by the worker that writes
                continue
            except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
                message = f"The checkpoint {path} is damaged and passed over; it can be deleted. {error}"
                warnings.warn(message, stacklevel=3)
        return sorted(found, key=lambda checkpoint: checkpoint.position)

    def _delete_old(self, position: tuple[int, int], saved: pathlib.Path) -> None:
        others = [checkpoint for checkpoint in self._whole() if checkpoint.path != saved]
        # Those after this position are of a course that the run has left.
        useless = [other for other in others if other.step or other.position > position]
        epochs = [other for other in others if other not in useless]
        useless += epochs[: max(0, len(epochs) - self.keep + (not position[1]))]
        for checkpoint in useless:
            checkpoint.path.unlink(missing_ok=True)


def written_by_chief(model, path: pathlib.Path, write: Callable[[pathlib.Path], None], chief: bool) -> None:
    """Lets the chief write the model to `path`, in place of what is there, and the other workers follow.

    Metrics that are attributes of a model or a layer are part of what Keras saves, and are read by all workers together
    or not at all: such a model the others write too, to a place of their own that is removed at once.
    """
    if chief:
        with atomic_write(path) as temporary:
            write(temporary)
    elif any(layer._metrics for layer in model._flatten_layers()):
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder) / path.name)


def load(model, path: str | os.PathLike) -> None:
    """Puts one checkpoint into a built model, its optimizer (if it is compiled) and its seed generators.

    Raises:
        ValueError: if the model is not built, the checkpoint is damaged, or it does not fit the model: names the first
            weight that differs, with both shapes.
    """
    path = pathlib.Path(path)
    if not model.built:
        raise ValueError(f"The model must be built before {path} is restored: call it on one batch first.")
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
    except (OSError, KeyError, RuntimeError) as error:  # of HDF5, where its manifest is whole and the rest is not
        message = f"The checkpoint {path} is damaged; delete it, and an older one is taken. {error}"
        raise ValueError(message) from error
    seeds = _seed_states(model)
    if len(seeds) != len(arrays["random"]):
        warnings.warn(
            f"{path} has {len(arrays['random'])} random states and the model {len(seeds)}, which begin anew.",
            stacklevel=2,
        )
    else:
        for variable, value in zip(seeds, arrays["random"], strict=True):
            variable.assign(value)


def metrics_fit(model, path: str | os.PathLike) -> bool:
    """Whether the model has the metrics whose states are in the checkpoint; Keras makes them with the first step."""
    saved = _read_manifest(pathlib.Path(path))[1].get("metrics", [])
    return [shape for _, shape in saved] == [shape for _, shape in _listed(model.metrics_variables)]


def load_metrics(model, path: str | os.PathLike) -> None:
    """Puts the states of the metrics into the model, so that they go on counting inside the epoch.

    A model with other metrics than those in the checkpoint keeps its own, with a warning.
    """
    if not metrics_fit(model, path):
        warnings.warn(
            f"{path} has the states of other metrics than the model's: this epoch's logs leave out its first steps.",
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
        # A dataset, since an attribute of HDF5 holds no more than 64 KiB.
        group.create_dataset("manifest", data=json.dumps(manifest))
        for kind, values in (("random", map(np.asarray, _seed_states(model))), ("metrics", metrics)):
            for index, value in enumerate(values):
                group.create_dataset(f"{kind}/{index}", data=value)


def _read_manifest(path: pathlib.Path) -> tuple[Checkpoint, dict[str, Any], dict[str, list[np.ndarray]]]:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path} is no file.")
    with h5py.File(path, "r") as file:
        if _GROUP not in file:
            raise ValueError(f"{path} has no manifest: it was not saved by `Checkpoints`.")
        group = file[_GROUP]
        manifest = json.loads(group["manifest"][()].decode("utf-8"))
        arrays = {
            kind: [group[f"{kind}/{index}"][()] for index in range(len(group.get(kind, ())))]
            for kind in ("random", "metrics")
        }
    place = manifest["epoch"], manifest.get("step", 0)  # what an earlier version saved has no step
    return Checkpoint(path, *place, manifest["logs"], manifest.get("callbacks", [])), manifest, arrays


def _listed(variables) -> list[list]:
    return [[variable.path, list(variable.shape)] for variable in variables]


def _seed_states(model) -> list:
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
