"""What the pictures share: colors, an empty figure, the file that it becomes."""

import os
import pathlib
import warnings

import numpy as np

COLOUR = "#4878a8"
ACCENT = "#d1562b"


def new_figure(width: float, height: float):
    """An empty figure; the size is in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('Plots need matplotlib: pip install "keras-seq[recipes]"') from None
    # A bare Figure draws with Agg and leaves pyplot's global state and the user's backend alone.
    return Figure(figsize=(width, height), layout="constrained")


def save(figure, path: str | os.PathLike) -> pathlib.Path:
    """Writes it in the format that the ending of the path names, and makes the folder."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Scripts that the default font lacks are drawn as boxes; that is no reason to alarm anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=120)
    return path


def literal(text: str) -> str:
    """Text as it is: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def runs(there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where True stands in a row: the row, the first column and the one after the last, `(runs,)` each."""
    steps = np.diff(there.astype(int), axis=1, prepend=0, append=0)
    rows, first = np.nonzero(steps == 1)
    return rows, first, np.nonzero(steps == -1)[1]
