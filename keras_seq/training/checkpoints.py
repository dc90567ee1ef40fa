"""Checkpoints: the weights, the optimizer's state and the random state after an epoch, one file each.

A checkpoint is Keras's own `.weights.h5`, so `model.load_weights` reads it too. Keras 3.15 puts the optimizer's
variables into that file, but when it loads one it skips, with no more than a warning, an optimizer that is not built
or has another number of variables, and says nothing at all about layers which the model lacks; dropout's random state
is not in it. So each file also holds a manifest (the names and shapes of everything in it, which `restore` compares
first) and the states of the model's seed generators.
"""

import json
import os
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from keras_seq.training.run import replacing

_GROUP = "keras_seq"
_NAME = re.compile(r"epoch-(\d+)\.weights\.h5")


class Checkpoint(NamedTuple):
    """What a checkpoint says of itself: its file, the epoch it was saved after (from 1), and that epoch's logs."""

    path: pathlib.Path
    epoch: int
    logs: dict[str, float]


class Checkpoints:
    """The checkpoints of a run, in `<run_dir>/checkpoints/epoch-0001.weights.h5` and so on.

    Args:
        run_dir: the run folder.
        keep: how many of the newest stay; older ones are deleted when one is saved.
    Raises:
        ValueError: if `keep` is not positive.
    """

    def __init__(self, run_dir: str | os.PathLike, keep: int = 5):
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1. Received: {keep}")
        self.folder = pathlib.Path(run_dir) / "checkpoints"
        self.keep = keep

    def paths(self) -> list[pathlib.Path]:
        """The files, oldest epoch first."""
        return sorted(self._numbered(), key=_epoch_in_name)

    def save(self, model, epoch: int, logs: Mapping[str, float] | None = None) -> pathlib.Path:
        """Saves the state after `epoch` (from 1), then deletes what is older than the last `keep`.

        The file appears under its name only when it is whole; an error leaves all earlier checkpoints as they were.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch-{epoch:04d}.weights.h5"
        with replacing(path) as temporary:
            model.save_weights(temporary)
            _write_manifest(temporary, model, epoch, dict(logs or {}))
        # Those after this epoch are of a course that the run has left.
        for other in self.paths():
            if _epoch_in_name(other) > epoch:
                other.unlink()
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; a damaged one is passed over with a warning. None if there is none."""
        for path in reversed(self.paths()):
            try:
                return _read_manifest(path)[0]
            except (OSError, KeyError, ValueError) as error:
                warnings.warn(f"The checkpoint {path} is damaged and passed over: {error}", stacklevel=2)
        return None

    def restore(self, model) -> int:
        """Puts the newest whole checkpoint into the model and its optimizer.

        Returns:
            The epoch that it was saved after, 0 if there is no checkpoint.
        Raises:
            ValueError: if the model is not built, or the checkpoint does not fit it.
        """
        checkpoint = self.latest()
        if checkpoint is None:
            return 0
        load(model, checkpoint.path)
        return checkpoint.epoch

    def _numbered(self) -> list[pathlib.Path]:
        return [path for path in self.folder.glob("epoch-*.weights.h5") if _NAME.fullmatch(path.name)]


def load(model, path: str | os.PathLike) -> None:
    """Puts one checkpoint into a built model, its optimizer (if it is compiled) and its seed generators.

    Raises:
        ValueError: if the model is not built, or the checkpoint does not fit it: names the first weight that
            differs, with both shapes.
    """
    path = pathlib.Path(path)
    if not model.built:
        raise ValueError(f"The model must be built before {path} is restored: call it on one batch first.")
    _, manifest, random_states = _read_manifest(path)
    _check(path, "weight", manifest["weights"], _listed(model.weights))
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        if not optimizer.built:
            with model.distribute_strategy.scope():
                optimizer.build(model.trainable_variables)
        _check(path, "optimizer variable", manifest["optimizer"], _listed(optimizer.variables))
    model.load_weights(path)
    seeds = _seed_states(model)
    if len(seeds) == len(random_states):
        for variable, value in zip(seeds, random_states, strict=True):
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


def _write_manifest(path: pathlib.Path, model, epoch: int, logs: dict[str, Any]) -> None:
    optimizer = getattr(model, "optimizer", None)
    manifest = {
        "epoch": epoch,
        "logs": {name: float(value) for name, value in logs.items()},
        "weights": _listed(model.weights),
        "optimizer": _listed(optimizer.variables) if optimizer is not None else [],
    }
    with h5py.File(path, "r+") as file:
        group = file.create_group(_GROUP)
        # A dataset, since an attribute of HDF5 holds no more than 64 KiB.
        group.create_dataset("manifest", data=json.dumps(manifest))
        for index, variable in enumerate(_seed_states(model)):
            group.create_dataset(f"random/{index}", data=np.asarray(variable))


def _read_manifest(path: pathlib.Path) -> tuple[Checkpoint, dict[str, Any], list[np.ndarray]]:
    with h5py.File(path, "r") as file:
        if _GROUP not in file:
            raise ValueError(f"{path} has no manifest: it was not saved by `Checkpoints`.")
        group = file[_GROUP]
        manifest = json.loads(group["manifest"][()].decode("utf-8"))
        random_states = [group[f"random/{index}"][()] for index in range(len(group.get("random", ())))]
    return Checkpoint(path, manifest["epoch"], manifest["logs"]), manifest, random_states


def _listed(variables) -> list[list]:
    return [[variable.path, list(variable.shape)] for variable in variables]


def _seed_states(model) -> list:
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def _epoch_in_name(path: pathlib.Path) -> int:
    return int(_NAME.fullmatch(path.name).group(1))
