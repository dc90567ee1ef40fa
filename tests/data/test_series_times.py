import pandas as pd
import pytest

from keras_seq.data.series_times import parse_times


@pytest.mark.parametrize(
    ("first", "form", "in_zone"),
    [
        ("2020-10-24 22:00", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M%:z"),
        ("2020-10-24T22:00Z", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M%:z"),
        ("2020-10-24T22:00:00+02:00", "%Y-%m-%dT%H:%M:%S%:z", "%Y-%m-%dT%H:%M:%S%:z"),
    ],
)
def test_times_in_a_named_zone_are_written_with_their_offset(first, form, in_zone):
    cells = pd.Series([first, first.replace("22:", "23:")])
    assert parse_times(cells).form == form
    found = parse_times(cells, time_zone="Europe/Berlin")
    assert (found.form, str(found.zone)) == (in_zone, "Europe/Berlin")


def test_times_of_pandas_have_no_format():
    found = parse_times(pd.Series(pd.date_range("2020-10-24", periods=2, freq="h")), time_zone="Europe/Berlin")
    assert (found.form, str(found.zone)) == (None, "Europe/Berlin")
