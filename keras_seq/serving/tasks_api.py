"""The interface `/v1/tasks/NAME`: inputs and results as `keras-seq VERB --json` writes them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from keras_seq.serving.bodies import body_of, fields_of, json_of, while_connected
from keras_seq.serving.models import Model
from keras_seq.serving.requests import Bad, check_inputs, check_options, detail_items
from keras_seq.serving.responses import answered, status_of
from keras_seq.serving.version import Version

SOUNDS = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")


async def listed(request: Request) -> Response:
    """All tasks."""
    models: dict[str, Model] = request.app.state.models
    return answered({"tasks": [_described(model) for model in models.values()]})


async def described(request: Request) -> Response:
    """One task."""
    return answered(_described(model_of(request)))


async def run(request: Request) -> Response:
    """The result of one input, or the results of several."""
    model, settings = model_of(request), request.app.state.settings
    version = current(model)
    given = await _given(request, version, settings)
    if given.pop("stream", False):
        return await _stream(request, version, given)
    one = "input" in given
    inputs = [given["input"]] if one else given["inputs"]
    note_inputs(request, len(inputs), inputs)
    options = check_options(given.get("options", {}), version.described, settings)
    check_inputs([x for x in inputs if not isinstance(x, bytes)], version.described, settings)
    items = detail_items(inputs, options, version.described, settings)
    found = await while_connected(request, version.answer(items), settings.deadline)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    results = [result for part in found for result in part]
    about = {"model": model.name, "version": version.number}
    if not one:
        return answered({"results": results, **about})
    if set(results[0]) == {"error"}:
        raise Bad(f"The input has no result: {results[0]['error']}")
    return answered({"result": results[0], **about})


async def attention(request: Request) -> Response:
    """The attention weights of a translation."""
    model, settings = model_of(request), request.app.state.settings
    version = current(model)
    if not version.described["attention"]:
        raise Bad(f"{model.name} does not return its attention: that takes the run folder of a model with attention.")
    given = json_of(await body_of(request, settings.max_body))
    fields_of(given, ("input", "output"))
    texts = [given.get("input"), given.get("output")]
    if not all(isinstance(text, str) for text in texts):
        raise Bad("`input` and `output` must be texts.")
    check_inputs(texts, version.described, settings)
    note_inputs(request, 1, texts)
    asked = version.ask(do="attention", input=texts[0], output=texts[1])
    answer = await while_connected(request, asked, settings.deadline)
    return answered({name: answer[name] for name in ("weights", "source", "target")})


def model_of(request: Request) -> Model:
    """The model that the URL names.

    Raises:
        Bad: if there is none.
    """
    models: dict[str, Model] = request.app.state.models
    name = request.path_params["name"]
    if name not in models:
        raise Bad(f"There is no model {name[:80]!r}. There are: {', '.join(models)}.", 404)
    request.scope["state"]["model"] = name
    return models[name]


def current(model: Model) -> Version:
    """The version that is served."""
    if model.current is None:
        raise Bad(f"{model.name} is not loaded yet. Try again.", 503)
    return model.current


def note_inputs(request: Request, count: int, inputs: Any) -> None:
    """Notes the number of inputs for the log, and the inputs if the server logs them."""
    request.scope["state"]["inputs"] = count
    if request.app.state.settings.log_inputs:
        request.scope["state"]["texts"] = [one for one in inputs if isinstance(one, str)]


def _described(model: Model) -> dict[str, Any]:
    return {"model": model.name, "version": current(model).number, **current(model).described}


async def _given(request: Request, version: Version, settings: Any) -> dict[str, Any]:
    """The fields of a request: JSON, a WAV file, or for a forecast a CSV file."""
    body = await body_of(request, settings.max_body)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in SOUNDS:
        if version.described["reads"] != "audio":
            raise Bad(f"A task of {version.described['task']} takes no sound.", 415)
        if body[:4] not in (b"RIFF", b"RF64") or body[8:12] != b"WAVE":
            raise Bad("The body is not a WAV file.")
        return {"input": body}
    if kind == "text/csv":
        if version.described["reads"] != "series":
            raise Bad(f"A task of {version.described['task']} takes no CSV file.", 415)
        return {"input": body.decode("utf-8", "replace")}
    given = json_of(body)
    fields_of(given, ("input", "inputs", "options", "stream"))
    if ("input" in given) == ("inputs" in given):
        raise Bad("The request must have `input`, one input, or `inputs`, a list of them.")
    if "inputs" in given and not isinstance(given["inputs"], list):
        raise Bad("`inputs` must be a list. Use `input` for one input.")
    if not isinstance(given.get("stream", False), bool):
        raise Bad("`stream` must be true or false.")
    return given


STREAM_OPTIONS = ("search", "max_length", "temperature", "top_k", "top_p", "min_p", "seed")


async def _stream(request: Request, version: Version, given: dict[str, Any]) -> Response:
    """Server-sent events: a `piece` each, and at the end the whole text."""
    settings = request.app.state.settings
    if not version.described["streams"]:
        raise Bad(f"A task of {version.described['task']} does not stream. Leave `stream` out.")
    if not isinstance(given.get("input"), str):
        raise Bad("A stream takes `input`, a text.")
    check_inputs([given["input"]], version.described, settings)
    options = check_options(given.get("options", {}), {"options": STREAM_OPTIONS}, settings)
    options = {"max_length": min(200, settings.max_output_tokens), **options}
    note_inputs(request, 1, [given["input"]])
    pieces = version.stream(given["input"], options)
    try:  # an error before the first piece has a status of its own
        first = await while_connected(request, anext(pieces, ""), settings.deadline)
    except BaseException:
        await pieces.aclose()
        raise
    events = _events(pieces, first, settings.deadline)
    return StreamingResponse(events, headers={"cache-control": "no-store"}, media_type="text/event-stream")


async def _events(pieces: Any, first: str, seconds: float) -> AsyncIterator[bytes]:
    text, piece, clock = "", first, asyncio.get_running_loop().time
    end = clock() + seconds
    async with contextlib.aclosing(pieces):
        try:
            while piece:
                text += piece
                yield _event({"piece": piece})
                async with asyncio.timeout_at(end):
                    piece = await anext(pieces, "")
            yield _event({"text": text}, "end")
        except TimeoutError:
            yield _event({"error": f"The text did not end within the deadline of {seconds:g} seconds."}, "error")
        except Exception as error:
            yield _event({"error": status_of(error)[2]}, "error")


def _event(content: dict[str, Any], name: str = "") -> bytes:
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(content)}\n\n".encode()
