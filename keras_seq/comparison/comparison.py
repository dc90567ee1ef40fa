"""The comparison of architectures on one task: each at its best learning rate of a grid, under an equal budget."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keras_seq import training
from keras_seq.comparison import report
from keras_seq.comparison.cells import Cell, CellRecord, Grid, check_values, read_cell
from keras_seq.comparison.choice import best_of
from keras_seq.comparison.contender import Contender, backbone, built_model, input_width, parameters_of
from keras_seq.comparison.costs import measure, measure_feedforward
from keras_seq.comparison.processes import cores, train_all
from keras_seq.comparison.progress import Progress, result_table
from keras_seq.comparison.record import FILE, Setting, record_of
from keras_seq.comparison.widths import Count, counted, equal_widths
from keras_seq.training.run_folder import command_line, hardware, versions

WIDTHS = "widths.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The arguments of a comparison.

    Args:
        architectures, learning_rates, seeds: the grid.
        budget: equal budget of each run: `{"tokens": 400000}` or `{"seconds": 60}`. The contender keeps it.
        parameters: equal number of parameters of the backbones. None: that of the reference.
        equal_parameters: whether the backbones have equally many parameters. Otherwise all have `units`.
        units: width of the reference, "lstm" or else the first architecture, or of all.
        tolerance: greatest relative difference of the number of parameters.
        recipe: name of the task.
    Raises:
        ValueError: if a value is missing, occurs twice or is not positive.
    """

    architectures: tuple[str, ...]
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seeds: tuple[int, ...] = (1, 2)
    budget: Mapping[str, float] = dataclasses.field(default_factory=dict)
    equal_parameters: bool = True
    parameters: int | None = None
    units: int = 128
    tolerance: float = 0.05
    recipe: str = ""

    def __post_init__(self):
        check_values("architectures", self.architectures)
        Grid(dict.fromkeys(self.architectures, self.units), self.learning_rates, self.seeds)
        for name in ("parameters", "units", "tolerance"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"`{name}` must be above 0. Received: {value}")


class Comparison:
    """Compares architectures in a folder. The same arguments continue a comparison that was interrupted.

        make = functools.partial(experiment.RecipeTrainer, sentiment, options)
        record = comparison.Comparison(make, plan, "runs/compare").run(workers=2)

    Each run of the grid is a run folder, `lstm/0.003-1` for a learning rate and a seed. More learning rates, seeds and
    architectures may be added to a finished comparison.

    Args:
        make: picklable function without arguments that makes the contender. Each process calls it.
        plan: the architectures, the grid and the equal quantities.
        directory: folder of the comparison.
        overwrite: whether to start over. The comparison in the folder is removed.
    Raises:
        ValueError: for a wrong argument, or a folder with another comparison. Nothing is written then.
    """

    def __init__(
        self, make: Callable[[], Contender], plan: Plan, directory: str | os.PathLike, overwrite: bool = False
    ):
        self._make, self._plan, self.directory = make, plan, pathlib.Path(directory)
        self._begun = time.monotonic()
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several processes share a GPU
        self._contender = make()
        identity = self._contender.identity()
        identity |= identity.pop("options", {})
        identity |= {"equal_parameters": plan.equal_parameters, "parameters": plan.parameters, "units": plan.units}
        _open(self.directory, identity, overwrite)
        self._earlier = training.read_config(self.directory / FILE).get("seconds", 0.0)

    def run(self, workers: int | None = None, measured: bool = True) -> dict[str, Any]:
        """Trains the rest of the grid, measures, and writes `comparison.json` and the report.

        Args:
            workers: number of processes. None: the number of cores. Each computes with its share of the cores.
            measured: whether to measure the costs after the training.
        Returns:
            the record.
        Raises:
            ValueError: if no run has a score.
        """
        workers = cores() if workers is None else workers
        if workers < 1:
            raise ValueError(f"`workers` must be at least 1. Received: {workers}")
        setting = self._setting()
        cells = list(Grid(setting.widths, setting.learning_rates, setting.seeds))
        progress = Progress(len(cells), sum(self._read(cell).ended for cell in cells), _name(setting))
        with contextlib.closing(progress):
            self._train(setting, cells, workers, progress)
            runs = self._runs(cells)
            if not any(record.status == "done" for record in runs.values()):
                reasons = dict.fromkeys(record.reason for record in runs.values())
                raise ValueError(f"No run has a score: {'; '.join(reasons)}")
            measurements = self._measure(setting, runs, progress) if measured else ({}, {})
        record = self._write(setting, runs, *measurements)
        self._remove_models(setting, runs)
        print("\n" + "\n".join(f"  {line}" for line in result_table(record)))
        files = report.write(record, self.directory)
        print(f"\nRecord: {self.directory / FILE}" + "".join(f"\nReport: {file}" for file in files))
        return record

    # The widths.

    def _setting(self) -> Setting:
        """The widths, those of an earlier start for the architectures that it had, and the rest of the setting."""
        plan, path = self._plan, self.directory / WIDTHS
        before = training.read_config(path)
        widths, inputs = dict(before.get("widths", {})), dict(before.get("inputs", {}))
        target = before.get("parameters")
        new = [name for name in plan.architectures if name not in widths]
        if new:
            print("Widths: two models of each architecture are built.", flush=True)
            counts, input_of = self._counts(new)
            units = dict.fromkeys(new, plan.units)
            if plan.equal_parameters:
                given = target or plan.parameters
                reference = counts["lstm" if "lstm" in counts else new[0]]
                fitted = equal_widths(counts, given or reference(plan.units), plan.tolerance, exactly=bool(given))
                target, units = fitted
            widths |= units
            inputs |= {name: input_of[name](widths[name]) for name in new}
            training.write_json(path, {"parameters": target, "widths": widths, "inputs": inputs})
        data = self._contender.data_name()
        return Setting(
            recipe=plan.recipe,
            title=f"{plan.recipe.replace('_', ' ').capitalize()} ({data})",
            data=data,
            command=command_line(),
            widths={name: widths[name] for name in plan.architectures},
            inputs=inputs,
            shape=self._contender.shape(),
            learning_rates=plan.learning_rates,
            seeds=plan.seeds,
            parameters=target,
            tolerance=plan.tolerance,
            budget=plan.budget,
            monitor=self._contender.monitor,
            chance=self._contender.chance(),
            memory_task=self._contender.memory_task,
        )

    def _counts(self, names: Sequence[str]) -> tuple[dict[str, Count], dict[str, Callable[[int], int]]]:
        """Parameters and the input's width as functions of the width, by architecture."""
        counts, inputs = {}, {}
        with tempfile.TemporaryDirectory() as folder, _output_to(self.directory / "widths.log"):
            for name in names:

                def parameters(units: int, name=name) -> tuple[int, int]:
                    values = {"architecture": name, "units": units, "learning_rate": 1e-3, "seed": 1}
                    model = built_model(self._contender, values, pathlib.Path(folder) / f"{name}-{units}")
                    layers = backbone(model, name)
                    return parameters_of(layers), input_width(layers)

                counts[name], inputs[name] = counted(parameters, self._contender.width_step(name))
        return counts, inputs

    # The runs and their costs.

    def _read(self, cell: Cell) -> CellRecord:
        return read_cell(self.directory / cell.folder)

    def _runs(self, cells: Sequence[Cell]) -> dict[Cell, CellRecord]:
        return {cell: self._read(cell) for cell in cells}

    def _train(self, setting: Setting, cells: Sequence[Cell], workers: int, progress: Progress) -> None:
        before = sum(self._read(cell).ended for cell in cells)
        if before:
            progress.say(f"{self.directory}: {before} finished runs, the comparison continues.")
        train_all(self._make, cells, self.directory, workers, progress, lambda: self._write(setting, self._runs(cells)))

    def _measure(self, setting: Setting, runs: Mapping[Cell, CellRecord], progress: Progress) -> tuple[dict, dict]:
        """The costs of each architecture, and the entry "feedforward" of the record."""
        chosen = {}
        for name in setting.widths:
            own = {cell: record for cell, record in runs.items() if cell.architecture == name}
            if (best := best_of(own, setting.monitor[1])) is not None:
                chosen[name] = next(cell for cell in own if cell.learning_rate == best.learning_rate)
        values = {name: cell.values for name, cell in chosen.items()}
        folders = {name: self.directory / cell.folder for name, cell in chosen.items()}
        costs = measure(self._make, values, setting.shape, self.directory, progress.say)
        return costs, measure_feedforward(self._make, folders, self.directory, progress.say)

    def _write(
        self,
        setting: Setting,
        runs: Mapping[Cell, CellRecord],
        costs: Mapping[str, Any] | None = None,
        feedforward: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        record = record_of(
            setting,
            runs,
            costs or {},
            feedforward or {},
            seconds=self._earlier + time.monotonic() - self._begun,
            hardware=hardware(),
            versions=versions(),
        )
        training.write_json(self.directory / FILE, record)
        return record

    def _remove_models(self, setting: Setting, runs: Mapping[Cell, CellRecord]) -> None:
        """Removes the checkpoints of ended runs, and the models that are not at the best learning rate."""
        for cell in runs:
            own = {other: record for other, record in runs.items() if other.architecture == cell.architecture}
            best, folder = best_of(own, setting.monitor[1]), self.directory / cell.folder
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            if best is None or best.learning_rate != cell.learning_rate:
                (folder / "best.keras").unlink(missing_ok=True)


def _name(setting: Setting) -> str:
    return setting.monitor[0].removeprefix("val_")


def _open(directory: pathlib.Path, identity: Mapping[str, Any], overwrite: bool) -> None:
    """Checks that the folder has this comparison or none, and writes `compare.json`."""
    path = directory / "compare.json"
    if overwrite and path.exists():
        shutil.rmtree(directory)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"A comparison needs a folder, but {directory} is a file.")
    present = sorted(each.name for each in directory.iterdir()) if directory.exists() else []
    if present and not path.exists():
        raise ValueError(
            f"The folder {directory} is not empty and has no comparison in it (it has {', '.join(present[:3])}). "
            "Name another folder."
        )
    before = training.read_config(path) if (directory / WIDTHS).exists() else {}  # without widths nothing has begun
    if before and (differences := training.config_differences(before, identity)):
        raise ValueError(
            f"The folder {directory} holds another comparison: {differences}. Name another folder, or start over in it "
            "(`overwrite=True`)."
        )
    directory.mkdir(parents=True, exist_ok=True)
    training.write_json(path, identity)


@contextlib.contextmanager
def _output_to(path: pathlib.Path) -> Iterator[None]:
    """Writes the output of Python within it to the end of a file."""
    with open(path, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        yield
