import logging
import random
import sys

import pytest
import tensorflow as tf

from keras_seq.data.parallel_text import (
    ParallelFiles,
    ParallelReport,
    find_parallel_splits,
    parallel_text,
    read_parallel_text,
)


def pairs_of(dataset):
    return [(source.decode(), target.decode()) for source, target in dataset.as_numpy_iterator()]


def both_ways(source, target, **options):
    """The pairs and the report, the same in memory and as a stream."""
    files = ParallelFiles(source, target, **options)
    assert files.report is None
    streamed = pairs_of(files.dataset())
    pairs = read_parallel_text(source, target, **options)
    assert pairs_of(pairs.dataset()) == streamed == list(zip(pairs.sources, pairs.targets, strict=True))
    assert pairs.report == files.report and len(pairs) == pairs.report.kept and files.pairs == pairs.report.read
    return streamed, pairs.report


def test_pairs_in_order(write):
    source, target = write("a.en", "one\ntwo\nthree\n"), write("a.fr", "un\ndeux\ntrois")
    pairs = [("one", "un"), ("two", "deux"), ("three", "trois")]
    assert both_ways(source, str(target)) == (pairs, ParallelReport(read=3, kept=3))
    dataset = parallel_text(source, target)
    assert dataset.element_spec == (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.string))
    assert pairs_of(dataset) == pairs_of(dataset) == pairs  # every pass reads anew


def test_gzip_and_many_files(write):
    source, target = write("a.en.gz", "one\ntwo\n"), write("a.fr", "un\ndeux\n")
    more_source, more_target = write("b.en", "three\n"), write("b.fr.gz", "trois\n")
    found, _ = both_ways([source, more_source], [target, more_target])
    assert found == [("one", "un"), ("two", "deux"), ("three", "trois")]


def test_byte_order_mark_carriage_returns_and_odd_line_ends(write):
    inside = "a\u2028b\u0085c\x0cd\x1ce\rf"
    source = write("a.en", "\ufeffone\r\n" + inside + "\r\n")
    target = write("a.fr", "\ufeffun\ndeux\n")
    assert both_ways(source, target)[0] == [("one", "un"), (inside, "deux")]


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_a_corpus_of_all_kinds_of_lines(write, monkeypatch, size):
    """Against a plain loop, with blocks that end anywhere."""
    monkeypatch.setattr(sys.modules[ParallelFiles.__module__], "_BLOCK_PAIRS", size)
    draw = random.Random(size)
    kinds = [b"word", "wörter".encode(), b"", b" \t", "\u3000".encode(), b"\xff", b"nu\0l", b"end\r"]
    weights = [8, 8, 1, 1, 1, 1, 1, 1]
    files, rows = ([], []), []
    for number in range(3):
        part = [draw.choices(kinds, weights, k=2) for _ in range(40 * number)]
        for side in (0, 1):
            files[side].append(write(f"{number}.{side}", b"\n".join(row[side] for row in part) + b"\n" * bool(part)))
        rows += part

    def bad(line):
        return b"\0" in line or b"\xff" in line

    clean = [[line.decode().rstrip("\r") for line in row] for row in rows if not any(map(bad, row))]
    kept = [tuple(row) for row in clean if row[0].strip() and row[1].strip()]
    report = ParallelReport(len(rows), len(kept), empty=len(clean) - len(kept), bad_lines=len(rows) - len(clean))
    assert both_ways(*files, on_bad_line="skip") == (kept, report)


def test_what_is_dropped_is_counted_and_logged_once(write, caplog):
    source, target = write("a.en", "one\n\nthree\n \t\nfive\n"), write("a.fr", "un\ndeux\n\n\ncinq\n")
    found, report = both_ways(source, target)
    assert found == [("one", "un"), ("five", "cinq")] and report == ParallelReport(read=5, kept=2, empty=3)
    assert str(report) == "5 pairs read, 2 kept; dropped: 3 with an empty side"
    files = ParallelFiles(source, target)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "keras_seq"):
        dataset = files.dataset()
        assert pairs_of(dataset.take(1)) == [("one", "un")]
        assert files.report is None and not caplog.records  # the pass was broken off
        for _ in range(2):
            list(dataset)
    (record,) = caplog.records
    assert "3 with an empty side" in record.message and "a.en" in record.message
    assert files.report == report


def test_missing_file(write, tmp_path):
    source = write("a.en", "one\n")
    with pytest.raises(FileNotFoundError, match="nowhere.fr does not exist"):
        parallel_text(source, tmp_path / "nowhere.fr")
    with pytest.raises(FileNotFoundError, match="not a file"):
        read_parallel_text(tmp_path, source)


def test_unequal_counts_name_both_files_and_both_counts(write):
    source, target = write("a.en", "one\ntwo\n"), write("a.fr", "un\ndeux\ntrois\n")
    for read in (parallel_text, read_parallel_text):
        for options in ({}, {"on_bad_line": "skip"}):
            with pytest.raises(ValueError, match=r"a\.en has 2 and .*a\.fr has 3"):
                read(source, target, **options)
        with pytest.raises(ValueError, match="1 .* and 2 "):
            read(source, [source, target])


def test_bad_lines_are_found_before_the_first_pass(write):
    source = write("a.en", b"one\ntwo\nthree\nfour\n")
    target = write("a.fr", b"un\nde\xffux\n\nqua\0tre")
    for pair in ((source, target), (target, source)):
        with pytest.raises(ValueError, match=r"a\.fr:2: byte 3 of the line \(0xff\).*on_bad_line"):
            parallel_text(*pair)
    found, report = both_ways(source, target, on_bad_line="skip")
    assert found == [("one", "un")] and report == ParallelReport(read=4, kept=1, empty=1, bad_lines=2)
    assert str(report).endswith("1 with an empty side, 2 with a line that is not UTF-8 or holds a NUL")
    with pytest.raises(ValueError, match="'ignore'"):
        parallel_text(source, target, on_bad_line="ignore")


def test_nothing_left(write):
    empty, blank = write("a.en", ""), write("b.en", "\n\n")
    for read in (parallel_text, read_parallel_text):
        with pytest.raises(ValueError, match=r"a\.en.*0 pairs read"):
            read(empty, empty)
        with pytest.raises(ValueError, match=r"b\.en.*2 with an empty side"):
            read(blank, blank)


def test_damaged_gzip(write, tmp_path):
    whole = write("a.en.gz", "one\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole.read_bytes()[:-12])
    (tmp_path / "plain.gz").write_bytes(b"one\n")
    for name in ("cut.gz", "plain.gz"):
        with pytest.raises(ValueError, match=name):
            parallel_text(whole, tmp_path / name)


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_files_that_change_afterwards(write, lines):
    source, target = write("a.en", "x\n" * 3), write("a.fr", "y\n" * 3)
    for changed in ((source,), (target,), (source, target)):
        dataset = parallel_text(source, target)
        for path in changed:
            path.write_text("z\n" * lines)
        with pytest.raises(tf.errors.InvalidArgumentError, match="was changed while it was in use"):
            list(dataset)
        for path in changed:
            path.write_text("z\n" * 3)


def test_one_very_long_line_costs_only_itself(write):
    source = write("a.en", "word " * 20_000 + "\n" + "x\n" * 20_000)  # 8 GB if every line took the room of the longest
    assert len(pairs_of(parallel_text(source, source).take(2))) == 2
    assert len(pairs_of(read_parallel_text(source, source).dataset().take(2))) == 2


def test_splits(write, tmp_path):
    names = ("train.en", "train.de", "val.en.gz", "dev.de", "test_2016.en", "test.de")
    for name in names:
        write(name, "x\n")
    found = find_parallel_splits(tmp_path, "en", "de")
    assert [path.name for pair in found.values() for path in pair] == list(names) and list(found)[1] == "valid"
    with pytest.raises(FileNotFoundError, match=r"train\*\.fr"):
        find_parallel_splits(tmp_path, "en", "fr")
    for name in ("test_2016.en", "test.de"):
        (tmp_path / name).unlink()
        if name == "test_2016.en":  # a test text without its counterpart
            with pytest.raises(FileNotFoundError, match=r"test\*\.en"):
                find_parallel_splits(tmp_path, "en", "de")
    assert list(find_parallel_splits(tmp_path, "en", "de")) == ["train", "valid"]
    write("train_more.en", "x\n")
    with pytest.raises(ValueError, match="train.en, train_more.en"):
        find_parallel_splits(tmp_path, "en", "de")


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_dropped_is_logged_after_the_first_pass(times, write, caplog):
    files = ParallelFiles(write("a.en", "one\n\nthrée\n"), write("a.fr", "un\ndeux\ntrois\n"))
    with caplog.at_level(logging.WARNING, "keras_seq"):
        for _ in range(times):
            ((source, target),) = files._arrays()
            assert source.tolist() == [b"one", "thrée".encode()] and target.tolist() == [b"un", b"trois"]
    (record,) = caplog.records
    assert record.message.endswith("a.fr: 3 pairs read, 2 kept; dropped: 1 with an empty side")


def test_nothing_is_logged_where_nothing_is_dropped(write, caplog):
    files = ParallelFiles(write("a.en", "one\n"), write("a.fr", "un\n"))
    with caplog.at_level(logging.WARNING, "keras_seq"):
        assert len(list(files._arrays())) == 1
    assert not caplog.records and files.report.kept == 1


@pytest.mark.parametrize("sides", [("a.en",), ("a.fr",), ("a.en", "a.fr")])
@pytest.mark.parametrize("lines", [2, 4])
def test_a_pass_over_files_that_have_changed(sides, lines, write, tmp_path):
    files = ParallelFiles(write("a.en", "x\n" * 3), write("a.fr", "y\n" * 3))
    assert files.files == [(tmp_path / "a.en", tmp_path / "a.fr")]
    for side in sides:
        (tmp_path / side).write_text("z\n" * lines)
    told = "a.en or .*a.fr was changed while it was in use. Each had 3 lines. Open the files again."
    with pytest.raises(ValueError, match=told):
        list(files._blocks())
