from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import data
from keras_seq.data.series import Run, SeriesReport, read_series
from keras_seq.data.series_grid import _step_of
from keras_seq.data.series_times import parse_times
from keras_seq.data.windows import calendar_features, windows


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


def elements(dataset):
    return list(dataset.as_numpy_iterator())


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
        (b"t,a\n0,1\n1,\xff\n", {}, r"csv:3: the line is not UTF-8. Pass .* `encoding`", "on_bad_row"),
        (b"t,a\n0,1\n1,2\0\n", {}, r"csv:3: the line holds a NUL, as UTF-16", "on_bad_row"),
        ("t,a\n0,1\r1,2\n", {}, r"csv:2: the line holds a carriage return", "on_bad_row"),
        ('t,a\n0,1\n1,"2\n2,3\n3,x\n', {}, r"csv:3: a quotation mark does not end on its line", "on_bad_row"),
        ("t,a\n0,1\n1,abc\n", {}, r"csv:3: column 'a': 'abc' is not a finite number", "on_bad_value"),
        ("t,a\n0,1\n1,\n", {}, r"csv:3: column 'a': '' is not a finite number", "on_bad_value"),
        ("t,a\n0,NaN\n1,1\n", {}, r"csv:2: column 'a': 'NaN' is not a finite number", "on_bad_value"),
        ("t,a\n0,1\n1,-inf\n", {}, r"csv:3: column 'a': '-inf' is not", "on_bad_value"),
        ("t,a\n0,1\n1,1e39\n", {}, r"csv:3: column 'a': '1e39' is not", "on_bad_value"),
        ("t,a\n0,1\n1,1_000\n", {}, r"csv:3: column 'a': '1_000' is not", "on_bad_value"),
        ("t;a\n0;1,5 m\n", {"delimiter": ";"}, r"csv:2: column 'a': '1,5 m' is not", "on_bad_value"),
        ("t;a\n0;1,020\n", {}, r"csv:2: column 'a': '1,020' may have a decimal comma or a thousand", "`thousands`"),
        ("t;a\n0;1,5\n", {"decimal": "."}, r"csv:2: column 'a': '1,5' is not", "on_bad_value"),
        ("t,a\n2020-01-01,1\nlater,2\n", {}, r"csv:3: column 't': 'later' is not a time like '2020", "time_format"),
        ("t,a\n2020-01-01,1\n7,2\n", {}, r"csv:3: column 't': '7' is not a time like '2020", "time_format"),
        ("t,a\n01/02/2020,1\n", {}, r"csv:2: column 't': '01/02/2020' .* as %d/%m/%Y and as %m/%d/%Y", "time_format"),
        ("t,a\n0,1\n1,2\n2,3\n4,4\n", {}, r"csv:5: column 't': 4 follows 2: 2 steps of 1", "on_gap"),
        ("t,a\n0,1\n1,2\n2,3\n2.5,4\n", {}, r"csv:5: column 't': 2.5 follows 2.0: 0.5 steps", "on_gap"),
        ("t,a\n0,1\n1,2\n1,3\n", {}, r"csv:4: column 't': 1 is also the time of line 3", "id_column"),
        ("t,a\n0,1\n2,2\n1,3\n", {}, r"csv:4: column 't': 1 comes before the time of line 3", "on_bad_row"),
        ("t,a\n0,1\n2,2\n", {"frequency": 1.0}, r"csv:3: column 't': 2 follows 0: 2 steps of 1.0", "frequency"),
        ("t,a\n0,1\n1,2\n3,3\n", {"frequency": 2}, r"csv:3: column 't': 1 follows 0: 0.5 steps", "frequency"),
        ("0,1\n1,2\n", {}, r"csv:1: the first line must name the columns", "Received: 0, 1. Add a header"),
        ("2020-01-01,x,1\n", {}, r"csv:1: the first line must name", "Add a header"),
        ("1/2/2020,1\n", {"time_format": "%d/%m/%Y"}, r"csv:1: the first line must name", "Add a header"),
        ("1\n2\n", {"time_column": None}, r"csv:1: the first line must name", "Add a header"),
        ("t,a,a\n0,1,2\n", {}, r"csv:1: .* with distinct names", "t, a, a"),
        ("", {}, r"csv:1: the first line must name", "Received: nothing"),
        ("t,a\n", {}, r"csv has no row to use", "0 could not be read"),
        ("t/a\n0/1\n", {}, r"csv:1: no column of values among t/a", "delimiter"),
        ("t,a\n0,1\n", {"columns": ["b"]}, r"csv:1: no column 'b' among t, a", "delimiter"),
        ("t,a\n0,1\n", {"time_column": 5}, r"csv:1: no column 5 among t, a", "delimiter"),
        ("t,a\n0,1\n", {"id_column": "who"}, r"csv:1: no column 'who'", "among t, a"),
        ("t,a\n0,1\n", {"on_gap": "fill"}, r"`on_gap` must be one of error, interpolate, split", "'fill'"),
        ("t,a\n0,1\n1,2\n", {"frequency": timedelta(1)}, "`frequency` must be", "timedelta"),
        ("t,a\n0,1\n1,2\n", {"frequency": 0}, "`frequency` must be positive", "Received: 0"),
        ("t,a\n0,\n1,\n", {"on_bad_value": "interpolate"}, r"csv:2: column 'a' has no number", "`columns`"),
        ("t,a\n0,1\n1,2\n9,3\n", {"on_gap": "interpolate"}, r"csv:4: column 't': 9 follows 1: 8 steps", "split"),
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
    assert (series.times == times).all() and series.report.gaps == 0
    assert series.written(series.times) == times.astype(str).tolist()
    path = write(table(np.delete(times, 4), np.delete(np.arange(9), 4)))
    with pytest.raises(ValueError, match=f"csv:6: .* 2 steps of {every} month"):
        read_series(path)
    filled = read_series(path, on_gap="interpolate")
    assert (filled.times == times).all() and filled.values[:, 0] == pytest.approx(np.arange(9), abs=0.1)


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
    with pytest.raises(ValueError, match="csv:3: column 's': 8 instead of 7 as in .* not static"):
        read_series(write("t,a,s\n0,1,7\n1,1,8\n"), static_columns=["s"])


@settings(max_examples=40)
@given(st.data())
def test_every_row_is_accounted_for(tmp_path_factory, drawn):
    """Of a sound file some rows are lost, some come twice, some move, some break: what is read is the sound one."""
    rows = drawn.draw(st.integers(6, 25))
    path = tmp_path_factory.mktemp("series") / "series.csv"
    inner = list(range(2, rows - 1))
    lost = set(drawn.draw(st.lists(st.sampled_from(inner), max_size=2)))
    order = drawn.draw(st.permutations([row for row in range(rows) if row not in lost]))
    twice = drawn.draw(st.lists(st.sampled_from(order), max_size=3))
    broken = drawn.draw(st.integers(0, 3))
    lines = [f"{row},{row},{-2 * row}" for row in [*order, *twice]] + ["1,2"] * broken
    path.write_text("t,a,b\n" + "\n".join(drawn.draw(st.permutations(lines))) + "\n")
    series = read_series(path, on_bad_row="repair", on_gap="interpolate", frequency=1)
    report = series.report
    assert series.values == pytest.approx(np.arange(rows)[:, None] * [1, -2])
    assert (report.read, report.unreadable, report.repeated, report.filled) == (
        len(lines), broken, len(twice), len(lost),
    )  # fmt: skip
    assert report.kept == report.read - report.unreadable - report.repeated == len(series) - report.filled


# As files of other programs and countries have it: what is read is what was written, and can be written again.

DAYS = pd.date_range("2020-01-30", periods=40, freq="D")
WAYS = {
    "ISO 8601": (DAYS, "%Y-%m-%d"),
    "German": (DAYS, "%d.%m.%Y"),
    "British": (DAYS, "%d/%m/%Y"),
    "American": (DAYS, "%m/%d/%Y"),
    "digits": (DAYS, "%Y%m%d"),
    "named": (DAYS, "%d %b %Y"),
    "hours": (pd.date_range("2020-02-28 20:00", periods=40, freq="h"), "%Y-%m-%d %H:%M"),
    "hours, T": (pd.date_range("2020-02-28 20:00", periods=40, freq="h"), "%Y-%m-%dT%H:%M:%S"),
    "digits, hours": (pd.date_range("2020-02-28 20:00", periods=40, freq="h"), "%Y%m%d%H%M"),
    "a clock of twelve": (pd.date_range("2020-02-28 20:00", periods=40, freq="h"), "%m/%d/%Y %I:%M %p"),
    "months": (pd.date_range("1949-01", periods=40, freq="MS"), "%Y-%m"),
    "months, digits": (pd.date_range("1949-01", periods=40, freq="MS"), "%Y%m"),
    "month ends": (pd.date_range("2019-11-30", periods=40, freq="ME"), "%Y-%m-%d"),
    "quarters": (pd.date_range("2019-03-31", periods=40, freq="QE"), "%d.%m.%Y"),
    "weekdays": (pd.date_range("2020-01-30", periods=40, freq="B"), "%Y-%m-%d"),
    "offsets": (pd.date_range("2020-01-30", periods=40, freq="h", tz="+05:30"), "%Y-%m-%d %H:%M:%S%z"),
}


@pytest.mark.parametrize("kind", WAYS)
def test_times_come_back_as_they_were_written_and_go_on_so(write, kind):
    times, form = WAYS[kind]
    text = times.strftime(form).tolist()
    path = write(table(text[:30], range(30)))
    series = read_series(path)
    assert series.written(series.times) == text[:30]
    assert series.written(data.future_timestamps(series.times, 10)) == text[30:]
    assert (pd.DatetimeIndex(series.times) == times[:30]).all()
    # A gap of two rows is filled with the times that stood there.
    gap = write(table(text[:10] + text[12:30], [*range(10), *range(12, 30)]), "gap.csv")
    filled = read_series(gap, on_gap="interpolate")
    assert filled.written(filled.times) == text[:30] and filled.report.filled == 2
    with pytest.raises(ValueError, match="csv:12: column 'date': .* 3 steps of"):
        read_series(gap)


SEPARATORS = st.sampled_from([(",", ".", None), (";", ",", None), ("\t", ",", "."), (";", ",", " "), ("|", ".", ",")])


@settings(max_examples=60)
@given(
    marks=SEPARATORS,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    values=st.lists(st.decimals(-99_999, 99_999, places=2), min_size=4, max_size=20),
    way=st.sampled_from(sorted(WAYS)),
)
def test_numbers_of_every_country(tmp_path_factory, marks, encoding, ends, values, way):
    delimiter, decimal, thousands = marks
    times, form = WAYS[way]
    values = [0.25, 1234567.5, *values]  # one that tells the marks apart
    cells = [f"{value:,.2f}".translate(str.maketrans({",": thousands or "", ".": decimal})) for value in values]
    assert thousands or "," not in "".join(cells) or decimal == ","
    text = times.strftime(form)[: len(values)].tolist()
    lines = [f"Zeit{delimiter}Höhe", *(f"{time}{delimiter}{cell}" for time, cell in zip(text, cells, strict=True))]
    path = tmp_path_factory.getbasetemp() / "country.csv"
    path.write_bytes((ends.join(lines) + ends).encode(encoding))
    series = read_series(path, time_format=form if len(values) < 15 else None)
    assert series.columns == ("Höhe",) and series.values[:, 0].tolist() == pytest.approx([float(v) for v in values])
    assert series.written(series.times) == text and series.report.kept == len(values)


@pytest.mark.parametrize(
    ("text", "coming", "first"),
    [
        (["1999Q3", "1999Q4", "2000Q1"], ["2000Q2", "2000Q3"], "1999-07-01"),
        (["1999-Q3", "1999-Q4", "2000-Q1"], ["2000-Q2", "2000-Q3"], "1999-07-01"),
        (["2020-W51", "2020-W52", "2020-W53"], ["2021-W01", "2021-W02"], "2020-12-14"),
    ],
)
def test_quarters_and_weeks(write, text, coming, first):
    series = read_series(write(table(text, range(3))))
    assert series.written(series.times) == text and series.times[0] == np.datetime64(first)
    assert series.written(data.future_timestamps(series.times, 2)) == coming


def test_the_season_of_a_calendar():
    found = {way: data.season(times.to_numpy() if times.tz is None else times) for way, (times, _) in WAYS.items()}
    assert found["hours"] == found["offsets"] == (24, "day") and found["ISO 8601"] == (7, "week")
    assert found["weekdays"] == (5, "week") and found["months"] == (12, "year") and found["quarters"] == (4, "year")
    weeks, minutes = (pd.date_range("2020-01-06", periods=9, freq=alias).to_numpy() for alias in ("W", "15min"))
    assert data.season(weeks) == (52, "year") and data.season(minutes) == (96, "day")
    for nothing in (None, np.arange(9), DAYS.to_numpy()[:1], pd.date_range("2000", periods=9, freq="YE").to_numpy()):
        assert data.season(nothing) is None


@pytest.mark.parametrize("offset", ["+02:00", "-05:00", "Z", "+0530"])
def test_an_offset_is_kept(write, offset):
    path = write(table([f"2018-06-29 {hour:02}:00:00{offset}" for hour in range(6, 12)], range(6)))
    series = read_series(path)
    assert series.written(data.future_timestamps(series.times, 1)) == [f"2018-06-29 12:00:00{offset}"]
    utc = pd.Timestamp(f"2018-06-29 06:00:00{offset}").tz_convert("UTC")
    assert series.times[0] == utc and calendar_features(series.times, ["hour"])[0] == pytest.approx(6 / 23 - 0.5)


def test_the_clock_of_a_place(write):
    """Central Europe on the day when the hour from two to three comes twice, and on the day when it does not come."""
    zone = "Europe/Berlin"
    autumn = pd.date_range("2020-10-24 22:00", periods=10, freq="h", tz="UTC").tz_convert(zone)
    path = write(table(autumn.strftime("%Y-%m-%d %H:%M"), range(10)))
    with pytest.raises(ValueError, match="also the time"):
        read_series(path)
    series = read_series(path, time_zone=zone)
    assert (series.times == autumn).all()
    days = pd.date_range("2020-03-27", periods=5, freq="D", tz=zone)  # one of 23 hours
    series = read_series(write(table(days.strftime("%Y-%m-%d"), range(5))), time_zone=zone)
    assert (series.times == days).all() and series.report.gaps == 0
    assert data.future_timestamps(series.times, 1)[0] == pd.Timestamp("2020-04-01", tz=zone)
    several = write(table([time.isoformat() for time in autumn], range(10)))
    assert (read_series(several).times == autumn).all() and "several offsets" in str(read_series(several).report)
    assert (read_series(several, time_zone=zone).times == autumn).all()
    with pytest.raises(ValueError, match="`time_zone` 'Europe/Nowhere' does not fit"):
        read_series(path, time_zone="Europe/Nowhere")
    parts = windows(series, 1, 1, split=("2020-03-29", "2020-03-31"))  # by the clock of the place
    assert (parts.report.train, parts.report.valid, parts.report.test) == (1, 2, 1)


def test_midnight_may_be_the_end_of_a_day(write):
    hours = [f"2020-01-01 {hour:02}:00" for hour in range(1, 25)]
    series = read_series(write(table([*hours, "2020-01-02 01:00"], range(25))))
    assert series.times.tolist() == hourly(25, "2020-01-01 01:00")


def test_digits_that_are_no_dates_stay_numbers(write):
    for first in (20209990, 1577836800, 5):
        series = read_series(write(table(range(first, first + 30), range(30))))
        assert series.times.tolist() == list(range(first, first + 30))
        assert series.written(data.future_timestamps(series.times, 1)) == [first + 30]
    as_numbers = read_series(write(table(range(20200101, 20200111), range(10))), time_format="number")
    assert as_numbers.written(data.future_timestamps(as_numbers.times, 1)) == [20200111]
    dates = [day.strftime("%Y%m%d") for day in hourly(30, days=1)]
    with pytest.raises(ValueError, match="csv:13: column 'date': '20200132' is not a time like '20200101'"):
        read_series(write(table([*dates[:11], "20200132", *dates[12:]], range(30))))


def test_what_was_found_by_looking_is_told(write):
    report = read_series(write("Datum;Wert\n01.01.2020;1.000,5\n02.01.2020;2,5\n13.01.2020;3\n"), on_gap="split").report
    assert str(report) == (
        "3 rows read, 3 kept; 1 gaps; read with ';' between fields, decimal ',', thousands '.', times as %d.%m.%Y"
    )
    assert not report.repaired


def test_stray_quotation_marks_stay_in_their_line(write):
    path = write('t,a,b\n0,1,x"y\n1,"2"z","3\n2,3,"x""y"\n3,4,""5"\n4,5,x\n')
    mended = {"on_bad_row": "repair", "on_bad_value": "interpolate", "on_gap": "split"}
    series = read_series(path, columns=["a"], **mended)
    assert series.values[:, 0].tolist() == [3, 3, 5] and series.times.tolist() == [1, 2, 4]
    assert (series.report.read, series.report.unreadable, series.report.interpolated) == (5, 2, 1)


def test_a_thousand_is_not_filled_in(write):
    rows = ["2020-01-01,998", '2020-01-02,"1,020"', '2020-01-03,"1,050"']
    series = read_series(write("\n".join(["t,a", *rows]) + "\n"), on_bad_value="interpolate")
    assert series.values[:, 0].tolist() == [998, 1020, 1050] and series.report.interpolated == 0
    with pytest.raises(ValueError, match="This cannot be repaired"):
        read_series(write("t;a\n0;1,020\n1;1,030\n"), on_bad_value="interpolate", on_bad_row="repair")


@pytest.mark.parametrize("mark", [" ", "\u00a0", "\u202f", "'", "’"])
def test_marks_between_thousands(write, mark):
    path = write(f"t;a\n0;1{mark}020,5\n1;-12{mark}345\n2;7\n".encode())
    assert read_series(path).values[:, 0].tolist() == [1020.5, -12345, 7]


def test_every_digit_counts(write):
    numbers = np.random.default_rng(0).normal(size=500) * 10.0 ** np.random.default_rng(1).integers(-30, 30, 500)
    path = write(table(range(500), [repr(number) for number in numbers.tolist()]))
    assert (read_series(path).values[:, 0] == numbers).all()


def test_options_of_readers(write):
    path = write("# KNMI\n# hours\n1,2020-01-01,-999\n2,2020-01-02,5\n3,2020-01-03,6\n")
    names = {"column_names": ["station", "day", "level"], "time_column": "day", "columns": ["level"]}
    series = read_series(path, comment="#", missing_values=["-999"], on_bad_value="interpolate", **names)
    assert series.values[:, 0].tolist() == [5, 5, 6] and series.report.interpolated == 1
    latin = write("t,Höhe\n0,1\n1,2\n".encode("latin-1"))
    with pytest.raises(ValueError, match="csv:1: the line is not UTF-8. Pass .* as `encoding`"):
        read_series(latin)
    assert read_series(latin, encoding="latin-1").columns == ("Höhe",)
    with pytest.raises(ValueError, match="not in the encoding 'utf-99'"):
        read_series(latin, encoding="utf-99")
    assert read_series(write("sep=;\nt;a\n0;1\n1;2\n")).values[:, 0].tolist() == [1, 2]
    assert read_series(write("t,a,\n0,1,\n1,2,\n")).columns == ("a",)
    weekly = write(table(hourly(5, days=7), range(5)))
    for frequency in ("W", timedelta(7), "7D"):
        assert read_series(weekly, frequency=frequency).report.gaps == 0
    with pytest.raises(ValueError, match="`frequency` must be an alias of pandas"):
        read_series(weekly, frequency="now and then")


# What is in memory already.


def test_a_data_frame_is_what_its_file_is(write):
    frame = pd.DataFrame({"day": DAYS[:20], "a": np.arange(20.0), "b": np.arange(20) ** 2})
    file = write(frame.to_csv(index=False))
    indexed, texts = frame.set_index("day"), frame.astype({"day": str, "a": str})
    for source in (frame, texts, indexed, indexed.to_period()):
        one, other = read_series(source), read_series(file)
        assert (one.values == other.values).all() and (one.times == other.times).all()
        assert one.columns == other.columns and one.report.kept == 20
    frame.loc[3, "a"] = np.nan
    with pytest.raises(ValueError, match="DataFrame:3: column 'a': 'nan' is not a finite number"):
        read_series(frame)
    assert read_series(frame, on_bad_value="interpolate").values[3, 0] == 3


def test_arrays_and_frames_where_a_series_is_taken():
    values = np.arange(40.0).reshape(20, 2)
    parts = windows(values, 3, 2, scaler=None)
    assert elements(parts.train.dataset())[0][0].tolist() == values[:3].tolist()
    assert read_series(values[:, 0], columns=["level"]).columns == ("level",)
    frame = pd.DataFrame(values, index=DAYS[:20], columns=["a", "b"])
    assert elements(windows(frame, 3, 2, scaler=None).train.dataset())[0][0].tolist() == values[:3].tolist()
    with pytest.raises(ValueError, match=r"An array of series has numbers \(N,\) or \(N, C\)"):
        read_series(np.zeros((2, 2, 2)))


@pytest.mark.parametrize("delimiter", ["", ";;", "\n", '"'])
def test_a_delimiter_is_one_character(tmp_path, delimiter):
    (tmp_path / "a.csv").write_text("t,a\n0,1\n1,2\n")
    with pytest.raises(ValueError, match="`delimiter` must be one character"):
        data.read_series(tmp_path / "a.csv", delimiter=delimiter)


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("B", (1, "weekdays")),
        ("MS", (1, "months")),
        ("2QE", (6, "months")),
        ("BYE", (12, "months")),
        ("2W", (np.timedelta64(14, "D"), "")),
        ("90min", (np.timedelta64(90, "m"), "")),
    ],
)
def test_the_distance_of_an_alias(frequency, expected):
    assert _step_of(frequency, dates=True) == expected


@pytest.mark.parametrize("frequency", ["2B", "SME", "now and then"])
def test_an_alias_without_one_distance_is_refused(frequency):
    with pytest.raises(ValueError) as refused:
        _step_of(frequency, dates=True)
    assert str(refused.value) == (
        f'`frequency` must be an alias of pandas for one distance, such as "h", "D", "B", "MS". Received: {frequency!r}'
    )


def test_columns_of_an_array_are_all_named():
    with pytest.raises(ValueError, match="`columns` must name the 2 columns. Received: a"):
        read_series(np.zeros((3, 2)), time_column=None, columns=["a"])


def test_a_first_row_with_a_date_of_two_readings_is_no_header(write):
    path = write("01/02/2024,n\n02/02/2024,4\n")
    with pytest.raises(
        ValueError, match="the first line must name the columns, .* Received: 01/02/2024, n. Add a header"
    ):
        read_series(path)


@pytest.mark.parametrize(
    ("cells", "dtype", "good"),
    [([3, 4], "int64", [True, True]), ([True, False], "int64", [True] * 2), ([1.5, np.nan], "float64", [True, False])],
)
def test_times_that_are_numbers(cells, dtype, good):
    found = parse_times(pd.Series(cells))
    assert found.values.dtype == dtype and found.good.tolist() == good
    np.testing.assert_array_equal(found.values, np.array(cells, dtype))


def test_times_of_a_format_with_an_offset_keep_it():
    cells = pd.Series(["02.01.2024 03:04 +0200", "soon", "03.01.2024 03:04 +0200"])
    found = parse_times(cells, "%d.%m.%Y %H:%M %z")
    assert found.good.tolist() == [True, False, True] and found.zone.utcoffset(None) == timedelta(hours=2)
    assert found.values[[0, 2]].tolist() == [datetime(2024, 1, 2, 1, 4), datetime(2024, 1, 3, 1, 4)]  # UTC
    none = parse_times(cells[1:2], "%d.%m.%Y %H:%M %z")
    assert none.good.tolist() == [False] and none.zone is None
