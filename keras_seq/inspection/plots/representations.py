"""Plots of a model's inner values: attention of each head, hidden states over time, a map of sentences."""

import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_seq.inspection.plots.figures import OKABE_ITO, literal, new_figure, save


def attention_heads(
    weights: np.ndarray,
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str = "",
) -> pathlib.Path:
    """Draws the attention weights of all heads of a layer for one sequence, a field for each head.

    The title of a head is the number of keys that it looks at: the exponential of the mean entropy of its rows, from 1
    (one key) to the number of keys (all alike).

    Args:
        weights: `(H, T, S)`, such as a row of `representations.attention_weights`. Rows and columns beyond the pieces
            (padding) are cut off.
        source_pieces, target_pieces: at most S keys and T queries.
        path: path of the image, whose suffix sets the format.
        title: title of the figure, such as the layer's path.
    Returns:
        The path of the image.
    Raises:
        ValueError: if there are no pieces, or more pieces than weights.
        ImportError: if matplotlib is not installed.
    """
    weights = np.asarray(weights, "float64")
    rows, columns = len(target_pieces), len(source_pieces)
    if weights.ndim != 3 or not (0 < rows <= weights.shape[1] and 0 < columns <= weights.shape[2]):
        raise ValueError(
            "`weights` must be (H, T, S) with at least as many rows as target pieces and columns as source pieces. "
            f"Received: shape {weights.shape}, {rows} target pieces, {columns} source pieces"
        )
    weights = weights[:, :rows, :columns]
    across = math.ceil(math.sqrt(len(weights)))
    down = math.ceil(len(weights) / across)
    figure = new_figure(1.5 + across * (1.0 + 0.2 * columns), 1.2 + down * (0.7 + 0.2 * rows))
    fields = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    drawn = list(fields.flat[: len(weights)])
    shares = np.where(weights > 0, weights, 1.0)  # 0 log 0 = 0
    looked_at = np.exp(-(weights * np.log(shares)).sum(axis=-1)).mean(axis=-1)
    for axes in fields.flat[len(weights) :]:
        axes.remove()
    for head, axes in enumerate(drawn):
        image = axes.imshow(weights[head], cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        axes.set_title(f"head {head}: {looked_at[head]:.1f} of {columns} keys", fontsize=9)
        axes.tick_params(labelbottom=head + across >= len(drawn))
        axes.set_xticks(range(columns), [literal(piece) for piece in source_pieces], rotation=90, fontsize=8)
        axes.set_yticks(range(rows), [literal(piece) for piece in target_pieces], fontsize=8)
    figure.supxlabel("key", fontsize=9)
    figure.supylabel("query", fontsize=9)
    if title:
        figure.suptitle(literal(title), fontsize=10)
    figure.colorbar(image, ax=drawn, fraction=0.03, label="attention weight")
    return save(figure, path)


def trajectories(
    points: np.ndarray,
    path: str | os.PathLike,
    *,
    labels: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    variance: Sequence[float] = (),
    title: str = "",
) -> pathlib.Path:
    """Draws how hidden states move in a plane from step to step: a line for each sequence, a ring at its last step.

    Args:
        points: `(N, T, 2)` of `representations.project`, nan after the end of a sequence. N is at most 8.
        path: path of the image, whose suffix sets the format.
        labels: a label for each step of each sequence, such as its tokens.
        names: names of the sequences for the legend.
        variance: share of the variance of each axis.
        title: title of the figure.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the shape is another, or there are more than 8 sequences.
        ImportError: if matplotlib is not installed.
    """
    points = np.asarray(points, "float64")
    if points.ndim != 3 or points.shape[-1] != 2 or not 0 < len(points) <= len(OKABE_ITO):
        raise ValueError(f"`points` must be (N, T, 2), N from 1 to {len(OKABE_ITO)}. Received: shape {points.shape}")
    figure = new_figure(6.5, 5.0)
    axes = figure.add_subplot(1, 1, 1)
    for number, row in enumerate(points):
        color, real = OKABE_ITO[number], row[~np.isnan(row[:, 0])]
        if not len(real):
            continue
        name = None if names is None else literal(names[number])
        axes.plot(*real.T, color=color, linewidth=1.2, marker=".", markersize=5, label=name)
        axes.plot(*real[-1], color=color, marker="o", markersize=10, fillstyle="none")
        for step, text in enumerate([] if labels is None else labels[number][: len(real)]):
            place = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 8, "color": color}
            axes.annotate(literal(text), real[step], **place)
    _label_components(axes, variance)
    axes.set_title(literal(title) or "Hidden states over the steps; the ring is the last step", fontsize=10)
    if names is not None:
        axes.legend(fontsize=8)
    return save(figure, path)


def sentence_map(
    points: np.ndarray,
    path: str | os.PathLike,
    *,
    texts: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    variance: Sequence[float] = (),
    title: str = "",
) -> pathlib.Path:
    """Draws sequences as points of a plane, after figure 2 of Sutskever et al. 2014, arXiv:1409.3215.

    Args:
        points: `(N, 2)` of `representations.project`.
        path: path of the image, whose suffix sets the format.
        texts: a text for each point, written beside it. Best for at most 20.
        groups: the group of each point, which sets its color: at most 8 different ones.
        variance: share of the variance of each axis.
        title: title of the figure.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the shape is another, or there are more than 8 groups.
        ImportError: if matplotlib is not installed.
    """
    points = np.asarray(points, "float64")
    groups = [""] * len(points) if groups is None else list(groups)
    distinct = list(dict.fromkeys(groups))
    if points.ndim != 2 or points.shape[-1] != 2 or len(distinct) > len(OKABE_ITO) or len(groups) != len(points):
        raise ValueError(
            f"`points` must be (N, 2), with a group for each, at most {len(OKABE_ITO)} different ones. Received: shape "
            f"{points.shape}, {len(groups)} groups, {len(distinct)} different"
        )
    figure = new_figure(7.5, 5.0)
    axes = figure.add_subplot(1, 1, 1)
    for number, group in enumerate(distinct):
        members = points[[each == group for each in groups]]
        axes.scatter(*members.T, s=22, color=OKABE_ITO[number], label=literal(group) or None, alpha=0.8)
    middle = points[:, 0].min() / 2 + points[:, 0].max() / 2
    for point, text in zip(points, [] if texts is None else texts, strict=False):
        side = {"xytext": (5, 3), "ha": "left"} if point[0] <= middle else {"xytext": (-5, 3), "ha": "right"}
        axes.annotate(literal(text), point, textcoords="offset points", fontsize=8, **side)
    _label_components(axes, variance)
    axes.set_title(literal(title) or "Sentence vectors on their first two principal components", fontsize=10)
    if distinct != [""]:
        axes.legend(fontsize=8)
    return save(figure, path)


def _label_components(axes, variance: Sequence[float]) -> None:
    shown = [f", {share:.0%} of the variance" for share in variance] or ["", ""]
    axes.set_xlabel(f"first principal component{shown[0]}", fontsize=9)
    axes.set_ylabel(f"second principal component{shown[1]}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
