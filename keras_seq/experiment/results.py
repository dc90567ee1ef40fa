"""A figure that a recipe measures."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Result:
    """A measured figure: accuracies and error rates as fractions, BLEU and chrF from 0 to 100, losses in nats.

    Args:
        metric, value: its name and the number.
        form: how it is printed.
        note: printed behind it: a signature, a count.
        split, task, architecture: where they are not those of the other results: a baseline's, say.
    """

    metric: str
    value: "float | np.floating"
    form: str = ".2%"
    note: str = ""
    split: str = "test"
    task: str | None = None
    architecture: str | None = None
