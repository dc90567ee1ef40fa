"""Forecasting: from a CSV file of time series to a SavedModel that takes the past and gives what comes.

    python -m recipes.forecasting                                        generated springs, a minute
    python -m recipes.forecasting --data-dir DIR                         the CSV file in DIR, the next 96 rows
    python -m recipes.forecasting --data-dir DIR --horizon 24 96 720     a model for each horizon
    python -m recipes.forecasting --data-dir DIR --quantiles             and how far it may be off

docs/forecasting.md tells what to look at. Run the same command again and an interrupted run goes on where it stopped.
"""

import dataclasses
import math
import pathlib
from typing import Literal

import keras
import numpy as np

from keras_seq import cli, data, experiment, export, layers, losses, models, optimizers, tasks
from keras_seq.cli import option, table
from keras_seq.experiment import Result
from keras_seq.inspection import plots
from keras_seq.series_options import SeriesFlags

from .baselines import linear_forecast
from .synthetic import spring_levels

# What a flag that is not given means, for the generated springs and for files.
GENERATED = {"look_back": 96, "horizon": (24,), "patch_length": 8, "architecture": "transformer", "units": 32}
GENERATED |= {"dropout": 0.0, "epochs": 12, "learning_rate": 5e-3}
FILES = {"look_back": 336, "horizon": (96,), "patch_length": 24, "architecture": "feedforward", "units": 64}
FILES |= {"dropout": 0.5, "epochs": 4, "learning_rate": 5e-4}

BAND = (0.1, 0.5, 0.9)  # what --quantiles alone means
DRAWN = 4  # windows of the test part that are drawn


@dataclasses.dataclass(frozen=True)
class Options(SeriesFlags, experiment.Options):
    """Trains, scores and exports a forecaster of time series, for each horizon its own."""

    data_dir: pathlib.Path | None = option(None, "folder with a CSV file, a row for each time; by default generated")
    download: bool = option(False, "fetch the hours of an electricity transformer, ETTh1, once")
    file: str | None = option(None, "which file of the folder (default: the only CSV file there)")
    columns: tuple[str, ...] = option((), "to read and to forecast (default: all others)")
    split: tuple[float, ...] | None = option(
        None, "training, validation, test: rows or shares (default: 0.7 0.1 0.2; of ETT the published months)"
    )
    hours: int = option(4_000, "hours of springs, where they are generated")

    look_back: int | None = option(None, "rows that are read (default: 96; 336 for files)")
    horizon: tuple[int, ...] | None = option(None, "rows that are forecast (default: 24; 96 for files)")
    season: int | None = option(None, "rows that the seasonal baseline repeats (default: a day, week or year of them)")
    quantiles: tuple[float, ...] | None = option(None, "to forecast instead of the mean; without a number 0.1 0.5 0.9")

    architecture: Literal[*layers.ARCHITECTURES, "cnn", "feedforward", "linear", "dlinear"] | None = option(
        None, "the model (default: transformer; feedforward, on each day, for files)"
    )
    residual: bool = option(True, "forecast what the best linear map does not (networks that forecast all at once)")
    decoder: Literal["direct", "autoregressive"] = option("direct", "all steps at once, or each patch from the last")
    series_normalization: Literal["mean", "last", "none"] = option("mean", "of each window's past, and back")
    mix_columns: bool = option(False, "let columns see each other; else each is forecast from its own past")
    units: int | None = option(None, "width (default: 32; 64 for files)")
    num_layers: int = option(1, "of the encoder")
    num_heads: int = option(4, "attention heads of a transformer")
    patch_length: int | None = option(None, "rows that become one step (default: 8; 24 for files)")
    patch_stride: int | None = option(None, "from one patch to the next (default: patches do not overlap)")
    dropout: float | None = option(None, "rate (default: 0; 0.5 for files)")
    weight_decay: float = option(0.0, "of AdamW")
    loss: Literal["mse", "mae", "huber"] = option("mse", "of forecasts that are one number: what training makes small")

    epochs: int | None = option(None, "at most (default: 12; 4 for files)")
    patience: int = option(3, "epochs without a better validation loss before training ends")
    batch_size: int = option(64, "windows")
    learning_rate: float | None = option(None, "at its peak (default: 0.005; 0.0005 for files)")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    folder = experiment.data_folder(options.data_dir, options.download, "ett")
    options = experiment.with_defaults(
        dataclasses.replace(options, data_dir=folder), GENERATED if folder is None else FILES
    )
    if options.quantiles is not None:
        options = dataclasses.replace(options, quantiles=tuple(sorted(options.quantiles)) or BAND)
    path, series = read(options)
    options, cycle = with_season(options, series)
    parts = {horizon: windows(options, path, series, horizon) for horizon in options.horizon}  # errors before training
    errors = {}
    for horizon, splits in parts.items():
        own = dataclasses.replace(options, horizon=(horizon,))
        if len(parts) > 1:
            folders = {name: getattr(options, name) / f"horizon-{horizon:03}" for name in ("run", "export")}
            own = dataclasses.replace(own, **folders)
            keras.utils.set_random_seed(options.seed)  # whichever horizons came before
        errors[horizon] = forecast(own, path, series, splits, scope, cycle)
    if len(parts) > 1 and scope.chief:
        rows = [("MSE", *next(iter(errors.values())))]
        rows += [(f"horizon {horizon}", *(f"{e:.4f}" for e in own.values())) for horizon, own in errors.items()]
        print("\n" + "\n".join(f"  {line}" for line in table(rows)))


def read(options: Options) -> tuple[pathlib.Path, data.Series]:
    """The file, or what stands for it, and the series in it."""
    if options.data_dir is None:
        return pathlib.Path("springs"), spring_levels.levels(options.hours, options.seed)
    found = sorted(options.data_dir.glob("*.csv")) + sorted(options.data_dir.glob("*.csv.gz"))
    if options.file is None and len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise ValueError(f"{options.data_dir} must hold one CSV file, or --file name the one to read. It has: {names}.")
    path = found[0] if options.file is None else options.data_dir / options.file
    series = options.read(path, options.columns or None)
    print(f"{path}: {series.report}; {', '.join(series.columns)}.")
    return path, series


def with_season(options: Options, series: data.Series) -> tuple[Options, str]:
    """The options with the rows that the seasonal baseline repeats, and what it is called."""
    rows, cycle = data.season(series.times) or (1, "")
    if options.season is None and rows > options.look_back:
        rows, cycle = options.look_back, ""
    season = rows if options.season is None else options.season
    if not 1 <= season <= options.look_back:
        raise ValueError(f"--season must be from 1 to --look-back {options.look_back}. Received: {season}")
    return dataclasses.replace(
        options, season=season
    ), f"last {cycle if season == rows and cycle else f'{season} rows'}"


def windows(options: Options, path: pathlib.Path, series: data.Series, horizon: int) -> data.WindowSplits:
    """All windows of the three parts, scaled by the rows of the first."""
    split = options.split or data.usual_split(path.name)
    split = tuple(map(int, split)) if max(split) > 1 else split
    try:
        return data.windows(series, options.look_back, horizon, split=split)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def forecast(options: Options, path, series: data.Series, splits: data.WindowSplits, scope, cycle) -> dict[str, float]:
    """Trains, scores and exports a model for one horizon: the test error of each forecaster."""
    # Data
    (horizon,), places = options.horizon, range(len(series.columns))
    print(f"\nHorizon {horizon}: {splits.report}.")
    run = experiment.run_folder(options, scope, {"train": series})
    order = data.shuffled(options.seed, buffer_size=len(splits.train))
    train = splits.train.dataset(order, options.batch_size)
    valid = splits.valid.dataset(batch_size=linear_forecast.ROWS)
    linear = linear_forecast.fit_linear(splits.train, splits.valid, places)

    # Model
    with scope:
        model = build(options, len(series.columns), linear)
        model.compile(
            optimizers.AdamW(
                experiment.learning_rate(options, int(train.cardinality())),
                weight_decay=options.weight_decay,
                global_clipnorm=1.0,
            ),
            losses.QuantileLoss(options.quantiles) if options.quantiles else options.loss,
        )
    experiment.initialize(options, model, run, {})

    # Fit
    if not experiment.fit(options, model, train, valid, run, scope, epoch_aware=[order]):
        return {}
    if options.quantiles or has_residual(options):
        settle(options, model, linear, splits.valid)
    quantiles = options.quantiles or ()
    task = tasks.Forecasting(model, splits.scaler, look_back=options.look_back, quantiles=quantiles)
    task.save(run)

    # Evaluate
    found = report(options, run, path, series, splits, model, linear, cycle)

    # Export
    some = [series.values[start : start + options.look_back] for start in splits.test.starts[:3]]
    export.saved_model(task, options.export, samples=some)
    experiment.finish(options, run, scope)
    return found


def build(options: Options, num_columns: int, linear: linear_forecast.Linear) -> keras.Model:
    """The model; what the linear map knows already, it need not learn."""
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
    """Whether the network is added to the linear map, which is of normalized pasts, and for all steps at once."""
    direct = options.decoder == "direct" and options.architecture not in ("linear", "dlinear")
    return options.residual and direct and options.series_normalization == "mean"


def settle(options: Options, model, linear: linear_forecast.Linear, valid: data.Windows) -> None:
    """Lets the validation windows say how wide bands are, or how much of the network is left."""
    if options.quantiles:
        shares = models.calibrate(model, valid.dataset(batch_size=linear_forecast.ROWS), options.quantiles)
        below = " ".join(f"{share:.1%}" for share in shares)
        wanted = " ".join(f"{quantile:.1%}" for quantile in options.quantiles)
        print(f"Calibrated: of what came in validation, {below} lay below the quantiles, now {wanted}.")
    else:
        share = linear_forecast.temper(model, linear, valid)
        print(f"Of what the network adds to the linear map, validation leaves {share:.0%}.")


def report(options: Options, run, path, series, splits: data.WindowSplits, model, linear, cycle) -> dict[str, float]:
    """Prints errors and samples, draws them, and writes them down in the run folder: the test error of each."""
    (horizon,), test = options.horizon, splits.test
    outputs = np.concatenate(
        experiment.predict_batches(model, test.dataset(batch_size=linear_forecast.ROWS))
    )  # (N, H, C[, Q])
    median = np.abs(np.array(options.quantiles or 0.5) - 0.5).argmin()  # or what is nearest to it
    likely = outputs[..., median] if options.quantiles else outputs
    past, future = (np.concatenate(part) for part in zip(*linear_forecast.pairs(test), strict=True))
    forecasts = {
        options.architecture: likely,
        "least squares": linear(past),
        cycle: linear_forecast.seasonal(past, horizon, options.season),
        "last value": linear_forecast.repeat_last(past, horizon),
    }
    off = {name: found - future for name, found in forecasts.items()}
    errors = {name: np.square(by).mean(axis=(0, 2)) for name, by in off.items()}  # (H,)
    results = [Result("MSE", error.mean(), ".4f", architecture=name) for name, error in errors.items()]
    results += [Result("MAE", np.abs(by).mean(), ".4f", architecture=name) for name, by in off.items()]
    band = None
    if options.quantiles:
        low, high = outputs[..., 0], outputs[..., -1]
        share = options.quantiles[-1] - options.quantiles[0]
        inside = np.mean((low <= future) & (future <= high))
        results += [
            Result(f"inside the {share:.0%} band", inside, ".1%", architecture=options.architecture),
            Result("quantile loss", float(losses.QuantileLoss(options.quantiles)(future, outputs)), ".4f"),
        ]
        band = outputs[..., [0, -1]]
    columns = ", ".join(series.columns)
    name = path.name.partition(".")[0] + (f" {columns}" if options.columns else "")
    names = {"task": f"horizon {horizon}", "data": name, "architecture": options.architecture}
    experiment.report(options, run, results, title=f"Test, {len(test):,} windows of {columns}, standardized", **names)
    plots.errors_by_step(errors, run.plots / "errors_by_step.png", "MSE")
    draw(options, run, series, splits, likely, band)
    return {name: float(error.mean()) for name, error in errors.items()}


def draw(options: Options, run, series: data.Series, splits: data.WindowSplits, likely, band) -> None:
    """Draws and prints some windows of the test part, one column each, in the units of the series."""
    C, picked = len(series.columns), np.linspace(0, len(likely) - 1, DRAWN).astype(int)
    columns = C - 1 - np.arange(DRAWN) % C  # the last one first
    mean, std = (x[columns][:, None] for x in (splits.scaler.mean, splits.scaler.std))
    begins = splits.test.starts[picked] + options.look_back
    shown = min(options.look_back, 2 * options.horizon[0] + options.season)
    rows = begins[:, None] + np.arange(-shown, options.horizon[0])
    values, found = series.values[rows, columns[:, None]], likely[picked, :, columns] * std + mean
    if band is not None:
        band = band[picked, :, columns] * std[..., None] + mean[..., None]
    label = f"{options.quantiles[-1] - options.quantiles[0]:.0%} band" if options.quantiles else ""
    times = begins if series.times is None else series.written(series.times[begins])
    names = [series.columns[column] for column in columns]
    titles = [f"{name} from {time}" for name, time in zip(names, times, strict=True)]
    past, future = values[:, :shown], values[:, shown:]
    plots.forecasts(past, future, found, titles, run.plots / "forecasts.png", band, label)
    told = [[" ".join(f"{x:.4g}" for x in row[:8]) for row in part] for part in (future, found)]
    experiment.samples({"begins": titles, "came": told[0], "forecast": told[1]})


if __name__ == "__main__":
    cli.run(main, Options)
