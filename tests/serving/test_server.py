"""The server from its start to its end, with models and a uvicorn of the test."""

import asyncio
import signal

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from keras_seq.serving import server
from keras_seq.serving.settings import Settings

NUMBERS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize(
    "host, allowed, hosts",
    [
        ("127.0.0.1", (), server.LOOPBACK),
        ("::1", (), server.LOOPBACK),
        ("localhost", (), server.LOOPBACK),
        ("192.0.2.1", (), ()),
        ("models.example", (), ()),
        ("192.0.2.1", ("Models.Example",), ("models.example", *server.LOOPBACK)),
    ],
)
def test_names_of_the_host(host, allowed, hosts):
    assert server.hosts_for(host, allowed) == hosts


@pytest.fixture
def serving(monkeypatch, tmp_path):
    """`serving(*names)` is what happened while a server ran. The model "bad" cannot be loaded."""
    happened, handlers = [], [signal.getsignal(number) for number in NUMBERS]

    class Model:
        def __init__(self, name, *_):
            self.name = name

        async def start(self):
            happened.append(f"start {self.name}")
            if self.name == "bad":
                raise ValueError("bad is damaged")

        async def stop(self):
            happened.append(f"stop {self.name}")

    class Uvicorn:
        def __init__(self, config):
            self.config = config

        async def serve(self, sockets):
            happened.append(f"serve on {sockets[0]}, {self.config.timeout_graceful_shutdown} seconds to end")
            for number, before in zip(NUMBERS, handlers, strict=True):
                assert signal.getsignal(number) not in (before, signal.SIG_DFL)
                signal.getsignal(number)(number, None)  # as uvicorn raises it once more

    monkeypatch.setattr(server, "Model", Model)
    monkeypatch.setattr(server.uvicorn, "Server", Uvicorn)

    def run(*names):
        started = lambda models: happened.append(f"started {', '.join(models)}")  # noqa: E731
        paths = {name: tmp_path / name for name in names}
        try:
            asyncio.run(server.serve(paths, "a socket", Settings(deadline=7.5), started, print))
        finally:
            happened.append("end")
        return happened

    run.happened = happened
    return run


def test_models_are_ended_after_the_signal_that_ends_the_server(serving):
    handlers = [signal.getsignal(number) for number in NUMBERS]
    assert serving("a", "b") == [
        *("start a", "start b", "started a, b"),
        *("serve on a socket, 8 seconds to end", "stop a", "stop b", "end"),
    ]
    assert [signal.getsignal(number) for number in NUMBERS] == handlers


def test_a_model_that_cannot_be_loaded_ends_those_that_are(serving):
    with pytest.raises(ValueError, match="bad is damaged"):
        serving("a", "bad", "b")
    assert serving.happened == ["start a", "start bad", "stop a", "stop bad", "stop b", "end"]
