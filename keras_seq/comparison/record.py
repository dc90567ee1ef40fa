"""The record of a comparison, `comparison.json`, from its runs and measurements."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_seq.comparison.cells import Cell, CellRecord
from keras_seq.comparison.choice import best_of, by_length, convergence
from keras_seq.comparison.formulas import facts, formula

FILE = "comparison.json"
_UNITS = {"accuracy": "fraction", "f1": "fraction", "loss": "nats", "perplexity": "perplexity"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """The conditions of a comparison.

    Args:
        recipe, title, data, command: names for the report.
        widths: width of each architecture, by name.
        inputs: width of the input of each backbone, by architecture.
        shape: `num_layers`, `num_heads` and `bidirectional` of all models.
        learning_rates, seeds: the grid.
        parameters: number of parameters that all backbones have, or None.
        tolerance: greatest relative difference from it.
        budget: `{"tokens": 400000}` or `{"seconds": 60}`.
        monitor: name of the validation score, and "max" or "min".
        chance: score of the best answer that ignores the input, or None.
        memory_task: name of the task if its lengths are numbers of steps to remember, or None.
    """

    recipe: str
    title: str
    data: str
    command: str
    widths: Mapping[str, int]
    inputs: Mapping[str, int]
    shape: Mapping[str, Any]
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    parameters: int | None
    tolerance: float
    budget: Mapping[str, float]
    monitor: tuple[str, str]
    chance: float | None
    memory_task: str | None = None


def record_of(
    setting: Setting,
    runs: Mapping[Cell, CellRecord],
    costs: Mapping[str, Mapping[str, Any]],
    feedforward: Mapping[str, Any],
    *,
    seconds: float,
    hardware: str,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The record as JSON values, of a finished comparison or of one that runs.

    Args:
        setting: the conditions.
        runs: record of each cell.
        costs: measurements of each architecture that has some.
        feedforward: measurements of a network with a fixed input, or `{}`.
        seconds: seconds of the comparison.
        hardware, versions: the machine and the packages.
    """
    name, mode = setting.monitor
    name = name.removeprefix("val_")
    rule = convergence(runs.values(), mode, setting.chance)
    score = {"name": name, "mode": mode, "unit": _UNITS.get(name.rpartition("_")[2], ""), "split": "valid"}
    if rule is not None:
        score |= {"converged_at": rule.at, "converged_rule": rule.rule}
    equal = {}
    if setting.parameters is not None:
        equal = {"equal": {"parameters": setting.parameters, "of": "backbone", "tolerance": setting.tolerance}}
    architectures = []
    for architecture, units in setting.widths.items():
        own = {cell: record for cell, record in runs.items() if cell.architecture == architecture}
        converged = sum(rule is not None and rule.converged(record) for record in own.values())
        row = _paper(setting, architecture, units, own) | {"runs": [_run(*run) for run in own.items()]}
        row |= _best(own, mode) | {"converged": converged, "attempts": len(own)}
        architectures.append(row | ({"cost": dict(costs[architecture])} if architecture in costs else {}))
    return {
        "title": setting.title,
        "recipe": setting.recipe,
        "data": setting.data,
        "command": setting.command,
        "hardware": hardware,
        "versions": dict(versions),
        **equal,
        "budget": dict(setting.budget),
        "grid": {"learning_rates": list(setting.learning_rates), "seeds": list(setting.seeds)},
        "score": score,
        "seconds": round(seconds, 1),
        "architectures": architectures,
        **scores_to_remember(setting.memory_task, architectures),
        **({"feedforward": dict(feedforward)} if feedforward else {}),
    }


def scores_to_remember(task: str | None, architectures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The scores by number of steps to remember, which the architectures then do not have as quality by length."""
    if task is None:
        return {}
    rows = {row["name"]: row.pop("quality_by_length") for row in architectures if row.get("quality_by_length")}
    if not rows:
        return {}
    lengths = [each["to"] for each in next(iter(rows.values()))]
    scores = {name: [each["score"] for each in quality] for name, quality in rows.items()}
    return {"memory": {"task": task, "lengths": lengths, "scores": scores}}


def _paper(setting: Setting, name: str, units: int, runs: Mapping[Cell, CellRecord]) -> dict[str, Any]:
    """Name, gates, states, and parameters by count and by formula."""
    known, shape = facts(name), setting.shape
    row = {"name": name, "label": known.label, "gates": known.gates, "states": known.states, "units": units}
    row["num_layers"] = shape["num_layers"]
    counted = [record for record in runs.values() if record.parameters is not None]
    row["parameters"] = counted[0].parameters if counted else None
    row["backbone_parameters"] = counted[0].backbone_parameters if counted else None
    if name in setting.inputs:
        layers = {"num_layers": shape["num_layers"], "bidirectional": shape["bidirectional"]}
        found = formula(name, setting.inputs[name], units, **layers)
        row |= {} if found is None else {"formula": found[0], "formula_value": found[1]}
    return row


def _run(cell: Cell, record: CellRecord) -> dict[str, Any]:
    row = {"learning_rate": cell.learning_rate, "seed": cell.seed, "status": record.status}
    row |= {"reason": record.reason} if record.reason else {}
    curve = [[tokens, score if score is not None and math.isfinite(score) else None] for tokens, score in record.curve]
    return row | {"score": record.score, "tokens": record.tokens, "seconds": record.seconds, "curve": curve}


def _best(runs: Mapping[Cell, CellRecord], mode: str) -> dict[str, Any]:
    """The best learning rate, and the quality by length of its runs. `best` is None without a score."""
    best = best_of(runs, mode)
    if best is None:
        return {"best": None}
    chosen = [record for cell, record in runs.items() if cell.learning_rate == best.learning_rate and record.by_length]
    quality = {"quality_by_length": by_length(chosen)} if chosen else {}
    return {"best": dataclasses.asdict(best) | {"scores": list(best.scores)}} | quality
