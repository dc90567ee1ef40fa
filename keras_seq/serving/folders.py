"""The folders of a served model: its name, its versions, and whether a version has changed."""

import pathlib
import re
from collections.abc import Sequence

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FILES = ("best.keras", "saved_model.pb", "model.bin")


def names_of(paths: Sequence[pathlib.Path], names: Sequence[str] = ()) -> dict[str, pathlib.Path]:
    """The folders by name: the given names, or those of the folders.

    Raises:
        ValueError: for a name that is taken, or that no URL can have.
        FileNotFoundError: for a path that does not exist.
    """
    if names and len(names) != len(paths):
        raise ValueError(f"`name` must name each of {len(paths)} models, or none. Received: {' '.join(names)}")
    found: dict[str, pathlib.Path] = {}
    for path, name in zip(paths, names or [_name(path) for path in paths], strict=True):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist. A model is in a run folder or a SavedModel.")
        if not NAME.fullmatch(name):
            raise ValueError(
                f"The name {name!r} has other characters than letters, digits, '.', '_' and '-'. Give a `name`."
            )
        if name in found:
            raise ValueError(f"Two models have the name {name!r}. Give a `name` for each.")
        found[name] = path
    return found


def _name(path: pathlib.Path) -> str:
    path = path.resolve()
    return path.stem if path.suffix == ".keras" else path.name


def versions(path: pathlib.Path) -> dict[int, pathlib.Path]:
    """The versions of a model by number: its subfolders that are named by a number and have a model. A folder with a
    model of its own is version 1."""
    if path.is_file() or any((path / file).is_file() for file in FILES):
        return {1: path}
    if not path.is_dir():
        return {}
    folders = [folder for folder in path.iterdir() if re.fullmatch("[0-9]{1,18}", folder.name)]
    return {int(folder.name): folder for folder in folders if any((folder / file).is_file() for file in FILES)}


def stamp(folder: pathlib.Path) -> tuple:
    """Names, sizes and times of the files in a folder, which tell whether it has changed."""
    files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    found = []
    for file in files:
        try:
            facts = file.stat()
        except OSError:  # it is being replaced
            continue
        found.append((str(file), facts.st_size, facts.st_mtime_ns))
    return tuple(found)
