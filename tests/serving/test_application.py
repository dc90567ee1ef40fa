"""The application without a server: answers to requests that the test makes, of a model that is the test's."""

import asyncio
import json
import types

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from keras_seq.serving import bodies, gate
from keras_seq.serving.app import application
from keras_seq.serving.measures import Measures
from keras_seq.serving.process import Failed, Refused
from keras_seq.serving.responses import status_of
from keras_seq.serving.settings import Settings
from tests.serving.conftest import DESCRIBED

TASK, MODEL = "/v1/tasks/m", "/v1/models/m"


class Version:
    """Answers with `found`, an exception of which is raised, and None of which takes for ever."""

    number, signatures = 3, None

    def __init__(self, found=(), **described):
        self.found, self.described, self.items = found, {**DESCRIBED, **described}, []

    async def answer(self, items):
        self.items += items
        return [await self._one(one) for one in self.found]

    async def stream(self, text, options):
        for one in self.found:
            yield await self._one(one)

    @staticmethod
    async def _one(found):
        if found is None:
            await asyncio.sleep(3600)
        if isinstance(found, RuntimeError | Failed):
            raise found
        return found


def request(version, path, content=None, *, kind="application/json", parts=None, **settings):
    """Status, content and log of a request. `parts` of a body come one after another, None for ever."""
    settings, events, sent = Settings(**settings), [], []
    models = {"m": types.SimpleNamespace(name="m", current=version)}
    write = lambda event, **fields: events.append(fields)  # noqa: E731
    app = application(models, settings, Measures(models, settings.batch_tokens), write)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    scope = {
        **{"type": "http", "method": "GET" if content is None and parts is None else "POST", "path": path},
        **{"headers": [(b"content-type", kind.encode())], "query_string": b""},
    }
    rest = iter([body] if parts is None else parts)

    async def receive():
        part = next(rest, None)
        if part is None:  # the client waits
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": part, "more_body": parts is not None}

    async def send(message):
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 30))
    found = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(found) if found[:1] == b"{" else found.decode(), events[0]


def test_tasks_are_described_with_their_versions():
    described = {"model": "m", "version": 3, **DESCRIBED}
    assert request(Version(), "/v1/tasks")[:2] == (200, {"tasks": [described]})
    assert request(Version(), TASK)[:2] == (200, described)


@pytest.mark.parametrize(
    "path, content",
    [(TASK, None), ("/v1/tasks", None), (TASK, {"input": "a"}), (MODEL, None), (f"{MODEL}:predict", {"inputs": ["a"]})],
)
def test_a_model_that_is_not_loaded_is_asked_for_again(path, content):
    assert request(None, path, content)[:2] == (503, {"error": "m is not loaded yet. Try again."})


def test_metrics_leave_out_what_a_model_that_is_not_loaded_has_not():
    loaded = Version()
    loaded.processes = {0: types.SimpleNamespace(ended=types.SimpleNamespace(done=lambda: False))}
    loaded.batcher = types.SimpleNamespace(lanes=[1, 2])
    models = {"m": types.SimpleNamespace(current=loaded), "other": types.SimpleNamespace(current=None)}
    text = Measures(models, 10).written().decode()
    assert 'keras_seq_version{model="m"} 3.0' in text and 'keras_seq_queue{model="m"} 2.0' in text
    assert 'model="other"' not in text


def test_a_csv_file_is_the_input_of_a_forecast():
    version = Version([[{"values": [[1.0]]}]], reads="series")
    status, found, _ = request(version, TASK, b"time,x\n1,\xff\n", kind="text/csv; charset=utf-8")
    assert (status, found["result"]) == (200, {"values": [[1.0]]})
    assert version.items[0].content["inputs"] == ["time,x\n1,\ufffd\n"]


@pytest.mark.parametrize(
    "path, content, reason",
    [
        (TASK, {"input": "a", "stream": True}, "A task of tagging does not stream. Leave `stream` out."),
        (
            f"{TASK}/attention",
            {"input": "a", "output": "b"},
            "m does not return its attention: that takes the run folder of a model with attention.",
        ),
    ],
)
def test_what_a_task_cannot_is_refused(path, content, reason):
    version = Version(task="tagging", reads="words", streams=False, attention=False)
    assert request(version, path, content)[:2] == (400, {"error": reason})


@pytest.mark.parametrize(
    "last, seconds, reason",
    [
        (None, 0.15, "The text did not end within the deadline of 0.15 seconds."),
        (Failed("no memory"), 60.0, "The model fails: no memory"),
        (RuntimeError("a secret"), 60.0, "The server has an error: RuntimeError. The log has more."),
    ],
)
def test_a_stream_that_fails_ends_with_the_reason(last, seconds, reason):
    status, found, _ = request(Version(["a", "b", last]), TASK, {"input": "x", "stream": True}, deadline=seconds)
    *pieces, end, rest = found.split("\n\n")
    assert status == 200 and pieces == ['data: {"piece": "a"}', 'data: {"piece": "b"}'] and rest == ""
    assert end == f"event: error\ndata: {json.dumps({'error': reason})}"


def test_without_an_answer_until_the_deadline():
    reason = "There was no answer within the deadline of 0.01 seconds."
    status, found, event = request(Version([None]), TASK, {"input": "a"}, deadline=0.01)
    assert (status, found, event["error"]) == (504, {"error": reason}, "refused")


def test_a_body_that_does_not_arrive(monkeypatch):
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.01)
    reason = "The body did not arrive within 0.01 seconds."
    assert request(Version(), TASK, parts=[b'{"input": ', None])[:2] == (408, {"error": reason})


def test_a_body_far_beyond_the_limit_is_not_read_to_its_end():
    parts = iter([b"a" * 50] * 100)
    status, found, _ = request(Version(), TASK, parts=parts, max_body=100)
    assert (status, found) == (413, {"error": "The body is larger than 100 bytes. Send less at a time."})
    assert len(list(parts)) == 100 - (8 * 100 // 50 + 1)


@pytest.mark.parametrize(
    "content, outputs, status, expected",
    [
        ({"instances": ["a", "b"]}, {"text": ["A", "B"]}, 200, {"predictions": ["A", "B"]}),
        ({"inputs": ["a", "b"]}, {"text": ["A", "B"]}, 200, {"outputs": ["A", "B"]}),
        ({"instances": ["a", "b"]}, {"x": ["A"], "y": [1, 2]}, 400, "no rows"),
        ({"instances": ["a", "b"]}, {"x": 3}, 400, "no rows"),
        ({"inputs": ["a"]}, Refused("`text` must be of type string"), 400, "`text` must be of type string"),
        ({"inputs": ["a"] * 129}, {}, 413, "129 rows are more than a request may have: 128"),
    ],
)
def test_outputs_of_a_signature(content, outputs, status, expected):
    if expected == "no rows":
        expected = "The outputs of this signature have no rows. Use `inputs` instead of `instances`."
    expected = expected if isinstance(expected, dict) else {"error": expected}
    assert request(Version([outputs]), f"{MODEL}:predict", content)[:2] == (status, expected)


def test_a_model_that_fails_is_told_from_a_server_that_does():
    status, found, event = request(Version([Failed("no memory")]), TASK, {"input": "a"})
    assert (status, found, event["error"]) == (500, {"error": "The model fails: no memory"}, "failed")
    assert status_of(KeyError("a secret")) == (500, "error", "The server has an error: KeyError. The log has more.")


def test_a_fault_of_the_server_is_an_answer_without_its_message():
    status, found, event = request(Version([RuntimeError("a secret")]), TASK, {"input": "a"})
    assert (status, found) == (500, {"error": "The server has an error. The log has more."})
    assert (event["status"], event["error"], event["exception"]) == (500, "error", "RuntimeError")


def test_the_log_has_an_event_in_a_line(capsys):
    gate.log("request", text="a\nb", status=200)
    out, err = capsys.readouterr()
    event = json.loads(err)
    assert out == "" and err.count("\n") == 1 and len(event.pop("time")) == len("2026-01-31T12:00:00Z")
    assert event == {"event": "request", "text": "a\nb", "status": 200}


def test_what_is_no_request_passes_the_gate():
    passed = []

    async def app(*arguments):
        passed.append(arguments)

    scope = {"type": "lifespan"}
    asyncio.run(gate.Gate(app, "token", ("localhost",), None)(scope, "receive", "send"))
    assert passed == [({"type": "lifespan"}, "receive", "send")]
