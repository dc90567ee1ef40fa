"""Comparison of architectures on one task: each at its best learning rate of a grid, under an equal budget."""

from keras_seq.comparison.cells import Cell, CellRecord, Grid, read_cell
from keras_seq.comparison.choice import Best, Convergence, best_of, convergence
from keras_seq.comparison.comparison import Comparison, Plan
from keras_seq.comparison.contender import Contender
from keras_seq.comparison.widths import Count, equal_widths

__all__ = [
    "Best",
    "Cell",
    "CellRecord",
    "Comparison",
    "Contender",
    "Convergence",
    "Count",
    "Grid",
    "Plan",
    "best_of",
    "convergence",
    "equal_widths",
    "read_cell",
]
