"""Losses and other numbers, over the epochs of a run and over the places of a block."""

import csv
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from keras_seq.inspection.plots.figures import new_figure, save


def learning_curve(history_csv: str | os.PathLike, path: str | os.PathLike) -> pathlib.Path:
    """Draws the columns of a `history.csv` over the epochs: one panel a number, training and validation together.

    Args:
        history_csv: with a column `epoch`; `val_x` is drawn in the panel of `x`.
        path: the picture; its ending names the format (.png, .svg, .pdf).
    Returns:
        The path of the picture.
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
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in columns if name != "seconds"))

    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure = new_figure(4.2 * across, 3.0 * down)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(down, across, index + 1)
        for name, label in ((panel, "training"), (f"val_{panel}", "validation")):
            if name in columns:
                axes.plot(epochs, columns[name], marker="o" if len(epochs) < 30 else None, markersize=3, label=label)
        axes.set_title(panel)
        if panel == "perplexity":
            axes.set_yscale("log")  # the first epochs would hide all the others
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if panel in columns and f"val_{panel}" in columns:
            axes.legend()
    return save(figure, path)


def loss_by_position(losses: Mapping[str, np.ndarray], path: str | os.PathLike) -> pathlib.Path:
    """Draws the loss of the tokens over their place in a block: how much what was before them is worth, and how far.

    Args:
        losses: by name, floats `(T,)` in nats: the mean at each place; T may differ.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there is nothing to draw, or the losses are not `(T,)`.
        ImportError: if matplotlib is not installed.
    """
    shapes = {name: np.shape(values) for name, values in losses.items()}
    if not shapes or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"`losses` must hold floats (T,) by name, one array at least. Received: {shapes}")
    figure = new_figure(7.0, 4.0)
    axes = figure.add_subplot()
    for name, values in losses.items():
        places = np.arange(1, len(values) + 1)
        axes.plot(places, values, marker="o" if len(values) < 100 else None, markersize=2, linewidth=1, label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda place, _: f"{place:g}")
    axes.set_xlabel("place in the block")
    axes.set_ylabel("loss, nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)
