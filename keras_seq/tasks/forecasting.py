"""Forecasts of series."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_seq.tasks.batching import halving
from keras_seq.tasks.results import Failure, Forecast, one_line
from keras_seq.tasks.run_folder import load_keras, load_part
from keras_seq.tasks.samples import array_batches
from keras_seq.tasks.signatures import Call, Signature, inputs_of
from keras_seq.tasks.task import Array, Task
from keras_seq.tasks.tensors import input_specs

if TYPE_CHECKING:
    from keras_seq.data import ForecastColumns, Scaler, Series

    Past = Array | str | os.PathLike[str] | Series

ROWS = 64  # limit of a batch


class Forecasting(Task["Past", "Sequence[Past]", np.ndarray, Forecast | Failure]):
    """Forecasts series.

    `forecast(past (B, T, C)) -> forecast (B, H, targets)`, or `(B, H, targets, Q)` with quantiles. If the model has
    more inputs than the past, also `known_future (B, H, K)` and `static (B, F)`. With `look_back` there is also
    `describe() -> columns, targets, look_back, horizon, quantiles`, which describes the numbers.

    In Python an input is the past of one series: an array `(T, C)` of at least `look_back` rows in the units of the
    series, a `data.Series`, a DataFrame or a CSV file, whose columns are identified by their names. An output is an
    array `(H, targets)` or `(H, targets, Q)`. The details are `Forecast`, with the times of the rows.

    Args:
        model: a functional model from the past to the future.
        scaler: scaler of the past: the model's input is `scaler.scaled(past)` (None: the past itself).
        target_scaler: scaler of the targets: the output is `target_scaler.inverse(forecast)`. None: `scaler`, whose
            columns must then be the targets.
        look_back: number of past steps that the model reads. It requires a scaler, which has the names.
        quantiles: quantiles that the model forecasts, if any.
    Raises:
        ValueError: if `look_back` is given without a scaler, so that the description lacks names.
    """

    name, verb, rank = "forecasting", "forecast", 2

    def __init__(
        self,
        model: Any,
        scaler: "Scaler | None" = None,
        target_scaler: "Scaler | None" = None,
        *,
        look_back: int | None = None,
        quantiles: Sequence[float] = (),
    ):
        super().__init__(model)
        if look_back is not None and scaler is None:
            raise ValueError("`look_back` needs a `scaler`, which has the names for the description. Received: None")
        self.scaler, self.target_scaler = scaler, target_scaler or scaler
        self.look_back, self.quantiles = look_back, tuple(quantiles)
        self.resources, self.samples = [], None

    def signatures(self):
        """Name -> `Signature`. The first one is the default."""
        model = self.model
        lone = not isinstance(model.input, dict)

        def forecast(**given):
            if self.scaler is not None:
                given["past"] = self.scaler.scaled(given["past"])
            y = tf.convert_to_tensor(model(given["past"] if lone else given, training=False))
            if self.target_scaler is None:
                return {"forecast": y}
            if y.shape.rank == 3:
                return {"forecast": self.target_scaler.inverse(y)}
            y = self.target_scaler.inverse(tf.transpose(y, (0, 1, 3, 2)))  # (B, H, Q, targets)
            return {"forecast": tf.transpose(y, (0, 1, 3, 2))}

        def describe():
            return {
                "columns": tf.constant(list(self.scaler.columns)),
                "targets": tf.constant(list(self.target_scaler.columns)),
                "look_back": tf.constant(self.look_back),
                "horizon": tf.constant(model.output.shape[1]),
                "quantiles": tf.constant(self.quantiles, tf.float32),
            }

        specs = input_specs(model)
        found = {"forecast": Signature(forecast, {"past": next(iter(specs.values()))} if lone else specs)}
        return found if self.look_back is None else {**found, "describe": Signature(describe, {})}

    @property
    def columns(self) -> "ForecastColumns":
        """The `data.ForecastColumns`: the columns that the model reads and forecasts.

        Raises:
            ValueError: if there is no scaler, or no `look_back`.
        """
        from keras_seq import data

        if self.scaler is None or self.look_back is None:
            raise ValueError(f"{self.where} has no column names. Give the task a `scaler` and a `look_back`.")
        names = tuple(self.scaler.columns), tuple(self.target_scaler.columns)
        return data.ForecastColumns(*names, self.look_back, int(self.model.output.shape[1]), self.quantiles)

    def predictor(self):
        """Returns a function from the pasts of series to a `Forecast` or `Failure` for each."""
        return forecasting(self.function("forecast"), self.columns)

    def output(self, result):
        """The forecast numbers."""
        return result.values

    def is_one(self, inputs):
        return super().is_one(inputs) or hasattr(inputs, "columns") or hasattr(inputs, "runs")

    def _save_parts(self, folder):
        self.columns.save(folder / "forecast.json")
        self.scaler.save(folder / "scaler.json")

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        from keras_seq import data

        columns = _load(columns_file(folder), data.ForecastColumns.load)
        scaler = _load(columns_file(folder).with_name("scaler.json"), data.Scaler.load)
        model = load_keras(file) if model is None else model
        inputs = getattr(model, "inputs", None) or [None]
        quantiles = [len(columns.quantiles)] if columns.quantiles else []
        expected = (columns.horizon, len(columns.targets), *quantiles)
        given, reads = (tuple(getattr(x, "shape", ())) for x in (getattr(model, "output", None), inputs[0]))
        width = len(columns.columns)
        if len(inputs) > 1 or given[1:] != expected or reads[2:] != (width,) or len(scaler.columns) != width:
            raise ValueError(
                f"{file} maps {reads} to {given}, but the files in {folder / 'vocabulary'} describe a forecast "
                f"{expected} from {width} columns. One of them is from another run, or the model reads more than the "
                "past. In that case use it in Python."
            )
        limits = {"look_back": columns.look_back, "quantiles": columns.quantiles}
        task = cls(model, scaler, scaler.select(columns.targets), **limits, **options)
        task.folder, task.file = folder, file
        return task

    def calls(self, functions, samples):
        """The calls by which two processes are compared."""
        calls = [Call("forecast", batch) for batch in array_batches(samples, inputs_of(functions["forecast"]))]
        return calls if self.look_back is None else [*calls, Call("describe", {})]


def forecasting(function, columns):
    """Returns a function from the pasts of series to `Forecast`s or `Failure`s, given an export's `forecast`."""

    def compute(pasts, times):
        found = function(past=tf.constant(np.stack(pasts), tf.float32))["forecast"].numpy()
        return [Forecast(values, columns.names, rows) for values, rows in zip(found, times, strict=True)]

    def run(inputs):
        read = [_read(one, columns) for one in inputs]
        results = [one if isinstance(one, Failure) else None for one in read]
        good = [number for number, one in enumerate(read) if not isinstance(one, Failure)]
        for start in range(0, len(good), ROWS):
            rows = good[start : start + ROWS]
            for number, result in halving(rows, lambda some: compute(*zip(*(read[n] for n in some), strict=True))):
                results[number] = result
        return results

    return run


def _read(source, columns):
    """The last rows `(look_back, C)` of a series and the times of the rows to forecast, or a `Failure`."""
    from keras_seq import data

    try:
        if isinstance(source, str | os.PathLike) or (hasattr(source, "columns") and not hasattr(source, "runs")):
            source = data.read_series(source, columns=columns.columns)
        if hasattr(source, "runs"):
            return last_rows(source, columns)
    except (ValueError, OSError) as error:
        return Failure(one_line(error))
    values = np.asarray(source, float)
    if values.ndim != 2 or values.shape[1] != len(columns.columns) or len(values) < columns.look_back:
        wanted = f"({columns.look_back:,} or more, {len(columns.columns)}), {', '.join(columns.columns)}"
        return Failure(f"the past has the shape {values.shape}, but the model reads {wanted}")
    if not np.isfinite(values[-columns.look_back :]).all():
        return Failure("the past has cells that are not finite numbers")
    return values[-columns.look_back :], None


def last_rows(series, columns, span=None):
    """The last rows `(look_back, C)` of one series, and the times of the rows to forecast, in the file's format.

    Args:
        series: a `data.Series`.
        span: first row of the series, and the row after its last one, if there are several.
    Raises:
        ValueError: if there are too few rows, or several series without a `span`.
    """
    from keras_seq import data

    if span is None and len(series.spans()) > 1:
        raise ValueError("there are several series. Pass a list with each of them as one input")
    start, end = span or series.spans()[0]
    rows = end - start
    if rows < max(columns.look_back, 2):
        raise ValueError(f"{rows:,} rows are too few: the model reads {columns.look_back:,}. Give more of the past.")
    times = None
    if series.times is not None:
        times = series.written(data.future_timestamps(series.times[start:end], columns.horizon))
    places = [series.columns.index(name) for name in columns.columns]
    return series.values[end - columns.look_back : end, places], times


def columns_file(folder):
    """The file with the columns that a run forecasts, if it does. The scaler is in the same folder."""
    return folder / "vocabulary" / "forecast.json"


def _load(file, load):
    return load_part(file, load, "the run has no forecaster, or the file was not copied with it.")
