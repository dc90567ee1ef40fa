"""A server in a thread whose models are functions of the test, and a client."""

import asyncio
import http.client
import json
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("starlette", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

import uvicorn

from keras_seq.serving.app import application
from keras_seq.serving.batcher import Gone
from keras_seq.serving.measures import Measures
from keras_seq.serving.models import Model
from keras_seq.serving.process import Refused
from keras_seq.serving.server import listening
from keras_seq.serving.settings import Settings

DESCRIBED = {
    **{
        "task": "translation",
        "verb": "translate",
        "reads": "text",
        "rank": None,
        "options": ["num_beams", "max_length"],
    },
    **{
        "joins": True,
        "joins_widths": False,
        "numbered": False,
        "attention": True,
        "streams": True,
        "vocabulary": "Words",
    },
    "sampling_rate": None,
}


class FakeProcess:
    """A process whose model writes texts in capitals. Text "crash" ends it, "refuse" is refused, "slow" takes
    half a second, "hang" for ever."""

    pid = 1

    def __init__(self, folder, described=DESCRIBED):
        self.folder, self.described, self.asked, self.stopped = folder, described, [], 0
        self.ended = asyncio.get_running_loop().create_future()
        self.closed = False

    async def ask(self, fields, blobs=()):
        self.asked.append((fields, list(blobs)))
        if fields["do"] == "signatures":
            spec = {"text": {"dtype": "string", "shape": [None]}}
            return {"signatures": {"translate": {"inputs": spec, "outputs": spec}}}
        if fields["do"] == "attention":
            return {"weights": [[1.0]], "source": [fields["input"]], "target": [fields["output"]]}
        if fields["do"] == "call":
            return {"answers": [{"outputs": self._called(given)} for given in fields["requests"]]}
        inputs = [one if isinstance(one, str) else "sound" if one is None else "array" for one in fields["inputs"]]
        if "slow" in inputs:
            await asyncio.sleep(0.5)
        if "hang" in inputs:
            await asyncio.sleep(3600)
        if "crash" in inputs:
            self.ended.set_result(-9)
            raise Gone("the process of the model has ended")
        if "refuse" in inputs:
            raise Refused("no")
        return {"results": [{"error": "bad"} if text == "bad" else {"text": text.upper()} for text in inputs]}

    @staticmethod
    def _called(given):
        texts = given.get("text", [])
        return {"text": [text.upper() for text in texts], "score": [float(len(text)) for text in texts]}

    async def stream(self, fields):
        try:
            if fields["input"] == "refuse":
                raise Refused("no")
            for word in fields["input"].split():
                if word == "slow":
                    await asyncio.sleep(30)
                yield word.upper()
        finally:
            self.stopped += 1

    def kill(self):
        self.ended.set_result(-9)

    async def stop(self):
        self.closed = True
        if not self.ended.done():
            self.ended.set_result(0)


class Server:
    """A running server.

    Attributes:
        events: what was logged. processes: all that were started, by the name of their folder.
    """

    def __init__(self, port):
        self.port, self.events, self.processes, self.models = port, [], [], {}

    def request(self, path, content=None, *, method=None, headers=None):
        """Status, headers and body; content that is not bytes is sent as JSON, and a JSON body is parsed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        kind = answer.headers.get_content_type()
        return answer.status, answer.headers, json.loads(found) if kind == "application/json" else found

    def logged(self, count):
        """The events of that many requests, which are written after their answers."""
        while len(found := [event for event in list(self.events) if event["event"] == "request"]) < count:
            time.sleep(0.01)
        return found

    def json(self, path, content=None, **options):
        status, _, body = self.request(path, content, **options)
        return status, body


@pytest.fixture
def serving(tmp_path):
    """`serving(described=..., **settings)` is a `Server` of the model "m" with fake processes."""
    stops = []

    def start(described=DESCRIBED, **options):
        settings = Settings(**{"max_wait_ms": 1.0, "poll_seconds": 0.02, **options})
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        (folder / "best.keras").touch()
        sock = listening("127.0.0.1", 0)
        server, ready, failed = Server(sock.getsockname()[1]), threading.Event(), []

        async def process(folder, threads):
            server.processes.append(FakeProcess(folder, described))
            return server.processes[-1]

        async def main():
            measures = Measures(server.models, settings.batch_tokens)
            write = lambda event, **fields: server.events.append({"event": event, **fields})  # noqa: E731
            model = server.models["m"] = Model("m", folder, settings, measures.batch, write, process)
            await model.start()
            app = application(server.models, settings, measures, write)
            config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=5)
            running = uvicorn.Server(config)
            running.install_signal_handlers = lambda: None
            stops.append((running, thread))
            ready.set()
            await running.serve(sockets=[sock])
            await model.stop()

        def run():
            try:
                asyncio.run(main())
            except BaseException as error:
                failed.append(error)
                ready.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert ready.wait(30) and not failed, failed
        return server

    yield start
    for running, thread in stops:
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
