"""The findings of a search: a table of its trials, plots, and TensorBoard's HParams page."""

import math
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from keras_seq import cli
from keras_seq.inspection import plots
from keras_seq.tuning.hparams import FOLDER, write_hparams
from keras_seq.tuning.importance import importance
from keras_seq.tuning.records import TrialRecord, best_of


def table(trials: Sequence[TrialRecord], mode: str, objective: str) -> list[str]:
    """The trials as aligned lines, as wide as the terminal, after a line of titles. The best trial has a `*`.

    The last column has the values that differ between the trials, as name=value.
    """
    if not trials:
        return []
    best, names = best_of(trials, mode), _differing(trials)
    rows = [("  trial", "status", objective, trials[0].unit, "seconds", "parameters")]
    rows += [
        (
            f"{'*' if trial is best else ' '} {trial.trial}",
            trial.status,
            _score(trial.score),
            f"{trial.tokens:,}",
            f"{trial.seconds:,.{1 if trial.seconds < 10 else 0}f}",
            "-" if trial.parameters is None else f"{trial.parameters:,}",
        )
        for trial in trials
    ]
    values = [
        " ".join(f"{name}={_value(trial.values[name])}" for name in names if name in trial.values) for trial in trials
    ]
    lines = cli.table(rows)
    return [
        _cut(f"{line:<{max(map(len, lines))}}  {last}") for line, last in zip(lines, ["values", *values], strict=True)
    ]


def draw(trials: Sequence[TrialRecord], folder: str | os.PathLike, *, mode: str, objective: str) -> list[pathlib.Path]:
    """Draws the plots of a search, and writes its trials for TensorBoard.

    `plots/importance.png` needs scores that the parameters explain (see `importance`). `plots/parallel_coordinates.png`
    and `plots/score_against_cost.png` need a trial with a score. Plots that cannot be drawn are left out.

    Args:
        trials: trials of a search.
        folder: folder of the search.
        mode: "max" or "min", the direction of better scores.
        objective: name of the score.
    Returns:
        The paths of the plots and of the folder for TensorBoard.
    Raises:
        ImportError: if scikit-learn, matplotlib or TensorBoard is not installed.
    """
    folder, written = pathlib.Path(folder), []
    target = folder / "plots"
    ended = [trial for trial in trials if trial.has_score or trial.status == "failed"]
    best = best_of(trials, mode)
    shares = importance(trials, mode)
    if shares:
        named = {"objective": objective, "trials": len(ended)}
        written.append(plots.parameter_importance(shares, target / "importance.png", **named))
    names = _differing(ended)
    if best and names:
        scores = [trial.score if trial.has_score else math.nan for trial in ended]
        names = sorted(names, key=lambda name: shares.get(name, 0.0))  # the most important beside the score
        values = [trial.values for trial in ended]
        path = target / "parallel_coordinates.png"
        written.append(plots.parallel_coordinates(values, scores, path, objective=objective, mode=mode, names=names))
    # Only scores that may be the best. The training of the other trials counts as cost.
    curves = {
        trial.trial: (
            [each.tokens for each in trial.rounds],
            [each.score if trial.has_score else math.nan for each in trial.rounds],
        )
        for trial in trials
        if trial.rounds
    }
    if best and any(map(math.isfinite, curves.get(best.trial, ([], []))[1])):
        options = {"unit": best.unit, "objective": objective, "mode": mode, "best": best.trial}
        written.append(plots.score_against_cost(curves, target / "score_against_cost.png", **options))
    if write_hparams(trials, folder, objective):
        written.append(folder / FOLDER)
    return written


def _differing(trials: Sequence[TrialRecord]) -> list[str]:
    """The parameters whose values differ, in the order of their first appearance. All of them, if none does."""
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    differing = [
        name
        for name in names
        if len({repr(trial.values[name]) if name in trial.values else None for trial in trials}) > 1
    ]
    return differing or list(names)


def _score(score: float | None) -> str:
    if score is None:
        return "-"
    return f"{score:.4f}" if abs(score) < 1000 else f"{score:.4g}"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else cli.in_one_line(str(value))


def _cut(line: str) -> str:
    """The line as far as the terminal is wide. A file has all of it."""
    line, width = line.rstrip(), shutil.get_terminal_size().columns
    return line if len(line) <= width or not sys.stdout.isatty() else line[: width - 3] + "..."


def line(trial: TrialRecord, unit_width: int = 12, *, is_best: bool = False) -> str:
    """A trial that has just ended, in a line as wide as the terminal."""
    values = " ".join(f"{name}={_value(value)}" for name, value in trial.values.items())
    cost = f"{trial.tokens:>{unit_width},} {trial.unit}  {trial.seconds:>5.0f} s"
    mark = "*" if is_best else " "
    return _cut(f"{mark} {trial.trial}  {trial.status:<9}  {_score(trial.score):>8}  {cost}  {trial.reason or values}")
