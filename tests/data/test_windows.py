import csv
import json
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.data.series import Run, Series, SeriesReport, read_series
from keras_seq.data.shuffling import shuffled
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


# Scaling.


def test_scaler_against_numpy(tmp_path):
    values = np.random.default_rng(0).normal(5, 3, (50, 3))
    values[:, 1] = 0.1  # whose mean and deviation, computed, are not exact
    scaler = Scaler.fit(values, ("a", "b", "c"))
    scaled = scaler.scaled(values)
    assert scaled[:, [0, 2]] == pytest.approx(((values - values.mean(0)) / values.std(0))[:, [0, 2]])
    assert (scaled[:, 1] == 0).all()
    assert scaler.inverse(scaled) == pytest.approx(values)
    assert scaler.select(["c"]).inverse(scaled[:, 2:]) == pytest.approx(values[:, 2:])
    in_graph = tf.function(scaler.scaled)(tf.constant(values, tf.float32))
    assert in_graph.dtype == tf.float32 and in_graph.numpy() == pytest.approx(scaled, abs=1e-5)
    scaler.save(tmp_path / "scaler.json")
    again = Scaler.load(tmp_path / "scaler.json")
    assert again.columns == scaler.columns
    assert (again.mean == scaler.mean).all() and (again.std == scaler.std).all()
    assert json.loads((tmp_path / "scaler.json").read_text())["columns"] == ["a", "b", "c"]


@pytest.mark.parametrize("values", [np.zeros((0, 2)), np.array([[1, np.nan]]), np.zeros(3)])
def test_scaler_refuses(values):
    with pytest.raises(ValueError, match="needs finite rows"):
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
        ({"split": (0, 50, 50)}, "Scaler.fit needs finite rows"),
        ({"targets": ["z"]}, r"must be a list of some of a, b. Received: \['z'\]"),
        ({"targets": "ab"}, "must be a list of some of a, b. Received: 'ab'"),
        ({"targets": []}, r"Received: \[\]"),
        ({"known_future": ["a", "b"]}, r"Received: \[\]"),
        ({"known_future": ["hour"]}, "hour: calendar features need a time index of dates"),
        ({"known_future": ["tide"]}, "Not a column or a calendar feature .*: tide"),
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
    assert one.scaler.select(["OT"]).inverse(target)[0, 0] == pytest.approx(float(rows[1 + 11520][7]), abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "std", "columns"), [([0.0], [1.0], ["a", "b"]), ([0.0, 0.0], [1.0], ["a"]), ([0.0], [0.0], ["a"])]
)
def test_a_scaler_needs_a_positive_deviation_of_each_column(mean, std, columns):
    with pytest.raises(ValueError, match="A scaler needs a mean and a positive std for each column. Received: mean="):
        Scaler(mean, std, columns)


def test_times_of_a_split_in_the_wrong_order():
    frame = pd.DataFrame({"a": np.arange(10.0)}, index=pd.date_range("2024-01-01", periods=10))
    with pytest.raises(
        ValueError, match=r"The times of `split` must increase. Received: \('2024-01-08', '2024-01-05'\)"
    ):
        windows(frame, 2, 1, split=("2024-01-08", "2024-01-05"))
