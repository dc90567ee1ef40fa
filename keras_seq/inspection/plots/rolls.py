"""Plots of piano rolls: the notes that sound, and the probabilities that a model gave them."""

import os
import pathlib

import numpy as np

from keras_seq.inspection.plots.figures import ACCENT, COLOUR, literal, new_figure, runs, save

_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
_LEAST = 0.02  # probability of a note that widens the range of the plot
_TALL = 30  # notes: a label for each key of C above, else for each of the scale of C
_WHITE = (0, 2, 4, 5, 7, 9, 11)


def piano_roll(
    notes: np.ndarray,
    probabilities: np.ndarray,
    path: str | os.PathLike,
    *,
    lowest: int = 21,
    title: str = "",
) -> pathlib.Path:
    """Draws a piano roll and its prediction on the same axes: the notes of each frame above, and below their predicted
    probabilities, darker for more, with the outlines of the notes. Notes that neither sound nor are likely, at the top
    and at the bottom, are left out.

    Args:
        notes: 0 or 1, `(T, F)`: whether each note sounds in each frame.
        probabilities: floats `(T, F)`, the predictions of the same frames.
        path: path of the image, whose suffix sets the format.
        lowest: MIDI number of the first note. 60 is middle C, C4.
        title: title of the figure.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the shapes differ, or there is no frame.
        ImportError: if matplotlib is not installed.
    """
    notes, probabilities = np.asarray(notes) > 0, np.asarray(probabilities, float)
    if notes.ndim != 2 or notes.shape != probabilities.shape or not notes.size:
        raise ValueError(
            "`notes` and `probabilities` must both be (T, F), with T and F > 0. Received: shapes "
            f"{notes.shape} and {probabilities.shape}"
        )
    (shown,) = np.nonzero((notes | (probabilities > _LEAST)).any(axis=0))
    first, end = (shown[0], shown[-1] + 1) if shown.size else (0, notes.shape[1])
    notes, probabilities = notes[:, first:end].T, probabilities[:, first:end].T  # (F, T)
    bottom, top, T = lowest + first, lowest + end, notes.shape[1]

    figure = new_figure(min(14.0, 4.0 + 0.1 * T), min(9.0, 2.4 + 0.2 * (top - bottom)))
    upper, lower = figure.subplots(2, 1, sharex=True, sharey=True)
    place = {"origin": "lower", "aspect": "auto", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    place["extent"] = (0.5, T + 0.5, bottom - 0.5, top - 0.5)
    upper.imshow(notes, cmap=_single_color(), **place)
    image = lower.imshow(probabilities, cmap="Blues", **place)
    _outline(lower, notes, bottom)
    _label_notes(upper, bottom, top)
    figure.suptitle(literal(title))
    upper.set_title("notes", fontsize="medium", loc="left")
    lower.set_title("predicted from the frames before; outlined: notes", fontsize="medium", loc="left")
    lower.set_xlabel("frame")
    for axes in (upper, lower):
        axes.set_ylabel("note")
    figure.colorbar(image, ax=[upper, lower], label="probability", fraction=0.04)
    return save(figure, path)


def _single_color():
    from matplotlib.colors import ListedColormap

    return ListedColormap(["white", COLOUR])


def _outline(axes, notes: np.ndarray, bottom: int) -> None:
    """Draws a box around each run of frames with a note."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes = [
        Rectangle((start + 0.5, bottom + row - 0.5), stop - start, 1)
        for row, start, stop in zip(*runs(notes), strict=True)
    ]
    axes.add_collection(PatchCollection(boxes, facecolor="none", edgecolor=ACCENT, linewidth=0.9))


def _label_notes(axes, bottom: int, top: int) -> None:
    """Names the white keys, or in a tall plot each C."""
    named = (0,) if top - bottom > _TALL else _WHITE
    ticks = [note for note in range(bottom, top) if note % 12 in named]
    axes.set_yticks(ticks, [note_name(note) for note in ticks], fontsize="small")


def note_name(midi: int) -> str:
    """The name of a MIDI number in scientific pitch notation: "C4" for 60."""
    return f"{_NAMES[midi % 12]}{midi // 12 - 1}"
