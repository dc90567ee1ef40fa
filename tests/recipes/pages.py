"""The commands of a page in docs/, so that a test can run each of them."""

import pathlib
import shlex

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def commands(page: str, program: str) -> list[list[str]]:
    """The arguments of each command of a program, `python -m recipes.sentiment` say, on a page, in its order."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    found = [shlex.split(line) for line in lines if line.strip() == program or line.strip().startswith(f"{program} ")]
    return [line[len(shlex.split(program)) :] for line in found]
