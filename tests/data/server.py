"""A web server on loopback that serves what a test gives it, as badly as the test wants."""

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator


class Server:
    """`files` by path; the other attributes say what goes wrong, and `asked` what was asked for: (path, Range)."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []  # bytes after which an answer breaks off, one for each answer
        self.ranges = True
        self.etag: str | None = '"one"'
        self.errors: list[int] = []  # statuses of the next answers
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    @contextlib.contextmanager
    def running(self) -> Iterator["Server"]:
        server, this = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)), self
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        this.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield this
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(served: Server) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):  # noqa: N802, a name of http.server
            served.asked.append((self.path, self.headers["Range"]))
            content = served.files.get(self.path)
            if served.errors or content is None:
                self.send_error(served.errors.pop(0) if served.errors else 404)
                return
            begun, same = 0, self.headers["If-Range"] == served.etag
            if served.ranges and same and (found := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")):
                begun = int(found[1])
            if begun >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if begun else 200)
            if begun:
                self.send_header("Content-Range", f"bytes {begun}-{len(content) - 1}/{len(content)}")
            if served.etag:
                self.send_header("ETag", served.etag)
            self.send_header("Content-Length", str(len(content) - begun))
            self.end_headers()
            cut = served.cuts.pop(0) if served.cuts else len(content)
            self.wfile.write(content[begun : begun + cut])

    return Handler
