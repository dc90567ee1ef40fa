"""Reading of requests, and waiting for answers as long as somebody waits for them."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from starlette.requests import ClientDisconnect, Request

from keras_seq.serving.requests import Bad

READ_SECONDS = 30.0  # limit for the arrival of a body
DRAINED = 8  # times the limit: a larger body is read no further, and its sender may see the connection end


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        Bad: if it is larger than `most` bytes, or takes too long to arrive.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > DRAINED * most:
                    break
                if size <= most:
                    parts.append(part)
    except TimeoutError:
        raise Bad(f"The body did not arrive within {READ_SECONDS:g} seconds.", 408) from None
    if size > most:
        raise Bad(f"The body is larger than {most:,} bytes. Send less at a time.", 413)
    return b"".join(parts)


def json_of(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        Bad: if it is none.
    """
    if not body.strip():
        raise Bad("The body is empty. It must be a JSON object.")
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Bad(f"The body is not UTF-8: byte {error.start} is wrong.") from None
    except ValueError as error:
        raise Bad(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise Bad("The body is not JSON that can be read: it is nested too deeply.") from None
    if not isinstance(value, dict):
        raise Bad(f"The body must be a JSON object. Received: {type(value).__name__}")
    return value


def fields_of(given: dict[str, Any], known: tuple[str, ...]) -> None:
    """Checks the names of a request's fields.

    Raises:
        Bad: for an unknown one.
    """
    if wrong := sorted(set(given) - set(known)):
        raise Bad(f"There is no field {wrong[0][:80]!r}. The fields are: {', '.join(known)}.")


async def while_connected(request: Request, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """The result of `work`, which is cancelled if the client leaves or after `seconds`.

    Raises:
        ClientDisconnect: if the client has left.
        Bad: after `seconds`.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_until_disconnected(request))
    try:
        await asyncio.wait([task, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if leaving.done():
            raise ClientDisconnect
        raise Bad(f"There was no answer within the deadline of {seconds:g} seconds.", 504)
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
