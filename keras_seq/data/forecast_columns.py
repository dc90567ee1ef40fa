"""What a forecaster reads and what it says, by name; and the times that come after those of a series."""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ForecastColumns:
    """The columns that a model reads, and those that it says.

    Args:
        columns: names of the past's columns, in the order of the model's.
        targets: names of those that are forecast.
        look_back: rows of the past that the model reads.
        horizon: rows that it forecasts.
        quantiles: those that each forecast is made of; none: it is one number.
    Raises:
        ValueError: if there is no column, or a number is not positive.
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    look_back: int
    horizon: int
    quantiles: tuple[float, ...] = ()

    def __post_init__(self):
        if not self.columns or not self.targets or self.look_back < 1 or self.horizon < 1:
            raise ValueError(f"Forecasts need columns, targets, a look-back and a horizon. Received: {self}")

    @property
    def names(self) -> list[str]:
        """Of all numbers of a row that is forecast: `OT`, or `OT_0.1`, `OT_0.5`, ..."""
        if not self.quantiles:
            return list(self.targets)
        return [f"{target}_{quantile:g}" for target in self.targets for quantile in self.quantiles]

    def save(self, path: str | PathLike) -> None:
        """Writes a JSON file."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> "ForecastColumns":
        """Reads what `save` wrote.

        Raises:
            ValueError: if it is something else.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        try:
            lists = {name: tuple(content[name]) for name in ("columns", "targets", "quantiles")}
            return cls(**{**content, **lists})
        except (TypeError, KeyError) as error:
            raise ValueError(f"it does not hold columns, targets, look_back, horizon and quantiles: {error}") from error


def following_times(times: np.ndarray, count: int) -> np.ndarray:
    """The times that come next, at the distance that those before have.

    Args:
        times: datetime64 or float `(N,)`, two at least, at equal distances: so many hours, or so many months, of the
            same day or the last one.
        count: how many.
    Raises:
        ValueError: if there are fewer than two.
    """
    if len(times) < 2:
        raise ValueError(f"What time comes next, two rows at least must tell. Received: {len(times)}")
    steps = np.arange(1, count + 1)
    if times.dtype.kind == "M" and times[-1] - times[-2] >= np.timedelta64(28, "D"):
        months = times.astype("M8[M]")
        coming = months[-1] + steps * (months[-1] - months[-2])
        until_next, since_first = np.unique(times - (months + 1)), np.unique(times - months)
        if len(until_next) == 1 and until_next[0] >= -np.timedelta64(1, "D"):  # the last day of each month
            return (coming + 1).astype(times.dtype) + until_next[0]
        if len(since_first) == 1:
            return coming.astype(times.dtype) + since_first[0]
    return times[-1] + steps * (times[-1] - times[-2])
