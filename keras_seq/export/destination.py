"""Where an export goes: what stands there is neither lost nor half replaced."""

import os
import shutil
import tempfile
from pathlib import Path


def check_folder(path, overwrite, kind, main, files):
    """Raises `ValueError` where writing a folder to `path` would lose something.

    Args:
        kind: what it is a folder of.
        main: the file by which such a folder is known.
        files: all that may be in one.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path}: is a file; a {kind} is a folder. Give another `path`.")
    names = {entry.name for entry in path.iterdir()}
    if names and main not in names:
        raise ValueError(f"{path}: holds no {kind} but {_some(names)}; it is left alone. Give another `path`.")
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
    """Puts the folder `new` where `path` is, and what was there to `old` and then away."""
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
    """Raises `ValueError` where writing to `path` would lose something, or nobody would know the file by its name."""
    if path.suffix != ending:
        raise ValueError(f"{path}: the name of the file must end in {ending!r}.")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; what is written is a file. Give another `path`.")
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: is there already. Give another `path` or `overwrite=True`.")


def write_file(path, content):
    """Puts the file there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        new = Path(folder, path.name)
        new.write_bytes(content)
        os.replace(new, path)
