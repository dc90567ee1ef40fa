"""Answers as JSON, and errors as answers with a status."""

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from keras_seq.serving.batcher import Gone
from keras_seq.serving.lanes import Full
from keras_seq.serving.process import Failed, Refused
from keras_seq.serving.requests import Bad

RETRY_SECONDS = 1
LEFT = 499  # status in the log of a request whose client has disconnected


def answered(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, "application/json")


def status_of(error: Exception) -> tuple[int, str, str]:
    """Status, kind and reason of the answer to an error."""
    if isinstance(error, Bad):
        return error.status, "refused", str(error)
    if isinstance(error, Refused):
        return 400, "refused", str(error)
    if isinstance(error, Full):
        return 429, "full", f"The server is busy: {error}. Try again later."
    if isinstance(error, Gone | ConnectionError):
        return 503, "gone", f"The answer is lost: {error}. Try again."
    if isinstance(error, Failed):
        return 500, "failed", f"The model fails: {error}"
    return 500, "error", f"The server has an error: {type(error).__name__}. The log has more."


def refusal(error: Exception) -> Response:
    """The answer to an error."""
    status, _, reason = status_of(error)
    headers = {"retry-after": str(RETRY_SECONDS)} if status in (429, 503) else None
    return answered({"error": reason}, status, headers)


KNOWN = (Bad, Refused, Full, Gone, ConnectionError, Failed)


def with_refusals(endpoint: Callable) -> Callable:
    """An endpoint whose errors are answers. The kind of an error is noted for the metrics."""

    async def call(request: Request) -> Response:
        try:
            return await endpoint(request)
        except KNOWN as error:
            request.scope["state"]["error"] = status_of(error)[1]
            return refusal(error)
        except ClientDisconnect:
            request.scope["state"]["error"] = "left"
            return Response(status_code=LEFT)

    return call
