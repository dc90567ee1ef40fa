"""The names of the inputs and outputs of a forecaster."""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path


@dataclass(frozen=True)
class ForecastColumns:
    """The columns that a model reads, and those that it forecasts.

    Args:
        columns: names of the columns of the past, in the order of the model.
        targets: names of the columns to forecast.
        look_back: number of rows of the past that the model reads.
        horizon: number of rows that it forecasts.
        quantiles: quantiles of each forecast. Empty if a forecast is one number.
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
        """The names of all numbers of a forecast row: `OT`, or `OT_0.1`, `OT_0.5`, ..."""
        if not self.quantiles:
            return list(self.targets)
        return [f"{target}_{quantile:g}" for target in self.targets for quantile in self.quantiles]

    def save(self, path: str | PathLike) -> None:
        """Writes a JSON file."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> "ForecastColumns":
        """Reads a file written by `save`.

        Raises:
            ValueError: if the file has other content.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        try:
            lists = {name: tuple(content[name]) for name in ("columns", "targets", "quantiles")}
            return cls(**{**content, **lists})
        except (TypeError, KeyError) as error:
            raise ValueError(f"it does not hold columns, targets, look_back, horizon and quantiles: {error}") from error
