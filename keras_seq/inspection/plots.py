"""Pictures of a run, as files. matplotlib is imported when the first one is drawn; no display is needed."""

import csv
import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np


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
    figure = _figure(4.2 * across, 3.0 * down)
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
    return _save(figure, path)


def attention_map(
    weights: np.ndarray, source_pieces: Sequence[str], target_pieces: Sequence[str], path: str | os.PathLike
) -> pathlib.Path:
    """Draws attention weights: a row for each target piece, a column for each source piece, dark where they attend.

    Args:
        weights: `(T, S)` of one sentence, or `(H, T, S)`, of which the mean over the heads is drawn. Rows and columns
            beyond the pieces (padding) are cut off.
        source_pieces, target_pieces: at most S and T strings.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there are no pieces, or more pieces than weights.
        ImportError: if matplotlib is not installed.
    """
    weights = np.asarray(weights, "float32")
    if weights.ndim == 3:
        weights = weights.mean(axis=0)  # (H, T, S) -> (T, S)
    rows, columns = len(target_pieces), len(source_pieces)
    if weights.ndim != 2 or not (0 < rows <= weights.shape[0] and 0 < columns <= weights.shape[1]):
        raise ValueError(
            "`weights` must be (T, S) or (H, T, S) with at least as many rows as target pieces and columns as source "
            f"pieces. Received: shape {weights.shape}, {rows} target pieces, {columns} source pieces"
        )
    figure = _figure(2.0 + 0.32 * columns, 1.5 + 0.32 * rows)
    axes = figure.add_subplot(1, 1, 1)
    image = axes.imshow(weights[:rows, :columns], cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    # A dollar sign would start a formula.
    axes.set_xticks(range(columns), [piece.replace("$", r"\$") for piece in source_pieces], rotation=90)
    axes.set_yticks(range(rows), [piece.replace("$", r"\$") for piece in target_pieces])
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    figure.colorbar(image, ax=axes, fraction=0.04)
    return _save(figure, path)


def _figure(width: float, height: float):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Plots need matplotlib: pip install keras-seq[recipes]") from None
    # A bare Figure draws with Agg and leaves pyplot's global state and the user's backend alone.
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure, path: str | os.PathLike) -> pathlib.Path:
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Scripts that the default font lacks are drawn as boxes; that is no reason to alarm anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=120)
    return path
