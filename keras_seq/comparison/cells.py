"""The cells of the grid of a comparison, each of which is one training run, and their records, `cell.json`."""

import dataclasses
import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from keras_seq.training import atomic_write

FILE = "cell.json"
Status = Literal["waiting", "running", "done", "diverged", "failed"]
ENDED = ("done", "diverged", "failed")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: an architecture at a width, a learning rate and a seed."""

    architecture: str
    learning_rate: float
    seed: int
    units: int

    @property
    def folder(self) -> pathlib.Path:
        """The path of the run folder inside the folder of the comparison, such as `lstm/0.003-1`."""
        return pathlib.Path(self.architecture) / f"{self.learning_rate:g}-{self.seed}"

    def __str__(self) -> str:
        return f"{self.architecture}, learning rate {self.learning_rate:g}, seed {self.seed}"

    @property
    def values(self) -> dict[str, Any]:
        """The options of the recipe that the cell sets."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class CellRecord:
    """The state and the result of a cell.

    Args:
        status: "waiting"; "running"; "done"; "diverged", if its loss or score was not finite; "failed", after an error.
        reason: why it diverged or failed.
        score: best score of all rounds. None unless the cell is done.
        tokens: tokens that it was trained on.
        seconds: seconds of the run.
        curve: tokens and score at the end of each round.
        parameters, backbone_parameters: number of weights of the model, and of its backbone.
        by_length: shortest and longest length, number of examples and mean score, for each range of lengths.
        worker: process that runs it.
    """

    status: Status = "waiting"
    reason: str = ""
    score: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    curve: tuple[tuple[int, float | None], ...] = ()
    parameters: int | None = None
    backbone_parameters: int | None = None
    by_length: tuple[tuple[int, int, int, float], ...] = ()
    worker: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `cell.json` into the folder of the cell."""
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_write(pathlib.Path(folder) / FILE) as temporary:
            fields = dataclasses.asdict(self)
            # JSON has no NaN.
            fields["curve"] = [(tokens, score if _finite(score) else None) for tokens, score in self.curve]
            temporary.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def read_cell(folder: str | os.PathLike) -> CellRecord:
    """Reads the `cell.json` of a folder. A cell without one is waiting.

    Raises:
        ValueError: if the file is damaged. The error names the file.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        return CellRecord()
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        for name in ("curve", "by_length"):
            fields[name] = tuple(tuple(row) for row in fields[name])
        return CellRecord(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}. Remove the folder {path.parent}, and compare again.") from error


@dataclasses.dataclass(frozen=True)
class Grid:
    """The runs of a comparison: every architecture with every learning rate and every seed.

    Args:
        widths: width of each architecture, by name.
        learning_rates, seeds: values that all architectures are trained with.
    Raises:
        ValueError: if one of the three is empty or has a value twice, or a learning rate is not positive.
    """

    widths: Mapping[str, int]
    learning_rates: Sequence[float]
    seeds: Sequence[int]

    def __post_init__(self):
        for name in ("learning_rates", "seeds"):
            check_values(name, getattr(self, name))
        check_values("architectures", list(self.widths))
        for rate in self.learning_rates:
            if not (rate > 0 and math.isfinite(rate)):
                raise ValueError(f"`learning_rates` must be above 0. Received: {rate}")

    def __iter__(self) -> Iterator[Cell]:
        """The cells. All architectures have a run at every learning rate before the second seed begins."""
        for seed, rate, (name, units) in itertools.product(self.seeds, self.learning_rates, self.widths.items()):
            yield Cell(name, rate, seed, units)

    def __len__(self) -> int:
        return len(self.widths) * len(self.learning_rates) * len(self.seeds)


def check_values(name: str, values: Iterable[Any]) -> None:
    """Raises `ValueError` if there is no value, or one occurs twice."""
    values = list(values)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"`{name}` must be one or more values, each once. Received: {values}")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
