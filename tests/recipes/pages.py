"""Runs of recipes in tests: in a folder, with bad input, and the commands of their pages in docs/."""

import dataclasses
import json
import pathlib
import shlex
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from keras_seq import __main__ as command_line
from keras_seq import cli, data, experiment, export

DOCS = pathlib.Path(__file__).parents[2] / "docs"
FAR = pytest.mark.parametrize("to_the_end", [False, pytest.param(True, marks=pytest.mark.long)], ids=["begin", "end"])


def evaluated(capsys, model: pathlib.Path, *argv: Any) -> dict[str, Any]:
    """The record of `keras-seq evaluate --model MODEL ... --json`."""
    capsys.readouterr()
    command_line.main(["evaluate", "--model", str(model), *map(str, argv), "--json"])
    return json.loads(capsys.readouterr().out)


def runner(module: ModuleType, small: Any) -> Callable[..., pathlib.Path]:
    """`run_in(folder, options=small, **changes)`: runs the recipe there, and returns its run folder."""

    def run_in(folder: pathlib.Path, options: Any = small, **changes: Any) -> pathlib.Path:
        module.main(dataclasses.replace(options, run=folder / "run", export=folder / "export", **changes))
        return folder / "run"

    return run_in


def error_of(module: ModuleType, capsys, *argv: str) -> str:
    """The one line by which the recipe refuses these arguments, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.run(module.main, module.Options, argv)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


class Begun(Exception):
    """What a command asks for is there: its data, and a compiled model."""


def commands(page: str, program: str) -> list[list[str]]:
    """The arguments of each command of a program, `python -m recipes.sentiment` say, on a page, in its order."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    found = [shlex.split(line) for line in lines if line.strip() == program or line.strip().startswith(f"{program} ")]
    return [line[len(shlex.split(program)) :] for line in found]


def end_at_the_fit(monkeypatch) -> None:
    """A recipe then ends, by `Begun`, where it would train: its options are good, its data is read, and its model,
    compiled, takes a batch of it."""

    def begun(options, model, train, *rest, **fitting):
        assert model.optimizer is not None and int(train.batches.cardinality()) > 0
        first, *_ = next(iter(train.batches))
        model(first)
        raise Begun

    monkeypatch.setattr(experiment, "fit", begun)


def run_page(
    module: ModuleType,
    folder: pathlib.Path,
    monkeypatch,
    to_the_end: bool,
    smaller: Callable[[Any], Mapping[str, Any]],
    places: Mapping[str, str] | None = None,
) -> list[pathlib.Path]:
    """Runs each command of a recipe's page for an epoch, without an export, which takes a fresh process each time.

    Args:
        folder: has the data: what the page calls DIR, and what a download finds.
        to_the_end: otherwise the first one ends where it would train, see `end_at_the_fit`, and of the others only
            the flags are read.
        smaller: the options that make a command quick, from those that it gave.
        places: what else the page names -> what it is here.
    Returns:
        the run folder of each, which has its metrics, if it came to the end.
    """
    monkeypatch.setattr(data, "fetch", lambda name: folder)  # as if it had been fetched before
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    if not to_the_end:
        end_at_the_fit(monkeypatch)
    places, runs, name = {"DIR": str(folder), **(places or {})}, [], module.__name__.rpartition(".")[2]
    for number, argv in enumerate(commands(f"{name}.md", f"python -m recipes.{name}")):
        options = cli.parse(module.Options, [places.get(word, word) for word in argv])
        runs.append(folder / f"run-{number}")
        options = dataclasses.replace(options, **smaller(options), epochs=1, average=1, run=runs[-1])
        if to_the_end:
            module.main(options)
            assert list(runs[-1].rglob("metrics.json")), argv
            continue
        if number == 0:
            with pytest.raises(Begun):
                module.main(options)
    return runs
