"""The interfaces of a server with models of the test: what is answered, what is refused, and what is written down."""

import http.client
import json
import socket
import threading
import time

import pytest

from tests.serving.conftest import DESCRIBED

TASK, MODEL = "/v1/tasks/m", "/v1/models/m"


def test_one_input_and_many(serving):
    server = serving()
    assert server.json(TASK, {"input": "a b"}) == (200, {"result": {"text": "A B"}, "model": "m", "version": 1})
    status, found = server.json(TASK, {"inputs": ["a", "bad", "c"]})
    assert status == 200 and found["results"] == [{"text": "A"}, {"error": "bad"}, {"text": "C"}]
    assert server.json(TASK, {"inputs": []})[1]["results"] == []
    assert server.json(TASK, {"input": "bad"}) == (400, {"error": "The input has no result: bad"})


def test_the_process_gets_the_options_and_the_limits(serving):
    server = serving(batch_tokens=100, max_tokens=50)
    server.json(TASK, {"input": "a", "options": {"num_beams": 3}})
    fields, _ = server.processes[0].asked[-1]
    assert fields["options"] == {"batch_tokens": 100, "max_source_length": 50, "num_beams": 3}


def test_requests_at_one_time_share_batches_of_like_length_and_options(serving):
    server = serving(max_wait_ms=300.0)
    answers = {}

    def ask(number, content):
        answers[number] = server.json(TASK, content)[1]["results"]

    long = "w " * 50
    asked = [{"inputs": ["a", long]}, {"inputs": ["b"]}, {"inputs": ["c"], "options": {"num_beams": 2}}]
    threads = [threading.Thread(target=ask, args=item) for item in enumerate(asked)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number] for number in range(3)] == [
        [{"text": text.upper()} for text in given["inputs"]] for given in asked
    ]
    batches = sorted(sorted(fields["inputs"]) for fields, _ in server.processes[0].asked[2:])
    assert batches == sorted([["a", "b"], ["c"], [long]])


@pytest.mark.parametrize("joins, batches", [(True, 1), (False, 2)])
def test_neighbouring_widths_share_a_batch_where_results_do_not_depend_on_it(serving, joins, batches):
    server = serving({**DESCRIBED, "joins_widths": joins})
    texts = ["w " * 35, "w " * 45]  # widths 40 and 48
    assert server.json(TASK, {"inputs": texts})[1]["results"] == [{"text": text.upper()} for text in texts]
    asked = server.processes[0].asked[2:]
    assert len(asked) == batches and ("width_ratio" in asked[0][0]["options"]) == joins


@pytest.mark.parametrize(
    "content, status, reason",
    [
        (b"", 400, "The body is empty"),
        (b"{", 400, "The body is not JSON: Expecting property name"),
        (b"\xff{}", 400, "The body is not UTF-8: byte 0 is wrong"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b"1" * 5000, 400, "The body is not JSON"),
        ([1], 400, "The body must be a JSON object. Received: list"),
        ({}, 400, "must have `input`, one input, or `inputs`"),
        ({"input": "a", "inputs": []}, 400, "must have `input`, one input, or `inputs`"),
        ({"inputs": "a"}, 400, "`inputs` must be a list"),
        ({"input": 3}, 400, "Input 0 must be a text. Received: 3"),
        ({"inputs": ["a", None]}, 400, "Input 1 must be a text. Received: None"),
        ({"input": "a", "other": 1}, 400, "There is no field 'other'"),
        ({"input": "a", "stream": 1}, 400, "`stream` must be true or false"),
        ({"input": "a", "options": []}, 400, "`options` must be an object"),
        ({"input": "a", "options": {"beams": 1}}, 400, "There is no option 'beams' of this model. It has: num_beams"),
        ({"input": "a", "options": {"num_beams": [1]}}, 400, "`num_beams` has a wrong type"),
        ({"input": "a", "options": {"num_beams": 1000}}, 400, "`num_beams` must be at most 32"),
        ({"input": "a", "options": {"max_length": 10**9}}, 400, "`max_length` must be at most 1,000"),
        ({"inputs": ["a"] * 129}, 413, "129 inputs are more than a request may have: 128"),
        ({"input": "a" * 64_001}, 413, "64,001 characters, too many for 1,000 tokens"),
        (b" " * 5_000_000, 413, "The body is larger than 4,000,000 bytes"),
        ({"input": "refuse"}, 400, "no"),
    ],
)
def test_what_is_wrong_is_refused_with_a_reason(serving, content, status, reason):
    server = serving()
    found, body = server.json(TASK, content)
    assert found == status and reason in body["error"]
    assert server.json(TASK, {"input": "a"})[0] == 200


def test_a_body_in_parts_is_limited_too(serving):
    server = serving(max_body=1000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", TASK, iter([b" " * 600, b" " * 600]), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("path", ["/v1/tasks/x", "/v1/tasks/..%2f..%2fetc%2fpasswd", "/static/../app.py", "/nothing"])
def test_other_paths_are_not_found(serving, path):
    status, _, body = serving().request(path)
    assert status == 404 and b"import" not in (body if isinstance(body, bytes) else b"")


def test_a_full_queue_is_answered_with_429(serving):
    server = serving(max_queue=2)
    status, headers, body = server.request(TASK, {"inputs": ["a", "b", "c"]})
    assert status == 429 and headers["retry-after"] == "1" and "the queue holds 2" in body["error"]


def test_a_deadline_is_answered_with_504_and_drops_the_work(serving):
    server = serving(deadline=0.1)
    status, body = server.json(TASK, {"input": "slow"})
    assert status == 504 and "deadline of 0.1 seconds" in body["error"]
    assert server.json(TASK, {"input": "a"})[0] in (200, 504)
    time.sleep(0.6)
    assert server.json(TASK, {"input": "a"})[0] == 200


def test_a_client_that_leaves_takes_its_input_along(serving):
    server = serving()
    busy = threading.Thread(target=server.json, args=(TASK, {"input": "slow"}))
    busy.start()
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        body = b'{"input": "gone"}'
        connection.sendall(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (TASK.encode(), len(body))
        )
        connection.sendall(body)
        time.sleep(0.1)
    busy.join()
    assert server.json(TASK, {"input": "a"})[0] == 200
    inputs = [text for fields, _ in server.processes[0].asked for text in fields["inputs"]]
    assert "gone" not in inputs and "slow" in inputs
    assert "left" in {event.get("error") for event in server.logged(3)}


def test_a_process_that_ends_costs_its_batch_and_is_replaced(serving):
    server = serving()
    status, headers, body = server.request(TASK, {"input": "crash"})
    assert status == 503 and headers["retry-after"] == "1" and "the process of the model has ended" in body["error"]
    assert server.json(TASK, {"input": "a"})[0] == 200
    assert len(server.processes) == 2 and server.events[0]["event"] == "version_loaded"
    assert any(event["event"] == "process_ended" and event["code"] == -9 for event in server.events)


def test_a_process_that_hangs_is_replaced(serving):
    server = serving(batch_seconds=0.3)
    status, _, body = server.request(TASK, {"input": "hang"})
    assert status == 503 and "computed for more than 0.3 seconds" in body["error"]
    assert server.json(TASK, {"input": "a"})[0] == 200 and len(server.processes) == 2
    assert [event["event"] for event in server.events][1:3] == ["process_hangs", "process_ended"]


def test_sound_and_tables_are_bodies(serving):
    wav = b"RIFF\0\0\0\0WAVEfmt " + bytes(100)
    server = serving({**DESCRIBED, "task": "transcription", "reads": "audio", "options": []})
    status, found = server.json(TASK, wav, headers={"content-type": "audio/wav"})
    assert status == 200 and found["result"] == {"text": "SOUND"}
    assert server.processes[0].asked[-1][1] == [wav] and server.processes[0].asked[-1][0]["inputs"] == [None]
    status, body = server.json(TASK, b"ID3", headers={"content-type": "audio/wav"})
    assert status == 400 and body["error"] == "The body is not a WAV file."
    assert server.json(TASK, {"input": "/etc/passwd"})[0] == 400  # no name of a file on the server
    assert server.json(TASK, b"a,b", headers={"content-type": "text/csv"})[0] == 415


def test_a_stream_sends_each_piece_and_then_the_text(serving):
    server = serving()
    status, headers, body = server.request(TASK, {"input": "a b", "stream": True})
    assert status == 200 and headers.get_content_type() == "text/event-stream"
    assert body.decode().split("\n\n") == [
        'data: {"piece": "A"}',
        'data: {"piece": "B"}',
        'event: end\ndata: {"text": "AB"}',
        "",
    ]
    assert server.json(TASK, {"input": "refuse", "stream": True}) == (400, {"error": "no"})
    assert server.json(TASK, {"inputs": ["a"], "stream": True})[0] == 400


def test_a_client_that_leaves_a_stream_stops_it(serving):
    server = serving(max_streams=1)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", TASK, json.dumps({"input": "a slow", "stream": True}))
    assert connection.getresponse().read(10) == b'data: {"pi'
    assert server.json(TASK, {"input": "a", "stream": True})[0] == 429
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    for _ in range(100):
        if server.processes[0].stopped:
            break
        time.sleep(0.05)
    assert server.request(TASK, {"input": "a", "stream": True})[0] == 200


def test_tensorflow_serving_in_rows_and_columns(serving):
    server = serving()
    rows = {"instances": [{"text": "a"}, {"text": "bc"}]}
    predictions = [{"text": "A", "score": 1.0}, {"text": "BC", "score": 2.0}]
    assert server.json(f"{MODEL}:predict", rows) == (200, {"predictions": predictions})
    assert server.json(f"{MODEL}:predict", {"instances": ["a", "bc"]})[1] == {"predictions": predictions}
    columns = {"signature_name": "translate", "inputs": {"text": ["a", "bc"]}}
    outputs = {"outputs": {"text": ["A", "BC"], "score": [1.0, 2.0]}}
    assert server.json(f"{MODEL}/versions/1:predict", columns) == (200, outputs)
    assert server.json(f"{MODEL}:predict", {"inputs": ["a", "bc"], "signature_name": "serving_default"})[1] == outputs


@pytest.mark.parametrize(
    "content, reason",
    [
        ({}, "must have `instances`"),
        ({"instances": []}, "at least one row"),
        ({"instances": [{"text": "a"}, {"other": "a"}]}, "the same names"),
        ({"inputs": {}}, "There are no inputs"),
        ({"signature_name": 1, "inputs": ["a"]}, "`signature_name` must be a text"),
        ({"inputs": {"text": ["a"], "max_length": 10**6}}, "`max_length` must be at most 1,000"),
        ({"inputs": ["a"], "x": 1}, "There is no field 'x'"),
        ({"inputs": ["w " * 1001]}, "A text in `text` has 1,002 tokens, more than 1,000"),
    ],
)
def test_tensorflow_serving_refuses(serving, content, reason):
    status, body = serving().json(f"{MODEL}:predict", content)
    assert status in (400, 413) and reason in body["error"]


def test_tensorflow_serving_tells_of_models(serving):
    server = serving()
    status, found = server.json(MODEL)
    assert status == 200 and found["model_version_status"][0]["state"] == "AVAILABLE"
    assert server.json(f"{MODEL}/versions/1")[1] == found
    assert server.json(f"{MODEL}/versions/2")[0] == server.json(f"{MODEL}/versions/2:predict", {"inputs": []})[0] == 404
    status, found = server.json(f"{MODEL}/metadata")
    signature = found["metadata"]["signature_def"]["signature_def"]["translate"]
    assert found["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    assert signature["inputs"]["text"]["dtype"] == "DT_STRING"
    assert signature["inputs"]["text"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert server.json(f"{MODEL}/versions/1/metadata")[1] == found


def test_a_token_is_needed_where_there_is_one(serving):
    server = serving(token="secret")
    for headers in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "secret"},
        {"Authorization": "Basic secret"},
    ):
        status, sent, body = server.request(TASK, {"input": "a"}, headers=headers)
        assert status == 401 and sent["www-authenticate"] == "Bearer" and "Bearer TOKEN" in body["error"]
    assert server.json("/metrics")[0] == server.json("/v1/tasks")[0] == 401
    assert server.json(TASK, {"input": "a"}, headers={"Authorization": "Bearer secret"})[0] == 200
    assert all(
        server.request(path)[0] == 200 for path in ("/", "/healthz", "/readyz", "/openapi.json", "/static/style.css")
    )


def test_other_names_of_the_host_are_refused(serving):
    server = serving(hosts=("localhost", "127.0.0.1"))
    assert server.json("/healthz")[0] == server.json("/healthz", headers={"Host": "LOCALHOST:80"})[0] == 200
    assert server.json("/healthz", headers={"Host": "evil.example"})[0] == 421


def test_every_answer_has_an_id_which_the_log_has_without_the_text(serving):
    server = serving()
    _, headers, _ = server.request(TASK, {"input": "private words"}, headers={"X-Request-Id": "mine-1"})
    assert headers["x-request-id"] == "mine-1"
    _, headers, _ = server.request(TASK, {"input": "private words"}, headers={"X-Request-Id": "a b\tc"})
    assert len(headers["x-request-id"]) == 32
    first, second = server.logged(2)
    assert first["request_id"] == "mine-1" and second["request_id"] == headers["x-request-id"]
    assert first["status"] == 200 and first["model"] == "m" and first["inputs"] == 1
    assert "private" not in json.dumps(server.events).lower()


def test_texts_are_logged_if_they_are_asked_for(serving):
    server = serving(log_inputs=True)
    server.json(TASK, {"input": "public words"})
    assert server.logged(1)[0]["texts"] == ["public words"]


def test_metrics_count_requests_batches_and_errors(serving):
    server = serving()
    server.json(TASK, {"inputs": ["a", "a b c d e"]})
    server.json(TASK, {"input": 3})
    server.logged(2)
    lines = server.request("/metrics")[2].decode().splitlines()
    for line in (
        'keras_seq_requests_total{interface="v1/tasks",model="m",status="200"} 1.0',
        'keras_seq_errors_total{kind="refused",model="m"} 1.0',
        'keras_seq_tokens_total{model="m"} 8.0',
        'keras_seq_padding_tokens_total{model="m"} 4.0',
        'keras_seq_batch_rows_count{model="m"} 1.0',
        'keras_seq_queue{model="m"} 0.0',
        'keras_seq_version{model="m"} 1.0',
        'keras_seq_processes{model="m"} 1.0',
    ):
        assert line in lines


def test_the_page_and_the_document_are_there(serving):
    server = serving()
    status, headers, page = server.request("/")
    assert status == 200 and b"keras-seq serve" in page and "default-src 'self'" in headers["content-security-policy"]
    assert server.request("/static/script.js")[0] == 200
    paths = server.json("/openapi.json")[1]["paths"]
    assert "/v1/tasks/{name}" in paths and "/v1/models/{name}/versions/{version}:predict" in paths
    assert server.json(f"{TASK}/attention", {"input": "a", "output": "b"})[1]["weights"] == [[1.0]]
    assert server.json("/readyz") == (200, {"status": "ready"})
