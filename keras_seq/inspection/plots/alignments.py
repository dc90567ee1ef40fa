"""Plots of a model's output against its input: text or audio."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_seq.inspection.plots.figures import COLOUR, literal, new_figure, runs, save


def attention_map(
    weights: np.ndarray, source_pieces: Sequence[str], target_pieces: Sequence[str], path: str | os.PathLike
) -> pathlib.Path:
    """Draws attention weights: a row for each target piece, a column for each source piece, darker for more weight.

    Args:
        weights: `(T, S)` for one sentence, or `(H, T, S)`, whose mean over the heads is drawn. Rows and columns
            beyond the pieces (padding) are cut off.
        source_pieces, target_pieces: at most S and T strings.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
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
    figure = new_figure(2.0 + 0.32 * columns, 1.5 + 0.32 * rows)
    axes = figure.add_subplot(1, 1, 1)
    image = axes.imshow(weights[:rows, :columns], cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(columns), [literal(piece) for piece in source_pieces], rotation=90)
    axes.set_yticks(range(rows), [literal(piece) for piece in target_pieces])
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    figure.colorbar(image, ax=axes, fraction=0.04)
    return save(figure, path)


def speech_alignment(
    waveform: np.ndarray,
    sampling_rate: int,
    features: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    path: str | os.PathLike,
    *,
    blank: int | None = None,
) -> pathlib.Path:
    """Draws the alignment of a recording: the waveform, its features and, on the same time axis, the model's output at
    each step.

    Args:
        waveform: `(samples,)`.
        sampling_rate: number of samples per second.
        features: `(frames, bands)` for the whole waveform, such as log-mel features.
        weights: `(N, T)`, from 0 to 1. With `blank`, the probability of each label at each step, drawn as lines,
            without labels that stay below 0.1. Otherwise, a row of attention weights for each token, drawn as cells.
        names: names of the N labels or tokens.
        blank: index of CTC's blank label. None: the weights are attention.
        path: path of the image, whose suffix sets the format.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there is nothing to draw, or the number of names differs from the number of rows.
        ImportError: if matplotlib is not installed.
    """
    waveform, features, weights = (np.asarray(x, "float32") for x in (waveform, features, weights))
    ranks = (waveform.ndim, features.ndim, weights.ndim)
    if ranks != (1, 2, 2) or not (waveform.size and features.size and weights.size) or len(names) != len(weights):
        raise ValueError(
            "A waveform (samples,), features (frames, bands) and weights (N, T) with N names are needed. Received: "
            f"shapes {waveform.shape}, {features.shape} and {weights.shape}, {len(names)} names"
        )
    seconds, names = len(waveform) / sampling_rate, [literal(name) for name in names]
    figure = new_figure(max(6.0, min(16.0, 3.0 * seconds)), 6.5)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1.4, 2])
    top.plot(np.arange(len(waveform)) / sampling_rate, waveform, color=COLOUR, linewidth=0.5)
    top.set_ylabel("waveform")
    middle.imshow(features.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, features.shape[1]))
    middle.set_ylabel("band")
    if blank is None:
        rows = len(names)
        bottom.imshow(weights, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0, extent=(0, seconds, rows - 0.5, -0.5))
        bottom.set_yticks(range(rows), names)
        bottom.set_ylabel("token")
    else:
        _draw_labels(bottom, weights, names, blank, seconds)
    bottom.set_xlabel("seconds")
    bottom.set_xlim(0, seconds)
    return save(figure, path)


def _draw_labels(axes, weights: np.ndarray, names: Sequence[str], blank: int, seconds: float) -> None:
    """Draws probabilities over time, with the name of a label above each of its peaks."""
    steps = weights.shape[1]
    times = (np.arange(steps) + 0.5) * seconds / steps
    axes.plot(times, weights[blank], color="0.7", linestyle="--", label=names[blank])
    best = weights.argmax(axis=0)
    for row, name in enumerate(names):
        if row == blank or weights[row].max() < 0.1:
            continue
        (line,) = axes.plot(times, weights[row], marker=".")
        _, first, behind = runs((best == row)[None])
        for start, stop in zip(first, behind, strict=True):
            peak = start + int(weights[row, start:stop].argmax())
            place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "color": line.get_color()}
            axes.annotate(name, (times[peak], weights[row, peak]), **place)
    axes.set_ylim(0, 1.15)
    axes.set_ylabel("probability")
    axes.legend(loc="center right")  # the names are above
