"""Files of hostile lines through every reader: it gives what one finds by hand, and its counts add up, or it names the
file and the line."""

import csv
import gzip
import io
import itertools
import json
import random
import re

import numpy as np
import pytest

from keras_seq import data
from tests import hostile

LINES = 300  # of a file
# 100,000 in ten parts: each shard of the long tests has one.
MANY = [pytest.param(seed, 10_000, id=f"10,000, seed {seed}", marks=pytest.mark.long) for seed in range(2, 12)]
RUNS = [pytest.param(1, 1_500, id="1,500"), *MANY]


@pytest.fixture
def files(tmp_path):
    """`files(seed, count, ending, between, head)`: paths of files that hold so many hostile strings in all, what is in
    each, and a source of chance. `between(number, string)` may put lines before and after a string, `head` is first."""

    def make(seed, count, ending, between=lambda number, string: string, head=b""):
        for first in range(0, count, LINES):
            chance = random.Random(f"{seed}/{first}")
            parts = []
            for number, string in enumerate(hostile.strings(min(LINES, count - first), seed, first), first):
                # Thousands of blank lines in a row would outnumber all others.
                string = string if string.count(b"\n") < 100 else string.replace(b"\n", b" ")
                parts.append(between(number, string))
            content = chance.choice((b"", b"\xef\xbb\xbf")) + head
            content += chance.choice((b"\n", b"\n", b"\r\n")).join(parts) + chance.choice((b"", b"\n"))
            path = tmp_path / chance.choice((f"hostile.{ending}", f"hostile.{ending}.gz"))
            path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
            yield path, content, chance

    return make


def by_hand(content):
    """The lines of a file; None for one that is not UTF-8 or holds a NUL."""

    def text(line):
        try:
            return None if b"\0" in line else line.decode()
        except UnicodeDecodeError:
            return None

    content = re.sub(rb"(\A|(?<=\n))\xef\xbb\xbf", b"", content)  # byte order marks where lines begin
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", content)
    return [text(line.removesuffix(b"\n").rstrip(b"\r")) for line in lines]


def attempt(read, *paths, **options):
    """What is read, or None where it raises an error, which must begin with a path and, as a rule, a line."""
    try:
        return read(*paths, **options)
    except ValueError as error:
        told = str(error)
        assert any(told.startswith(str(path)) for path in paths) and len(told.split("\n")) == 1, told
        return None


def adds_up(report, kept, *dropped):
    """Whether `read` is `kept` and all that was dropped: the counts named, or all others there are."""
    names = dropped or vars(report).keys() - {"read", "kept"}
    counts = [getattr(report, name) for name in names]
    return report.read == report.kept + sum(counts) and report.kept == kept and min(counts) >= 0 and str(report)


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_parallel_text(seed, count, files, tmp_path):
    other = tmp_path / "other.txt"
    for path, content, chance in files(seed, count, "txt"):
        sources = by_hand(content)
        lines = [line.replace(b"\n", b"\r") for line in hostile.strings(len(sources), -seed)]
        other.write_bytes(b"".join(line + b"\n" for line in lines))
        targets = by_hand(other.read_bytes())
        pairs = list(zip(sources, targets, strict=True))
        good = [pair for pair in pairs if None not in pair]
        full = [pair for pair in good if pair[0].strip() and pair[1].strip()]
        found = data.read_parallel_text(path, other, on_bad_line="skip")
        assert list(zip(found.sources, found.targets, strict=True)) == full
        assert found.report == data.ParallelReport(len(pairs), len(full), len(good) - len(full), len(pairs) - len(good))
        if chance.random() < 0.2:
            streamed = data.parallel_text(path, other, on_bad_line="skip").as_numpy_iterator()
            assert [(s.decode(), t.decode()) for s, t in streamed] == full
        assert (attempt(data.read_parallel_text, path, other) is None) == (len(good) < len(pairs))


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_text(seed, count, files):
    for path, content, _ in files(seed, count, "txt"):
        lines = by_hand(content)
        full = [line for line in lines if line is not None and line.strip()]
        found = data.read_text(path, documents="line", on_bad_line="skip")
        assert found.documents == full and adds_up(found.report, len(full), "empty", "bad")
        assert found.report.bad == lines.count(None) and found.report.read == len(lines)
        whole = data.read_text(path, on_bad_line="skip")
        (document,) = whole.documents
        assert [line.rstrip("\r") for line in document.removesuffix("\n").split("\n")] == [
            line for line in lines if line is not None
        ]
        assert (whole.report.read, whole.report.bad) == (len(lines), lines.count(None))
        for documents in ("line", "file"):
            assert (attempt(data.read_text, path, documents=documents) is None) == (None in lines)


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_rows_between_tabs(seed, count, files):
    """A hostile row takes nothing away from the rows around it."""
    between = lambda number, string: b"planted %d\t%d\n" % (number, number % 3) + string  # noqa: E731
    for path, content, _ in files(seed, count, "tsv", between):
        rows = [None if line is None else line.split("\t") for line in by_hand(content)]
        good = [row for row in rows if row is not None and len(row) == 2 and row[0].strip() and row[1].strip()]
        found = data.read_labeled_text(path, text=0, label=1, on_bad_line="skip")
        assert found.texts == [text for text, _ in good]
        assert [found.label_names[label] for label in found.labels] == [label.strip() for _, label in good]
        assert adds_up(found.report, len(good)) and found.report.read == len(rows)
        assert found.report.bad == rows.count(None)
        attempt(data.read_labeled_text, path, text=0, label=1)


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_rows_of_commas_and_quotes(seed, count, files):
    """What a writer of CSV has quoted comes back; after bare hostile rows the counts add up at least."""
    for path, content, _ in files(seed, count, "csv"):
        texts = [line for line in by_hand(content) if line and line.strip()]
        table, rows = io.StringIO(), [("text", "label"), *((text, "x") for text in texts)]
        csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
        quoted = path.with_name("quoted.csv")
        quoted.write_bytes(table.getvalue().encode())
        found = data.read_labeled_text(quoted)
        assert found.texts == texts and adds_up(found.report, len(texts))
        found = attempt(data.read_labeled_text, path, text=0, label=1, on_bad_line="skip")
        if found is not None:
            assert adds_up(found.report, len(found)) and set(found.labels) == set(range(len(found.label_names)))
        attempt(data.read_labeled_text, path, text=0, label=1)


def json_by_hand(line):
    """The text of a good row, else None."""
    try:
        row = json.loads(line)
        text, label = row["text"], row["label"]
        if isinstance(text, str) and isinstance(label, str | int) and "\0" not in text + str(label):
            (text + str(label)).encode()  # half of a pair of surrogates cannot be
            return text if text.strip() and str(label).strip() else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_rows_of_json(seed, count, files):
    def between(number, string):
        planted = {"label": number % 3, "text": string.decode(errors="replace")}
        planted = json.dumps(planted, ensure_ascii=number % 2 == 0).encode()
        return b"\n".join((string, planted, hostile.damaged(planted, random.Random(number))))

    for path, content, _ in files(seed, count, "jsonl", between):
        rows = [None if line is None else json_by_hand(line) for line in by_hand(content)]
        found = data.read_labeled_text(path, on_bad_line="skip")
        assert found.texts == [text for text in rows if text is not None]
        assert adds_up(found.report, len(found)) and found.report.read == len(rows)
        attempt(data.read_labeled_text, path)


@pytest.mark.parametrize("name", ["conllu", "columns"])
@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_tags(seed, count, name, files):
    """A sentence between blank lines comes through, whatever stands before and behind."""
    word = {"conllu": "1\tplanted{0}" + "\tX" * 8, "columns": "planted{0} X\nb X"}[name]

    def between(number, string):
        return f"\n{word.format(number)}\n\n".encode() + string

    for path, content, _ in files(seed, count, "txt", between):
        found = data.read_tags(path, format=name, on_bad_line="skip")
        planted = [sentence[0] for sentence in found.words if sentence[0].startswith("planted")]
        assert planted == re.findall(r"planted\d+", content.decode(errors="replace"))
        assert all(map(str.strip, itertools.chain(*found.words, *found.tags)))
        assert [len(sentence) for sentence in found.words] == [len(sentence) for sentence in found.tags]
        assert adds_up(found.report, len(found), "malformed", "bad") and set(found.tag_names) >= {"X"}
        assert found.report.words == sum(map(len, found.words))
        attempt(data.read_tags, path, format=name)


CELLS = [*hostile.NUMBERS, "", " ", '"', "2024-01-01", "2024-01-01T12:00", "12", "1.5", "2024-01-01T00:00+01:00", "x"]


@pytest.mark.parametrize("dates", [True, False], ids=["dates", "numbers"])
@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_series(seed, count, dates, files):
    def between(number, string):
        time = (np.datetime64("2000-01-01") + np.timedelta64(number, "h")) if dates else number
        chance = random.Random(number)
        cells = ",".join(chance.choice(CELLS) for _ in range(chance.choice((3, 3, 3, 2, 4))))
        row = f"{time},{number},{chance.choice(CELLS)}"
        return b"\n".join((row.encode(), cells.encode(), string))

    for path, _, chance in files(seed, count, "csv", between, b"time,one,two\n"):
        options = {"on_bad_value": "interpolate", "on_gap": chance.choice(("split", "interpolate"))}
        found = attempt(data.read_series, path, on_bad_row="repair", **options)
        assert found is not None or options["on_gap"] == "interpolate"
        if found is not None:
            assert adds_up(found.report, len(found) - found.report.filled, "unreadable", "repeated")
            assert np.isfinite(found.values).all() and found.values.shape == (len(found), 2)
            assert found.times.dtype.kind == ("M" if dates else "f")
            assert all((found.times[s + 1 : e] > found.times[s : e - 1]).all() for _, s, e in found.runs)
            assert sum(end - start for _, start, end in found.runs) == len(found)
        for wrong in ({}, {"on_bad_row": "repair"}, {"on_bad_value": "interpolate"}):
            attempt(data.read_series, path, **wrong)


def wavs():
    """Good ones, of all kinds."""
    for form, code, bits, channels in ((1, 1, 8, 1), (1, 1, 16, 2), (1, 1, 24, 1), (3, 3, 32, 1), (3, 3, 64, 2)):
        dtype = {8: "u1", 16: "<i2", 24: "u1", 32: "<f4", 64: "<f8"}[bits]
        samples = np.sin(np.arange(40 * channels * (3 if bits == 24 else 1)))
        raw = (samples if form == 3 else 100 + 50 * samples).astype(dtype).tobytes()
        frame = channels * bits // 8
        head = b"fmt " + np.array([16], "<u4").tobytes() + np.array([code, channels], "<u2").tobytes()
        head += np.array([8000, 8000 * frame], "<u4").tobytes() + np.array([frame, bits], "<u2").tobytes()
        body = b"WAVE" + head + b"LIST" + np.array([4], "<u4").tobytes() + b"abcd"
        body += b"data" + np.array([len(raw)], "<u4").tobytes() + raw
        yield b"RIFF" + np.array([len(body)], "<u4").tobytes() + body


@pytest.mark.parametrize(("seed", "count"), RUNS[:4])
def test_wav(seed, count, tmp_path):
    good = list(wavs())
    paths = [tmp_path / f"{number}.wav" for number in range(min(count, LINES))]
    for first in range(0, count, len(paths)):
        chance = random.Random(f"{seed}/{first}")
        for path, string in zip(paths, hostile.strings(len(paths), seed, first), strict=True):
            wav = chance.choice(good)
            path.write_bytes(
                chance.choice((hostile.damaged(wav[:60], chance) + wav[60:], hostile.damaged(wav, chance), string))
            )
        paths[0].write_bytes(good[0])
        options = {
            "resample": chance.random() < 0.5,
            "mix_down": chance.random() < 0.5,
            "in_memory": chance.random() < 0.5,
        }
        found = data.read_audio(paths, 8000, on_bad_file="skip", **options)
        report = found.report
        kinds = ("damaged", "empty", "other_rate", "stereo", "out_of_range")
        assert report.read == report.kept + sum(getattr(report, kind) for kind in kinds) == len(paths)
        assert len(found) == report.kept == len(found.files) >= 1 and len(report.skipped) == report.read - report.kept
        for number, wav in enumerate(found.files):
            waveform = found.waveform(number)
            assert waveform.dtype == np.float32 and np.abs(waveform).max() <= 1
            assert len(waveform) == -(-wav.frames * 8000 // wav.sampling_rate)
        for path, problem in zip(
            (path for path in paths if path not in {wav.path for wav in found.files}), report.skipped, strict=True
        ):
            assert problem.startswith(str(path))
            assert attempt(data.read_audio, path, 8000, **options) is None
