"""All measurements of a comparison, one after the other, each in a fresh process, and kept in `costs.json`."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from keras_seq import training
from keras_seq.comparison.contender import Contender, Values
from keras_seq.comparison.measurements import can_measure_memory, training_costs, training_memory
from keras_seq.comparison.processes import cores, in_fresh_process
from keras_seq.comparison.stepwise import step_costs

FILE = "costs.json"
FEEDFORWARD = "feedforward.json"


def measure(
    make: Callable[[], Contender],
    chosen: Mapping[str, Values],
    shape: Mapping[str, Any],
    folder: pathlib.Path,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """The costs of each architecture. Nothing else should run on the machine.

    A measurement that is in `costs.json` for the same models is not repeated.

    Args:
        make: picklable function that makes the contender.
        chosen: options of the model of each architecture, by name.
        shape: `num_layers`, `num_heads` and `bidirectional` of all models.
        folder: folder of the comparison.
        say: function that shows a line.
    Returns:
        for each architecture the fields of `cost` in `comparison.json`.
    """
    path = folder / FILE
    models = {name: dict(values) for name, values in chosen.items()}
    before = training.read_config(path)
    found = before.get("costs", {}) if before.get("models") == models else {}

    def add(costs: Mapping[str, Mapping[str, Any]], measured: str) -> None:
        for name, values in costs.items():
            found.setdefault(name, {}).update(values)
        done.append(measured)
        training.write_json(path, {"models": models, "measured": done, "costs": found})

    done = list(before.get("measured", [])) if found else []
    alone = {"log": folder / "measurements.log"}
    if "times" not in done:
        say("Measurements: training steps on one thread.")
        add(in_fresh_process(training_costs, make, models, threads=1, **alone), "times")
    if "threads" not in done and cores() > 1:
        say("Measurements: training steps on two threads.")
        two = in_fresh_process(training_costs, make, models, threads=2, **alone)
        add({name: {"threads_speedup": _faster(found[name], two[name])} for name in models}, "threads")
    for name in models if can_measure_memory() else ():
        if f"memory of {name}" not in done:
            say(f"Measurements: memory of {name}.")
            peak = in_fresh_process(training_memory, make, models[name], threads=1, **alone)
            add({name: {"peak_bytes": peak}}, f"memory of {name}")
    if "steps" not in done:
        say("Measurements: single steps and whole sequences.")
        widths = {name: values["units"] for name, values in models.items()}
        layers = (shape["num_layers"], shape["num_heads"])
        add(in_fresh_process(step_costs, widths, *layers, threads=1, **alone), "steps")
    return found


def measure_feedforward(
    make: Callable[[], Contender],
    runs: Mapping[str, pathlib.Path],
    folder: pathlib.Path,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The measurements of a network with a fixed input beside trained models, kept in `feedforward.json`.

    Args:
        make: picklable function that makes the contender.
        runs: run folder of the best run of each architecture, by name.
        folder: folder of the comparison.
        say: function that shows a line.
    Returns:
        the entry "feedforward" of `comparison.json`, `{}` for a task without these measurements.
    """
    path, names = folder / FEEDFORWARD, {name: str(run) for name, run in runs.items()}
    before = training.read_config(path)
    if before.get("runs") == names:
        return before["found"]
    say("Measurements: a network with a fixed input.")
    log = folder / "measurements.log"
    found = in_fresh_process(_feedforward, make, dict(runs), threads=cores(), log=log) or {}
    training.write_json(path, {"runs": names, "found": found})
    return found


def _feedforward(make: Callable[[], Contender], runs: Mapping[str, pathlib.Path]) -> dict[str, Any] | None:
    return make().feedforward(runs)


def _faster(one: Mapping[str, float], two: Mapping[str, float]) -> float:
    """The speed-up from one thread to two."""
    return one["seconds_per_token"] / two["seconds_per_token"]
