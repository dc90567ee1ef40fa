"""What `keras-seq serve` tells and hands on, without a server."""

import contextlib
import sys
import types

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from keras_seq.commands import serve
from keras_seq.serving import server


@pytest.fixture
def served(monkeypatch):
    """What the server was started with."""
    calls = []

    @contextlib.contextmanager
    def listening(host, port):
        yield types.SimpleNamespace(getsockname=lambda: (host, port or 4321))

    async def run(paths, sock, settings, started):
        calls.append((paths, settings))
        started(dict.fromkeys(paths))

    monkeypatch.setattr(server, "listening", listening)
    monkeypatch.setattr(server, "serve", run)
    return calls


@pytest.mark.parametrize(
    ("host", "port", "address", "hosts"),
    [
        ("127.0.0.1", 8501, "http://127.0.0.1:8501", ("localhost", "127.0.0.1", "[::1]")),
        ("::1", 0, "http://[::1]:4321", ("localhost", "127.0.0.1", "[::1]")),
        ("0.0.0.0", 8501, "http://0.0.0.0:8501", ()),
    ],
)
def test_the_address_is_told_and_whether_anyone_may_come(host, port, address, hosts, served, tmp_path, capsys):
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.mkdir()
    serve.serve(serve.Serve(model=tuple(paths), host=host, port=port, max_items=3))
    ((given, settings),) = served
    assert given == dict(zip(("one", "two"), paths, strict=True))
    assert (settings.hosts, settings.max_items, settings.token) == (hosts, 3, None)
    told = capsys.readouterr().err.splitlines()
    assert told.pop() == f"Serving one, two on {address}"
    assert told == [f"Anyone who reaches {host} can use the models. --token-file asks for a token."] * (not hosts)


def test_a_token_is_read_from_its_file(served, tmp_path, capsys):
    (tmp_path / "token").write_text("secret\n")
    serve.serve(serve.Serve(model=(tmp_path,), name=("a",), host="0.0.0.0", token_file=tmp_path / "token"))
    assert served[0][1].token == "secret"
    assert capsys.readouterr().err == "Serving a on http://0.0.0.0:8501\n"


def test_the_extra_is_named_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_seq.serving.server", None)
    with pytest.raises(
        ImportError, match=r"serve needs the extra `serve`: pip install 'keras-seq\[serve\]' \(import of"
    ):
        serve.serve(serve.Serve(model=(tmp_path,)))
