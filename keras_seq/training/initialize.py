"""Begins with the weights of another run, whatever of them fits."""

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

# What a file of weights holds beside the weights.
_OTHERS = ("optimizer", "keras_seq")
_BFLOAT16 = tf.bfloat16.as_numpy_dtype

Tokens = Sequence[str]


class Initialized(NamedTuple):
    """What `initialize_from` did.

    Attributes:
        path: the file that was read.
        taken: names of the weights that were taken as they are.
        remapped: of those over a vocabulary: how many tokens were found in the other one, and how many are new.
        left: names of the weights that stayed as they were.
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
    """Puts another run's weights into a model, to train it further on other data or with another vocabulary.

    A weight is taken where the other model has one at the same place (of the same layers' attributes, lists and names)
    and of the same shape. Weights over a vocabulary - embeddings, the matrix and the bias of the scores - are taken
    token by token; a token that the other vocabulary lacks keeps the values it has. The optimizer's state, the random
    state and the metrics are not touched.

    Args:
        model: a built model.
        run: a run folder, of which `best.keras` is taken or, without one, the newest checkpoint; or a file of either
            kind.
        vocabularies: `{part of a weight's name: (the other run's tokens, this model's tokens)}`, in the order of their
            ids; of several the first that is part of the name. The models of `keras_seq` have "source_embedding" and
            "target_embedding", one vocabulary for both sides the latter alone; "" is part of every name. Only weights
            with an axis of that many tokens are meant.
    Returns:
        An `Initialized`; printed, it is the report.
    Raises:
        ValueError: if there are no weights to be found, the model is not built, or nothing fits (the model stays as
            it was).
    """
    path = _file(pathlib.Path(run))
    if not model.built:
        raise ValueError(f"The model must be built before it gets the weights of {path}: call it on one batch first.")
    report = Initialized(path, [], {}, [])
    with tempfile.TemporaryDirectory() as folder:
        # By way of a file, since Keras's own place of each weight is told by nothing else.
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
                f"No weight of {path} fits the model. It has {', '.join(shapes[:3])}, ...; the model has "
                f"{', '.join(report.left[:3])}, ... Take the run's own architecture and width (its config.json)."
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
    """The axis over the vocabulary; where two would do, the first, as in embeddings."""
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
        raise ValueError(f"{run} is no run with weights: it has neither best.keras nor a checkpoint.")
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
        raise ValueError(f"{path} holds no weights that can be read: {error}") from error
    with file:
        _check_own(file, path)
        yield file


def _check_own(group: h5py.Group, path: pathlib.Path) -> None:
    """Raises `ValueError` where numbers lie in other files, as Keras does when it loads weights."""
    for key in group:
        link, item = group.get(key, getlink=True), None
        if isinstance(link, h5py.HardLink):
            item = group[key]
        if item is None or (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)):
            raise ValueError(
                f"{path} has no weight of its own in {group.name.rstrip('/')}/{key}, but points elsewhere."
            )
        if isinstance(item, h5py.Group):
            _check_own(item, path)


def _by_name(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The weights in a file by a name that is the same for every model of the same build.

    Keras names what is in a list by its class and number, and has the layer's own name beside it, which says more where
    somebody gave it; where nobody did, it depends on what else was made in the process.
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
                # A list holds things and no weights of its own. Sequential and functional models' is called "layers".
                is_list = "vars" not in item
                visit(item, name if key == "layers" and is_list else f"{name}/{label}".strip("/"), is_list)

    visit(file, "", False)
    return found


def _read(dataset: h5py.Dataset) -> np.ndarray:
    values = dataset[()]
    if dataset.attrs.get("dtype") == "bfloat16":  # HDF5 does not know it
        values = values.view(_BFLOAT16).astype("float32")
    return values


def _write(dataset: h5py.Dataset, values: np.ndarray) -> None:
    if dataset.attrs.get("dtype") == "bfloat16":
        values = values.astype(_BFLOAT16).view(dataset.dtype)
    dataset[...] = values
