"""Initializes a model with all matching weights of another run."""

import contextlib
import io
import os
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import h5py
import numpy as np
import tensorflow as tf

from keras_seq.training.checkpoints import Checkpoints
from keras_seq.training.hdf5_file import hdf5_file

# The groups of a weights file that are not weights of the model.
_OTHERS = ("optimizer", "keras_seq")
_BFLOAT16 = tf.bfloat16.as_numpy_dtype

Tokens = Sequence[str]


class Initialized(NamedTuple):
    """The result of `initialize_from`.

    Attributes:
        path: path of the file that was read.
        taken: names of the weights that were copied unchanged.
        remapped: for each weight over a vocabulary, the number of tokens found in the other vocabulary and of new ones.
        left: names of the weights that were not changed.
    """

    path: pathlib.Path
    taken: list[str]
    remapped: dict[str, tuple[int, int]]
    left: list[str]

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} weights taken"]
        parts += [f"{name}: {found:,} tokens found, {new:,} new" for name, (found, new) in self.remapped.items()]
        parts += [f"{len(self.left)} left as they were" + f" ({', '.join(self.left)})" * bool(self.left)]
        return f"From {self.path}: {'; '.join(parts)}."


def initialize_from(
    model, run: str | os.PathLike, vocabularies: Mapping[str, tuple[Tokens, Tokens]] | None = None
) -> Initialized:
    """Initializes a model with the weights of another run, to train it on other data or with another vocabulary.

    A weight is copied if the other model has one of the same shape at the same place (the same attributes, lists and
    names of layers). Weights over a vocabulary - embeddings, the matrix and the bias of the scores - are copied token
    by token. A token that is not in the other vocabulary keeps its values. The optimizer's state, the random state and
    the metrics do not change.

    Args:
        model: a built model.
        run: a run folder, from which `best.keras` is read or, without one, the newest checkpoint; or a file of either
            kind.
        vocabularies: `{part of a weight's name: (the other run's tokens, this model's tokens)}`, in the order of their
            ids. The first key that is part of the name applies. The models of `keras_seq` have "source_embedding" and
            "target_embedding", or only the latter if both sides share one vocabulary. "" is part of every name. Only
            weights with an axis of that many tokens are remapped.
    Returns:
        An `Initialized`. Printed, it is a report.
    Raises:
        ValueError: if no weights are found, the model is not built, or nothing fits (the model is then unchanged).
    """
    path = _file(pathlib.Path(run))
    if not model.built:
        raise ValueError(f"The model must be built before it gets the weights of {path}. Call it on one batch first.")
    report = Initialized(path, [], {}, [])
    with tempfile.TemporaryDirectory() as folder:
        # Through a file, since only a file shows where Keras puts each weight.
        ours = pathlib.Path(folder) / "model.weights.h5"
        with hdf5_file(ours) as file:
            model.save_weights(file)
        with h5py.File(ours, "r+") as file, _opened(path) as other:
            theirs = _by_name(other)
            for name, dataset in _by_name(file).items():
                _initialize(name, dataset, theirs.get(name), vocabularies or {}, report)
            shapes = [f"{name} {dataset.shape}" for name, dataset in theirs.items()]
        if not report.taken and not any(found for found, _ in report.remapped.values()):
            raise ValueError(
                f"No weight of {path} fits the model. It has {', '.join(shapes[:3])}, ... The model has "
                f"{', '.join(report.left[:3])}, ... Use the architecture and width of that run (its config.json)."
            )
        model.load_weights(ours)
    return report


def _initialize(name: str, ours, theirs, vocabularies: Mapping[str, tuple[Tokens, Tokens]], report: Initialized):
    old, new = next((pair for part, pair in vocabularies.items() if part in name), ((), ()))
    axis = _axis(theirs, ours, len(old), len(new)) if theirs is not None and list(old) != list(new) else None
    if axis is not None:
        place = {token: index for index, token in reversed(list(enumerate(old)))}
        found = [(index, place[token]) for index, token in enumerate(new) if token in place]
        values, taken = np.moveaxis(_read(ours), axis, 0), np.moveaxis(_read(theirs), axis, 0)
        here, there = np.array(found, int).reshape(-1, 2).T
        values[here] = taken[there]
        _write(ours, np.moveaxis(values, 0, axis))
        report.remapped[name] = (len(found), len(new) - len(found))
    elif theirs is not None and theirs.shape == ours.shape:
        _write(ours, _read(theirs))
        report.taken.append(name)
    else:
        report.left.append(name)


def _axis(theirs, ours, old: int, new: int) -> int | None:
    """The axis over the vocabulary. If two are possible, the first, as in embeddings."""
    for axis in range(ours.ndim if ours.ndim == theirs.ndim else 0):
        expected = list(theirs.shape)
        expected[axis] = new
        if theirs.shape[axis] == old and tuple(expected) == ours.shape:
            return axis
    return None


def _file(run: pathlib.Path) -> pathlib.Path:
    if run.is_file():
        return run
    if (run / "best.keras").exists():
        return run / "best.keras"
    newest = Checkpoints(run).latest()
    if newest is None:
        raise ValueError(f"{run} is not a run with weights: it has neither best.keras nor a checkpoint.")
    return newest.path


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[h5py.File]:
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        else:
            content = path
        file = h5py.File(content, "r")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} has no readable weights: {error}") from error
    with file:
        _check_own(file, path)
        yield file


def _check_own(group: h5py.Group, path: pathlib.Path) -> None:
    """Raises a `ValueError` if data is stored in other files, as Keras does when it loads weights."""
    for key in group:
        link, item = group.get(key, getlink=True), None
        if isinstance(link, h5py.HardLink):
            item = group[key]
        if item is None or (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)):
            raise ValueError(f"{path} stores no weight in {group.name.rstrip('/')}/{key}, but points elsewhere.")
        if isinstance(item, h5py.Group):
            _check_own(item, path)


def _by_name(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The weights in a file, by names that are the same for every model of the same structure.

    Keras names the items of a list by class and number, and stores the layer's name beside them. That name is better if
    the user chose it. Otherwise it depends on other layers made in the process.
    """
    found = {}

    def visit(group: h5py.Group, name: str, in_list: bool) -> None:
        for key, item in group.items():
            if name == "" and key in _OTHERS:
                continue
            if key == "vars":
                for index, dataset in item.items():
                    found[f"{name}/{index}".strip("/")] = dataset
            elif isinstance(item, h5py.Group):
                label = key
                if in_list and "vars" in item:
                    given = str(item["vars"].attrs.get("name", key))
                    kind = re.sub(r"_\d+$", "", key)
                    label = key if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", given) else given
                    label = key if any(other.startswith(f"{name}/{label}/".lstrip("/")) for other in found) else label
                # A list has items and no weights. Sequential and functional models call it "layers".
                is_list = "vars" not in item
                visit(item, name if key == "layers" and is_list else f"{name}/{label}".strip("/"), is_list)

    visit(file, "", False)
    return found


def _read(dataset: h5py.Dataset) -> np.ndarray:
    values = dataset[()]
    if dataset.attrs.get("dtype") == "bfloat16":  # not supported by HDF5
        values = values.view(_BFLOAT16).astype("float32")
    return values


def _write(dataset: h5py.Dataset, values: np.ndarray) -> None:
    if dataset.attrs.get("dtype") == "bfloat16":
        values = values.astype(_BFLOAT16).view(dataset.dtype)
    dataset[...] = values
