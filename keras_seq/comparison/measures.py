"""The figures that decide the claims on an architecture: each a function of the record of a comparison and a name.

Each returns None where the record has no such figure.
"""

from collections.abc import Mapping

from keras_seq.comparison import figures
from keras_seq.comparison.figures import Figure

FEWEST_ROWS = 30  # a bin of fewer texts decides nothing


def gates(record: Mapping, name: str) -> Figure | None:
    value = figures.number(figures.architectures(record).get(name, {}).get("gates"))
    return None if value is None else Figure(value, "gates", f"{value:.0f} gate{'s' * (value != 1)}")


def states(record: Mapping, name: str) -> Figure | None:
    value = figures.number(figures.architectures(record).get(name, {}).get("states"))
    return None if value is None else Figure(value, "states", f"{value:.0f} state{'s' * (value != 1)}")


def score_to_remember(record: Mapping, name: str) -> Figure | None:
    """The score of the memory task at the greatest number of steps to remember."""
    memory = record.get("memory") or {}
    lengths, scores = memory.get("lengths") or [], (memory.get("scores") or {}).get(name) or []
    if not lengths or len(lengths) != len(scores) or figures.number(scores[-1]) is None:
        return None
    spreads = (memory.get("spreads") or {}).get(name) or [0.0]
    value, unit = float(scores[-1]), {"score": {"unit": "fraction"}}
    slack = max(figures.score_slack(unit, value), figures.number(spreads[-1]) or 0.0)
    return Figure(value, "fraction", f"{value:.1%} at {lengths[-1]} steps", slack)


def score_of_long_texts(record: Mapping, name: str) -> Figure | None:
    """The score of the longest texts, in the last bin with at least `FEWEST_ROWS` rows, ± its standard error."""
    bins = large_bins(record, name)
    if not bins:
        return None
    last = bins[-1]
    share, value = figures.is_share(record), float(last["score"])
    error = (value * (1 - value) / last["rows"]) ** 0.5 if share else 0.0
    figure = figures.score_figure(record, value, error)
    slack = max(figure.slack, 2 * error)
    return figure._replace(slack=slack, text=f"{figure.text} at {bin_name(last)} tokens")


def large_bins(record: Mapping, name: str) -> list[Mapping]:
    """The bins of lengths with a score and at least `FEWEST_ROWS` rows."""
    bins = figures.architectures(record).get(name, {}).get("quality_by_length") or []
    return [each for each in bins if each["rows"] >= FEWEST_ROWS and figures.number(each["score"]) is not None]


def bin_name(each: Mapping) -> str:
    """The lengths of a bin: "11 to 20"."""
    if each.get("to") == each["from"]:
        return str(each["from"])
    return f"{each['from']} to {each['to']}" if each.get("to") is not None else f"{each['from']} or more"


def training_time(record: Mapping, name: str) -> Figure | None:
    value = figures.cost(record, name, "seconds_per_token")
    figure = figures.relative(value, f"{figures.seconds(value)} per token", "s per token")
    spread = figures.cost(record, name, "seconds_per_token_spread") or 0.0
    return figure and figure._replace(slack=max(figure.slack, spread))


def memory_in_use(record: Mapping, name: str) -> Figure | None:
    value = figures.cost(record, name, "peak_bytes")
    return figures.relative(value, figures.size(value), "bytes")


def parameters_per_unit(record: Mapping, name: str) -> Figure | None:
    """The parameters of a layer of the backbone, divided by the square of its width."""
    entry = figures.architectures(record).get(name, {})
    count, units = figures.number(entry.get("backbone_parameters")), figures.number(entry.get("units"))
    if not count or not units:
        return None
    value = count / (units**2 * (entry.get("num_layers") or 1))
    return figures.relative(value, f"{figures.digits(value)} units² ({count:,.0f} at {units:.0f} units)", "units²")


def converged(record: Mapping, name: str) -> Figure | None:
    entry = figures.architectures(record).get(name, {})
    attempts, value = entry.get("attempts") or 0, figures.number(entry.get("converged"))
    if not attempts or value is None:
        return None
    # Less than two runs is a tie.
    return Figure(value / attempts, "share of runs", f"{value:.0f} of {attempts} runs", 1.5 / attempts)


def whole_sequence_speedup(record: Mapping, name: str) -> Figure | None:
    value = figures.cost(record, name, "whole_sequence_speedup")
    return figures.relative(value, figures.times(value), "times")


def threads_speedup(record: Mapping, name: str) -> Figure | None:
    value = figures.cost(record, name, "threads_speedup")
    return figures.relative(value, figures.times(value), "times")


def best_run(record: Mapping, name: str) -> Mapping | None:
    """The run with the best score at the best learning rate."""
    entry = figures.architectures(record).get(name, {})
    rate = (entry.get("best") or {}).get("learning_rate")
    runs = [run for run in entry.get("runs") or [] if run["learning_rate"] == rate and has_score(run)]
    return max(runs, key=lambda run: figures.sign(record) * run["score"], default=None)


def best_curves(record: Mapping) -> dict[str, list]:
    """The curve of the best run by architecture: pairs of tokens and score."""
    runs = {name: best_run(record, name) or {} for name in figures.architectures(record)}
    curves = {
        name: [p for p in run.get("curve") or [] if None not in map(figures.number, p)] for name, run in runs.items()
    }
    return {name: curve for name, curve in curves.items() if curve}


def has_score(run: Mapping) -> bool:
    return run.get("status", "done") == "done" and figures.number(run.get("score")) is not None
