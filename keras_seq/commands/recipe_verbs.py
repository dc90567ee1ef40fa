"""Shared by `tune` and `compare`, the verbs that run a recipe many times: their flags beside those of the recipe."""

import dataclasses
import pathlib
import types
from typing import Any

from keras_seq.cli import option


def recipe_name(module: types.ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def recipe_fields(module: types.ModuleType) -> dict[str, dataclasses.Field]:
    """The options of a recipe by name."""
    return {field.name: field for field in dataclasses.fields(module.Options)}


def recipe_options(options: Any, module: types.ModuleType, **others: Any) -> Any:
    """The options of a recipe among those of a verb, with other values for some."""
    return module.Options(**{name: getattr(options, name) for name in recipe_fields(module)} | others)


def verb_options(
    module: types.ModuleType, verb: str, flags: type, fields: list[tuple], *, folder: str, description: str
) -> type:
    """The dataclass of a verb for a recipe: the flags of the verb, then those of the recipe.

    Args:
        module: module of the recipe.
        verb: name of the verb, with which its default folder begins.
        flags: dataclass of the flags of the verb.
        fields: `(name, type, option)` of options of the recipe that mean something else for the verb.
        folder: help for `--run`.
        description: description of the command.
    """
    name = recipe_name(module)

    def set_run(self: Any) -> None:
        if self.run is None:
            object.__setattr__(self, "run", pathlib.Path("runs") / f"{verb}-{name}")
        module.Options.__post_init__(self)

    run = option(None, f"{folder} (default: runs/{verb}- and the name)")
    return dataclasses.make_dataclass(
        verb.capitalize(),
        [*fields, ("run", pathlib.Path | None, run)],
        bases=(flags, module.Options),
        frozen=True,
        namespace={"__module__": module.__name__, "__doc__": description, "__post_init__": set_run},
    )
