"""Plots of losses and other numbers, over the epochs of a run and over positions in a block."""

import csv
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, literal, new_figure, save
from keras_seq.inspection.plots.scales import needs_log

_COSTS = ("tokens/s", "examples/s", "padding", "learning_rate")  # these describe the machine and the schedule


def learning_curve(history_csv: str | os.PathLike, path: str | os.PathLike) -> pathlib.Path:
    """Draws the columns of a `history.csv` over the epochs: a panel for each number, training and validation together.

    The loss comes first, then the metrics. Throughput and padding follow in a row of small panels below.

    Args:
        history_csv: path of a file with a column `epoch`. `val_x` is drawn in the panel of `x`.
        path: path of the image, whose suffix sets the format (.png, .svg, .pdf).
    Returns:
        The path of the image.
    Raises:
        ValueError: if the file has no epoch.
        ImportError: if matplotlib is not installed.
    """
    with open(history_csv, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{history_csv} has no epoch to draw.")
    epochs = [int(float(row["epoch"])) for row in rows]
    columns = {name: [float(row[name] or "nan") for row in rows] for name in rows[0] if name != "epoch"}
    names = dict.fromkeys(name.removeprefix("val_") for name in columns if name != "seconds")
    panels = sorted((name for name in names if name not in _COSTS), key=lambda name: name != "loss")
    costs = [name for name in names if name in _COSTS]

    across, low = min(max(len(panels), 1), 3), 1 if costs else 0
    down = -(-len(panels) // across)
    width = max(4.2 * across, 2.8 * len(costs), 6.0)
    figure = new_figure(width, 3.4 * down + 1.7 * low)
    parts = figure.subfigures(down + low, 1, height_ratios=[3.4] * down + [1.7] * low, squeeze=False)[:, 0]
    for row, first in enumerate(range(0, len(panels), across)):
        _draw_panels(parts[row], panels[first : first + across], across, epochs, columns)
    if costs:
        _draw_panels(parts[-1], costs, len(costs), epochs, columns, small=True)
    return save(figure, path)


def _draw_panels(figure, panels, across, epochs, columns, small=False) -> None:
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, across, index + 1)
        for name, label in ((panel, "training"), (f"val_{panel}", "validation")):
            if name in columns:
                _draw_numbers(axes, epochs, columns[name], label, "gray" if small else None)
        axes.set_title(panel.replace("_", " "), fontsize="small" if small else None)
        axes.tick_params(labelsize="x-small" if small else None)
        if panel == "perplexity" and len(epochs) > 1:
            axes.set_yscale("log")  # the first epochs would hide all the others
        _set_epochs(axes, epochs)
        axes.grid(alpha=0.3)
        if panel in columns and f"val_{panel}" in columns:
            axes.legend()
        if not small:
            axes.set_xlabel("epoch")


def _draw_numbers(axes, epochs, values, label, color) -> None:
    marker = "o" if len(epochs) < 30 else None
    (line,) = axes.plot(epochs, values, marker=marker, markersize=3, label=label, color=color)
    if len(epochs) == 1:  # a single point needs its number
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "color": line.get_color()}
        axes.annotate(f"{values[0]:.4g}", (epochs[0], values[0]), **place)


def _set_epochs(axes, epochs) -> None:
    """Sets integers on the axis, with a single epoch in the middle."""
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axes.set_xticks(epochs)
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)


def loss_by_position(losses: Mapping[str, np.ndarray], path: str | os.PathLike) -> pathlib.Path:
    """Draws the loss of the tokens against their position in a block, which shows the value of longer contexts.

    Args:
        losses: floats `(T,)` in nats by name: the mean at each position. T may differ.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is nothing to draw, or the losses are not `(T,)`.
        ImportError: if matplotlib is not installed.
    """
    shapes = {name: np.shape(values) for name, values in losses.items()}
    if not shapes or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"`losses` must have at least one array of floats (T,) by name. Received: {shapes}")
    figure = new_figure(7.0, 4.0)
    axes = figure.add_subplot()
    for name, values in losses.items():
        places = np.arange(1, len(values) + 1)
        axes.plot(places, values, marker="o" if len(values) < 100 else None, markersize=2, linewidth=1, label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda place, _: f"{place:g}")
    axes.set_xlabel("position in the block")
    axes.set_ylabel("loss, nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)


def score_by_length(
    scores: Mapping[int, float],
    path: str | os.PathLike,
    *,
    metric: str,
    guessing: Mapping[int, float],
    trained_to: int,
    title: str,
) -> pathlib.Path:
    """Draws the score of a model against the number of steps to remember, with the score of guessing.

    The axis of the scores is logarithmic if they span more than a factor of 30.

    Args:
        scores: scores by number of steps.
        path: path of the image, whose suffix sets the format.
        metric: name of the score, with its unit.
        guessing: scores of a model without memory, by number of steps.
        trained_to: largest number of steps in training. Those beyond it are shaded.
        title: the finding.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is nothing to draw, or `guessing` has other numbers of steps.
        ImportError: if matplotlib is not installed.
    """
    if not scores or set(scores) != set(guessing):
        raise ValueError(
            f"`scores` and `guessing` must have the same numbers of steps, at least one. Received: {list(scores)} and "
            f"{list(guessing)}"
        )
    figure = new_figure(6.6, 4.0)
    axes = figure.add_subplot()
    lengths = sorted(scores)
    axes.plot(lengths, [guessing[n] for n in lengths], linestyle="--", color="gray", label="guessing")
    axes.plot(lengths, [scores[n] for n in lengths], marker="o", color=COLOUR, label="model")
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(n) for n in lengths])
    axes.minorticks_off()
    if needs_log([*scores.values(), *guessing.values()]):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.05 * max(*scores.values(), *guessing.values()))
    if lengths[-1] > trained_to:
        axes.set_xlim(lengths[0] / 1.1, lengths[-1] * 1.1)
        axes.axvspan(trained_to, lengths[-1] * 1.1, color=ACCENT, alpha=0.1, linewidth=0, label="not trained")
    axes.set_xlabel("number of steps to remember")
    axes.set_ylabel(metric)
    axes.set_title(literal(title), fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)
