"""Quiet start of TensorFlow: its startup messages (CPU features, missing CUDA libraries) are never shown."""

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
# The log lines of absl, from TensorFlow's C++ code: a letter, the day, the time, the process, a file and its line.
_GREETING = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\])"
)


def start_quietly() -> None:
    """Hides the startup messages of TensorFlow when it is imported. Call this before that import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


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
