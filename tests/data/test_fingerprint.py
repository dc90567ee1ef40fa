import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_seq import data
from keras_seq.data import fingerprint

CELLS = st.one_of(st.text(max_size=3), st.integers(0, 3), st.none())
NESTS = st.recursive(CELLS, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


@given(NESTS, NESTS)
def test_the_same_for_the_same_alone(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
    assert len(fingerprint(one)) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, "int32"), np.zeros(2, "int64")),
        (["ab", "c"], ["a", "bc"]),
        ({"a": [1]}, {"b": [1]}),
        (pd.date_range("2020", periods=3), pd.date_range("2021", periods=3)),
        (pd.date_range("2020", periods=3, tz="UTC"), pd.date_range("2020", periods=3, tz="Asia/Tokyo")),
    ],
)
def test_what_differs(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_where_it_lies_and_how_it_was_read_do_not_count(write):
    first, second = write("a.tsv", "good\tfine\nbad\tdull\n"), write("b.tsv", "good\tfine\n\nbad\tdull\n")
    one, other = (data.read_labeled_text(path, label=0, text=1) for path in (first, second))
    assert one.report != other.report and fingerprint(one) == fingerprint(other)
    renamed = dataclasses.replace(one, label_names=("poor", "good"))
    assert fingerprint(renamed) != fingerprint(one)
    assert fingerprint(first) != fingerprint(second)  # files, looked at byte for byte
    assert fingerprint(write("c.tsv", first.read_text())) == fingerprint(first)


def test_series_and_sounds():
    series = data.read_series(pd.DataFrame({"level": range(9)}, index=pd.date_range("2020", periods=9, freq="h")))
    later = dataclasses.replace(series, times=series.times + np.timedelta64(1, "h"))
    assert fingerprint(series) == fingerprint(dataclasses.replace(series)) != fingerprint(later)
    sounds = [data.Audio(8000, [np.full(5, value, "float32")], [1]) for value in (0, 0, 0.5)]
    assert fingerprint(sounds[0]) == fingerprint(sounds[1]) != fingerprint(sounds[2])


def test_files_are_looked_at_in_place_of_their_reader(write):
    sides = write("a.en", "one\n"), write("a.fr", "un\n")
    files = data.ParallelFiles(*sides)
    assert fingerprint(files) == fingerprint([sides]) != fingerprint([sides[::-1]])
