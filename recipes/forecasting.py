"""Forecasting: trains a forecaster on a CSV file of time series and exports a SavedModel that maps past to future.

    python -m recipes.forecasting                                        generated springs, a minute
    python -m recipes.forecasting --data-dir DIR                         the CSV file in DIR, the next 96 rows
    python -m recipes.forecasting --data-dir DIR --horizon 24 96 720     a model for each horizon
    python -m recipes.forecasting --data-dir DIR --quantiles             with uncertainty bands

docs/forecasting.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Literal

import numpy as np

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option, table
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, keras, losses, models, plots, tasks, tuning
from keras_seq.series_options import SeriesFlags

from .baselines import linear_forecast
from .synthetic import spring_levels

BAND = (0.1, 0.5, 0.9)  # quantiles of --quantiles without a number
SPLIT = (0.7, 0.1, 0.2)
PUBLISHED = {  # 12, 4 and 4 months of 30 days, as in all papers
    **dict.fromkeys(("ETTh1.csv", "ETTh2.csv"), (8_640, 2_880, 2_880)),
    **dict.fromkeys(("ETTm1.csv", "ETTm2.csv"), (34_560, 11_520, 11_520)),
}
DRAWN = 4  # test windows that are drawn


COMPARED = {"budget_tokens": 30_000}  # windows that `keras-seq compare` trains each model on


@dataclasses.dataclass(frozen=True)
class Options(SeriesFlags, experiment.Options):
    """Trains, scores and exports a forecaster of time series for each horizon."""

    data_dir: pathlib.Path | None = option(
        None, "folder with a CSV file, a row for each time (default: synthetic series)"
    )
    download: bool = option(False, "download of hourly data of an electricity transformer, ETTh1, once")
    file: str | None = option(None, "name of the file in the folder (default: its only CSV file)")
    columns: tuple[str, ...] = option((), "columns to read and to forecast (default: all but the time)")
    split: tuple[float, ...] | None = option(
        None,
        f"training, validation and test rows, or shares (default: {' '.join(map(str, SPLIT))}, ETT: published months)",
    )
    hours: int = option(4_000, "length of the synthetic series in hours")

    look_back: int | None = preset(96, "number of past rows that are read", files=336)
    horizon: tuple[int, ...] | None = preset(
        (24,), "number of rows to forecast (several numbers: a model for each)", files=(96,)
    )
    season: int | None = option(
        None, "season of the naive forecast in rows (default: a day, week or year, by the time step)"
    )
    quantiles: tuple[float, ...] | None = option(
        None, f"quantiles to forecast instead of the mean (without a number: {' '.join(map(str, BAND))})"
    )

    # On files, a network that processes each day separately. The synthetic springs have no fixed period.
    architecture: Literal[*ARCHITECTURES, "cnn", "feedforward", "linear", "dlinear"] | None = preset(
        "transformer", "architecture of the model", files="feedforward"
    )
    residual: bool = option(True, "forecasts as a residual of the best linear map (with the direct decoder)")
    decoder: Literal["direct", "autoregressive"] = option(
        "direct", "decoder: all steps at once, or each patch from the last one"
    )
    series_normalization: Literal["mean", "last", "none"] = option("mean", "normalization of each window by its past")
    mix_columns: bool = option(False, "forecasts from all columns (default: each column from its past alone)")
    units: int | None = preset(32, "width", files=64)
    num_layers: int = option(1, "number of layers of the encoder")
    num_heads: int = option(4, "number of attention heads of a transformer")
    patch_length: int | None = preset(8, "number of rows in a patch, which is one step", files=24)
    patch_stride: int | None = option(None, "number of rows from one patch to the next (default: no overlap)")
    dropout: float | None = preset(0.0, "dropout rate", files=0.5)
    weight_decay: float = option(0.0, "weight decay of AdamW")
    loss: Literal["mse", "mae", "huber"] = option("mse", "training loss of point forecasts")

    epochs: int | None = preset(12, "greatest number of epochs", files=4)
    patience: int = option(3, "number of epochs without a better validation loss before training ends")
    batch_size: int = option(64, "number of windows in a batch")
    learning_rate: float | None = preset(5e-3, "peak learning rate", files=5e-4)


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    (series,) = parts.values()
    season = experiment.find_season(series, options.look_back, options.season)
    options = dataclasses.replace(options, season=season.rows)
    splits = {horizon: windows(options, parts, horizon) for horizon in options.horizon}  # errors before training
    errors = {}
    for horizon in options.horizon:
        horizon_options = dataclasses.replace(options, horizon=(horizon,))
        if len(splits) > 1:
            folders = {name: getattr(options, name) / f"horizon-{horizon:03}" for name in ("run", "export")}
            horizon_options = dataclasses.replace(horizon_options, **folders)
            keras.utils.set_random_seed(options.seed)  # independent of the horizons before
        errors[horizon] = forecast(horizon_options, parts, scope, season.name)
    if len(splits) > 1 and scope.chief:
        rows = [("MSE", *next(iter(errors.values())))]
        rows += [(f"horizon {horizon}", *(f"{e:.4f}" for e in each.values())) for horizon, each in errors.items()]
        print("\n" + "\n".join(f"  {line}" for line in table(rows)))


def with_defaults(options: Options) -> Options:
    options = experiment.with_data(options, "ett")
    if options.quantiles is not None:
        options = dataclasses.replace(options, quantiles=tuple(sorted(options.quantiles)) or BAND)
    return options


def read(options: Options) -> dict[str, data.Series]:
    """The series by its file, or by a name for a synthetic series."""
    if options.data_dir is None:
        return {"springs": spring_levels.levels(options.hours, options.seed)}
    path = experiment.find_csv(options.data_dir, options.file)
    series = options.read(path, options.columns or None)
    print(f"{path}: {series.report}; {', '.join(series.columns)}.")
    return {str(path): series}


def windows(options: Options, parts: dict[str, data.Series], horizon: int) -> data.WindowSplits:
    """All windows of the three splits, scaled by the training rows."""
    ((path, series),) = parts.items()
    split = options.split or data.usual_split(pathlib.Path(path).name)
    split = tuple(map(int, split)) if max(split) > 1 else split
    try:
        return data.windows(series, options.look_back, horizon, split=split)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def forecast(options: Options, parts: dict[str, data.Series], scope, naive: str) -> dict[str, float]:
    """Trains, scores and exports a model for one horizon.

    Returns:
        The test error of each forecaster.
    """
    (series,) = parts.values()
    run = experiment.run_folder(options, scope, {"train": series})
    task = train(options, parts, run, scope)
    if not scope.chief:
        return {}
    (horizon,) = options.horizon
    splits = windows(options, parts, horizon)
    linear = linear_forecast.fit_linear(splits.train, splits.valid, range(len(series.columns)))
    if options.quantiles or has_residual(options):
        settle(options, task.model, linear, splits.valid)

    # Evaluate
    errors = report(options, run, parts, splits, task, linear, naive)

    # Export
    some = [series.values[start : start + options.look_back] for start in splits.test.starts[:3]]
    experiment.finish(options, run, scope, task, samples=some)
    return errors


def train(options: Options, parts: dict[str, data.Series], run, scope, callbacks=()) -> tasks.Forecasting:
    """Trains a forecaster for one horizon, the first one."""
    # Data
    (series,) = parts.values()
    horizon, num_columns = options.horizon[0], len(series.columns)
    splits = windows(options, parts, horizon)
    print(f"\nHorizon {horizon}: {splits.report}.")
    order = data.shuffled(options.seed, buffer_size=len(splits.train))
    amount = experiment.training_data(options, splits.train.dataset(order, options.batch_size), [order])
    valid = splits.valid.dataset(batch_size=linear_forecast.ROWS)
    linear = linear_forecast.fit_linear(splits.train, splits.valid, range(num_columns))

    # Model
    with scope:
        model = build(options, num_columns, linear)
        model.compile(
            experiment.adamw(options, amount),
            losses.QuantileLoss(options.quantiles) if options.quantiles else options.loss,
        )
    experiment.initialize(options, model, run, {})

    # Fit
    name, mode = monitor(options, parts)
    experiment.fit(options, model, amount, valid, run, scope, monitor=name, mode=mode, watching=callbacks)
    return tasks.Forecasting(model, splits.scaler, look_back=options.look_back, quantiles=options.quantiles or ())


def monitor(options: Options, parts: dict[str, data.Series]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return "val_loss", "min"


def search_space() -> tuning.Space:
    """The options that `keras-seq tune forecasting` searches. The defaults are those of the recipe."""
    steps = ["gru", "lstm", "transformer"]
    return (
        tuning.Space()
        .choice("architecture", ["feedforward", *steps, "dlinear"])
        .choice("units", [32, 64, 128])
        .choice("num_layers", [1, 2], when={"architecture": ["feedforward", *steps]})
        .choice("num_heads", [2, 4], when={"architecture": "transformer"})
        .choice("patch_length", [8, 12, 24], when={"architecture": steps})
        .float("dropout", 0.0, 0.6)
        .float("learning_rate", 1e-4, 1e-2, log=True)
        .choice("batch_size", [32, 64, 128])
    )


def build(options: Options, num_columns: int, linear: linear_forecast.Linear) -> keras.Model:
    """The model, with the fitted linear map inside if it has a residual."""
    (horizon,) = options.horizon
    model = models.forecaster(
        num_columns,
        options.look_back,
        horizon,
        architecture=options.architecture,
        units=options.units,
        num_layers=options.num_layers,
        num_heads=options.num_heads,
        patch_length=options.patch_length,
        patch_stride=options.patch_stride or options.patch_length,
        channel_independent=not options.mix_columns,
        series_normalization=None if options.series_normalization == "none" else options.series_normalization,
        decoder=options.decoder,
        decoder_stride=math.gcd(options.patch_length, horizon) if options.decoder == "autoregressive" else 1,
        quantiles=options.quantiles,
        residual=has_residual(options),
        dropout=options.dropout,
    )
    if has_residual(options):
        model.get_layer("linear").set_weights([linear.kernel, linear.bias])
    return model


def has_residual(options: Options) -> bool:
    """Whether the network is added to the linear map, which requires normalized pasts and the direct decoder."""
    direct = options.decoder == "direct" and options.architecture not in ("linear", "dlinear")
    return options.residual and direct and options.series_normalization == "mean"


def settle(options: Options, model, linear: linear_forecast.Linear, valid: data.Windows) -> None:
    """Fits the width of the bands, or the weight of the network's residual, to the validation windows."""
    if options.quantiles:
        shares = models.calibrate(model, valid.dataset(batch_size=linear_forecast.ROWS), options.quantiles)
        below = " ".join(f"{share:.1%}" for share in shares)
        wanted = " ".join(f"{quantile:.1%}" for quantile in options.quantiles)
        print(f"Calibrated: {below} of the validation values lay below the quantiles, now {wanted}.")
    else:
        share = linear_forecast.temper(model, linear, valid)
        print(f"Weight of the network's addition to the linear map, chosen in validation: {share:.0%}.")


def report(
    options: Options, run, parts: dict[str, data.Series], splits: data.WindowSplits, task, linear, naive
) -> dict[str, float]:
    """Prints and draws errors and samples, writes them into the run folder, and returns each test error."""
    ((path, series),), (horizon,), test = parts.items(), options.horizon, splits.test
    outputs = experiment.forecast_windows(task, series, test, linear_forecast.ROWS)  # (N, H, C[, Q]), scaled
    median = np.abs(np.array(options.quantiles or 0.5) - 0.5).argmin()  # or the nearest quantile
    likely = outputs[..., median] if options.quantiles else outputs
    past, future = (np.concatenate(part) for part in zip(*linear_forecast.pairs(test), strict=True))
    forecasts = {
        options.architecture: likely,
        "least squares": linear(past),
        naive: linear_forecast.seasonal(past, horizon, options.season),
        "last value": linear_forecast.repeat_last(past, horizon),
    }
    off = {name: values - future for name, values in forecasts.items()}
    errors = {name: np.square(by).mean(axis=(0, 2)) for name, by in off.items()}  # (H,)
    results = [Result("MSE", error.mean(), ".4f", architecture=name) for name, error in errors.items()]
    results += [Result("MAE", np.abs(by).mean(), ".4f", architecture=name) for name, by in off.items()]
    drawn = {"shown": min(options.look_back, 2 * horizon + options.season), "count": DRAWN}
    if options.quantiles:
        low, high = outputs[..., 0], outputs[..., -1]
        label = f"{options.quantiles[-1] - options.quantiles[0]:.0%} band"
        inside = np.mean((low <= future) & (future <= high))
        loss = float(losses.QuantileLoss(options.quantiles)(future, outputs))
        results += [Result(f"inside the {label}", inside), Result("quantile loss", loss, ".4f")]
        drawn |= {"band": outputs[..., [0, -1]], "band_label": label}
    columns = ", ".join(series.columns)
    name = pathlib.Path(path).name.partition(".")[0] + (f" {columns}" if options.columns else "")
    names = {"task": f"horizon {horizon}", "data": name, "architecture": options.architecture}
    experiment.report(options, run, results, title=f"Test, {len(test):,} windows of {columns}, standardized", **names)
    plots.errors_by_step(errors, run.plots / "errors_by_step.png", "MSE")
    experiment.draw_forecasts(run, series, splits, likely, **drawn)
    return {name: float(error.mean()) for name, error in errors.items()}


if __name__ == "__main__":
    cli.run(main, Options)
