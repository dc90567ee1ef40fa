"""A figure that a recipe measures."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Result:
    """A measured figure: accuracies and error rates as fractions, BLEU and chrF from 0 to 100, losses in nats.

    Args:
        metric, value: name of the metric and its value.
        form: format of the printed value.
        note: text printed after the value, such as a signature or a count.
        split, task, architecture: values that differ from those of the other results, such as a baseline's.
    """

    metric: str
    value: "float | np.floating"
    form: str = ".2%"
    note: str = ""
    split: str = "test"
    task: str | None = None
    architecture: str | None = None
