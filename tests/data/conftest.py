"""What the tests of readers share."""

import gzip
import pathlib

import pytest

from tests.data.server import Server


@pytest.fixture
def write(tmp_path):
    """`write(name, content)` writes text or bytes, compressed where the name ends in `.gz`, and returns the path."""

    def write(name: str, content: str | bytes) -> pathlib.Path:
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def server(monkeypatch):
    """A web server of this machine's own, with no files yet."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server().running() as server:
        yield server
