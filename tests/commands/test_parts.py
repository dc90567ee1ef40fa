"""Parts of the verbs, each by itself: pauses of stdin, n-best lists, tables of JSON, progress, large sums."""

import argparse
import io
import json
import math
import sys
import types

import pytest

from keras_seq.commands import line_inputs, nbest, progress, score, tag, text_columns, transcribe
from keras_seq.commands.lines import BadLines, Line
from keras_seq.tasks.results import Scored


def line(number, text, why=""):
    return Line(f"file:{number}", text, why)


def test_pauses_and_bad_lines_of_an_n_best_list(capsys):
    bad = BadLines()
    given = [line(1, "0 ||| a ||| m= 1 ||| 2"), None, line(2, "0 ||| b ||| m= inf ||| 2"), line(3, None, "not UTF-8")]
    (entry,) = nbest.entries(given, bad)
    assert entry.scores == {"m": 1.0, "score": 2.0}
    bad.print_summary()
    told = capsys.readouterr().err
    assert "a score must be finite. Received: 'inf'" in told and "not UTF-8" in told


def test_a_pause_between_sentences_of_conllu_is_kept_and_one_inside_is_not():
    rows = [f"{i}\t{word}" + "\t_" * 8 for i, word in enumerate(("two", "dogs"), 1)]
    given = [None, line(1, rows[0]), None, line(2, rows[1]), line(3, ""), None, line(4, None, "not UTF-8")]
    found = list(tag._conllu(given))
    assert [item if item is None else item.text for item in found] == [None, ["two", "dogs"], None, None]
    assert found[-1] == given[-1]


def test_a_pause_is_kept_beside_side_inputs(tmp_path):
    (tmp_path / "prefix").write_text("x\ny\n")
    options = argparse.Namespace(search="beam", prefix=tmp_path / "prefix", force=None)
    given = [line(1, "a"), None, line(2, "b")]
    first, pause, second = line_inputs.with_side_inputs(given, options)
    assert pause is None and (first[0], second[0]) == (given[0], given[2])
    assert [side.text for side in (*first[1:], *second[1:])] == ["0", "x", "1", "y"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"text": 1}', "'text' is not a string"),
        ('{"b": "x"}', "no JSON object with the key 'text'"),
        ("[1]", "no JSON object with the key 'text'"),
        ("{", "no JSON object with the key 'text'"),
    ],
)
def test_a_line_that_is_no_json_object_of_text(text, why):
    found = text_columns._of_json(line(1, text), "text")
    assert found.text is None and found.why.startswith(why)


def test_lines_of_json_that_are_texts_or_blank():
    assert text_columns._of_json(line(1, '{"text": "a b"}'), "text") == line(1, "a b")
    assert text_columns._of_json(line(1, " "), "text") == line(1, " ")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_in_a_line_of_a_terminal_or_in_lines(terminal, monkeypatch):
    screen, times = io.StringIO(), iter([0.0, 1.0, 40.0])
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    count = progress.Progress("lines")
    count(10)  # too soon
    count(2_000)
    count.close()
    count.close()  # once is enough
    line = "2,000 lines, 50 a second"
    assert screen.getvalue() == (f"\r{line}\033[K\n" if terminal else f"{line}\n")


def test_a_perplexity_may_be_none_or_infinite():
    assert score._perplexity(-1e6, 1) == math.inf and math.isnan(score._perplexity(0.0, 0))
    assert score._perplexity(-2.0, 2) == pytest.approx(math.e)


@pytest.mark.parametrize("as_json", [True, False])
def test_candidates_without_a_source_and_without_a_score(as_json, tmp_path):
    (tmp_path / "source").write_text("a b\n")
    entries = ["0 ||| x ||| m= 1 ||| 2", "1 ||| y ||| m= 3 ||| 4", "2 |||  |||"]
    (tmp_path / "list").write_text("\n".join(entries) + "\n")
    files, out = [tmp_path / "source", tmp_path / "list"], tmp_path / "out"
    options = types.SimpleNamespace(output=out, json=as_json, name="model", chunk=10)
    score._score_candidates(options, files, lambda pairs: [Scored([t], [-0.5]) for _, t in pairs])
    written = out.read_text().splitlines()
    if as_json:
        first, *others = map(json.loads, written)
        assert first == {"line": 1, "text": "x", "scores": {"m": 1.0, "score": 2.0, "model": -0.5}}
        assert "has 1 lines, none for 1" in others[0]["error"] and others[1]["error"] == "there is no candidate"
    else:
        assert written == ["0 ||| x ||| m= 1 model= -0.5 ||| 2", "1 |||  |||", "2 |||  |||"]


def test_several_candidates_as_json(keras_seq):
    lists = "".join(f"0 ||| {text} ||| m= 1 ||| {number}\n" for number, text in enumerate("ab"))
    result = keras_seq("rerank", "--num-return", 2, "--json", stdin=lists)
    assert result.records == [{"line": 1, "texts": ["b", "a"], "scores": [1.0, 0.0]}]
    result = keras_seq("rerank", "--num-return", 0, stdin=lists)
    assert result.code == 2 and "--num-return must be at least 1. Received: 0" in result.err


def test_files_that_do_not_fit_a_model_are_refused(keras_seq, folders, tmp_path):
    (tmp_path / "a").write_text("a\n")
    one = (tmp_path / "a",)
    for name, given, told in (
        ("lstm", (*one, "--name", "a="), "--name must be a word without = : |. Received: 'a='"),
        ("lstm", one, "translates: name the source and the target file."),
        ("rnn", one * 2, "is a language model: name one file, the text."),
    ):
        result = keras_seq("score", "--model", folders[name], *given)
        assert result.code == 2 and told in result.err, result.err


def test_a_recognizer_without_a_sampling_rate(monkeypatch, capsys, tmp_path):
    given = []
    task = types.SimpleNamespace(
        sampling_rate=None, where="saved", model=None, predictor=lambda **options: given.append(options)
    )
    monkeypatch.setattr("keras_seq.tasks.loading.load_as", lambda *args: task)
    options = transcribe.Transcribe(model=tmp_path)
    transcribe._predictor(options)
    assert "saved does not record its sampling rate: 8,000 a second is assumed" in capsys.readouterr().err
    transcribe._predictor(transcribe.Transcribe(model=tmp_path, sampling_rate=16_000))
    assert not capsys.readouterr().err and [one.get("sampling_rate") for one in given] == [None, 16_000]
    with pytest.raises(ValueError, match="would be a wav file of text"):
        transcribe.transcribe(transcribe.Transcribe(model=tmp_path, output=tmp_path / "a.wav"))
