"""A lock that admits one process at a time."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path` during the block. If another process holds it, logs that, naming `what`, and waits.

    The system releases the lock when a process ends, for whatever reason.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger("keras_seq").info("%s: another process is writing %s. Waiting for it.", path.parent, what)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Holds the lock file `path` during the block, unless another process holds it. Yields whether this one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
