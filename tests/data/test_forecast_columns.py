import numpy as np
import pytest

from keras_seq import data


def test_columns_come_back_from_their_file(tmp_path):
    for quantiles, names in (((), ["OT", "HUFL"]), ((0.1, 0.5), ["OT_0.1", "OT_0.5", "HUFL_0.1", "HUFL_0.5"])):
        columns = data.ForecastColumns(("HUFL", "OT"), ("OT", "HUFL"), 24, 6, quantiles)
        columns.save(tmp_path / "columns.json")
        assert data.ForecastColumns.load(tmp_path / "columns.json") == columns
        assert columns.names == names


@pytest.mark.parametrize("content", ["[]", "{}", '{"columns": 3}', "no JSON", '{"columns": ["a"], "more": 1}'])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "columns.json").write_text(content)
    with pytest.raises(ValueError):
        data.ForecastColumns.load(tmp_path / "columns.json")


@pytest.mark.parametrize("change", [{"columns": ()}, {"targets": ()}, {"look_back": 0}, {"horizon": 0}])
def test_a_forecast_is_of_something(change):
    with pytest.raises(ValueError, match="Received"):
        data.ForecastColumns(**{"columns": ("a",), "targets": ("a",), "look_back": 2, "horizon": 1, **change})


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2020-02-28T22:00", "2020-02-28T23:00"], ["2020-02-29T00:00", "2020-02-29T01:00"]),
        (["2020-01-01", "2020-01-08"], ["2020-01-15", "2020-01-22"]),
        (["2019-12-15", "2020-01-15"], ["2020-02-15", "2020-03-15"]),
        (["2019-12-31", "2020-01-31"], ["2020-02-29", "2020-03-31"]),
        (["2020-01-31", "2020-02-29"], ["2020-03-31", "2020-04-30"]),
        (["2019-10-01", "2020-01-01"], ["2020-04-01", "2020-07-01"]),
    ],
)
def test_time_goes_on(times, expected):
    found = data.future_timestamps(np.array(times, "M8[us]"), 2)
    assert found.dtype == "M8[us]"
    np.testing.assert_array_equal(found, np.array(expected, "M8[us]"))


def test_numbers_go_on():
    np.testing.assert_allclose(data.future_timestamps(np.array([0.0, 0.5, 1.0]), 3), [1.5, 2.0, 2.5])
    with pytest.raises(ValueError, match="two rows"):
        data.future_timestamps(np.array([1.0]), 3)
