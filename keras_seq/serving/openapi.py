"""The OpenAPI document of the server."""

from typing import Any

from keras_seq import __version__

ERRORS = {
    "400": "The request is wrong",
    "401": "The token is missing or wrong",
    "404": "There is no such model",
    "413": "The request is too large",
    "429": "The server is busy. Retry-After tells when to try again",
    "503": "The process of the model has ended. Try again",
    "504": "There was no answer within the deadline",
}


def document(models: list[str]) -> dict[str, Any]:
    """The document, with the names of the models."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": models}}
    number = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer"}}
    task, prediction = _object(_TASK), _object(_PREDICTION)
    sound = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}
    table = {"text/csv": {"schema": {"type": "string"}}}
    at_version = "/v1/models/{name}/versions/{version}"
    return {
        "openapi": "3.1.0",
        "info": {"title": "keras-seq serve", "version": __version__},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
        "paths": {
            "/v1/tasks": {"get": _call("All tasks, with their options")},
            "/v1/tasks/{name}": {
                "get": _call("One task", [name]),
                "post": _call("Results of inputs", [name], {**task, **sound, **table}),
            },
            "/v1/tasks/{name}/attention": {
                "post": _call("Attention weights of a translation", [name], _object(_ATTENTION))
            },
            "/v1/models/{name}:predict": {"post": _call("Outputs of a signature", [name], prediction)},
            at_version + ":predict": {"post": _call("Outputs of a signature", [name, number], prediction)},
            "/v1/models/{name}": {"get": _call("State of a model", [name])},
            at_version: {"get": _call("State of a version", [name, number])},
            "/v1/models/{name}/metadata": {"get": _call("Signatures of a model", [name])},
            at_version + "/metadata": {"get": _call("Signatures of a version", [name, number])},
            "/healthz": {"get": _call("Whether the server runs")},
            "/readyz": {"get": _call("Whether all models can compute")},
            "/metrics": {"get": _call("Metrics in Prometheus's format")},
        },
    }


_TASK = {
    "input": {"description": "One input"},
    "inputs": {"type": "array", "description": "Several inputs, in place of `input`"},
    "options": {"type": "object", "description": "Options of the search"},
    "stream": {"type": "boolean", "description": "Server-sent events with pieces of the text"},
}
_ATTENTION = {"input": {"type": "string"}, "output": {"type": "string"}}
_PREDICTION = {
    "signature_name": {"type": "string"},
    "instances": {"type": "array", "description": "Inputs row by row"},
    "inputs": {"description": "Inputs column by column, in place of `instances`"},
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object", "properties": properties}}}


def _call(summary: str, parameters: list[dict] | None = None, content: dict[str, Any] | None = None) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": "The answer"}}
    answers |= {status: {"description": reason} for status, reason in ERRORS.items()}
    call: dict[str, Any] = {"summary": summary, "responses": answers}
    if parameters:
        call["parameters"] = parameters
    if content:
        call["requestBody"] = {"required": True, "content": content}
    return call
