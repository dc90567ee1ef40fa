"""Models that forecast series, from run folders."""

import pathlib
from collections.abc import Callable
from typing import Any

from keras_seq.commands.model_files import Served, is_saved_model, load_beside, load_keras, run_files


class Forecaster:
    """A model from the past of series to their future, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        columns: a `data.ForecastColumns`, what it reads and says.
        scaler: of what it reads.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        from keras_seq import data

        self.folder, self.file = folder, file
        self.columns = _load(columns_file(folder), data.ForecastColumns.load)
        self.scaler = _load(columns_file(folder).with_name("scaler.json"), data.Scaler.load)
        self.model = load_keras(file, decodes=False)
        self._check()

    def _check(self) -> None:
        columns, inputs = self.columns, getattr(self.model, "inputs", None) or [None]
        quantiles = [len(columns.quantiles)] if columns.quantiles else []
        expected = (columns.horizon, len(columns.targets), *quantiles)
        given, reads = (tuple(getattr(x, "shape", ())) for x in (getattr(self.model, "output", None), inputs[0]))
        width = len(columns.columns)
        if len(inputs) > 1 or given[1:] != expected or reads[2:] != (width,) or len(self.scaler.columns) != width:
            raise ValueError(
                f"{self.file} makes {given} of {reads}, and the files in {self.folder / 'vocabulary'} tell of "
                f"{expected} of {width} columns. One of them is of another run, or the model reads more than the past: "
                "use that one in Python."
            )

    def task(self) -> Any:
        """What it is exported for."""
        from keras_seq.export import Forecasting

        columns = self.columns
        return Forecasting(
            self.scaler, self.scaler.of(columns.targets), look_back=columns.look_back, quantiles=columns.quantiles
        )


def open_forecaster(path: pathlib.Path) -> Forecaster | Served:
    """Opens what is there, for the future of series."""
    return Served(path) if is_saved_model(path) else Forecaster(*run_files(path))


def columns_file(folder: pathlib.Path) -> pathlib.Path:
    """Where a run tells which columns it forecasts, if it does; beside it lies their scaler."""
    return folder / "vocabulary" / "forecast.json"


def _load(file: pathlib.Path, load: Callable[[pathlib.Path], Any]) -> Any:
    return load_beside(file, load, "the run has no forecaster of series, or the file was not copied with it.")
