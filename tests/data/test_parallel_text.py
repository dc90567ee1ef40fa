import gzip
import logging

import pytest

from keras_seq import data


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def pairs_of(dataset):
    return [(source.decode(), target.decode()) for source, target in dataset.as_numpy_iterator()]


def test_pairs_in_order(write):
    source, target = write("a.en", "one\ntwo\nthree\n"), write("a.fr", "un\ndeux\ntrois")
    assert pairs_of(data.parallel_text(source, target)) == [("one", "un"), ("two", "deux"), ("three", "trois")]
    assert pairs_of(data.parallel_text(str(source), str(target)))[2] == ("three", "trois")
    assert data.read_parallel_text(source, target).report == data.Report(read=3, kept=3)


def test_gzip_and_many_files(write):
    source, target = write("a.en.gz", "one\ntwo\n"), write("a.fr", "un\ndeux\n")
    more_source, more_target = write("b.en", "three\n"), write("b.fr.gz", "trois\n")
    pairs = data.read_parallel_text([source, more_source], [target, more_target])
    assert (pairs.sources, pairs.targets) == (["one", "two", "three"], ["un", "deux", "trois"])
    assert len(pairs) == 3 and pairs_of(pairs.dataset())[2] == ("three", "trois")


def test_byte_order_mark_and_carriage_returns(write):
    source, target = write("a.en", b"\xef\xbb\xbfone\r\ntwo\r\n"), write("a.fr", b"\xef\xbb\xbfun\ndeux\n")
    assert pairs_of(data.parallel_text(source, target)) == [("one", "un"), ("two", "deux")]


def test_only_a_line_feed_ends_a_line(write):
    inside = "a\u2028b\u0085c\x0cd\x1ce\rf"
    source, target = write("a.en", inside + "\nx\n"), write("a.fr", "un\ndeux\n")
    assert pairs_of(data.parallel_text(source, target)) == [(inside, "un"), ("x", "deux")]


def test_empty_sides_are_dropped_and_counted(write, caplog):
    source, target = write("a.en", "one\n\nthree\n \t\nfive\n"), write("a.fr", "un\ndeux\n\n\ncinq\n")
    pairs = data.read_parallel_text(source, target)
    assert (pairs.sources, pairs.targets) == (["one", "five"], ["un", "cinq"])
    assert pairs.report == data.Report(read=5, kept=2, empty=3)
    assert str(pairs.report) == "5 pairs read, 2 kept; dropped: 3 with an empty side"
    with caplog.at_level(logging.WARNING, "keras_seq"):
        data.parallel_text(source, target)
    assert "3 with an empty side" in caplog.text and "a.en" in caplog.text


def test_missing_file(write, tmp_path):
    source = write("a.en", "one\n")
    with pytest.raises(FileNotFoundError, match="nowhere.fr does not exist"):
        data.parallel_text(source, tmp_path / "nowhere.fr")
    with pytest.raises(FileNotFoundError, match="not a file"):
        data.parallel_text(tmp_path, source)


def test_unequal_counts_name_both_files_and_both_counts(write):
    source, target = write("a.en", "one\ntwo\n"), write("a.fr", "un\ndeux\ntrois\n")
    with pytest.raises(ValueError, match=r"a\.en has 2 and .*a\.fr has 3"):
        data.parallel_text(source, target)
    with pytest.raises(ValueError, match="1 .* and 2 "):
        data.parallel_text(source, [source, target])


def test_invalid_utf8(write):
    source, target = write("a.en", b"one\ntwo\nthree\n"), write("a.fr", b"un\nde\xffux\n\n")
    with pytest.raises(ValueError, match=r"a\.fr:2: byte 3 of the line \(0xff\).*on_bad_utf8"):
        data.parallel_text(source, target)
    with pytest.raises(ValueError, match=r"a\.fr:2: "):
        data.parallel_text(target, source)
    pairs = data.read_parallel_text(source, target, on_bad_utf8="skip")
    assert pairs.sources == ["one"] and pairs.report == data.Report(read=3, kept=1, empty=1, bad_utf8=1)
    assert "1 with invalid UTF-8" in str(pairs.report)
    with pytest.raises(ValueError, match="'ignore'"):
        data.parallel_text(source, target, on_bad_utf8="ignore")


def test_nothing_left(write):
    empty, blank = write("a.en", ""), write("b.en", "\n\n")
    with pytest.raises(ValueError, match=r"a\.en.*0 pairs read"):
        data.parallel_text(empty, empty)
    with pytest.raises(ValueError, match=r"b\.en.*2 with an empty side"):
        data.parallel_text(blank, blank)


def test_damaged_gzip(write, tmp_path):
    whole = write("a.en.gz", "one\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole.read_bytes()[:-12])
    (tmp_path / "plain.gz").write_bytes(b"one\n")
    for name in ("cut.gz", "plain.gz"):
        with pytest.raises(ValueError, match=name):
            data.parallel_text(whole, tmp_path / name)


def test_one_very_long_line_costs_only_itself(write):
    source = write("a.en", "word " * 20_000 + "\n" + "x\n" * 20_000)  # 8 GB if every line took the room of the longest
    assert len(pairs_of(data.parallel_text(source, source).take(2))) == 2
