"""What every request passes: its id, the token, the name of the host, the log and the metrics."""

import hashlib
import hmac
import json
import re
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from keras_seq.serving.responses import answered

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
OPEN = ("/", "/healthz", "/readyz", "/openapi.json")  # paths that need no token
SECURE = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def log(event: str, **fields: Any) -> None:
    """Writes an event to stderr, a JSON object in a line."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(json.dumps({"time": moment, "event": event, **fields}), file=sys.stderr, flush=True)


class Gate:
    """An ASGI application around another.

    Args:
        app: the other application.
        token: bearer token (None: none is needed).
        hosts: names of the host that a request may have (empty: any).
        measures: `Measures`.
        write: function that writes an event to the log.
    """

    def __init__(self, app: Any, token: str | None, hosts: tuple[str, ...], measures: Any, write: Callable = log):
        self.app, self.hosts, self.measures, self.write = app, hosts, measures, write
        self._digest = None if token is None else _digest(token.encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, headers = time.monotonic(), Headers(scope=scope)
        state = scope.setdefault("state", {})
        given = headers.get("x-request-id", "")
        state["request_id"] = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def answer(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = state["request_id"]
                for name, value in SECURE.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            await (self.app if refusal is None else refusal)(scope, receive, answer)
        except Exception as error:  # the application has answered
            state["error"], state["exception"] = "error", type(error).__name__
        finally:
            self._note(scope, status, time.monotonic() - started)

    def _refusal(self, scope: Any, headers: Headers) -> Any:
        host = re.sub(r":[0-9]*$", "", headers.get("host", "")).lower()
        if self.hosts and host not in self.hosts:
            return answered({"error": "This server does not have that name. --allow-host names it."}, 421)
        path = scope["path"]
        if self._digest is None or path in OPEN or path.startswith("/static/"):
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        good = hmac.compare_digest(_digest(token.strip().encode("latin-1", "replace")), self._digest)
        if kind.lower() == "bearer" and good:
            return None
        needed = "A bearer token is needed: the header `Authorization: Bearer TOKEN`."
        return answered({"error": needed}, 401, {"www-authenticate": "Bearer"})

    def _note(self, scope: Any, status: int, seconds: float) -> None:
        state = scope["state"]
        error = state.get("error") or ("refused" if status >= 400 else None)
        parts = scope["path"].split("/")[1:3]  # none in the path `*`
        interface = "/".join(parts if parts[:1] == ["v1"] else parts[:1])
        known = ("v1/tasks", "v1/models", "metrics", "healthz", "readyz", "static", "openapi.json", "")
        interface = interface if interface in known else "other"
        self.measures.request(state.get("model", ""), interface, status, seconds, error)
        names = ("model", "inputs", "texts", "error", "exception")
        facts = {name: state[name] for name in names if name in state}
        self.write(
            "request",
            **{"request_id": state["request_id"], "method": scope["method"], "path": scope["path"][:200]},
            **{"status": status, "seconds": round(seconds, 4), **facts},
        )


def _digest(token: bytes) -> bytes:
    """Tokens are compared by digests, which have one length."""
    return hashlib.sha256(token).digest()
