"""Hostile lines through every verb: a line out for each line in, in order, and records that are JSON; hostile flags."""

import dataclasses
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import time
import typing

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import __main__ as command_line
from keras_seq import cli, training
from keras_seq.commands import nbest
from keras_seq.commands.lines import Line
from tests import hostile
from tests.commands.test_forecast import write as write_series
from tests.commands.test_transcribe import write_wav

RUNS = [pytest.param(1, 60, id="60"), pytest.param(2, 5_000, id="5,000", marks=pytest.mark.long)]
GREEDY = ["--search", "greedy", "--max-length", 5]


def content_of(seed, count):
    """Hostile strings as lines, and the text of each line; None for one that is not UTF-8 or holds a NUL."""
    content = b"\n".join(hostile.strings(count, seed)) + b"\n"
    lines = [line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r") for line in content.split(b"\n")[:-1]]
    texts = []
    for line in lines:
        try:
            texts.append(None if b"\0" in line else line.decode())
        except UnicodeDecodeError:
            texts.append(None)
    return content, texts


def checked(result, texts, *fields):
    """The records: one for each line, in order; with the fields, or with an error, and so for a bad line."""
    assert result.code == 0, result.err
    records = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in result.lines]
    assert [record["line"] for record in records] == list(range(1, len(texts) + 1))
    for text, record in zip(texts, records, strict=True):
        assert record.keys() == ({"line", "error"} if "error" in record else {"line", *fields})
        assert "error" in record if text is None else "error" not in record or "tokens are more" in record["error"]
    return records


@pytest.mark.parametrize(("seed", "count"), RUNS)
@pytest.mark.parametrize("model", ["lstm", "served"])
def test_translate(model, seed, count, keras_seq, folders, tmp_path):
    content, texts = content_of(seed, count)
    flags = ["translate", "--model", folders[model], *(GREEDY if model == "lstm" else [])]
    fields = ["text", "score", "log_prob", "finished"]
    records = checked(keras_seq(*flags, "--json", stdin=content), texts, *fields)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    chunk = ["--chunk", 17] if model == "lstm" else []  # a SavedModel looks at its batch for how long a line may be
    plain = keras_seq(*flags, *chunk, "--output", tmp_path / "out", tmp_path / "a.gz")
    assert plain.code == 0 and f" of {len(texts):,} lines have no result" in plain.err
    found = (tmp_path / "out").read_bytes().decode().split("\n")[:-1]
    assert found == [record.get("text", "") for record in records]


@pytest.mark.parametrize(("seed", "count"), RUNS)
@pytest.mark.parametrize("model", ["rnn", pytest.param("transformer", marks=pytest.mark.long)])
def test_generate(model, seed, count, keras_seq, folders):
    content, texts = content_of(seed, count)
    flags = ["generate", "--model", folders[model], *GREEDY, "--max-source-length", 100]
    records = checked(keras_seq(*flags, "--json", stdin=content), texts, "text", "score", "log_prob", "finished")
    for text, record in zip(texts, records, strict=True):
        assert "error" in record or record["text"].startswith(text)
    assert keras_seq(*flags, "--chunk", 17, stdin=content).lines == [record.get("text", "") for record in records]


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_score(seed, count, keras_seq, folders, tmp_path):
    content, texts = content_of(seed, count)
    fields = ["log_prob", "perplexity", "tokens", "token_log_probs"]
    of_text = keras_seq("score", "--model", folders["rnn"], "--max-source-length", 100, "--json", stdin=content)
    for record in checked(of_text, texts, *fields):
        assert "error" in record or (record["log_prob"] < 0 and len(record["tokens"]) == len(record["token_log_probs"]))
    assert "perplexity" in of_text.err
    (tmp_path / "source").write_bytes(content)
    (tmp_path / "target").write_bytes(b"\n".join(content.split(b"\n")[-2::-1]) + b"\n")
    pairs = keras_seq("score", "--model", folders["lstm"], "--json", tmp_path / "source", tmp_path / "target")
    both = [None if None in pair else pair for pair in zip(texts, reversed(texts), strict=True)]
    checked(pairs, both, *fields)
    plain = keras_seq("score", "--model", folders["lstm"], tmp_path / "source", tmp_path / "target")
    assert plain.code == 0 and len(plain.lines) == len(texts)


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_lists_of_candidates(seed, count, keras_seq, folders, tmp_path):
    """Reranked, and scored: hostile lines are left out, and hostile candidates are candidates."""
    lines = []
    for number, string in enumerate(hostile.strings(count, seed)):
        text = string.decode(errors="replace").translate({ord(c): " " for c in "\0\n|"})
        entry = f" ||| {text} ||| lm= -2 ||| -1".encode()
        others = [hostile.string(-seed, number), str(number).encode() + hostile.damaged(entry, random.Random(number))]
        lines += [str(number).encode() + entry, *(other.replace(b"\n", b"") for other in others)]
    (tmp_path / "list").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "sources").write_bytes(b"two men ride\n" * count)
    records = keras_seq("rerank", tmp_path / "list", "--json").records
    assert [record["line"] for record in records] == list(range(1, len(records) + 1)) and len(records) >= count
    assert sum("error" not in record for record in records) >= count and all(map(json.dumps, records))
    for flags in ([], ["--num-return", 3], ["--weights", "lm=0.5", "score=-1"]):
        found = keras_seq("rerank", tmp_path / "list", *flags)
        assert found.code == 0 and len(found.lines) >= count, found.err
    flags = ["--model", folders["lstm"], "--n-best", "--max-source-length", 100]
    found = keras_seq("score", *flags, tmp_path / "sources", tmp_path / "list")
    assert found.code == 0 and len(found.lines) >= count * 0.9
    entries = [nbest.parsed(Line("a:1", line)) for line in found.lines]
    scored = [entry for entry in entries if not entry.is_placeholder]
    assert len(scored) >= count * 0.9 and all("model" in entry.scores for entry in scored)


def test_a_list_comes_back_as_it_was_written():
    for number, string in enumerate(hostile.strings(2000, 4)):
        text = string.decode(errors="replace")
        line = nbest.written(number, text, {"lm": -1.5, "b": 1e-9}, -2.0)
        place, again, found, scores = nbest.parsed(Line("a:1", line))
        assert (again, scores) == (number, {"lm": -1.5, "b": 1e-9, "score": -2.0})
        assert found == text.strip(" ")  # as Moses writes lists, with a space behind the last word
        ours = nbest.written(number, text, {"lm": -1.5, "finished": True}, -2.0)
        assert nbest.parsed(Line("a:1", ours)).text == text


BARS = [
    "|||||",
    "a ||| b",
    "|||",
    "a ||| f= 1 ||| -2 ||| g= 3",
    "a|| |",
    " two  spaces ",
    "x ||| 5 ||| 6",
    "||| ||| |||",
]


@pytest.mark.parametrize("text", BARS)
@pytest.mark.parametrize("score", [-0.25, None])
def test_bars_in_a_candidate_come_back(text, score):
    entry = nbest.parsed(Line("a:1", nbest.written(7, text, {"finished": 0.0}, score)))
    assert (entry.number, entry.text, entry.scores.get("score")) == (7, text, score)


def test_lists_of_other_programs_are_read():
    moses = "3 ||| das haus  ||| LM0= -3 D0= 0 -1 ||| -7.5 ||| 0-0 1-1"
    entry = nbest.parsed(Line("a:1", moses))
    assert entry == ("a:1", 3, "das haus", {"LM0": -3.0, "D0.1": 0.0, "D0.2": -1.0, "score": -7.5})
    assert nbest.parsed(Line("a:1", "0 ||| a ||| ||| 5")).scores == {"score": 5.0}
    assert nbest.parsed(Line("a:1", nbest.without_candidates(4))).is_placeholder


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_evaluate(seed, count, keras_seq, folders, tmp_path):
    content, texts = content_of(seed, count)
    (tmp_path / "bad").write_bytes(content)
    (tmp_path / "good").write_text(
        "\n".join("a" if text is None else text for text in texts) + "\n", "utf-8", newline=""
    )
    (found,) = keras_seq("evaluate", tmp_path / "good", tmp_path / "bad", "--json").records
    assert 0 < found["bleu"] <= 100 and 0 < found["chrf"] <= 100 and 0 < found["exact_match"] <= 1
    refused = keras_seq("evaluate", tmp_path / "bad", tmp_path / "good")
    assert refused.code == 2 and refused.err.splitlines()[-1].startswith(f"error: {tmp_path / 'bad'}:")
    flags = ["--model", folders["served"], "--source", tmp_path / "bad"]
    assert keras_seq("evaluate", tmp_path / "good", *flags, "--json").records[0]["lines"] == len(texts)


@pytest.mark.parametrize(("seed", "count"), RUNS)
def test_doctor(seed, count, keras_seq, tmp_path):
    content, texts = content_of(seed, count)
    (tmp_path / "a").write_bytes(content)
    kept = [text for text in texts if text is not None and text.strip()]
    (found,) = keras_seq("doctor", tmp_path / "a", "--on-bad-line", "skip", "--json").records
    assert found["examples"] == len(kept) and found["dropped"] == len(texts) - len(kept)
    for flags in ([], ["--max-length", 20], ["--max-length", 20, "--truncate", "--replicas", 3]):
        assert (
            keras_seq("doctor", tmp_path / "a", tmp_path / "a", "--on-bad-line", "skip", "--no-timing", *flags).code
            == 0
        )
    refused = keras_seq("doctor", tmp_path / "a")
    assert refused.code == 2 and refused.err.startswith(f"error: {tmp_path / 'a'}:")


def test_files_that_are_cut_short(keras_seq, folders, tmp_path):
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"".join(b"%d ||| two men ||| lm= -1 ||| -1\n" % n for n in range(3000)))[:-200])
    (tmp_path / "whole").write_bytes(b"two men\n" * 3000)
    for verb, *argv in (
        ("translate", "--model", folders["served"]),
        ("generate", "--model", folders["rnn"]),
        ("score", "--model", folders["rnn"]),
        ("rerank",),
        ("evaluate", tmp_path / "whole"),
        ("doctor",),
    ):
        refused = keras_seq(verb, *argv, cut)
        assert refused.code == 2 and refused.err.splitlines()[-1].startswith(f"error: {cut} is damaged somewhere after")


def test_what_comes_before_the_damage_is_answered(keras_seq, folders, tmp_path):
    lines = b"two men ride\n" * 5 + (b"far " * 1200 + b"\n") * 100  # more than one block; the long ones have no result
    (tmp_path / "cut.gz").write_bytes(gzip.compress(lines + random.Random(1).randbytes(500_000))[:-1000])
    found = keras_seq("translate", "--model", folders["served"], "--json", tmp_path / "cut.gz")
    assert found.code == 2 and "is damaged" in found.err
    assert ["text" in record for record in found.records[:105]] == [True] * 5 + [False] * 100


@pytest.mark.long
@pytest.mark.parametrize("verb", ["translate", "score", "rerank", "evaluate", "doctor"])
def test_in_a_process(verb, folders, tmp_path):
    """As it is typed, with bytes in a pipe and in the name of a file, and a locale that knows no Unicode."""
    content, texts = content_of(3, 500)
    good, bad = tmp_path / "good", tmp_path / os.fsdecode(b"bad \xff")
    good.write_bytes(b"a dog\n" * len(texts))
    bad.write_bytes(content)
    argv = {
        "translate": ["--model", folders["served"], "--json"],
        "score": ["--model", folders["rnn"], "--json"],
        "rerank": ["--json"],
        "evaluate": [good],
        "doctor": [bad, "--on-bad-line", "skip"],
    }[verb]
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "keras_seq", verb, *map(str, argv)],
        input=b"0 ||| a ||| ||| 1\n" * (verb == "rerank") + content,
        env=os.environ | locale,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr[-2000:]
    told = done.stdout.decode()
    if "--json" in argv:
        numbers = [json.loads(line)["line"] for line in told.splitlines()]
        assert numbers == list(range(1, (1 if verb == "rerank" else len(texts)) + 1))
    else:
        assert len(told.splitlines()) >= 3


# Flags.

INTEGERS = ["-1", "0", "1", "99999999999999999999", "4611686018427387904", "1.5", "", "x", "None", "--"]
FLOATS = ["nan", "inf", "-inf", "1e999", "0", "-1", "", "x"]
WORDS = ["", "x" * 5000, "-", "--", "=", "a=nan", "=1", "a=1e999", "🐎=1", "|||", "none", ".", "no/such/x"]
MINIMAL = {
    "translate": ["--model", "lstm", "lines"],
    "classify": ["--model", "classifier", "lines"],
    "tag": ["--model", "tagger", "lines"],
    "transcribe": ["--model", "recognizer", "sound.wav"],
    "forecast": ["--model", "forecaster", "rows"],
    "generate": ["--model", "rnn", "lines"],
    "score": ["--model", "rnn", "lines"],
    "rerank": ["list"],
    "evaluate": ["lines", "lines"],
    "inspect": ["--model", "lstm"],
    "certify": ["--model", "classifier", "--cases", "6", "--replicas", "1", "--formats"],
    "average": ["--model", "lstm"],
    "export": ["--model", "lstm", "--output", "out", "--no-verify"],
    "doctor": ["lines", "--no-timing"],
    "replay": ["nan-step-1"],
}
RUNS_ON = "serve"  # ends when it is told to: tests/serving


def flags():
    """(verb, flag, value) for every flag of every verb."""
    for name in MINIMAL:
        verb = command_line.VERBS[name]
        hints = typing.get_type_hints(verb.options)
        for field in dataclasses.fields(verb.options):
            kinds = {hints[field.name], *typing.get_args(hints[field.name])}
            if bool in kinds or field.metadata.get("positional"):
                continue
            for value in INTEGERS if int in kinds else FLOATS if float in kinds else WORDS:
                yield name, cli.flag(field.name), value


ALL = list(flags())


def test_every_verb_has_a_minimal_command_line():
    assert MINIMAL.keys() | {RUNS_ON} == command_line.VERBS.keys()


PARTS = 20  # so that each shard of the long tests has its share
random.Random(1).shuffle(ALL)


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(ALL[: len(ALL) // 300], id="some"),
        *(pytest.param(ALL[n::PARTS], id=f"part {n + 1}", marks=pytest.mark.long) for n in range(PARTS)),
    ],
)
def test_flags(cases, keras_seq, folders, taggers, forecasters, recognizers, tmp_path, monkeypatch):
    """Every flag of every verb with values that nobody means: it works, or one line says what is wrong."""
    monkeypatch.chdir(tmp_path)
    others = {"tagger": taggers["words"], "forecaster": forecasters["points"], "recognizer": recognizers["ctc"]}
    for name, folder in (folders | others).items():
        (tmp_path / name).symlink_to(folder)
    write_series(tmp_path / "rows")
    write_wav(tmp_path / "sound.wav", np.sin(np.arange(2000) / 5))
    (tmp_path / "lines").write_text("two men ride\na horse\n")
    (tmp_path / "list").write_text("0 ||| a ||| lm= -1 ||| -1\n")
    step = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    step.compile("sgd", "mse")
    training.save_step(tmp_path, step, (np.ones((2, 1)), np.ones((2, 1))), 1, {})
    there = set(tmp_path.iterdir())
    for verb, flag, value in cases:
        began = time.monotonic()
        result = keras_seq(verb, *MINIMAL[verb], flag, value)
        # With 1 a certificate is refused: no difference is within a tolerance of 0.
        assert result.code in ((0, 1, 2) if verb == "certify" else (0, 2)), (verb, flag, value, result.err)
        assert time.monotonic() - began < 60, (verb, flag, value)
        if result.code == 2:
            assert "error: " in result.err.splitlines()[-1] and not result.out, (verb, flag, value, result.err)
        for made in set(tmp_path.iterdir()) - there:  # what one leaves is not for another to read
            shutil.rmtree(made) if made.is_dir() else made.unlink()
