"""The server: models, application and port, from start to end."""

import asyncio
import ipaddress
import pathlib
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from keras_seq.serving.app import application
from keras_seq.serving.gate import log
from keras_seq.serving.measures import Measures
from keras_seq.serving.models import Model
from keras_seq.serving.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: if the port is taken. Names the remedy.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        raise OSError(f"`port`: {host}:{port} cannot be used: {error}. Give another `port`, or 0 for any.") from error
    sock.listen(512)
    return sock


def hosts_for(host: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the host that requests may have. On loopback only its own names, so that no page of another site
    reaches the server through a name that it points to loopback."""
    if allowed:
        return (*(name.lower() for name in allowed), *LOOPBACK)
    return LOOPBACK if is_loopback(host) else ()


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(
    paths: Mapping[str, pathlib.Path],
    sock: socket.socket,
    settings: Settings,
    started: Callable[[dict[str, Model]], None] = lambda models: None,
    write: Callable = log,
) -> None:
    """Serves models until SIGTERM or SIGINT. Then it takes no new connection, and answers what is in flight.

    Args:
        paths: folders of the models by name.
        sock: the result of `listening`.
        started: function that is called with the models when all are loaded.
    Raises:
        ValueError: if a model cannot be loaded.
    """
    models: dict[str, Model] = {}
    measures = Measures(models, settings.batch_tokens)
    for name, path in paths.items():
        models[name] = Model(name, path, settings, measures.batch, write)
    try:
        for model in models.values():  # one after another: loading takes memory and all cores
            await model.start()
        started(models)
        await _answer(application(models, settings, measures, write), sock, settings)
    finally:
        await asyncio.gather(*(model.stop() for model in models.values()))


async def _answer(app: Any, sock: socket.socket, settings: Settings) -> None:
    config = uvicorn.Config(
        app,
        **{"log_config": None, "access_log": False, "lifespan": "off", "server_header": False, "ws": "none"},
        timeout_graceful_shutdown=int(settings.deadline) + 1,
    )
    # uvicorn raises the signal that ended it once more. The models are still to be ended then.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        await uvicorn.Server(config).serve(sockets=[sock])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
