"""One process at a time."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path` while the block runs, after waiting for who holds it; the log says so, and of `what`.

    The system gives the lock back when a process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger("keras_seq").info("%s: another process is writing %s; waits for it", path.parent, what)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
