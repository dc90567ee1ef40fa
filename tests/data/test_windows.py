import csv
import json
from datetime import datetime, timedelta

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.data.order import shuffled
from keras_seq.data.series import Run, Series, SeriesReport, read_series
from keras_seq.data.windows import Scaler, calendar_features, windows


@pytest.fixture
def write(write):
    return lambda content, name="series.csv": write(name, content)


def hourly(rows, start="2020-01-01", **step):
    first = datetime.fromisoformat(start)
    return [first + (step and timedelta(**step) or timedelta(hours=1)) * row for row in range(rows)]


def table(times, *columns, names=None):
    names = names or [f"c{i}" for i in range(len(columns))]
    rows = [["date", *names], *zip(times, *columns, strict=True)]
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def numbered(rows, columns=2):
    """Each value tells its row and its column."""
    return Series(np.arange(rows)[:, None] + np.arange(columns) / 10, tuple("abcdef"[:columns]))


def elements(dataset):
    return list(dataset.as_numpy_iterator())


# Reading.


def test_the_largest_number_of_float32_is_one(write):
    largest = float(np.finfo("float32").max)
    assert read_series(write(f"t,a\n0,1\n1,{largest!r}\n")).values[1, 0] == largest


def test_values_by_hand(write):
    series = read_series(write("date,a,b\n2020-01-01 00:00:00,1.5,-2\n2020-01-01 01:00:00,1e3, 4 \n"))
    assert series.values.tolist() == [[1.5, -2], [1000, 4]]
    assert series.columns == ("a", "b") and series.runs == (Run(0, 0, 2),) and len(series) == 2
    assert series.times.tolist() == [datetime(2020, 1, 1), datetime(2020, 1, 1, 1)]
    assert series.report == SeriesReport(read=2, kept=2)


@pytest.mark.parametrize(
    "content, name, options",
    [
        (b"\xef\xbb\xbft,a\r\n0,1\r\n1,2\r\n\r\n", "a.csv", {}),
        (b"t,a\n0,1\n1,2", "a.csv.gz", {}),
        (b"t;a\n0;1\n1;2\n", "a.csv", {"delimiter": ";"}),
        (b'a,"t"\n"1",0\n2,1\n', "a.csv", {"time_column": "t"}),
        (b"t,text,a\n0,x,1\n1,,2\n", "a.csv", {"columns": ["a"]}),
        (b"a\n1\n2\n", "a.csv", {"time_column": None}),
        (b"t,a\n01/02/2020,1\n02/02/2020,2\n", "a.csv", {"time_format": "%d/%m/%Y"}),
        (b"t,a\n2020-01-01T00:00+01:00,1\n2020-01-01T00:00Z,2\n", "a.csv", {}),
    ],
)
def test_ways_to_write_the_same(write, content, name, options):
    series = read_series(write(content, name), **options)
    assert series.values.tolist() == [[1], [2]] and series.columns == ("a",)
    assert (series.times is None) == (options.get("time_column", 0) is None)


@pytest.mark.parametrize(
    "content, options, place, remedy",
    [
        ("t,a,b\n0,1,2\n1,3\n", {}, r"csv:3: the line has 2 fields, the header 3", "on_bad_row"),
        ("t,a\n0,1\n1,2,3\n", {}, r"csv:3: the line has 3 fields, the header 2", "on_bad_row"),
        (b"t,a\n0,1\n1,\xff\n", {}, r"csv:3: the line is not CSV in UTF-8", "on_bad_row"),
        (b"t,a\n0,1\n1,2\0\n", {}, r"csv:3: the line is not .* or holds a NUL", "on_bad_row"),
        ("t,a\n0,1\r1,2\n", {}, r"csv:2: the line is not CSV", "on_bad_row"),
        ('t,a\n0,1\n1,"2\n2,3\n3,x\n', {}, r"csv:5: column 'a': 'x' is not a finite number", "on_bad_value"),
        ("t,a\n0,1\n1,abc\n", {}, r"csv:3: column 'a': 'abc' is not a finite number", "on_bad_value"),
        ("t,a\n0,1\n1,\n", {}, r"csv:3: column 'a': '' is not a finite number", "on_bad_value"),
        ("t,a\n0,NaN\n1,1\n", {}, r"csv:2: column 'a': 'NaN' is not a finite number", "on_bad_value"),
        ("t,a\n0,1\n1,-inf\n", {}, r"csv:3: column 'a': '-inf' is not", "on_bad_value"),
        ("t,a\n0,1\n1,1e39\n", {}, r"csv:3: column 'a': '1e39' is not", "on_bad_value"),
        ("t,a\n0,1\n1,1_000\n", {}, r"csv:3: column 'a': '1_000' is not", "on_bad_value"),
        ("t;a\n0;1,5\n", {"delimiter": ";"}, r"csv:2: column 'a': '1,5' is not", "on_bad_value"),
        ("t,a\n2020-01-01,1\nlater,2\n", {}, r"csv:3: column 't': 'later' is not a time like '2020", "time_format"),
        ("t,a\n2020-01-01,1\n7,2\n", {}, r"csv:3: column 't': '7' is not a time like '2020", "time_format"),
        ("t,a\n01/02/2020,1\n", {}, r"csv:2: column 't': '01/02/2020' is not a time", "time_format"),
        ("t,a\n0,1\n1,2\n2,3\n4,4\n", {}, r"csv:5: column 't': 4.0 follows 2.0: 2 steps of 1.0", "on_gap"),
        ("t,a\n0,1\n1,2\n2,3\n2.5,4\n", {}, r"csv:5: column 't': 2.5 follows 2.0: 0.5 steps", "on_gap"),
        ("t,a\n0,1\n1,2\n1,3\n", {}, r"csv:4: column 't': 1.0 is also the time of line 3", "id_column"),
        ("t,a\n0,1\n2,2\n1,3\n", {}, r"csv:4: column 't': 1.0 comes before the time of line 3", "on_bad_row"),
        ("t,a\n0,1\n2,2\n", {"frequency": 1.0}, r"csv:3: column 't': 2.0 follows 0.0: 2 steps of 1.0", "frequency"),
        ("t,a\n0,1\n1,2\n3,3\n", {"frequency": 2}, r"csv:3: column 't': 1.0 follows 0.0: 0.5 steps", "frequency"),
        ("0,1\n1,2\n", {}, r"csv:1: the first line must name the columns", "Received: 0, 1. Put a header"),
        ("2020-01-01,x,1\n", {}, r"csv:1: the first line must name", "Put a header"),
        ("1/2/2020,1\n", {"time_format": "%d/%m/%Y"}, r"csv:1: the first line must name", "Put a header"),
        ("1\n2\n", {"time_column": None}, r"csv:1: the first line must name", "Put a header"),
        ("t,a,a\n0,1,2\n", {}, r"csv:1: .* no two of them alike", "t, a, a"),
        ("", {}, r"csv:1: the first line must name", "Received: nothing"),
        ("t,a\n", {}, r"csv has no row to use", "0 could not be read"),
        ("t;a\n0;1\n", {}, r"csv:1: no column of values among t;a", "delimiter"),
        ("t,a\n0,1\n", {"columns": ["b"]}, r"csv:1: no column 'b' among t, a", "delimiter"),
        ("t,a\n0,1\n", {"time_column": 5}, r"csv:1: no column 5 among t, a", "delimiter"),
        ("t,a\n0,1\n", {"id_column": "who"}, r"csv:1: no column 'who'", "among t, a"),
        ("t,a\n0,1\n", {"on_gap": "fill"}, r"`on_gap` must be one of error, interpolate, split", "'fill'"),
        ("t,a\n0,1\n1,2\n", {"frequency": timedelta(1)}, "`frequency` must be", "timedelta"),
        ("t,a\n0,1\n1,2\n", {"frequency": 0}, "`frequency` must be positive", "Received: 0"),
        ("t,a\n0,\n1,\n", {"on_bad_value": "interpolate"}, r"csv:2: column 'a' has no number", "`columns`"),
        ("t,a\n0,1\n1,2\n9,3\n", {"on_gap": "interpolate"}, r"csv:4: column 't': 9.0 follows 1.0: 8 steps", "split"),
    ],
)
def test_what_is_wrong_is_named(write, content, options, place, remedy):
    with pytest.raises(ValueError, match=place) as error:
        read_series(write(content), **options)
    assert remedy in str(error.value)


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"])
def test_a_time_that_utc_has_not(write, time):
    path = write(f"t,x\n{time},1\n2000-01-01T00:00Z,2\n")
    with pytest.raises(ValueError, match=r"csv:2: column 't': .* is not a time"):
        read_series(path)
    assert read_series(path, on_bad_row="repair").report.unreadable == 1


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.csv does not exist"):
        read_series(tmp_path / "nowhere.csv")


def test_bad_values_are_interpolated_and_counted(write):
    path = write("t,a,b\n0,1,\n2,x,5\n4,4,nan\n6,,9\n8,inf,9\n")
    series = read_series(path, on_bad_value="interpolate")
    assert series.values.tolist() == [[1, 5], [2.5, 5], [4, 7], [4, 9], [4, 9]]
    assert series.report == SeriesReport(read=5, kept=5, interpolated=5)


def test_bad_rows_are_repaired_and_counted(write):
    path = write(b"t,a\n0,0\n3,3\n1,1\n2,2\n1,9\n7\n\xff,1\nx,1\n4,4\n")
    series = read_series(path, on_bad_row="repair")
    assert series.values[:, 0].tolist() == series.times.tolist() == [0, 1, 2, 3, 4]
    assert series.report == SeriesReport(read=9, kept=5, unreadable=3, repeated=1, moved=3)
    assert str(series.report).startswith("9 rows read, 5 kept; 3 rows dropped that could not be read, 1 rows dropped")


def test_gaps_are_filled(write):
    times = np.array(hourly(8))[[0, 1, 2, 5, 6, 7]]
    path = write(table(times, [0, 1, 2, 5, 6, 7], [0, 2, 4, 10, 12, 14]))
    series = read_series(path, on_gap="interpolate")
    assert series.values.tolist() == [[i, 2 * i] for i in range(8)]
    assert series.times.tolist() == hourly(8) and series.runs == (Run(0, 0, 8),)
    assert series.report == SeriesReport(read=6, kept=6, gaps=1, filled=2)


def test_no_window_crosses_a_gap_that_cuts(write):
    times = np.array([0, 1, 2, 3, 7, 8, 9, 9.5, 10.5])
    series = read_series(write(table(times, times)), on_gap="split")
    assert series.runs == (Run(0, 0, 4), Run(0, 4, 7), Run(0, 7, 9)) and series.report.gaps == 2
    parts = windows(series, 2, 1, split=(9, 0, 0), scaler=None)
    assert [past[:, 0].tolist() for past, _ in elements(parts.train.dataset())] == [[0, 1], [1, 2], [7, 8]]
    assert parts.report.short == 1 and parts.report.windows == 3


@pytest.mark.parametrize("day", [1, 15, 31])
@pytest.mark.parametrize("every", [1, 3, 12])
def test_months(write, day, every):
    month = np.datetime64("2019-01") + every * np.arange(9)
    times = (month + 1).astype("M8[D]") - 1 if day == 31 else month.astype("M8[D]") + (day - 1)
    series = read_series(write(table(times, range(9))))
    assert (series.times == month).all() and series.report.gaps == 0
    path = write(table(np.delete(times, 4), np.delete(np.arange(9), 4)))
    with pytest.raises(ValueError, match=f"csv:6: .* 2 steps of {every} months"):
        read_series(path)
    filled = read_series(path, on_gap="interpolate")
    assert (filled.times == month).all() and filled.values[:, 0] == pytest.approx(np.arange(9), abs=0.1)


def test_frequency_of_floats_that_are_not_exact(write):
    assert read_series(write(table(np.arange(1000) * 0.1, range(1000)))).report == SeriesReport(1000, 1000)


def test_series_side_by_side_in_one_file(write):
    lines = ["t,who,a,area"]
    for t in range(5):
        lines += [f"{t},x,{t},7", f"{t},y,{10 + t},8"] if t < 3 else [f"{t},y,{10 + t},8"]
    series = read_series(write("\n".join(lines)), id_column="who", static_columns=["area"])
    assert series.values[:, 0].tolist() == [0, 1, 2, 10, 11, 12, 13, 14]
    assert series.names == ("x", "y") and series.runs == (Run(0, 0, 3), Run(1, 3, 8))
    assert series.columns == ("a",) and series.static.tolist() == [[7], [8]]
    parts = windows(series, 1, 1, split=(1.0, 0.0, 0.0), scaler=None)
    found = [(x["past"].item(), x["static"].tolist(), y.item()) for x, y in elements(parts.train.dataset())]
    assert found == [(t, [7.0] if t < 10 else [8.0], t + 1) for t in (0, 1, 10, 11, 12, 13)]


def test_series_without_times(write):
    series = read_series(write("who,a\nx,1\ny,2\nx,3\nx,4\ny,5\n"), time_column=None, id_column="who")
    assert series.values[:, 0].tolist() == [1, 3, 4, 2, 5] and series.times is None
    assert series.runs == (Run(0, 0, 3), Run(1, 3, 5)) and series.report == SeriesReport(5, 5)


def test_a_static_column_that_changes(write):
    with pytest.raises(ValueError, match="csv:3: column 's': 8, where the series began with 7: not static"):
        read_series(write("t,a,s\n0,1,7\n1,1,8\n"), static_columns=["s"])


@settings(max_examples=40)
@given(st.data())
def test_every_row_is_accounted_for(tmp_path_factory, data):
    """Of a sound file some rows are lost, some come twice, some move, some break: what is read is the sound one."""
    rows = data.draw(st.integers(6, 25))
    path = tmp_path_factory.mktemp("series") / "series.csv"
    inner = list(range(2, rows - 1))
    lost = set(data.draw(st.lists(st.sampled_from(inner), max_size=2)))
    order = data.draw(st.permutations([row for row in range(rows) if row not in lost]))
    twice = data.draw(st.lists(st.sampled_from(order), max_size=3))
    broken = data.draw(st.integers(0, 3))
    lines = [f"{row},{row},{-2 * row}" for row in [*order, *twice]] + ["1,2"] * broken
    path.write_text("t,a,b\n" + "\n".join(data.draw(st.permutations(lines))) + "\n")
    series = read_series(path, on_bad_row="repair", on_gap="interpolate", frequency=1)
    report = series.report
    assert series.values == pytest.approx(np.arange(rows)[:, None] * [1, -2])
    assert (report.read, report.unreadable, report.repeated, report.filled) == (
        len(lines), broken, len(twice), len(lost),
    )  # fmt: skip
    assert report.kept == report.read - report.unreadable - report.repeated == len(series) - report.filled


# Scaling.


def test_scaler_against_numpy(tmp_path):
    values = np.random.default_rng(0).normal(5, 3, (50, 3))
    values[:, 1] = 0.1  # whose mean and deviation, computed, are not exact
    scaler = Scaler.fit(values, ("a", "b", "c"))
    scaled = scaler.scaled(values)
    assert scaled[:, [0, 2]] == pytest.approx(((values - values.mean(0)) / values.std(0))[:, [0, 2]])
    assert (scaled[:, 1] == 0).all()
    assert scaler.inverse(scaled) == pytest.approx(values)
    assert scaler.of(["c"]).inverse(scaled[:, 2:]) == pytest.approx(values[:, 2:])
    in_graph = tf.function(scaler.scaled)(tf.constant(values, tf.float32))
    assert in_graph.dtype == tf.float32 and in_graph.numpy() == pytest.approx(scaled, abs=1e-5)
    scaler.save(tmp_path / "scaler.json")
    again = Scaler.load(tmp_path / "scaler.json")
    assert again.columns == scaler.columns
    assert (again.mean == scaler.mean).all() and (again.std == scaler.std).all()
    assert json.loads((tmp_path / "scaler.json").read_text())["columns"] == ["a", "b", "c"]


@pytest.mark.parametrize("values", [np.zeros((0, 2)), np.array([[1, np.nan]]), np.zeros(3)])
def test_scaler_refuses(values):
    with pytest.raises(ValueError, match="fitted to finite rows"):
        Scaler.fit(values, ("a", "b"))


def test_only_the_training_part_has_a_say():
    values = np.random.default_rng(1).normal(size=(100, 2))
    changed = np.concatenate([values[:60], 1000 + 50 * values[60:]])
    first, second = (windows(Series(v, ("a", "b")), 4, 2, split=(60, 20, 20)) for v in (values, changed))
    assert (first.scaler.mean == values[:60].mean(axis=0)).all() and (first.scaler.std == values[:60].std(axis=0)).all()
    assert (first.scaler.mean == second.scaler.mean).all() and (first.scaler.std == second.scaler.std).all()
    for one, other in zip(first.train.dataset(), second.train.dataset(), strict=True):
        assert all((a.numpy() == b.numpy()).all() for a, b in zip(one, other, strict=True))


def test_a_scaler_from_before_serves_new_data():
    scaler = windows(numbered(50), 3, 2).scaler
    parts = windows(numbered(9), 3, 2, split=(0.0, 0.0, 1.0), scaler=scaler)
    past, target = elements(parts.test.dataset())[-1]
    assert len(parts.test) == 5 and len(parts.train) == 0
    assert scaler.inverse(past) == pytest.approx(numbered(9).values[4:7], abs=1e-4)
    assert scaler.inverse(target) == pytest.approx(numbered(9).values[7:], abs=1e-4)


def test_large_offsets_keep_their_digits():
    values = 1e9 + np.arange(40.0)[:, None]  # in float32, all of them would be the same few numbers
    past, target = elements(windows(Series(values, ("a",)), 30, 10, split=(40, 0, 0)).train.dataset())[0]
    expected = (np.arange(40) - 19.5) / np.arange(40).std()
    assert np.append(past, target) == pytest.approx(expected, abs=1e-6)


# Windows.


@settings(max_examples=25)
@given(st.data())
def test_windows_against_slices(data):
    """Brute force: all places of all series, cut by NumPy, each in the part that holds its whole target."""
    look_back, horizon = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(12, 30), min_size=1, max_size=3))
    split = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3)))
    ends = np.cumsum(lengths)
    runs = tuple(Run(i, int(end - length), int(end)) for i, (end, length) in enumerate(zip(ends, lengths, strict=True)))
    values = numbered(sum(lengths), 3).values
    series = Series(values, ("a", "b", "c"), names=tuple("xyz"[: len(runs)]), runs=runs)

    expected, where = ([], [], []), {"astride": 0, "after": 0}
    for run in runs:
        borders = run.start + np.cumsum([0, *split])
        for start in range(run.start, run.end - look_back - horizon + 1):
            target = range(start + look_back, start + look_back + horizon)
            parts = [sum(row >= border for border in borders) - 1 for row in target]
            if parts[-1] == 3:
                where["after"] += 1
            elif parts[0] != parts[-1]:
                where["astride"] += 1
            else:
                cut = values[start : start + look_back], values[list(target)][:, [2, 0]]
                expected[parts[0]].append(tuple(part.astype(np.float32).tolist() for part in cut))

    if any(rows and not part for rows, part in zip(split, expected, strict=True)):
        with pytest.raises(ValueError, match="has no window|and no window of look_back="):
            windows(series, look_back, horizon, split=split, targets=["c", "a"], scaler=None)
        return
    found = windows(series, look_back, horizon, split=split, targets=["c", "a"], scaler=None)
    for part, cuts in zip((found.train, found.valid, found.test), expected, strict=True):
        assert len(part) == part.dataset().cardinality() == len(cuts)
        assert [(past.tolist(), target.tolist()) for past, target in elements(part.dataset())] == cuts
    report = found.report
    assert (report.train, report.valid, report.test) == tuple(map(len, expected))
    assert (report.astride, report.after) == (where["astride"], where["after"])
    assert report.windows == report.train + report.valid + report.test + report.astride + report.after


@pytest.mark.parametrize("batch_size", [None, 7])
def test_order_moves_whole_windows(batch_size):
    train = windows(numbered(60), 5, 3, split=(1.0, 0.0, 0.0), scaler=None).train
    dataset = train.dataset(shuffled(3), batch_size)
    assert dataset.element_spec[0].shape[-2:] == (5, 2) and dataset.element_spec[1].shape[-2:] == (3, 2)
    epochs = []
    for _ in range(2):
        batches = elements(dataset if batch_size else dataset.batch(1))
        pasts, targets = (np.concatenate(side)[:, :, 0] for side in zip(*batches, strict=True))
        assert (np.diff(np.concatenate([pasts, targets], axis=1), axis=1) == 1).all()
        epochs.append(pasts[:, 0].tolist())
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(53)) and epochs[0] != epochs[1]
    if batch_size:
        assert [len(past) for past, _ in elements(dataset)] == [7] * 7 + [4]
    again = elements(train.dataset(shuffled(3, first_epoch=1)))
    assert [past[0, 0] for past, _ in again] == epochs[1]


def test_what_is_known_of_the_future(write):
    times = hourly(72, "2021-02-27")
    path = write(table(times, range(72), range(100, 172), names=["load", "price"]))
    parts = windows(
        read_series(path), 5, 3, split=(48, 0, 24), known_future=["hour", "price", "weekday"], targets=None, scaler=None
    )
    assert parts.past_columns == ("load", "price", "hour", "weekday")
    assert parts.target_columns == ("load",) and parts.known_columns == ("hour", "price", "weekday")
    inputs, target = elements(parts.test.dataset())[4]
    first = 48 - 5 + 4  # row of the window's past
    assert set(inputs) == {"past", "known_future"}
    rows = [[row, 100 + row, time.hour / 23 - 0.5, time.weekday() / 6 - 0.5] for row, time in enumerate(times)]
    assert inputs["past"] == pytest.approx(np.array(rows)[first : first + 5], abs=1e-6)
    assert inputs["known_future"] == pytest.approx(np.array(rows)[first + 5 : first + 8][:, [2, 1, 3]], abs=1e-6)
    assert target.tolist() == [[row] for row in range(first + 5, first + 8)]


def test_calendar_against_datetime():
    times = [datetime(1965, 3, 1, 2, 3, 4) + timedelta(days=37.1 * i) for i in range(800)]  # before 1970 as well
    names = ["minute", "hour", "weekday", "day", "month"]
    expected = [[t.minute / 59, t.hour / 23, t.weekday() / 6, (t.day - 1) / 30, (t.month - 1) / 11] for t in times]
    features = calendar_features(np.array(times, "M8[us]"), names)
    assert features == pytest.approx(np.array(expected) - 0.5, abs=1e-6) and features.dtype == np.float32
    assert np.abs(features).max() == 0.5


@pytest.mark.parametrize(
    "split, rows",
    [
        ((0.7, 0.1, 0.2), (70, 10, 20)),
        ((0.29, 0.51, 0.2), (29, 51, 20)),
        ((0.8, 0.2, 0.0), (80, 20, 0)),
        ((1.0, 0.0, 0.0), (100, 0, 0)),
        ((0.333, 0.0, 0.667), (34, 0, 66)),
        ((50, 20, 10), (50, 20, 10)),
        (np.array([50, 20, 10]), (50, 20, 10)),
        (("2020-01-03", "2020-01-04"), (48, 24, 28)),
        (("2020-01-03", "2020-01-04 00:00", "2020-01-04T06"), (48, 24, 6)),
        ((datetime(2020, 1, 3), datetime(2020, 1, 4)), (48, 24, 28)),
    ],
)
def test_splits(write, split, rows):
    series = read_series(write(table(hourly(100), range(100))))
    parts = windows(series, 1, 1, split=split, scaler=None)  # a window for each row but the first
    report = parts.report
    assert (report.train + 1, report.valid, report.test) == rows
    assert report.after == 100 - sum(rows) and report.windows == 99


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split": (0.7, 0.1, 0.1)}, "must sum to 1"),
        ({"split": (1.5, -0.5, 0.0)}, "must sum to 1"),
        ({"split": (50, 30, 21)}, "Series '' has only 100 rows"),
        ({"split": (100, -1, 0)}, "has only 100 rows"),
        ({"split": (0.5, 0.5)}, "`split` must be three fractions"),
        ({"split": ("2020-01-02", "2020-01-03")}, "with a time index of dates"),
        ({"split": (90, 1, 9)}, r"The validation part has 1 rows and no window of look_back=5, horizon=2.*split=\(90"),
        ({"split": (6, 20, 20)}, "The training part has 6 rows"),
        ({"split": (0, 50, 50)}, "A scaler is fitted to finite rows"),
        ({"targets": ["z"]}, r"must be a list of some of a, b. Received: \['z'\]"),
        ({"targets": "ab"}, "must be a list of some of a, b. Received: 'ab'"),
        ({"targets": []}, r"Received: \[\]"),
        ({"known_future": ["a", "b"]}, r"Received: \[\]"),
        ({"known_future": ["hour"]}, "hour: such features need a time index of dates"),
        ({"known_future": ["tide"]}, "No column and no feature of the calendar .*: tide"),
        ({"scaler": "minmax"}, '`scaler` must be "fit"'),
        ({"scaler": Scaler([0], [1], ["z"])}, "must be a list of some of z"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        windows(numbered(100), 5, 2, **options)


def test_bad_sizes_and_values():
    for look_back, horizon in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be positive. Received: look_back="):
            windows(numbered(10), look_back, horizon)
    with pytest.raises(ValueError, match="must be finite numbers"):
        Series(np.array([[np.nan]]), ("a",))
    with pytest.raises(ValueError, match="2 names"):
        Series(np.zeros((3, 1)), ("a", "b"))


def test_report_reads_well():
    parts = windows(numbered(100), 5, 2, split=(50, 20, 20))
    assert str(parts.report) == "94 windows: 44 train, 19 valid, 19 test, 2 astride, 10 after them"


def test_etth1_as_published(real_data):
    path = real_data("ett") / "ETTh1.csv"
    with path.open() as file:
        rows = list(csv.reader(file))
    values = np.array([row[1:] for row in rows[1:]], float)
    values = (values - values[:8640].mean(axis=0)) / values[:8640].std(axis=0)

    series = read_series(path)
    assert series.report == SeriesReport(17420, 17420)
    parts = windows(series, 336, 96, split=(8640, 2880, 2880))
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (8640 - 336 - 96 + 1, 2785, 2785)
    by_time = windows(series, 336, 96, split=("2017-06-26", "2017-10-24", "2018-02-21"))
    assert by_time.report == parts.report
    for part, first in ((parts.train, 0), (parts.valid, 8640 - 336), (parts.test, 8640 + 2880 - 336)):
        place = first
        for past, target in part.dataset(batch_size=512).as_numpy_iterator():
            for number in (0, len(past) - 1):
                start = place + number
                assert np.abs(past[number] - values[start : start + 336]).max() < 1e-5
                assert np.abs(target[number] - values[start + 336 : start + 432]).max() < 1e-5
            place += len(past)
        assert place == first + len(part)
    one = windows(series, 336, 96, split=(8640, 2880, 2880), targets=["OT"])
    past, target = next(one.test.dataset().as_numpy_iterator())
    assert past.shape == (336, 7) and target.shape == (96, 1)
    assert one.scaler.of(["OT"]).inverse(target)[0, 0] == pytest.approx(float(rows[1 + 11520][7]), abs=1e-4)
