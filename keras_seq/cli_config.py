"""The values of options from a JSON file, such as the `config.json` of a run."""

import dataclasses
import json
import pathlib
import types
import typing
from typing import Any

_REMEDY = "Take the config.json of a run of the same recipe, or remove the key from the file"


def read_values(options: type, path: pathlib.Path) -> dict[str, Any]:
    """Values of the fields of a dataclass, read from a JSON object by their names.

    Args:
        options: the dataclass.
        path: the file, or a folder, whose `config.json` is read.
    Raises:
        FileNotFoundError: if there is no file.
        ValueError: for a file that is not a JSON object, a key that is not a field, or a value that its field cannot
            have.
    """
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Give the config.json of a run folder.")
    fields = {field.name: field for field in dataclasses.fields(options) if not field.metadata.get("config")}
    values, hints = _read_object(path), typing.get_type_hints(options)
    unknown = [name for name in values if name not in fields]
    if unknown:
        names = ", ".join(repr(name) for name in unknown)
        raise ValueError(f"{path}: no option has the name {names}, here or in this version. {_REMEDY}.")
    return {name: _checked(path, fields[name], hints[name], value) for name, value in values.items()}


def without_none(annotation: Any) -> tuple[Any, bool]:
    """`int` and True for the annotation `int | None`."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(annotation) if part is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}. Give the config.json of another run.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object. It begins with {json.dumps(values)[:40]}")
    return values


def _checked(path: pathlib.Path, field: dataclasses.Field, annotation: Any, value: Any) -> Any:
    try:
        return convert(annotation, value, field.metadata.get("choices"))
    except TypeError:
        raise ValueError(f"{path}: `{field.name}` cannot be {json.dumps(value)}. {_REMEDY}.") from None


def convert(annotation: Any, value: Any, choices: Any) -> Any:
    """A JSON value in the type of a field's annotation: a tuple for a list, a path for a string.

    Raises:
        TypeError: for a value that the field cannot have.
    """
    annotation, optional = without_none(annotation)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if value is None and optional:
        return None
    if origin in (list, tuple) and isinstance(value, list):
        return origin(convert(inner[0], item, choices) for item in value)
    if origin is typing.Literal:
        annotation, choices = type(inner[0]), inner
    accepted = {float: (int, float), pathlib.Path: str}.get(annotation, annotation)
    is_type = origin in (None, typing.Literal) and isinstance(value, accepted)
    if not is_type or (isinstance(value, bool) and annotation is not bool) or (choices and value not in choices):
        raise TypeError(value)
    return annotation(value)
