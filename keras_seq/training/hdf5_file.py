"""A file for HDF5 that handles a full disk safely."""

import contextlib
import io
import os
from collections.abc import Iterator


@contextlib.contextmanager
def hdf5_file(path: str | os.PathLike) -> Iterator["Unfailing"]:
    """A new file for `model.save_weights` and `h5py.File`. The first disk error is raised when the block ends.

    After a failed write, HDF5 1.14 keeps the data, tries again when the file is closed, and crashes the process there
    or at its next file. So errors are hidden from HDF5: nothing is written after an error, and the block raises it.
    """
    file = Unfailing(path)
    try:
        yield file
    finally:
        file.end()
        file.check()


class Unfailing(io.BytesIO):
    """Writes to a file on disk until an error. A `BytesIO`, since Keras accepts no other file object."""

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.error: OSError | None = None
        self._path = os.fspath(path)
        self._file = io.FileIO(path, "w+")

    def __str__(self) -> str:
        return self._path  # Keras checks the suffix

    def check(self) -> None:
        """Raises the error, if any, before HDF5 opens the file again, which would fail."""
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # a network file system may report errors only now
            self.error = self.error or error

    def write(self, content) -> int:
        rest = memoryview(content).cast("B")
        size = len(rest)
        with self._noting_errors():
            while rest:
                rest = rest[self._file.write(rest) :]
        return size

    def truncate(self, size: int | None = None) -> int:
        with self._noting_errors():
            self._file.truncate(size)
        return size or 0

    def readinto(self, buffer) -> int:
        with self._noting_errors():
            return self._file.readinto(buffer)
        return 0

    def read(self, size: int | None = -1) -> bytes:
        with self._noting_errors():
            return self._file.read(-1 if size is None else size)
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return 0 if self._file.closed else self._file.seek(offset, whence)

    def tell(self) -> int:
        return 0 if self._file.closed else self._file.tell()

    def flush(self) -> None:
        """Does nothing, since writes are not buffered."""

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        if self.error is not None or self._file.closed:
            with contextlib.suppress(ValueError, OSError):
                yield
            return
        try:
            yield
        except OSError as error:
            self.error = error
