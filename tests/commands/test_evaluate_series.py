"""Forecasts against the rows that followed, with errors that a pen can check."""

import json
import types

import numpy as np
import pytest

from keras_seq import data
from keras_seq.commands import evaluate_series
from keras_seq.commands.evaluate import Evaluate
from keras_seq.tasks.results import Forecast

ROWS = 10
COLUMNS = ("load", "OT")  # 2 i and i ** 2 in row i
STARTS = np.arange(6)  # of the windows: three rows of the past, two of the future
LAST = np.stack([2 * STARTS + 5, 4 * STARTS + 12], axis=1)  # errors of the last value
SEASON = np.stack([6 * STARTS + 9, 6 * STARTS + 15], axis=1)  # errors of the value three rows before


def forecaster(quantiles=(), **others):
    """A task whose forecasts are too large by one, or by these amounts."""

    def predict(pasts):
        steps = [past[-1, 0] / 2 + np.arange(1, 3) for past in pasts]
        assert all(past.shape == (3, 2) for past in pasts)
        values = [(step**2)[:, None] for step in steps]
        if quantiles:
            above = [(-3, 1, 2), (-3, 1, -2)]  # every second value is above the last quantile
            return [Forecast(value[..., None] + np.array(above)[:, None], []) for value in values]
        return [Forecast(value + 1, []) for value in values]

    columns = data.ForecastColumns(COLUMNS, ("OT",), look_back=3, horizon=2, quantiles=quantiles)
    options = {"columns": columns, "folder": None, "where": "saved", **others}
    return types.SimpleNamespace(predictor=lambda: predict, **options)


def write(path, delimiter=","):
    times = np.datetime64("2024-01-01T00") + np.arange(ROWS)
    rows = [delimiter.join([str(time), str(2 * i), str(i**2)]) for i, time in enumerate(times)]
    path.write_text("\n".join([delimiter.join(["date", *COLUMNS]), *rows]) + "\n")
    return path


def squares(errors):
    return pytest.approx(np.mean(np.square(errors), axis=0).tolist())


def test_all_rows_of_a_file_without_a_run_folder(tmp_path):
    found = evaluate_series.score_forecasts(Evaluate(files=(write(tmp_path / "a.csv"),)), forecaster())
    record = found.record
    assert (record["windows"], record["part"], record["unit"]) == (6, "all rows", "in units of the series")
    assert (record["mse"], record["mae"]) == (1, 1)
    assert list(record["baselines"]) == ["3 rows before", "last value"]  # a day has more rows than the past
    assert record["baselines"]["last value"]["mae"] == pytest.approx(LAST.mean())
    assert record["baselines"]["3 rows before"]["mse"] == pytest.approx(np.square(SEASON).mean())
    steps = record["mse_by_step"]
    assert steps == {"model": [1, 1], "3 rows before": squares(SEASON), "last value": squares(LAST)}
    assert found.rows[:2] == [("", "MSE", "MAE"), ("model", "1.0000", "1.0000")] and len(found.rows) == 4
    assert found.lines[1].split() == ["MSE", "step", "1", "step", "2"]
    assert found.lines[-1] == "6 windows, all rows, in units of the series"


def test_the_middle_quantile_is_scored_and_the_band_is_counted(tmp_path):
    options = Evaluate(files=(write(tmp_path / "a.csv"),), split=(0, 0, ROWS))
    found = evaluate_series.score_forecasts(options, forecaster((0.1, 0.5, 0.9)))
    assert found.record["mse"] == 1 and found.record["inside the 80% band"] == 0.5
    assert ("inside the 80% band", "50.0%", "") in found.rows
    assert found.record["part"] == "test part of 0 0 10"


def test_the_file_of_the_training_is_scored_as_it_was_trained(tmp_path, capsys):
    path = write(tmp_path / "a.csv", delimiter=";")
    config = {"delimiter": ";", "season": 1, "missing_values": [], "split": [0.5, 0.2, 0.3]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    digest = data.fingerprint(data.read_series(path, delimiter=";"))
    (tmp_path / "data.json").write_text(json.dumps({"train": digest}))
    scaler = data.Scaler([5.0], [2.0], ("OT",))
    task = forecaster(folder=tmp_path, target_scaler=scaler)
    record = evaluate_series.score_forecasts(Evaluate(files=(path,)), task).record
    assert (record["windows"], record["part"], record["unit"]) == (2, "test part of 0.5 0.2 0.3", "standardized")
    assert (record["mse"], record["mae"]) == (0.25, 0.5)  # one, in deviations of two
    assert record["baselines"] == {"last value": {"mse": squares(LAST[4:].ravel() / 2), "mae": LAST[4:].mean() / 2}}
    (tmp_path / "data.json").write_text(json.dumps({"train": "another"}))
    assert evaluate_series.score_forecasts(Evaluate(files=(path,)), task).record["part"] == "all rows"
    assert not capsys.readouterr().err


def test_a_repaired_file_is_told(tmp_path, capsys):
    path = write(tmp_path / "a.csv")
    evaluate_series.score_forecasts(Evaluate(files=(path,), repair=True), forecaster())
    told = capsys.readouterr().err
    assert told.startswith(f"{path}: 10 rows") and told.endswith("; nothing to repair\n")


def test_flags_of_the_run_are_read_unless_others_are_given():
    config = {"delimiter": ";", "decimal": ",", "column_names": ["a", "b"], "missing_values": [], "comment": None}
    options = Evaluate(files=(), decimal=".", comment="#")
    found = evaluate_series._reading(options, config)
    assert (found.delimiter, found.decimal, found.column_names) == (";", ".", ("a", "b"))
    assert found.missing_values == () and found.comment == "#"


@pytest.mark.parametrize(
    ("rows", "split", "told"),
    [
        (12, (0.0, 0.0, 1.0), "a.csv has no window to score: one needs 13 rows without a gap. Give a longer series."),
        (20, (0, 19, 1), r"a.csv: The test part has 1 rows and no window of .* Received: split=\(0, 19, 1\)"),
        (20, (1.0, 0.0, 0.0), "a.csv has no row to score: --split 1 0 0 leaves none for the test. Give it some."),
    ],
)
def test_a_series_or_a_part_that_is_too_short(rows, split, told):
    columns = data.ForecastColumns(("0",), ("0",), look_back=11, horizon=2)
    with pytest.raises(ValueError, match=told):
        evaluate_series._windows(data.read_series(np.arange(float(rows)), time_column=None), columns, split, "a.csv")
