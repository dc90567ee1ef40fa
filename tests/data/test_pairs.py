"""Pairs in one file."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_seq import data
from keras_seq.data import ParallelReport, read_pairs


def test_pairs_apart_by_a_tab(write):
    found = read_pairs(write("a.tsv", "cat\tK AE T\n\ndog\tD AO G\n \tx\n"))
    assert (found.sources, found.targets) == (["cat", "dog"], ["K AE T", "D AO G"])
    assert found.report == ParallelReport(read=4, kept=2, empty=2)
    assert [tuple(side.decode() for side in pair) for pair in found.dataset().as_numpy_iterator()] == [
        ("cat", "K AE T"),
        ("dog", "D AO G"),
    ]


def test_other_columns_of_three_and_of_csv(write):
    tatoeba = write("fra.txt", "Go.\tVa !\tCC-BY 2.0\nHi.\tSalut.\tCC-BY 2.0\n")
    assert read_pairs(tatoeba).targets == ["Va !", "Salut."]
    assert read_pairs(tatoeba, columns=(1, 0)).sources == ["Va !", "Salut."]
    table = write("a.csv", 'id,en,de\n1,"a, b","c\nd"\n')
    assert read_pairs(table, columns=(1, 2)).sources == ["en", "a, b"]


def test_a_first_row_that_names_the_columns_is_no_pair(write, caplog):
    assert read_pairs(write("a.tsv", "Source\tTarget\na\tb\n")).sources == ["a"]
    assert "a.tsv:1 names the columns" in caplog.text


def test_columns_by_name(write):
    table = write("a.csv", 'id,word,phonemes\n1,"a, b",c\n2,d,e\n')
    pairs = read_pairs(table, columns=("phonemes", "word"))
    assert (pairs.sources, pairs.targets) == (["c", "e"], ["a, b", "d"])
    assert pairs.report == ParallelReport(read=2, kept=2)
    with pytest.raises(ValueError, match=r"a.csv:1: 0 columns have the name 'en'.*names 'id', 'word', 'phonemes'"):
        read_pairs(table, columns=("en", "word"))
    with pytest.raises(ValueError, match=r"b.tsv:1: 0 columns have the name 'word'. The header names none"):
        read_pairs(write("b.tsv", "\nword\tphonemes\n"), columns=("word", "phonemes"))


def test_rows_that_are_no_pairs(write):
    path = write("b.tsv", "a\tb\nc\n")
    with pytest.raises(
        ValueError, match=r"b\.tsv:2: 1 columns, separated by tabs, where a pair needs 2: \['c'\].*on_bad_line"
    ):
        read_pairs(path)
    path = write("a.tsv", b"a\tb\nc\nd\xff\te\nf\tg\n")
    with pytest.raises(ValueError, match=r"a\.tsv:3: byte 2"):
        read_pairs(path)
    found = read_pairs(path, on_bad_line="skip")
    assert found.sources == ["a", "f"] and found.report == ParallelReport(4, 2, bad_lines=1, malformed=1)
    assert "dropped: 1 with a line that is not UTF-8 or holds a NUL, 1 without two columns" in str(found.report)
    with pytest.raises(ValueError, match="no pair is left"):
        read_pairs(write("b.tsv", "a\t\n"))
    for wrong in ((0, 0), (0,), (-1, 0), ("a", 1), ("a", "a")):
        with pytest.raises(ValueError, match="`columns` must be two numbers"):
            read_pairs(path, columns=wrong)


ROWS = st.lists(
    st.sampled_from(["a\tb", "a\tb\tc", "a", "", " \t ", "\t", "a\t\u3000", "\u2028\tb", "\x0c\tb", "x\0\ty"])
)


@given(ROWS, st.booleans())
def test_every_line_is_accounted_for(tmp_path_factory, rows, ends):
    path = tmp_path_factory.getbasetemp() / "pairs.tsv"
    content = "\n".join(rows) + "\n" * (ends or not rows or not rows[-1])
    path.write_text(content, "utf-8", newline="")
    try:
        report = read_pairs(path, on_bad_line="skip").report
    except ValueError as error:
        assert "no pair is left" in str(error)
        (read,) = re.search(r"([\d,]+) pairs read", str(error)).groups()
        assert int(read) == content.count("\n") + (not content.endswith("\n"))
        return
    assert report.read == len(rows) == report.kept + report.empty + report.bad_lines + report.malformed
    assert report.kept == sum(row in ("a\tb", "a\tb\tc") for row in rows)


FIELD = st.text(st.sampled_from('ab ,"\n\t\u00a0'), max_size=4)


@given(st.lists(st.tuples(FIELD, FIELD)))
def test_pairs_of_csv_are_those_of_the_csv_module(tmp_path_factory, rows):
    path, written = tmp_path_factory.getbasetemp() / "pairs.csv", io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    path.write_text(written.getvalue(), "utf-8", newline="")
    full = [pair for pair in rows if pair[0].strip() and pair[1].strip()]
    if full:
        found = read_pairs(path)
        assert list(zip(found.sources, found.targets, strict=True)) == full
        assert found.report.read == len(rows)
        assert isinstance(found, data.ParallelText)
