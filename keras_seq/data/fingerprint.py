"""Computes a digest of data, with which a run checks that its data has not changed."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_seq.data.parallel_text import ParallelFiles


def fingerprint(data: Any) -> str:
    """Computes a digest of data: 32 hexadecimal digits, the same for the same content in any folder.

    Args:
        data: result of a reader, such as `read_labeled_text`, or strings, numbers, arrays, lists and dicts of them. For
            a path and for `ParallelFiles`, the content of the files counts, not their names. Reports and functions are
            ignored.
    Example:
        >>> same = data.fingerprint(["a", "b"]) == data.fingerprint(["a", "b"])
        >>> same, data.fingerprint(["a"]) == data.fingerprint(["b"])
        (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, data)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Path) and value.is_file():
        with value.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    elif isinstance(value, ParallelFiles):
        _add(digest, value.files)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name != "report"]
        _add(digest, {name: getattr(value, name) for name in names})
    elif isinstance(value, Mapping):
        for name, part in value.items():
            _add(digest, str(name))
            _add(digest, part)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(f"{len(value)} of ".encode())
        if value and all(isinstance(part, str) for part in value):
            digest.update("\0".join(value).encode())  # all at once: millions per second
        else:
            for part in value:
                _add(digest, part)
    elif hasattr(value, "__array__") and np.asarray(value).dtype != object:
        array = np.ascontiguousarray(value)
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    elif not callable(value):
        digest.update(f"{type(value).__name__} {list(value) if hasattr(value, '__array__') else value}\0".encode())
