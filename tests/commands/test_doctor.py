import dataclasses
import gzip
import json
import os
import re
import subprocess
import sys
import types

import matplotlib.image
import numpy as np
import pytest

from keras_seq import __main__ as command_line
from keras_seq import __version__, data, text
from keras_seq.cli import option
from keras_seq.commands import doctor, progress
from keras_seq.data import doctor as corpus

SOURCE = [f"{'a ' * n}dog runs{' far' * (n % 3)} ." for n in range(1, 31)] * 3
TARGET = [f"ein {'b ' * (n % 11)}Hund läuft{' weit' * (n % 2)} ." for n in range(1, 31)] * 3


@pytest.fixture
def parallel(tmp_path):
    paths = [tmp_path / "train.en", tmp_path / "train.de.gz"]
    paths[0].write_text("\n".join(SOURCE) + "\n", "utf-8")
    paths[1].write_bytes(gzip.compress(("\n".join(TARGET) + "\n").encode()))
    return [str(path) for path in paths]


def run(capsys, *argv):
    capsys.readouterr()
    command_line.main([str(argument) for argument in argv])
    return capsys.readouterr().out


def refused(capsys, *argv):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        command_line.main([str(argument) for argument in argv])
    told = capsys.readouterr()
    assert stop.value.code == 2 and not told.out
    return told.err


def examine(capsys, *argv):
    out = run(capsys, "doctor", *argv, "--json", "--no-timing")
    assert out.count("\n") == 1  # one object, on one line
    return json.loads(out)


def test_help_lists_the_verbs_and_loads_little():
    program = (
        "import sys; from keras_seq.__main__ import main\n"
        "main(['--help'])\n"
        "try: main(['doctor', '--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "sys.exit(bool({'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    for name, verb in command_line.VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.line)}$", told, re.M)
    assert "keras-seq doctor [options]" in told and "FILE [TARGET]" in told


def test_a_verb_is_one_entry(capsys, monkeypatch):
    @dataclasses.dataclass
    class Greeting:
        name: str = option(positional=True)

    entry = command_line.Verb("says good day", Greeting, lambda options: print(f"Good day, {options.name}!"))
    monkeypatch.setitem(command_line.VERBS, "greet", entry)
    assert run(capsys, "greet", "Ada") == "Good day, Ada!\n"
    assert re.search(r"^  greet +says good day$", run(capsys, "--help"), re.M)
    assert "doctor, greet" in refused(capsys, "great")


def test_verbs_that_are_none(capsys):
    assert "no verb 'docter'. The verbs are: train, tune, compare, translate" in refused(capsys, "docter")
    assert "a verb is missing. The verbs are: train, tune, compare, translate" in refused(capsys)
    assert run(capsys, "--version") == f"keras-seq {__version__}\n"


def recomputed(lines, found):
    """`examples`, `tokens`, `padding`, `shapes` of the batches that `bucketed` makes with the suggested buckets."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(lines).apply(text.Words.train(lines[0] + lines[-1]).encoded())
    buckets = [tuple(bucket) for bucket in found["buckets"]]
    step = data.bucketed(found["budget"], buckets=buckets, pad_to_bucket_boundary=True)
    batches = [[side.numpy() for side in batch] for batch in dataset.apply(step)]
    tokens = sum(np.count_nonzero(side) for batch in batches for side in batch)
    return {
        "examples": sum(len(batch[0]) for batch in batches),
        "tokens": tokens,
        "padding": pytest.approx(1 - tokens / sum(side.size for batch in batches for side in batch), abs=1e-12),
        "shapes": len({tuple(side.shape[1] for side in batch) for batch in batches}),
    }


def test_json_agrees_with_the_batches(capsys, parallel):
    found = examine(capsys, *parallel, "--tokens-per-batch", 128, "--max-shapes", 7)
    expected = recomputed((SOURCE, TARGET), found)
    assert {name: found[name] for name in expected} == expected
    assert found["tokens"] == sum(len(line.split()) + 1 for line in SOURCE + TARGET)
    assert found["dropped"] == 0 and found["unknown"] is None and found["timing"] is None and found["shapes"] <= 7


def test_one_file(capsys, parallel):
    found = examine(capsys, parallel[1], "--max-shapes", 3)
    counts = np.array([len(line.split()) + 1 for line in TARGET])
    boundaries = data.fit_boundaries(counts, 3)
    assert found["buckets"] == [boundary - 1 for boundary in boundaries]
    positions = sum(min(b - 1 for b in boundaries if b > count) for count in counts)
    assert found["padding"] == pytest.approx(1 - counts.sum() / positions)
    assert (found["examples"], found["tokens"], found["shapes"]) == (len(TARGET), counts.sum(), 3)


def test_what_is_dropped_is_counted(capsys, tmp_path):
    pair = [tmp_path / "a", tmp_path / "b"]
    pair[0].write_bytes(b"\xef\xbb\xbfone two\r\nbad \xff line\n\nx y z u v w\nlast\n")
    pair[1].write_bytes(b"eins zwei\ngut\nleer\nkurz\nnul \0\n")
    found = examine(capsys, *pair, "--on-bad-line", "skip", "--max-length", 7)
    assert found["examples"] == 1 and found["tokens"] == 6 and found["dropped"] == 4
    assert found["dropped_by_reason"] == {"empty": 1, "bad_lines": 2, "too_long": 1}
    cut = examine(capsys, *pair, "--on-bad-line", "skip", "--max-length", 7, "--truncate")
    assert cut["examples"] == 2 and cut["truncated"] == 1 and cut["tokens"] == 6 + 6 + 2
    alone = examine(capsys, pair[0], "--on-bad-line", "skip", "--tokens-per-batch", 6)
    assert alone["oversized"] == 1 and alone["examples"] == 3 and alone["dropped"] == 2


def test_subwords(capsys, tmp_path, parallel):
    model = text.Subwords.train(SOURCE, 40, hard_vocab_limit=False)
    model.save(tmp_path / "joint.spm")
    found = examine(capsys, *parallel, "--subwords", tmp_path / "joint.spm")
    ids = [model.tokenize([line]).numpy()[0] for line in SOURCE + TARGET]
    assert found["tokens"] == sum(len(line) + 1 for line in ids)
    assert found["unknown"] == sum((line == model.unknown_id).sum() for line in ids) > 0
    page = run(capsys, "doctor", *parallel, "--subwords", tmp_path / "joint.spm", "--no-timing")
    assert f"unknown to the vocabulary: {found['unknown']:,} tokens" in page


def test_the_given_vocabulary_is_timed(capsys, tmp_path, monkeypatch):
    vocabulary = types.SimpleNamespace(encoded=lambda: lambda lines: lines.skip(1))
    (tmp_path / "lines").write_text("a dog\ndog dog dog\n")
    timing, timed = corpus.Timing(0.5, 0.002, 0.003, 7, 900.0), []
    monkeypatch.setattr(text.Subwords, "load", lambda path: vocabulary)

    def measure(lines, given, progress):
        assert given is vocabulary and len(list(lines)) == 2
        return np.array([3, 4]), np.array([0, 1])

    monkeypatch.setattr(sys.modules["keras_seq.data.lengths"], "measure", measure)  # `data.lengths` is a function
    monkeypatch.setattr(doctor, "_batches", lambda dataset, buckets, options: list(dataset.as_numpy_iterator()))
    monkeypatch.setattr(corpus, "time_batches", lambda batches: timed.extend(batches) or timing)
    page = run(capsys, "doctor", tmp_path / "lines", "--subwords", "joint.spm")
    assert timed == [b"dog dog dog"] and "2.0 ms a batch (median of 7), 3.0 ms on average" in page
    assert "unknown to the vocabulary: 1 tokens (14.286%)" in page


def test_a_column_is_of_one_file(capsys, tmp_path):
    told = refused(capsys, "doctor", tmp_path / "a.tsv", tmp_path / "b.tsv", "--text-column", 1)
    assert told == f"error: --text-column takes a single file. Leave it out, or leave {tmp_path / 'b.tsv'} out.\n"


@pytest.mark.parametrize(("loaded", "devices"), [(True, "0"), (False, "-1")])
def test_no_gpu_is_taken_unless_tensorflow_has_it_already(loaded, devices, monkeypatch, tmp_path):
    if not loaded:
        monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(ValueError, match="a.tsv is a table by its name"):
        doctor._doctor(doctor.Doctor(file=tmp_path / "a.tsv"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == devices


def test_advice_on_oversized_examples():
    best = types.SimpleNamespace(
        name="fitted", padding=0.1, batches=9, partial_batches=0, oversized=1200, fitted=True, shapes=3
    )
    other = types.SimpleNamespace(name="powers of two", padding=0.25, fitted=False, shapes=4)
    report = types.SimpleNamespace(suggestion=best, plans=[best, other], budget=64, code="code(\n)")
    assert doctor._advice(report) == [
        "Take fitted: 10.0% padding.",
        "With powers of two (4 in use), an epoch has 1.20 times as many positions.",
        "1,200 are oversized: --max-length 65 or less drops the longest.",
        "    code(",
        "    )",
    ]


def test_batches_of_truncated_lines_are_timed(capsys, parallel):
    for files in (parallel, parallel[:1]):
        page = run(capsys, "doctor", *files, "--max-length", 4, "--truncate", "--tokens-per-batch", 16)
        assert re.search(r"truncated: \d+ examples, to 3 tokens a side", page) and "ms a batch" in page


def test_page_and_plot(capsys, parallel, tmp_path):
    options = ["--tokens-per-batch", 64, "--replicas", 2, "--max-length", 30]
    page = run(capsys, "doctor", *parallel, *options, "--plot", tmp_path / "plots" / "two.png")
    found = examine(capsys, *parallel, *options)
    for part in (
        f"{found['examples']:,} examples, {found['tokens']:,} tokens",
        "words by white space",
        f"dropped: {found['dropped']} too long",
        f"> {found['suggestion']} ",
        f"{found['padding']:.1%} padding",
        "dataset = dataset.apply(data.shorter_than(30))",
        "multiple_of=2",
        "end token",
        "the fullest has",
        "ms a batch",
        "█",
    ):
        assert part in page, part
    assert max(map(len, page.replace(str(tmp_path), "").splitlines())) < 160
    run(capsys, "doctor", parallel[0], "--no-timing", "--plot", tmp_path / "one.png")
    for name in ("plots/two.png", "one.png"):
        picture = matplotlib.image.imread(tmp_path / name)[..., :3]
        assert 0.01 < (picture < 0.98).any(axis=-1).mean() < 0.6


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        ((b"a\nb\n", b"c\n"), ["text has 2", "other has 1"]),
        ((b"a\nb \xff\n", b"c\nd\n"), ["text:2: byte 3", "UTF-8"]),
        ((b"a\n", b"c\0\n"), ["other:1: byte 2", "NUL"]),
        ((b"a\nb \xff\n",), ["text:2: byte 3"]),
        ((b"\n \n",), ["text: no line with text is left", "2 with an empty"]),
        ((), ["text", "does not exist"]),
    ],
)
def test_bad_input_names_file_and_line(capsys, tmp_path, contents, told):
    names = ("text", "other")[: max(1, len(contents))]
    for name, content in zip(names, contents, strict=False):
        (tmp_path / name).write_bytes(content)
    error = refused(capsys, "doctor", *(tmp_path / name for name in names))
    assert error.startswith("error: ") and all(part in error for part in told), error


def test_bad_options(capsys, parallel, tmp_path):
    (tmp_path / "no.spm").write_bytes(b"no model")
    assert "SentencePiece" in refused(capsys, "doctor", *parallel, "--subwords", tmp_path / "no.spm")
    assert "FILE" in refused(capsys, "doctor")
    assert "--max-shapes must be positive" in refused(capsys, "doctor", *parallel, "--max-shapes", 0)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a\n" * 5000)[:-9])
    assert "a.gz is damaged" in refused(capsys, "doctor", tmp_path / "a.gz")


def test_progress_on_stderr(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", -1)
    progress.Progress("examples")(1_234_567)
    told = capsys.readouterr()
    assert "1,234,567 examples" in told.err and not told.out


def test_bars_in_a_terminal_without_unicode(monkeypatch):
    assert doctor._bars([0, 1, 50, 100]) == "  ▁▁▄▄██"
    monkeypatch.setattr(doctor.sys, "stdout", type("Terminal", (), {"encoding": "ascii"}))
    doctor._bars([0, 1, 100]).encode("ascii")


def test_real_captions(capsys, real_data):
    folder = real_data("multi30k")
    found = examine(capsys, folder / "val.en", folder / "val.de", "--max-shapes", 12)
    lines = tuple((folder / f"val.{side}").read_text("utf-8").removesuffix("\n").split("\n") for side in ("en", "de"))
    expected = recomputed(lines, found)
    assert {name: found[name] for name in expected} == expected
