"""A file whose disk fails."""

import pytest

from keras_seq.training.hdf5_file import Unfailing, hdf5_file


class Broken:
    """A file each of whose functions fails, and says how often."""

    closed, calls = False, 0

    def _fail(self, *arguments):
        self.calls += 1
        raise OSError(5, f"error {self.calls}")

    write = read = readinto = truncate = close = _fail


def test_what_was_written_is_read(tmp_path):
    with hdf5_file(tmp_path / "a.h5") as file:
        assert str(file) == str(tmp_path / "a.h5")
        assert file.write(b"abcdef") == 6 and file.truncate(4) == 4
        assert file.seek(1) == 1 and file.read(2) == b"bc" and file.tell() == 3
        assert file.seek(0) == 0 and file.read(None) == b"abcd" and file.read() == b""
        file.seek(2)
        buffer = bytearray(3)
        assert file.readinto(buffer) == 2 and buffer == b"cd\0"
    assert (tmp_path / "a.h5").read_bytes() == b"abcd"
    assert (file.tell(), file.seek(3), file.read(), file.readinto(bytearray(1))) == (0, 0, b"", 0)


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda file: file.write(b"abc"), 3),
        (lambda file: file.read(2), b""),
        (lambda file: file.readinto(bytearray(2)), 0),
        (lambda file: file.truncate(7), 7),
    ],
)
def test_the_first_error_waits_for_the_end(tmp_path, call, instead):
    with pytest.raises(OSError, match="error 1"), hdf5_file(tmp_path / "a.h5") as file:
        file._file.close()
        file._file = Broken()
        assert call(file) == instead and call(file) == instead  # HDF5 sees none of it


def test_an_error_at_the_end_counts_unless_there_was_one_before(tmp_path):
    with pytest.raises(OSError, match="error 1"), hdf5_file(tmp_path / "a.h5") as file:
        file._file.close()
        file._file = Broken()
    file = Unfailing(tmp_path / "a.h5")
    file._file.close()
    file._file, file.error = Broken(), OSError(28, "no space")
    file.end()
    with pytest.raises(OSError, match="no space"):
        file.check()
