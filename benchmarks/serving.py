"""Serving: requests a second and latency of `keras-seq serve` beside BentoML and LitServe, with the same SavedModel.

python -m benchmarks.serving --locust VENV/bin/locust --bentoml VENV/bin/python --litserve VENV/bin/python

`peers/README.md` describes their environments. A server without an environment is left out.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator

import numpy as np

from benchmarks import timing
from keras_seq import cli, export, models, tasks
from keras_seq.cli import option

PEERS = pathlib.Path(__file__).parent / "peers"
BYTES_PER_TOKEN = 4  # by which all servers' padding is counted


@dataclasses.dataclass(frozen=True)
class Options(timing.Options):
    """Serves a Transformer-Tiny of random weights on loopback, to clients with texts of Zipf-distributed lengths."""

    locust: pathlib.Path = option(pathlib.Path("locust"), "the program locust, which sends the requests")
    bentoml: pathlib.Path | None = option(None, "the Python that has BentoML")
    litserve: pathlib.Path | None = option(None, "the Python that has LitServe")
    clients: int = option(64, "number of clients")
    seconds: int = option(60, "duration of a measurement")
    rates: tuple[float, ...] = option((0.25, 0.5, 0.75), "rates of the open loop, as shares of our closed loop's")
    longest: int = option(200, "longest text in words")
    batch_tokens: int = option(2048, "our budget of a batch; the others take as many rows of a text of mean length")


@dataclasses.dataclass(frozen=True)
class Server:
    """A server: its title, its command, its environment, and the request that it takes."""

    title: str
    command: list[str]
    environment: dict[str, str]
    path: str
    field: str


def main(options: Options) -> None:
    timing.prepare(options)
    print(f"{timing.machine()}\n")
    _, subwords = timing.encoded_pairs(options)
    file = timing.folder(options.data_dir) / f"train.{options.source}"
    texts = zipf_texts(file.read_text(encoding="utf-8").splitlines(), options.longest)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "texts").write_text("\n".join(texts), encoding="utf-8")
        model = models.Transformer(subwords.size, units=128, num_heads=4, num_layers=4, intermediate_dim=256)
        export.saved_model(tasks.Translation(model, subwords, search="greedy"), folder / "model", verify=False)
        measure(options, folder, texts)


def zipf_texts(captions: list[str], longest: int, count: int = 2000) -> list[str]:
    """Texts whose lengths in words follow Zipf's law: captions one after another, cut to the length that was drawn."""
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, longest + 1)
    lengths = random.choice(np.arange(1, longest + 1), count, p=shares / shares.sum())
    words = iter(" ".join(random.permutation(captions)).split() * 20)
    return [" ".join(next(words) for _ in range(length)) for length in lengths]


def measure(options: Options, folder: pathlib.Path, texts: list[str]) -> None:
    """A row for each server and rate. The servers take turns, one at a time on the machine."""
    mean = np.mean([len(text.encode()) / BYTES_PER_TOKEN + 1 for text in texts])
    rows = max(1, int(options.batch_tokens / mean))
    print("| server | loop | requests/s | p50, ms | p99, ms | failed | padding |\n|---|---|---|---|---|---|---|")
    best = None
    for rate in (0.0, *options.rates):
        for server in servers(options, folder, rows):
            with running(server, folder) as port:
                found = load(options, server, port, folder, rate * (best or 0))
                best = found["rate"] if best is None else best
                share = padding(server, port, folder)
            loop = "closed" if not rate else f"open, {rate * best:.1f}/s"
            figures = f"{found['rate']:.1f} | {found['p50']:.0f} | {found['p99']:.0f} | {found['failed']}"
            print(f"| {server.title} | {loop} | {figures} | {share:.1%} |", flush=True)


def servers(options: Options, folder: pathlib.Path, rows: int) -> Iterator[Server]:
    environment = {"MODEL": str(folder / "model"), "BATCHES": str(folder / "batches"), "ROWS": str(rows)}
    environment |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ours = [sys.executable, "-m", "keras_seq", "serve", environment["MODEL"], "--threads", "1", "--deadline", "120"]
    ours += ["--batch-tokens", str(options.batch_tokens), "--port", "{port}"]
    yield Server("keras-seq serve", ours, environment, "/v1/tasks/model", "inputs")
    if options.bentoml is not None:
        command = [str(options.bentoml), "-m", "bentoml", "serve", "bentoml_service:Served", "--port", "{port}"]
        yield Server("BentoML", [*command, "--host", "127.0.0.1"], environment, "/translate", "texts")
    if options.litserve is not None:
        yield Server("LitServe", [str(options.litserve), "litserve_service.py"], environment, "/translate", "texts")


@contextlib.contextmanager
def running(server: Server, folder: pathlib.Path) -> Iterator[int]:
    """Starts a server, waits until it answers, and ends it with all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "batches").unlink(missing_ok=True)
    command = [part.format(port=port) for part in server.command]
    paths = os.pathsep.join(filter(None, [str(PEERS.parent.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **server.environment, "PORT": str(port), "PYTHONPATH": paths}
    with open(folder / f"{server.title}.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=PEERS, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(server, port, process)
        yield port
    finally:
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


def load(options: Options, server: Server, port: int, folder: pathlib.Path, rate: float) -> dict[str, float]:
    """Runs the clients, and returns the rate of answers, percentiles in ms, and the number of failures."""
    environment = {"TEXTS": str(folder / "texts"), "URL_PATH": server.path, "FIELD": server.field}
    environment |= {"RATE": str(rate), "CLIENTS": str(options.clients)}
    command = [options.locust, "--locustfile", PEERS / "clients.py", "--headless", "--only-summary", "--json"]
    command += ["--host", f"http://127.0.0.1:{port}", "--users", str(options.clients)]
    command += ["--spawn-rate", str(options.clients), "--run-time", f"{options.seconds}s"]
    command += ["--stop-timeout", "120"]  # every request that was sent is counted
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    (entry,) = json.loads(done.stdout)
    counts = {int(milliseconds): number for milliseconds, number in entry["response_times"].items()}
    times = np.repeat(list(counts), list(counts.values()))
    seconds = max(options.seconds, entry["last_request_timestamp"] - entry["start_time"])
    p50, p99 = np.percentile(times, [50, 99])
    return {"rate": len(times) / seconds, "p50": p50, "p99": p99, "failed": entry["num_failures"]}


def padding(server: Server, port: int, folder: pathlib.Path) -> float:
    """The share of padding in the batches, by an estimate of the tokens that is the same for all servers."""
    if server.field == "inputs":
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        tokens, padded = (
            float(lines[f'keras_seq_{name}_total{{model="model"}}']) for name in ("tokens", "padding_tokens")
        )
        return padded / (padded + tokens)
    batches = [json.loads(line) for line in (folder / "batches").read_text().splitlines()]
    lengths = [[size // BYTES_PER_TOKEN + 1 for size in batch] for batch in batches]
    positions = sum(max(batch) * len(batch) for batch in lengths)
    return 1 - sum(map(sum, lengths)) / positions


if __name__ == "__main__":
    cli.run(main, Options)
