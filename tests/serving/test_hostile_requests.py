"""Requests of an attacker, byte by byte: each is answered with a status of the client's error or as any other, never
with one of the server's, and no answer has a traceback or a path of the machine."""

import pathlib
import re
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_seq

SECRETS = (b"Traceback", b'File "', b"site-packages", b"root:x:0", b"import ")
BODY = b'{"input": "a"}'
HOST = b"Host: localhost\r\n"


@pytest.fixture
def server(serving):
    return serving(token="secret")


def answers(server, request):
    """The bytes that come back until the server ends the connection. A second without any ends it from here."""
    found = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=1.0) as connection:
        try:
            connection.sendall(request)
            while part := connection.recv(65536):
                found += part
        except (TimeoutError, ConnectionError):  # it waits for the rest of the request, or hangs up on nonsense
            pass
    return found


def check(server, request):
    """Sends a request and returns the status of its first answer, None if the connection was ended without one."""
    found = answers(server, request)
    statuses = [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3})", found, re.M) if status != b"100"]
    assert all(200 <= status < 500 for status in statuses), found
    page = b"keras-seq serve" in found  # its script has imports
    texts = SECRETS[:-1] if page or b"javascript" in found else SECRETS
    private = [str(pathlib.Path(keras_seq.__file__).parent).encode(), str(pathlib.Path.home()).encode(), b"/tmp/"]
    assert not [text for text in (*texts, *private) if text in found], found
    return statuses[0] if statuses else None


def alive(server):
    found = check(server, b"POST /v1/tasks/m HTTP/1.1\r\n" + HOST + AUTHORIZED + b"Content-Length: 14\r\n\r\n" + BODY)
    assert found == 200 and len(server.processes) == 1
    assert not [event for event in server.events if "exception" in event]


AUTHORIZED = b"Authorization: Bearer secret\r\nConnection: close\r\n"
PATHS = (
    *("/v1/tasks/..", "/v1/tasks/../../etc/passwd", "/v1/tasks/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/tasks/%252e%252e"),
    *("/v1/tasks/m%00", "/v1/tasks/%ff%fe", "/v1/tasks/m/", "/v1/tasks//m", "//v1/tasks/m", "/v1/tasks/m%2fattention"),
    *("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/gate.py", "/static//etc/passwd", "/static/"),
    *("/static/%00", "/static/a%00.js", "/static/..%5capp.py", "/static/" + "a" * 5000, "/static/script.js/"),
    *("/v1/models/m:predict:predict", "/v1/models/m/versions/-1", "/v1/models/m/versions/1%0a", "/v1/models/:predict"),
    *("/v1/models/m/versions/%EF%BC%91", "/v1/models/m/versions/" + "9" * 5000, "/v1/models/..:predict", "/%"),
    *(
        "/v1/tasks/m%0d%0aX-Evil:%201",
        "/v1/tasks/{name}",
        "/v1/tasks/%u0041",
        "/\\..\\..\\windows",
        "/?" + "a" * 60_000,
    ),
    *("http://evil.example/v1/tasks/m", "/v1/tasks/" + "a" * 60_000, "*", "/openapi.json/..", "/healthz%00"),
)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_paths(server, method):
    for path in PATHS:
        request = f"{method} {path} HTTP/1.1\r\n".encode() + HOST + AUTHORIZED + b"Content-Length: 14\r\n\r\n" + BODY
        status = check(server, request)
        harmless = path.startswith(("/?", "/openapi.json/..", "http:", "/static/script.js"))
        assert status in (400, 401, 404, 405, 413, 414, 431, *([200] if harmless else [])), (path, status)
    assert "*" in {event["path"] for event in server.logged(len(PATHS) - 3)}  # uvicorn refuses some before
    alive(server)


HEADERS = (
    b"Content-Length: -1\r\n",
    b"Content-Length: +14\r\n",
    b"Content-Length: 14a\r\n",
    b"Content-Length: 0x0e\r\n",
    b"Content-Length: 1_4\r\n",
    b"Content-Length: " + b"9" * 400 + b"\r\n",
    b"Content-Length: 14, 15\r\n",
    b"Content-Length: 14\r\nContent-Length: 3\r\n",
    b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Content-Length : 14\r\n",
    b"Content-Length: 14\r\nContent-Type: \xff\xfe\r\n",
    b"Content-Length: 14\r\nX-Request-Id: \xff\xfe\x80\r\n",
    b"Content-Length: 14\r\nX-Request-Id: " + b"a" * 30_000 + b"\r\n",
    b"Content-Length: 14\r\nX: " + b"a" * 200_000 + b"\r\n",
    b"Content-Length: 14\r\n" + b"".join(b"X%d: 1\r\n" % number for number in range(5000)),
    b"Content-Length: 14\r\nX: a\0b\r\n",
    b"Content-Length: 14\r\nNo colon\r\n",
    b"Content-Length: 14\r\nX: a\r\n folded\r\n",
    b"Content-Length: 14\r\nX: a\nY: b\r\n",
    b"Content-Length: 14\r\n\xc3\xa4: a\r\n",
    b"Content-Length: 14\r\nHost: evil.example\r\n",
    b"Content-Length: 14\r\nContent-Encoding: gzip\r\n",
    b"Content-Length: 14\r\nExpect: 100-continue\r\n",
    b"Content-Length: 14\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    b"Content-Length: 14\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Content-Length: 14\r\nContent-Type: application/json; charset=utf-16\r\n",
    b"Content-Length: 14\r\nContent-Type: audio/wav\r\n",
    b"Content-Length: 14\r\nContent-Type: multipart/form-data; boundary=x\r\n",
)


def test_headers(server):
    for lines in HEADERS:
        request = b"POST /v1/tasks/m HTTP/1.1\r\n" + HOST + AUTHORIZED + lines + b"\r\n" + BODY
        assert check(server, request) in (None, 200, 400, 411, 413, 415, 431, 501), lines
    alive(server)


@pytest.mark.parametrize(
    "request_line, statuses",
    [
        (b"POST /v1/tasks/m HTTP/1.0", (200,)),
        (b"POST /v1/tasks/m HTTP/2.0", (200, 400)),  # h11 takes any version for 1.1
        (b"POST /v1/tasks/m HTTP/9.9", (200, 400)),
        (b"POST /v1/tasks/m", (None, 400)),
        (b"POST /v1/tasks/m  HTTP/1.1", (None, 400)),
        (b"P\0ST /v1/tasks/m HTTP/1.1", (None, 400)),
        (b"post /v1/tasks/m HTTP/1.1", (400, 405)),
        (b"CONNECT localhost:22 HTTP/1.1", (400, 404, 405)),
        (b"TRACE /v1/tasks/m HTTP/1.1", (405,)),
        (b"POST /v1/tasks/\xff HTTP/1.1", (None, 400, 404)),
        (b"\x16\x03\x01\x02\x00\x01\x00", (None, 400)),
        (b"PRI * HTTP/2.0", (None, 400, 404, 405)),
    ],
)
def test_request_lines(server, request_line, statuses):
    request = request_line + b"\r\n" + HOST + AUTHORIZED + b"Content-Length: 14\r\n\r\n" + BODY
    assert check(server, request) in statuses
    alive(server)


def test_bodies_in_chunks(server):
    head = b"POST /v1/tasks/m HTTP/1.1\r\n" + HOST + AUTHORIZED + b"Transfer-Encoding: chunked\r\n\r\n"
    assert check(server, head + b"e\r\n" + BODY + b"\r\n0\r\n\r\n") == 200
    for body in (
        b"-1\r\n",
        b"zz\r\nab",
        b"f" * 40 + b"\r\n",
        b"e;" + b"x" * 50_000 + b"\r\n" + BODY,
        b"e\n" + BODY,
        b"",
    ):
        assert check(server, head + body) in (None, 400, 413), body
    alive(server)


def test_names_of_the_host_and_tokens(server):
    end = b"Content-Length: 14\r\n\r\n" + BODY
    for lines in (
        b"",
        b"Host: \xff\r\n",
        b"Host: a\r\nHost: b\r\n",
        b"Host: [::1\r\n",
        b"Host: " + b"a" * 9000 + b"\r\n",
    ):
        status = check(server, b"POST /v1/tasks/m HTTP/1.1\r\n" + lines + AUTHORIZED + end)
        assert status in (None, 200, 400, 421), lines
    for value in (
        b"Bearer \xff",
        b"Bearer",
        b"bearer  secre",
        b"Bearer secret, Bearer x",
        b"\xff",
        b"Bearer " + b"a" * 9000,
    ):
        request = (
            b"POST /v1/tasks/m HTTP/1.1\r\n" + HOST + b"Connection: close\r\nAuthorization: " + value + b"\r\n" + end
        )
        assert check(server, request) in (400, 401), value
    alive(server)


def test_random_bytes_where_a_request_has_its_parts(server):
    texts = st.binary(max_size=60)

    @settings(max_examples=150)
    @given(texts, texts, texts, texts)
    def sent(path, name, value, body):
        check(server, b"POST /v1/tasks/" + path + b" HTTP/1.1\r\n" + HOST + AUTHORIZED + b"\r\n" + body)
        lines = name + b": " + value + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
        check(server, b"POST /v1/tasks/m HTTP/1.1\r\n" + HOST + AUTHORIZED + lines + body)

    sent()
    alive(server)
