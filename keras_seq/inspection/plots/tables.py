"""Plots of tables of shares, with darker cells for larger values."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_seq.inspection.plots.figures import literal, new_figure, save


def confusion_matrix(
    counts: np.ndarray | Sequence[Sequence[int]], names: Sequence[str], path: str | os.PathLike
) -> pathlib.Path:
    """Draws a confusion matrix: a row for each true class, a column for each predicted one.

    Cells are darker for a larger share of the row. A class without examples has a white row.

    Args:
        counts: ints `(N, N)`.
        names: names of the N classes.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the counts are not `(N, N)`.
        ImportError: if matplotlib is not installed.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"`counts` must be {(len(names), len(names))}. Received: shape {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(2.4 + 0.9 * len(names), 2.0 + 0.7 * len(names))
    axes = figure.add_subplot()
    shown = [
        [f"{count:,}\n{share:.1%}" for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    _draw_shares(figure, axes, shares, shown, names, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return save(figure, path)


def shares(
    values: np.ndarray | Sequence[Sequence[float]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    path: str | os.PathLike,
    *,
    rows: str,
    columns: str,
) -> pathlib.Path:
    """Draws a table of shares, such as accuracies, with darker cells for larger values.

    Args:
        values: fractions `(R, C)`.
        row_names, column_names: the R and C names.
        path: path of the image, whose suffix sets the format.
        rows, columns: titles of the two axes, beside and below.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the values are not `(R, C)`.
        ImportError: if matplotlib is not installed.
    """
    values = np.asarray(values, "float64")
    if values.shape != (len(row_names), len(column_names)):
        wanted = (len(row_names), len(column_names))
        raise ValueError(f"`values` must be {wanted}, as many as there are names. Received: shape {values.shape}")
    figure = new_figure(2.4 + 0.9 * len(column_names), 1.4 + 0.5 * len(row_names))
    axes = figure.add_subplot()
    _draw_shares(figure, axes, values, [[f"{value:.1%}" for value in row] for row in values], row_names, column_names)
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    return save(figure, path)


def _draw_shares(figure, axes, shares: np.ndarray, shown: list[list[str]], rows: Sequence[str], columns: Sequence[str]):
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        axes.text(column, row, shown[row][column], color=color, ha="center", va="center")
    rows, columns = ([literal(name) for name in names] for names in (rows, columns))
    axes.set_xticks(range(len(columns)), columns, rotation=0 if len(columns) < 6 else 90)
    axes.set_yticks(range(len(rows)), rows)
    figure.colorbar(image, ax=axes, fraction=0.04, format=lambda share, _: f"{share:.0%}")
