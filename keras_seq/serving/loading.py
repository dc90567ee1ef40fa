"""Tasks of all folders that can be served: run folders, SavedModels, and those of CTranslate2."""

import pathlib
from typing import Any


def load(folder: str) -> Any:
    """Loads the task in a folder.

    Raises:
        ValueError, OSError: see `keras_seq.load`.
        ImportError: for a folder of CTranslate2, if that package is missing.
    """
    from keras_seq.tasks.loading import load

    path = pathlib.Path(folder)
    if (path / "model.bin").is_file():
        from keras_seq.serving.ctranslate2 import CTranslate2Task

        return CTranslate2Task(path)
    return load(path)
