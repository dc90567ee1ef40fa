"""Destinations of exports: existing files are neither lost nor half replaced."""

import os
import shutil
import tempfile
from pathlib import Path


def check_folder(path, overwrite, kind, main, files):
    """Raises `ValueError` if writing a folder to `path` would lose something.

    Args:
        kind: kind of the folder, for errors.
        main: name of the file that identifies such a folder.
        files: names of all files that such a folder may have.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path}: is a file, but a {kind} is a folder. Give another `path`.")
    names = {entry.name for entry in path.iterdir()}
    if names and main not in names:
        raise ValueError(f"{path}: is not a {kind} and holds {_some(names)}. It was not replaced. Give another `path`.")
    if names and not overwrite:
        raise ValueError(f"{path}: holds a {kind} already. Give another `path` or `overwrite=True`.")
    if names - files:
        raise ValueError(
            f"{path}: holds a {kind} and also {_some(names - files)}, which would be lost. "
            "Move that, or give another `path`."
        )


def _some(names):
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def swap(path, new, old):
    """Moves the folder `new` to `path`. An existing folder there is moved to `old` and then deleted."""
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_file(path, ending, overwrite):
    """Raises `ValueError` if writing to `path` would lose something, or its name has the wrong ending."""
    if path.suffix != ending:
        raise ValueError(f"{path}: the name of the file must end in {ending!r}.")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, but the export is a file. Give another `path`.")
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: exists already. Give another `path` or `overwrite=True`.")


def write_file(path, content):
    """Writes the whole file, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        new = Path(folder, path.name)
        new.write_bytes(content)
        os.replace(new, path)
