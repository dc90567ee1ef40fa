"""The application: its routes, behind the gate."""

import pathlib
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from keras_seq.serving import tasks_api, tensorflow_api
from keras_seq.serving.gate import Gate, log
from keras_seq.serving.measures import Measures
from keras_seq.serving.openapi import document
from keras_seq.serving.responses import answered, with_refusals
from keras_seq.serving.settings import Settings

PAGE = pathlib.Path(__file__).parent / "page"
ROUTES: tuple[tuple[str, str, Callable], ...] = (
    ("GET", "/v1/tasks", tasks_api.listed),
    ("GET", "/v1/tasks/{name}", tasks_api.described),
    ("POST", "/v1/tasks/{name}", tasks_api.run),
    ("POST", "/v1/tasks/{name}/attention", tasks_api.attention),
    ("POST", "/v1/models/{name}:predict", tensorflow_api.predict),
    ("POST", "/v1/models/{name}/versions/{version}:predict", tensorflow_api.predict),
    ("GET", "/v1/models/{name}", tensorflow_api.status),
    ("GET", "/v1/models/{name}/versions/{version}", tensorflow_api.status),
    ("GET", "/v1/models/{name}/metadata", tensorflow_api.metadata),
    ("GET", "/v1/models/{name}/versions/{version}/metadata", tensorflow_api.metadata),
)


def application(models: dict[str, Any], settings: Settings, measures: Measures, write: Callable = log) -> Gate:
    """The ASGI application.

    Args:
        models: `Model`s by name.
        write: function that writes an event to the log.
    """
    routes: list[Any] = [Route(path, with_refusals(call), methods=[method]) for method, path, call in ROUTES]
    routes += [
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
        Route("/", _page),
        Mount("/static", StaticFiles(directory=PAGE)),
    ]
    handlers: dict[Any, Callable] = {HTTPException: _refused, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.models, app.state.settings, app.state.measures = models, settings, measures
    return Gate(app, settings.token, settings.hosts, measures, write)


async def _healthy(request: Request) -> Response:
    return answered({"status": "running"})


async def _ready(request: Request) -> Response:
    waiting = [name for name, model in request.app.state.models.items() if not model.ready]
    return answered({"status": "not ready", "models": waiting}, 503) if waiting else answered({"status": "ready"})


async def _metrics(request: Request) -> Response:
    return Response(request.app.state.measures.written(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _openapi(request: Request) -> Response:
    return answered(document(list(request.app.state.models)))


async def _page(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})


async def _refused(request: Request, error: HTTPException) -> Response:
    reason = {404: "There is no such page.", 405: "This page does not take that method."}.get(error.status_code)
    return answered({"error": reason or error.detail}, error.status_code, dict(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
    """The answer to a fault of the server, which Starlette then raises: `Gate` logs it."""
    return answered({"error": "The server has an error. The log has more."}, 500)
