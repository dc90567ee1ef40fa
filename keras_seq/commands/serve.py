"""`keras-seq serve`: models behind a port."""

import dataclasses
import pathlib
import sys
from typing import Any

from keras_seq.cli import option
from keras_seq.serving.settings import Settings

HINT = "keras-seq serve needs the extra `serve`: pip install 'keras-seq[serve]'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serve:
    """Serves models over HTTP: a page at /, JSON at /v1/tasks/NAME and, as TensorFlow Serving does, at
    /v1/models/NAME:predict. Requests of like length are computed together."""

    model: tuple[pathlib.Path, ...] = option(
        help="run folder, SavedModel, CTranslate2 folder, or a folder with versions of one, named by numbers",
        positional=True,
    )
    name: tuple[str, ...] = option(
        (), "name of a model in URLs, repeated in their order (default: its folder's)", repeated=True
    )
    host: str = option("127.0.0.1", "address to listen at; 0.0.0.0 for all of the machine")
    port: int = option(8501, "port to listen at, 0 for any")
    allow_host: tuple[str, ...] = option((), "name of the server that requests may use, repeated", repeated=True)
    token_file: pathlib.Path | None = option(None, "file with a bearer token that requests must have")
    batch_tokens: int = option(Settings.batch_tokens, "size of a batch in tokens: rows times the padded length")
    max_wait_ms: float = option(Settings.max_wait_ms, "longest wait of an input for others, in milliseconds")
    width_ratio: float = option(Settings.width_ratio, "largest ratio of the padded lengths in a batch")
    max_queue: int = option(Settings.max_queue, "number of inputs of a model that may wait (beyond: status 429)")
    max_streams: int = option(Settings.max_streams, "number of texts of a model that are streamed at a time")
    max_body: int = option(Settings.max_body, "largest body of a request in bytes")
    max_items: int = option(Settings.max_items, "largest number of inputs of a request")
    max_tokens: int = option(Settings.max_tokens, "longest input in tokens")
    max_output_tokens: int = option(Settings.max_output_tokens, "largest max_length that a request may ask for")
    deadline: float = option(Settings.deadline, "seconds until a request is answered with 504, and its work is dropped")
    batch_seconds: float = option(
        Settings.batch_seconds, "seconds after which a process that still computes a batch is replaced"
    )
    workers: int = option(Settings.workers, "number of processes of each model")
    threads: int | None = option(Settings.threads, "threads of an operation in a process (default: all cores)")
    poll_seconds: float = option(Settings.poll_seconds, "seconds between two looks for a new version")
    log_inputs: bool = option(Settings.log_inputs, "texts of requests in the log")


def serve(options: Serve) -> None:
    check(options)
    try:
        import asyncio

        from keras_seq.serving.folders import names_of
        from keras_seq.serving.server import hosts_for, is_loopback, listening
        from keras_seq.serving.server import serve as run
    except ImportError as error:
        raise ImportError(f"{HINT} ({error})") from error
    paths, settings = names_of(options.model, options.name), settings_of(options)
    settings = dataclasses.replace(settings, hosts=hosts_for(options.host, options.allow_host))
    if not is_loopback(options.host) and settings.token is None:
        print(f"Anyone who reaches {options.host} can use the models. --token-file asks for a token.", file=sys.stderr)
    with listening(options.host, options.port) as sock:
        port = sock.getsockname()[1]

        def started(models: Any) -> None:
            shown = f"[{options.host}]" if ":" in options.host else options.host
            print(f"Serving {', '.join(models)} on http://{shown}:{port}", file=sys.stderr, flush=True)

        asyncio.run(run(paths, sock, settings, started))


def check(options: Serve) -> None:
    """Raises `ValueError` for numbers out of their range."""
    may_be_zero = ("max_wait_ms", "port", "max_streams")
    for name, value in vars(options).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if value < 0 or (value == 0 and name not in may_be_zero):
            least = "0 or more" if name in may_be_zero else "positive"
            raise ValueError(f"--{name.replace('_', '-')} must be {least}. Received: {value}")


def settings_of(options: Serve) -> Settings:
    """The options as `serving.settings.Settings`.

    Raises:
        ValueError: if the file of the token has none.
    """
    names = {field.name for field in dataclasses.fields(Settings)} - {"token", "hosts"}
    return Settings(token=_token(options.token_file), **{name: getattr(options, name) for name in names})


def _token(file: pathlib.Path | None) -> str | None:
    if file is None:
        return None
    token = file.read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or any(letter.isspace() for letter in token):
        raise ValueError(f"--token-file {file} must have one token of ASCII letters, digits and signs.")
    return token
