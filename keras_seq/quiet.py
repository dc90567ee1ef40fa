"""A quiet and quick start of TensorFlow and Keras for programs."""

import contextlib
import importlib.abc
import importlib.machinery
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_PACKAGES = ("tensorflow", "tensorflow_text")
# Optional packages, each with the package that looks for it while it loads.
_OPTIONAL = {"sklearn": "keras", "matplotlib": "keras", "pandas": "keras", "jax": "tensorflow"}
# The lines of absl, the logging of TensorFlow's C++: a letter, the day, the time, the process, a file and its line.
_GREETING = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\])"
)


def start_quietly() -> None:
    """Drops TensorFlow's greetings (CPU features, missing CUDA libraries) from stderr. Call it before the import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def start_quickly() -> None:
    """Lets Keras and TensorFlow load without the optional packages of features that our programs do not use.

    These are Keras's wrappers of scikit-learn, its galleries and its data frames, and TensorFlow's converter of JAX
    functions. Together they take a third of the time. The program itself can still import the packages.
    """
    installed = any(isinstance(finder, _WithoutOptionalPackages) for finder in sys.meta_path)
    if not installed and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        sys.meta_path.insert(0, _WithoutOptionalPackages())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name in _PACKAGES else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module: ModuleType) -> None:
                with _without_greetings():
                    execute(module)

            spec.loader.exec_module = quietly
        return spec


class _WithoutOptionalPackages(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name in _OPTIONAL and _is_loading(_OPTIONAL[name]):
            raise ModuleNotFoundError(f"{_OPTIONAL[name]} is loaded without {name} in this program", name=name)


def _is_loading(name: str) -> bool:
    return getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False)


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
    """Holds back all output to the file descriptor of stderr, and writes it in the end without startup messages."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            held.seek(0)
            for line in held:
                if not _GREETING.match(line):
                    os.write(stderr, line)
            os.close(stderr)
