"""Runs that have come to their end: opened again as tasks, and replayed from their config.json."""

import json
import pathlib
from types import ModuleType
from typing import Any

import pytest

from keras_seq import cli

OPENED = pytest.mark.parametrize("place", ["run", pytest.param("export", marks=pytest.mark.long)])
OPENED_LONG = pytest.mark.parametrize("place", [pytest.param(x, marks=pytest.mark.long) for x in ("run", "export")])


def check_config(module: ModuleType, run: pathlib.Path, options: Any) -> None:
    """Whether `--config` gives the options of a run, all of them, and flags beside it override.

    Args:
        options: those that the run was made with. What was None there was filled in by the run.
    """
    file = run / "config.json"
    parsed = cli.parse(module.Options, ["--config", str(file)])
    for name, value in options.identity().items():
        if value is not None:
            assert getattr(parsed, name) == value, name
    stored = json.loads(file.read_text())
    again = json.loads(json.dumps(parsed.identity(), default=str))
    assert again == stored and set(stored) == set(options.identity())
    seed = cli.parse(module.Options, ["--seed", "77", "--config", str(file)])
    assert seed.identity() == {**parsed.identity(), "seed": 77}
