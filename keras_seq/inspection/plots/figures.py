"""Shared parts of the plots: colors, an empty figure, and saving."""

import os
import pathlib
import warnings

import numpy as np

COLOUR = "#4878a8"
ACCENT = "#d1562b"
# Okabe and Ito 2008: colors that people with any kind of color blindness can tell apart.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")


def new_figure(width: float, height: float):
    """An empty figure. The size is in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('Plots need matplotlib: pip install "keras-seq[recipes]"') from None
    # A bare Figure draws with Agg and leaves pyplot's global state and the user's backend alone.
    return Figure(figsize=(width, height), layout="constrained")


def save(figure, path: str | os.PathLike) -> pathlib.Path:
    """Saves a figure in the format of the path's suffix, and makes the folder."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Scripts that the default font lacks are drawn as boxes, which needs no warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=120)
    return path


def literal(text: str) -> str:
    """The text with dollar signs escaped, since one would start a formula."""
    return text.replace("$", r"\$")


def runs(there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The runs of True in rows: the row, the first column and the one after the last, `(runs,)` each."""
    steps = np.diff(there.astype(int), axis=1, prepend=0, append=0)
    rows, first = np.nonzero(steps == 1)
    return rows, first, np.nonzero(steps == -1)[1]
