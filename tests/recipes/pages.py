"""The commands of a recipe's page in docs/, each of which a test runs."""

import dataclasses
import pathlib
import shlex
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from keras_seq import cli, data, export

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def commands(page: str, program: str) -> list[list[str]]:
    """The arguments of each command of a program, `python -m recipes.sentiment` say, on a page, in its order."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    found = [shlex.split(line) for line in lines if line.strip() == program or line.strip().startswith(f"{program} ")]
    return [line[len(shlex.split(program)) :] for line in found]


def run_page(
    recipe: ModuleType,
    folder: pathlib.Path,
    monkeypatch,
    smaller: Callable[[Any], Mapping[str, Any]],
    places: Mapping[str, str] | None = None,
) -> list[pathlib.Path]:
    """Runs each command of a recipe's page for an epoch, without an export, which takes a fresh process each time.

    Args:
        folder: has the data: what the page calls DIR, and what a download finds.
        smaller: the options that make a command quick, from those that it gave.
        places: what else the page names -> what it is here.
    Returns:
        the run folder of each, which has its metrics.
    """
    monkeypatch.setattr(data, "fetch", lambda name: folder)  # as if it had been fetched before
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    places, runs, name = {"DIR": str(folder), **(places or {})}, [], recipe.__name__.rpartition(".")[2]
    for number, argv in enumerate(commands(f"{name}.md", f"python -m recipes.{name}")):
        options = cli.parse(recipe.Options, [places.get(word, word) for word in argv])
        runs.append(folder / f"run-{number}")
        recipe.main(dataclasses.replace(options, **smaller(options), epochs=1, average=1, run=runs[-1]))
        assert list(runs[-1].rglob("metrics.json")), argv
    return runs
