"""The command itself, with processes of real models: answers, ends by signals, and ten thousand requests."""

import asyncio
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import keras_seq
from keras_seq.serving.batcher import Gone
from keras_seq.serving.process import ModelProcess, Refused
from keras_seq.serving.requests import detail_items, message
from keras_seq.serving.settings import Settings
from tests.tasks.test_tasks import LINES, MAKERS


@pytest.fixture(scope="module")
def folder(made_once):
    """The run folder of a classifier."""

    def make(root):
        keras.utils.set_random_seed(3)
        MAKERS["classification"]().save(root / "mood")

    return made_once("served classifier", make) / "mood"


class Command:
    """`keras-seq serve` in a process of its own."""

    def __init__(self, folder, *flags):
        argv = [sys.executable, "-m", "keras_seq", "serve", str(folder), "--port", "0", "--threads", "1", *flags]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        self.lines, self.port = [], None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.match(r"Serving .* on http://127.0.0.1:(\d+)$", line):
                self.port = int(found[1])
                break
        assert self.port, self.lines
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self._reader.start()

    def ask(self, content, timeout=60):
        """Status and JSON of a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            connection.request("POST", "/v1/tasks/mood", body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def event(self, name, **facts):
        """The logged event with these facts, which may be yet to come."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for line in list(self.lines):
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == name and facts.items() <= event.items():
                    return event
            time.sleep(0.05)
        raise AssertionError(f"no event {name} {facts} in {self.lines}")

    def children(self):
        found = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join(10)
        self.process.stderr.close()
        return code


@pytest.fixture
def command(folder):
    started = []

    def start(*flags, model=folder):
        started.append(Command(model, *flags))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_process_answers_refuses_and_ends(folder, tmp_path, monkeypatch):
    """Killed while it answers, it leaves no temporary file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def main():
        process = await ModelProcess.start(str(folder), threads=1)
        assert process.described["task"] == "classification" and process.described["vocabulary"] == "Words"
        fields, blobs = message(detail_items(LINES, {}, process.described, Settings()))
        answer = await process.ask(fields, blobs)
        with pytest.raises(Refused, match="There is no signature 'x'. There are: classify"):
            await process.ask({"do": "call", "signature": "x", "requests": [{}]})
        lost = asyncio.create_task(process.ask(fields, blobs))
        await asyncio.sleep(0)
        (scratch,) = tmp_path.iterdir()
        (scratch / "left.wav").write_bytes(b"a recording")
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(Gone):
            await lost
            await process.ask(fields, blobs)  # if the answer was quicker than the signal
        assert await process.ended == -signal.SIGKILL
        await process.stop()
        assert not list(tmp_path.iterdir())
        return answer["results"]

    results = asyncio.run(main())
    assert [result["label"] for result in results] == keras_seq.load(folder)(LINES)


@pytest.mark.long
def test_a_folder_that_cannot_be_loaded_is_refused_with_the_reason(tmp_path):
    (tmp_path / "best.keras").write_bytes(b"no model")
    with pytest.raises(ValueError, match="best.keras is damaged"):
        asyncio.run(ModelProcess.start(str(tmp_path)))


def test_the_command_refuses_in_a_line(folder, tmp_path):
    def refused(*flags):
        done = subprocess.run([sys.executable, "-m", "keras_seq", "serve", *flags], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = refused(str(folder), "--port", str(taken.getsockname()[1]))
        assert "error: --port: 127.0.0.1" in line and "Address already in use" in line
    assert "must be positive. Received: 0" in refused(str(folder), "--workers", "0")
    assert "neither a model (best.keras" in refused(str(tmp_path), "--port", "0").splitlines()[-1]


@pytest.mark.long
def test_sigterm_under_load_answers_what_is_in_flight(command):
    server = command("--max-wait-ms", "200")
    expected = server.ask({"input": LINES[0]})
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(server.ask, {"input": LINES[0]}) for _ in range(40)]
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        found = [answer.result() for answer in answers]
    labels = [body["result"]["label"] for _, body in found]
    assert [status for status, _ in found] == [200] * 40 and labels == 40 * [expected[1]["result"]["label"]]
    assert server.end() == 0
    with pytest.raises(ConnectionError):
        server.ask({"input": "late"})


@pytest.mark.long
def test_of_two_killed_processes_one_is_enough(command):
    server = command("--workers", "2", "--max-wait-ms", "0", "--batch-tokens", "8")
    deadline = time.monotonic() + 120
    while len(server.children()) < 2 or not _processes(server) >= 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stop, statuses = time.monotonic() + 8, []

    def client():
        while time.monotonic() < stop:
            statuses.append(server.ask({"input": LINES[0]}, timeout=30)[0])

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    os.kill(server.children()[0], signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 503} and statuses.count(503) <= 2 and statuses.count(200) > 20
    assert server.ask({"input": LINES[0]})[0] == 200


@pytest.mark.long
def test_a_process_that_hangs_is_replaced_and_its_request_lost(command):
    server = command("--batch-seconds", "3")
    (first,) = server.children()
    os.kill(first, signal.SIGSTOP)
    started = time.monotonic()
    status, body = server.ask({"input": LINES[0]})
    assert status == 503 and "computed for more than 3 seconds" in body["error"] and time.monotonic() - started < 30
    assert server.ask({"input": LINES[0]})[0] == 200
    assert first not in server.children() and any('"process_hangs"' in line for line in server.lines)


@pytest.mark.long
def test_a_new_version_that_is_damaged_leaves_the_old_one_serving(command, folder, tmp_path):
    """A cut-off file of weights, a run without its vocabulary, and at last a whole one."""
    versions = tmp_path / "mood"
    shutil.copytree(folder, versions / "1")
    server = command("--poll-seconds", "0.2", model=versions)
    shutil.copytree(folder, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "best.keras"
    weights.write_bytes(weights.read_bytes()[:-1000])
    shutil.copytree(folder, tmp_path / "lacking", ignore=shutil.ignore_patterns("vocabulary"))
    for number, name, reason in ((2, "damaged", "best.keras is damaged"), (3, "lacking", "vocabulary")):
        (tmp_path / name).rename(versions / str(number))
        event = server.event("version_not_loaded", version=number)
        assert reason in event["reason"], event
        status, body = server.ask({"input": LINES[0]})
        assert status == 200 and body["version"] == 1
    shutil.copytree(folder, tmp_path / "whole")
    (tmp_path / "whole").rename(versions / "4")
    server.event("version_loaded", version=4)
    status, body = server.ask({"input": LINES[0]})
    assert status == 200 and body["version"] == 4


def _processes(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/metrics")
    found = re.search(rb'keras_seq_processes{model="mood"} (\d)', connection.getresponse().read())
    connection.close()
    return int(found[1])


BAD = {
    "no JSON": b"{",
    "wrong types": b'{"input": [1, {}]}',
    "invalid UTF-8": b'{"input": "\xff"}',
    "10 MB": b'{"input": "' + b"a" * 10_000_000 + b'"}',
    "100,000 characters": b'{"input": "' + b"a " * 50_000 + b'"}',
    "empty": b"",
}


@pytest.mark.long
def test_ten_thousand_requests_of_64_clients(command, folder):
    """One in a hundred is malformed. Every other gets the offline answer, and nothing stays behind."""
    server, count, clients = command("--max-queue", "2000"), 10_000, 64
    texts = [" ".join(LINES)[: 3 + n % 70] for n in range(100)] + ["a\0b", "\ud800 man"]
    expected = keras_seq.load(folder).details([text.encode("utf-8", "replace").decode() for text in texts])
    facts, memory, lock = [], [], threading.Lock()

    def ask(number):
        if number % 100 == 7:
            kind = [*BAD, "dropped"][number // 100 % (len(BAD) + 1)]
            if kind == "dropped":
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    connection.sendall(
                        b"POST /v1/tasks/mood HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
                    )
                return
            status, body = server.ask(BAD[kind])
            assert status in (400, 413) and len(body["error"]) > 10, (kind, status, body)
            return
        place = number % len(texts)
        status, body = server.ask({"input": texts[place]})
        assert status == 200, body
        assert body["result"]["label"] == expected[place].label
        assert body["result"]["probability"] == pytest.approx(expected[place].probability, abs=1e-4)
        with lock:
            facts.append(number)
            if number % 200 == 0:
                memory.append((number, sum(map(_memory, [server.process.pid, *server.children()]))))

    for _ in range(3):  # the first answers fill caches
        ask(0)
    files = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(count)))
    assert len(facts) == count - count // 100 + 3
    time.sleep(1)
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) <= files + 1
    first = max(bytes for number, bytes in memory if 0 < number <= 1000)
    last = max(bytes for number, bytes in memory if number > count - 1000)
    print(f"memory {first / 1e6:.1f} MB, {last / 1e6:.1f} MB")
    assert last <= 1.05 * first


def _memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])
