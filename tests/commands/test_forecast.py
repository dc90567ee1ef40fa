import json
import shutil

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from tests.commands.conftest import QUANTILES, SCALER

VALUES = np.random.default_rng(4).normal(size=(40, 2)) * [50, 4] + [100, 20]


def write(path, values=VALUES, start="2024-02-28T12:00", hours=1, more=lambda lines: None):
    times = np.datetime64(start, "s") + np.arange(len(values)) * np.timedelta64(hours, "h")
    rows = zip(times, values.tolist(), strict=True)
    lines = ["date,load,OT", *(f"{str(time).replace('T', ' ')},{load!r},{ot!r}" for time, (load, ot) in rows)]
    more(lines)
    path.write_text("\n".join(lines) + "\n")
    return path


def expected(folder, values=VALUES):
    model = keras.models.load_model(folder / "best.keras")
    return model(SCALER.scaled(values[None, -12:].astype("float32"))).numpy()[0, :, 0] * 4 + 20


def test_the_rows_that_come_next(keras_seq, forecasters, tmp_path):
    file = write(tmp_path / "a.csv")
    found = keras_seq("forecast", "--model", forecasters["points"], file)
    assert found.code == 0 and found.lines[0] == "date,OT" and not found.err
    cells = [line.split(",") for line in found.lines[1:]]
    assert [time for time, _ in cells] == ["2024-03-01 04:00:00", "2024-03-01 05:00:00", "2024-03-01 06:00:00"]
    np.testing.assert_allclose([float(x) for _, x in cells], expected(forecasters["points"]), rtol=1e-5)
    # From stdin and as JSON lines the same.
    records = keras_seq("forecast", "--model", forecasters["points"], "--json", stdin=file.read_text()).records
    assert [[record["date"], f"{record['OT']}"] for record in records] == cells
    out = tmp_path / "out.csv"
    assert keras_seq("forecast", "--model", forecasters["points"], "--output", out, file).code == 0
    assert out.read_text().splitlines() == found.lines


def test_quantiles_are_columns_of_a_run_and_of_what_is_served(keras_seq, forecasters, tmp_path):
    file = write(tmp_path / "a.csv", hours=24)
    ours, theirs = (keras_seq("forecast", "--model", forecasters[name], file) for name in ("quantiles", "served"))
    assert ours.lines[0] == theirs.lines[0] == "date,OT_0.1,OT_0.5,OT_0.9"
    numbers = [[[float(x) for x in line.split(",")[1:]] for line in found.lines[1:]] for found in (ours, theirs)]
    np.testing.assert_allclose(numbers[0], expected(forecasters["quantiles"]), rtol=1e-5)
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-4)
    assert ours.lines[1].startswith("2024-04-08 12:00:00,")


def test_a_series_that_is_of_no_use_stops_no_other(keras_seq, forecasters, tmp_path):
    good = write(tmp_path / "good.csv")
    short, bad = write(tmp_path / "short.csv", VALUES[:5]), tmp_path / "bad.csv"
    write(bad, more=lambda lines: lines.__setitem__(7, lines[7].replace(",", ",nan,", 1).rpartition(",")[0]))
    found = keras_seq("forecast", "--model", forecasters["points"], "--json", short, good, bad, good)
    assert found.code == 0 and "2 of 4 series have no result" in found.err
    records = found.records
    assert [record["file"] for record in records] == [str(short)] + [str(good)] * 3 + [str(bad)] + [str(good)] * 3
    assert "5 rows are too few: the model reads 12" in records[0]["error"]
    assert f"{bad}:8: column 'load': 'nan' is not a finite number" in records[4]["error"]
    assert "--repair" in records[4]["error"]
    table = keras_seq("forecast", "--model", forecasters["points"], short, good, bad, good)
    assert table.lines[0] == "file,date,OT" and len(table.lines) == 7
    mended = keras_seq("forecast", "--model", forecasters["points"], "--repair", bad)
    assert mended.code == 0 and len(mended.lines) == 4


def test_a_repair_is_told(keras_seq, forecasters, tmp_path):
    def damage(lines):
        lines[5] = lines[5].rpartition(",")[0] + ",?"
        lines[9] = "later" + lines[9][19:]

    file = write(tmp_path / "a.csv", more=damage)
    flags = ["forecast", "--model", forecasters["points"], "--repair"]
    told = keras_seq(*flags, file).err
    assert told.startswith(
        f"{file}: 40 rows read, 39 kept; 1 rows dropped that could not be read, 1 cells interpolated, 1 "
    )
    assert "1 rows filled in" in told and told.count("\n") == 1
    assert "nothing to repair" in keras_seq(*flags, write(tmp_path / "b.csv")).err


def test_a_file_of_another_country(keras_seq, forecasters, tmp_path):
    """Semicolons, decimal commas, days first, a zone: the same numbers, and times in the file's own form."""
    times = [f"{day:02}.03.2024 {hour:02}:00" for day in (1, 2) for hour in range(24)][:40]
    rows = [f"{time};{load!r};{ot!r}" for time, (load, ot) in zip(times, VALUES.tolist(), strict=True)]
    text = "\n".join(["Zeit;load;OT", *rows]).replace(".", ",").replace(",03,2024", ".03.2024")
    (tmp_path / "a.csv").write_text(text + "\n", encoding="utf-16")
    flags = ["forecast", "--model", forecasters["points"]]
    found = keras_seq(*flags, tmp_path / "a.csv")
    assert [line.split(",")[0] for line in found.lines[1:]] == [f"02.03.2024 {hour}:00" for hour in (16, 17, 18)]
    np.testing.assert_allclose(
        [float(line.split(",")[1]) for line in found.lines[1:]], expected(forecasters["points"]), rtol=1e-5
    )
    assert "decimal ','" in found.err and "utf-16" in found.err and "%d.%m.%Y %H:%M" in found.err
    given = ["--delimiter", ";", "--decimal", ",", "--encoding", "utf-16", "--time-format", "%d.%m.%Y %H:%M"]
    again = keras_seq(*flags, *given, "--time-zone", "Europe/Berlin", "--frequency", "h", tmp_path / "a.csv")
    assert again.lines[1].startswith("02.03.2024 16:00+01:00,") and not again.err
    wrong = keras_seq(*flags, "--decimal", ".", tmp_path / "a.csv")
    assert wrong.code == 2 and "is not a finite number" in wrong.err and "--repair" in wrong.err


def test_several_series_in_a_file(keras_seq, forecasters, tmp_path):
    lines = ["hour,station,load,OT"]
    lines += [f"{hour},{name},{load!r},{ot + shift!r}" for name, shift in (("a", 0), ("b", 9)) for hour, (load, ot) in
              enumerate(VALUES.tolist())]  # fmt: skip
    (tmp_path / "both.csv").write_text("\n".join([*lines, "0,c,1,1", "1,c,2,2"]) + "\n")
    found = keras_seq("forecast", "--model", forecasters["points"], "--id-column", "station", tmp_path / "both.csv")
    assert found.lines[0] == "station,hour,OT" and "series 'c': 2 rows are too few" in found.err
    assert [line.split(",")[:2] for line in found.lines[1:]] == [[name, f"{40 + k}"] for name in "ab" for k in range(3)]
    shifted = VALUES + [0, 9]
    numbers = [float(line.split(",")[2]) for line in found.lines[1:]]
    np.testing.assert_allclose(numbers[3:], expected(forecasters["points"], shifted), rtol=1e-5)


@pytest.mark.parametrize(
    ("argv", "content", "told"),
    [
        ([], "date,load\n2024-01-01,3\n", ["stdin:1", "no column 'OT'"]),
        ([], "", ["stdin"]),
        (["--time-column", "when"], "date,load,OT\n2024-01-01,3,4\n", ["stdin:1", "no column 'when'"]),
        ([], "date,load,OT\n2024-01-02,3,4\n2024-01-01,3,4\n", ["stdin:3", "comes before", "--repair"]),
        ([], "date,load,OT\n2024-01-01,3,4\n2024-01-02,3,4\n2024-01-09,3,4\n", ["stdin:4", "7 steps", "--repair"]),
        ([], "date,load,OT\n2024-01-01,3,4\n2024-01-02,3,4\n", ["stdin", "2 rows are too few"]),
        (["nowhere.csv"], "", ["nowhere.csv does not exist"]),
    ],
)
def test_what_is_wrong_is_one_line(keras_seq, forecasters, argv, content, told):
    found = keras_seq("forecast", "--model", forecasters["points"], *argv, stdin=content)
    assert found.code == 2 and not found.out and found.err.count("\n") == 1, found.err
    assert all(part in found.err for part in told), found.err


def test_without_a_time_index(keras_seq, forecasters, tmp_path):
    (tmp_path / "a.csv").write_text("load,OT\n" + "".join(f"{load!r},{ot!r}\n" for load, ot in VALUES.tolist()))
    found = keras_seq("forecast", "--model", forecasters["points"], "--time-column", "none", tmp_path / "a.csv")
    assert found.lines[0] == "OT"
    np.testing.assert_allclose([float(line) for line in found.lines[1:]], expected(forecasters["points"]), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("no columns", ["forecast.json does not exist"]),
        ("damaged columns", ["forecast.json is damaged", "Copy it again"]),
        ("no scaler", ["scaler.json does not exist"]),
        ("damaged scaler", ["scaler.json is damaged", "Copy it again"]),
        ("another horizon", ["from another run"]),
    ],
)
def test_damaged_runs_of_forecasters(kind, told, keras_seq, forecasters, tmp_path):
    run = shutil.copytree(forecasters["points"], tmp_path / "run")
    file = run / "vocabulary" / ("scaler.json" if "scaler" in kind else "forecast.json")
    if kind.startswith("no"):
        file.unlink()
    elif kind.startswith("damaged"):
        file.write_text('{"columns": [')
    else:
        file.write_text(file.read_text().replace('"horizon": 3', '"horizon": 4'))
    found = keras_seq("forecast", "--model", run, stdin="a")
    assert found.code == 2 and found.err.count("\n") == 1 and str(run) in found.err, found.err
    assert all(part in found.err for part in told), found.err


def test_other_models_are_refused(keras_seq, forecasters, folders):
    found = keras_seq("forecast", "--model", folders["lstm"], stdin="a")
    assert found.code == 2 and "is a task of translation, not of forecasting. Use keras-seq translate" in found.err
    found = keras_seq("forecast", "--model", folders["served"], stdin="a")
    assert found.code == 2 and "is a task of translation, not of forecasting" in found.err
    refused = keras_seq("translate", "--model", forecasters["points"], stdin="a")
    assert refused.code == 2 and "keras-seq forecast" in refused.err and refused.err.count("\n") == 1


def test_a_forecaster_is_inspected_and_exported(keras_seq, forecasters, tmp_path):
    (found,) = keras_seq("inspect", "--model", forecasters["quantiles"], "--json").records
    assert found["columns"]["targets"] == ["OT"] and found["columns"]["quantiles"] == list(QUANTILES)
    page = keras_seq("inspect", "--model", forecasters["quantiles"]).out
    assert "load, OT" in page and "0.1, 0.5, 0.9" in page
    flags = ["export", "--model", forecasters["quantiles"], "--output", tmp_path / "out", "--no-verify"]
    refused = keras_seq(*flags, "--num-beams", 3)
    assert refused.code == 2 and "is a task of forecasting" in refused.err
    assert keras_seq(*flags).code == 0
    file = write(tmp_path / "a.csv")
    ours, theirs = (
        [list(json.loads(line).values())[1:] for line in keras_seq("forecast", "--model", m, "--json", file).lines]
        for m in (forecasters["quantiles"], tmp_path / "out")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
