"""The recipe as its users run it: it learns what no linear map can say, exports, and names bad input."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_seq
from keras_seq import data, export
from recipes import forecasting
from recipes.synthetic import spring_levels
from tests.recipes.finished import OPENED, check_config
from tests.recipes.pages import FAR, Begun, end_at_the_fit, error_of, evaluated, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = forecasting.Options(hours=400, look_back=24, horizon=(4,), epochs=1, units=4, num_heads=2, average=1)
PAST = np.random.default_rng(1).normal(size=(3, 48, 3)).astype("float32") * 30 + 50
run_in = runner(forecasting, TINY)


def metrics_of(run):
    entries = json.loads((run / "metrics.json").read_text())
    return {(entry["architecture"], entry["metric"]): entry["value"] for entry in entries}


def write_csv(path, rows=400, columns=("HUFL", "OT"), change=None):
    """Hourly rows, after `change` had its way with the list of them, the header first."""
    values = spring_levels.levels(rows, seed=5)
    lines = [["date", *columns]]
    for time, row in zip(values.times.astype("M8[s]"), values.values, strict=True):
        lines.append([str(time).replace("T", " "), *(f"{x}" for x in row[: len(columns)])])
    if change is not None:
        change(lines)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(lines)


BEGUN = dataclasses.replace(TINY, architecture="feedforward", look_back=96, horizon=(24,))


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("forecasting-begun", lambda folder: run_in(folder, BEGUN))


@pytest.fixture(scope="module")
def learned(made_once):
    """A run on a part of the demo's hours, exported."""
    return made_once("forecasting", lambda folder: run_in(folder, forecasting.Options(), hours=2_500, epochs=8))


@pytest.mark.long
def test_it_learns_what_no_linear_map_says(learned):
    found = metrics_of(learned / "run")
    error = found["transformer", "MSE"]
    assert error < 0.85 * found["least squares", "MSE"]
    assert error < 0.5 * min(found["same hour yesterday", "MSE"], found["last value", "MSE"])
    assert found["transformer", "MAE"] < found["least squares", "MAE"]
    (entry,) = {entry["split"] for entry in json.loads((learned / "run" / "metrics.json").read_text())}
    assert entry == "test"


@pytest.mark.long
def test_evaluate_gives_the_scores_of_the_recipe(begun, capsys, tmp_path):
    hours = json.loads((begun / "run" / "config.json").read_text())["hours"]
    series = spring_levels.levels(hours, 1)
    lines = [["date", *series.columns]]
    lines += [[str(time), *map(repr, map(float, row))] for time, row in zip(series.times, series.values, strict=True)]
    with open(tmp_path / "springs.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    record = evaluated(capsys, begun / "run", tmp_path / "springs.csv", "--split", 0.7, 0.1, 0.2)
    expected = metrics_of(begun / "run")
    for name in ("mse", "mae"):
        assert record[name] == pytest.approx(expected["feedforward", name.upper()], rel=1e-4)
        for baseline in ("same hour yesterday", "last value"):
            assert record["baselines"][baseline][name] == pytest.approx(expected[baseline, name.upper()], rel=1e-4)
    assert np.mean(record["mse_by_step"]["model"]) == pytest.approx(record["mse"]) and record["unit"] == "standardized"
    served = evaluated(capsys, begun / "export", tmp_path / "springs.csv")  # whose scaler is inside
    assert served["windows"] > record["windows"] and served["unit"] == "in units of the series"


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "parameters.txt", "best.keras", "vocabulary/scaler.json"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "forecasts.png", "errors_by_step.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    columns = data.ForecastColumns.load(run / "vocabulary" / "forecast.json")
    assert columns == data.ForecastColumns(spring_levels.NAMES, spring_levels.NAMES, 96, 24)


def test_what_is_exported_is_in_the_units_of_the_series(begun):
    served = tf.saved_model.load(str(begun / "export")).signatures["forecast"]
    model = keras.models.load_model(begun / "run" / "best.keras")
    scaler = data.Scaler.load(begun / "run" / "vocabulary" / "scaler.json")
    past = spring_levels.levels(300, seed=9).values.astype("float32")[
        None, :200
    ]  # twice as long as what is read, and more
    found = served(past=tf.constant(past))["forecast"].numpy()
    np.testing.assert_allclose(found, scaler.inverse(model(scaler.scaled(past)).numpy()), rtol=1e-3)
    np.testing.assert_allclose(found, served(past=tf.constant(past[:, -96:]))["forecast"], rtol=1e-3)
    both = np.concatenate([past, 0.5 * past + 7])  # the neighbors in the batch do not matter
    np.testing.assert_allclose(served(past=tf.constant(both))["forecast"][:1], found, rtol=1e-3)


def test_the_config_gives_the_same_options(begun):
    check_config(forecasting, begun / "run", BEGUN)


@OPENED
def test_the_task_gives_the_measured_figures(begun, place):
    task, found, values = keras_seq.load(begun / place), metrics_of(begun / "run"), spring_levels.levels(400, 1).values
    rows = np.arange(320 - 96, 400 - 96 - 24 + 1)[:, None]  # the last fifth is forecast: windows that end in it
    past, future = values[rows + np.arange(96)], values[rows + 96 + np.arange(24)]
    deviation = values[:280].std(axis=0)  # of the training rows
    error = np.mean(np.square((np.stack(task(list(past))) - future) / deviation))
    assert error == pytest.approx(found["feedforward", "MSE"], rel=1e-4)
    yesterday = np.mean(np.square((past[:, -24:] - future) / deviation))
    assert yesterday == pytest.approx(found["same hour yesterday", "MSE"], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "feedforward", "quantiles": (0.9, 0.1, 0.5)},
        {"architecture": "gru", "quantiles": (0.9, 0.1, 0.5)},
        {"architecture": "lstm", "decoder": "autoregressive"},
        {"architecture": "linear", "series_normalization": "last"},
        {"architecture": "feedforward", "mix_columns": True},
        {"architecture": "transformer", "residual": False, "patch_length": 8, "patch_stride": 4},
        {"architecture": "rnn", "decoder": "autoregressive", "quantiles": ()},
        {"architecture": "dlinear", "series_normalization": "none"},
        {"architecture": "cnn"},
        {"architecture": "mingru"},
        {"architecture": "minlstm"},
        {"architecture": "rglru"},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_every_architecture_runs_to_the_end_on_files(tmp_path, changes, monkeypatch):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)  # takes a fresh process each time
    write_csv(tmp_path / "station.csv")
    run = run_in(tmp_path, data_dir=tmp_path, **{"patch_length": 4, **changes})
    found = metrics_of(run)
    assert 0 < found[changes["architecture"], "MSE"] < 10
    model = keras.models.load_model(run / "best.keras")
    quantiles = [3] if "quantiles" in changes else []
    assert model(PAST[..., :2]).shape == (3, 4, 2, *quantiles)  # twice as long as what it was trained on
    alone = np.concatenate([model(PAST[row : row + 1, :, :2]) for row in range(3)])
    np.testing.assert_allclose(model(PAST[..., :2]), alone, rtol=1e-3, atol=1e-3)
    if quantiles:
        assert 0 <= found[changes["architecture"], "inside the 80% band"] <= 1
        assert (np.diff(model(PAST[..., :2]), axis=-1) >= 0).all()


@pytest.mark.long
def test_bands_hold_what_they_say(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    run = run_in(tmp_path, forecasting.Options(), hours=2_000, epochs=4, quantiles=(), architecture="feedforward")
    assert 0.65 < metrics_of(run)["feedforward", "inside the 80% band"] < 0.92
    offsets = keras.models.load_model(run / "best.keras").get_layer("calibration").offsets
    assert np.abs(offsets).max() > 0  # what was scored is what is kept


@pytest.mark.long
def test_several_horizons_are_several_models(tmp_path, capsys):
    run_in(tmp_path, horizon=(4, 8), architecture="feedforward")
    told = capsys.readouterr().out
    for horizon in (4, 8):
        found = metrics_of(tmp_path / "run" / f"horizon-{horizon:03}")
        assert f"{found['feedforward', 'MSE']:.4f}" in told.split("horizon 4 ")[-1]
        served = tf.saved_model.load(str(tmp_path / "export" / f"horizon-{horizon:03}")).signatures
        assert served["forecast"](past=tf.constant(PAST))["forecast"].shape == (3, horizon, 3)


@pytest.mark.long
def test_what_is_trained_is_not_trained_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    options = {"architecture": "feedforward", "patch_length": 4}  # quick to trace
    before = metrics_of(run_in(tmp_path, **options))
    capsys.readouterr()
    assert metrics_of(run_in(tmp_path, **options)) == pytest.approx(before)
    assert "Epoch" not in capsys.readouterr().out


def test_the_published_windows(real_data):
    """Every one of them: none is dropped where the last batch is not full."""
    options = forecasting.Options(data_dir=real_data("ett"), look_back=336, horizon=(96,))
    parts = forecasting.read(options)
    (series,) = parts.values()
    assert (len(series), len(series.columns)) == (17_420, 7)
    for horizon, counts in {96: (8_209, 2_785, 2_785), 720: (7_585, 2_161, 2_161)}.items():
        splits = forecasting.windows(options, parts, horizon)
        assert (len(splits.train), len(splits.valid), len(splits.test)) == counts
    np.testing.assert_allclose(splits.scaler.mean, series.values[:8640].mean(axis=0))
    (one,) = forecasting.read(dataclasses.replace(options, columns=("OT",))).values()
    assert one.columns == ("OT",)


@pytest.mark.long
def test_published_quality(real_data, tmp_path):
    run = run_in(tmp_path, forecasting.Options(), data_dir=real_data("ett"))
    found = metrics_of(run)
    assert found["feedforward", "MSE"] < 0.375  # PatchTST/42 and DLinear: 0.375
    assert found["last value", "MSE"] == pytest.approx(1.295, abs=0.002)  # as published


def swap_rows(lines):
    lines[50], lines[51] = lines[51], lines[50]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[9].__setitem__(2, "nan"), ["station.csv:10", "'OT'", "'nan'", "--repair"]),
        (lambda lines: lines[9].__setitem__(1, ""), ["station.csv:10", "'HUFL'", "''", "--repair"]),
        (lambda lines: lines[9].append("7"), ["station.csv:10", "4 fields", "--repair"]),
        (lambda lines: lines[9].__setitem__(0, "noon"), ["station.csv:10", "'noon'", "--repair"]),
        (swap_rows, ["station.csv:52", "'date'", "comes before", "--repair"]),
        (lambda lines: lines.pop(30), ["station.csv:31", "'date'", "2 steps", "--repair"]),
        (lambda lines: lines.__delitem__(slice(40, None)), ["station.csv", "no window", "look_back=24"]),
        (lambda lines: lines[0].__setitem__(2, "oil"), ["station.csv:1", "no column 'OT'"]),
        (lambda lines: lines.pop(0), ["station.csv:1", "header"]),
    ],
)
def test_bad_series_get_one_line_that_names_it(tmp_path, capsys, change, told):
    write_csv(tmp_path / "station.csv", change=change)
    argv = ["--data-dir", str(tmp_path), "--look-back", "24", "--horizon", "4", "--columns", "HUFL", "OT"]
    error = error_of(forecasting, capsys, *argv, "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export"))
    assert all(part in error for part in told), error
    assert not (tmp_path / "run").exists()


def test_bad_flags_get_one_line_that_names_it(tmp_path, capsys):
    argv = ["--data-dir", str(tmp_path), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "nowhere" in error_of(forecasting, capsys, "--data-dir", str(tmp_path / "nowhere"))
    argv += ["--look-back", "24", "--horizon", "4", "--patch-length", "4", "--overwrite"]
    assert "must hold one CSV file" in error_of(forecasting, capsys, *argv)
    assert "--download" in error_of(forecasting, capsys, *argv, "--download")
    write_csv(tmp_path / "station.csv")
    assert "no column 'OIL'" in error_of(forecasting, capsys, *argv, "--columns", "OIL")
    assert "--season" in error_of(forecasting, capsys, *argv, "--season", "500")
    assert "other.csv" in error_of(forecasting, capsys, *argv, "--file", "other.csv")
    assert "--split" in error_of(forecasting, capsys, *argv, "--split", "0.5", "0.6", "0.7")
    assert "0 and 1" in error_of(forecasting, capsys, *argv, "--quantiles", "0.5", "1.5")
    assert "horizon" in error_of(forecasting, capsys, *argv, "--horizon", "0")
    assert "recurrent" in error_of(forecasting, capsys, *argv, "--decoder", "autoregressive")


def test_a_bad_file_can_be_repaired(tmp_path, monkeypatch, capsys):

    def change(lines):
        swap_rows(lines)
        lines[9][2] = "nan"
        lines.pop(30)

    write_csv(tmp_path / "station.csv", change=change)
    end_at_the_fit(monkeypatch)
    with pytest.raises(Begun):
        run_in(tmp_path, data_dir=tmp_path, repair=True, architecture="feedforward", patch_length=4)
    told = capsys.readouterr().out
    assert all(part in told for part in ("2 rows put in order", "1 cells interpolated", "1 rows filled in")), told


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    write_csv(tmp_path / "ETTh1.csv")

    def smaller(options):
        windows = {"look_back": 24, "horizon": (4, 8)[: len(options.horizon or (4,))], "split": (0.6, 0.2, 0.2)}
        patches = {"patch_length": 4, "patch_stride": options.patch_stride and 2}
        return {"hours": 400, "units": 4, "num_heads": 2, "batch_size": 256, **windows, **patches}

    assert len(run_page(forecasting, tmp_path, monkeypatch, to_the_end, smaller)) >= 6
