"""Servers of one SavedModel in processes of their own, and the clients that load them, for `serving.py`."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import numpy as np

PEERS = pathlib.Path(__file__).parent / "peers"
# One thread for each operation, everywhere.
THREADS = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
WARM = 3.0  # seconds at the start of a load whose requests are not counted


@dataclasses.dataclass(frozen=True)
class Server:
    """A server.

    Attributes:
        title: its name in tables.
        command: its command, with `{port}` where the port belongs.
        path, field: its request: `{field: [text]}` at the path.
        rows: most rows of a batch (None: a budget of tokens).
    """

    title: str
    command: list[str]
    path: str
    field: str
    rows: int | None = None


@dataclasses.dataclass(frozen=True)
class Load:
    """The result of a load. The sum of two is that of both together.

    Attributes:
        latencies: seconds of each request.
        answers: number of answers in `seconds`.
        failed: number of requests without an answer.
        padding, tokens: padding and tokens of all batches.
    """

    latencies: tuple[float, ...]
    answers: int
    seconds: float
    failed: int
    padding: float
    tokens: float

    def __add__(self, other: "Load") -> "Load":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Load(*(one + another for one, another in pairs))

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        """A percentile of the latency in seconds."""
        return float(np.percentile(self.latencies, share))

    @property
    def padding_share(self) -> float:
        return self.padding / max(1.0, self.padding + self.tokens)


def ours(model: pathlib.Path, batch_tokens: int, max_wait_ms: float, width_ratio: float) -> Server:
    """`keras-seq serve`."""
    command = [sys.executable, "-m", "keras_seq", "serve", str(model), "--threads", "1", "--port", "{port}"]
    command += ["--batch-tokens", str(batch_tokens), "--max-wait-ms", str(max_wait_ms)]
    command += ["--width-ratio", str(width_ratio)]
    return Server(f"keras-seq serve, widths within {width_ratio:g}", command, f"/v1/tasks/{model.name}", "inputs")


def bentoml(python: pathlib.Path, rows: int) -> Server:
    """BentoML with its adaptive batching."""
    command = [str(python), "-m", "bentoml", "serve", "bentoml_service:Served", "--port", "{port}"]
    return Server("BentoML", [*command, "--host", "127.0.0.1"], "/translate", "texts", rows)


def litserve(python: pathlib.Path, rows: int) -> Server:
    """LitServe with its batching."""
    return Server("LitServe", [str(python), "litserve_service.py"], "/translate", "texts", rows)


@contextlib.contextmanager
def running(server: Server, folder: pathlib.Path) -> Iterator[int]:
    """Starts a server, waits until it answers, and ends it with all its processes. Yields its port.

    Args:
        folder: holds `model`, the SavedModel, and gets the log.
    Raises:
        RuntimeError: if it ends, or does not answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _batches(server, folder).unlink(missing_ok=True)
    command = [part.format(port=port) for part in server.command]
    paths = os.pathsep.join(filter(None, [str(PEERS.parent.parent), os.environ.get("PYTHONPATH")]))
    given = {"MODEL": str(folder / "model"), "BATCHES": str(_batches(server, folder)), "ROWS": str(server.rows)}
    environment = {**os.environ, **THREADS, **given, "PORT": str(port), "PYTHONPATH": paths}
    with open(folder / f"{server.title}.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=PEERS, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(server, port, process)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(server: Server, port: int, process: subprocess.Popen) -> None:
    request = json.dumps({server.field: ["a man"]}).encode()
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{server.title} has ended with the code {process.returncode}.")
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{port}{server.path}"
            asked = urllib.request.Request(url, request, {"content-type": "application/json"})
            urllib.request.urlopen(asked, timeout=60).read()
            return
        time.sleep(0.5)
    raise RuntimeError(f"{server.title} does not answer.")


def load(
    server: Server, port: int, folder: pathlib.Path, locust: pathlib.Path, clients: int, seconds: float, rate: float
) -> Load:
    """Loads a server for some seconds and waits for all answers.

    Args:
        folder: holds the file `texts`, a text a line.
        rate: requests per second of all clients (0: a closed loop).
    """
    times = folder / "times"
    times.unlink(missing_ok=True)
    environment = {"TEXTS": str(folder / "texts"), "URL_PATH": server.path, "FIELD": server.field}
    environment |= {"RATE": str(rate), "CLIENTS": str(clients), "TIMES": str(times)}
    command = [locust, "--locustfile", PEERS / "clients.py", "--headless", "--only-summary"]
    command += ["--host", f"http://127.0.0.1:{port}", "--users", clients, "--spawn-rate", clients]
    command += ["--run-time", f"{WARM + seconds:.0f}s", "--stop-timeout", "90"]
    before = _tokens(server, port, folder)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(list(map(str, command)), env={**os.environ, **environment}, **quiet)
    after = _tokens(server, port, folder)
    rows = np.array([json.loads(line) for line in times.read_text().splitlines()])  # moment, seconds, failed
    rows[:, 0] -= rows[:, 0].min() + WARM
    ends = rows[:, 0] + rows[:, 1]
    answers = int(((ends >= 0) & (ends < seconds) & (rows[:, 2] == 0)).sum())
    latencies = rows[(rows[:, 0] >= 0) & (rows[:, 0] < seconds), 1].tolist()
    padding, tokens = (late - early for late, early in zip(after, before, strict=True))
    return Load(tuple(latencies), answers, seconds, int(rows[:, 2].sum()), padding, tokens)


def _batches(server: Server, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"batches of {server.title}"


def _tokens(server: Server, port: int, folder: pathlib.Path) -> tuple[float, float]:
    """Padding and tokens of all batches so far, by the same estimate for all servers."""
    if server.rows is None:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        names = ("padding_tokens", "tokens")
        padding, tokens = (float(lines[f'keras_seq_{name}_total{{model="model"}}']) for name in names)
        return padding, tokens
    batches = [json.loads(line) for line in _batches(server, folder).read_text().splitlines()]
    return sum(max(batch) * len(batch) - sum(batch) for batch in batches), sum(map(sum, batches))
