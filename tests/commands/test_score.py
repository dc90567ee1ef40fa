"""Pairs of lines, totals and n-best lists behind `keras-seq score`, without a model."""

import json
import math
import types

import pytest

from keras_seq.commands import output, score
from keras_seq.tasks.results import Failure, Scored


@pytest.mark.parametrize("as_json", [True, False])
def test_candidates_of_a_language_model_have_no_source(as_json, tmp_path):
    (tmp_path / "list").write_text("4 ||| a b ||| m= 1 ||| 2\n4 ||| c ||| m= 1\n")
    options = types.SimpleNamespace(output=tmp_path / "out", json=as_json, name="lm", chunk=10)

    def compute(texts):
        assert texts == ["a b", "c"]
        return [Scored(["a"], [-0.5]), Failure("too long")]

    score._score_candidates(options, [tmp_path / "list"], compute)
    written = (tmp_path / "out").read_text().splitlines()
    if as_json:
        assert json.loads(written[0]) == {"line": 5, "text": "a b", "scores": {"m": 1.0, "score": 2.0, "lm": -0.5}}
        assert json.loads(written[1]) == {"line": 5, "text": "c", "error": "too long"}
    else:
        assert written == ["4 ||| a b ||| m= 1 lm= -0.5 ||| 2", "4 |||  |||"]


@pytest.mark.parametrize("shorter", [0, 1])
def test_lines_are_paired_until_one_file_ends(shorter, tmp_path):
    files = [tmp_path / "source", tmp_path / "target"]
    for file in files:
        file.write_text("a\nb\n")
    assert [(one.text, other.text) for one, other in score._pairs(files)] == [("a", "a"), ("b", "b")]
    files[shorter].write_text("a\n")
    pairs = score._pairs(files)
    next(pairs)
    with pytest.raises(ValueError) as refused:
        next(pairs)
    assert str(refused.value).startswith(f"{files[shorter]} has 1 lines and {files[1 - shorter]} more. Each line must")


TOTALS = "perplexity 2.7183: 3 lines, 4 tokens, log p -4.0000\n"
RECORD = {"perplexity": math.e, "log_prob": -4.0, "tokens": 4, "lines": 3, "without_result": 1}


@pytest.mark.parametrize(("summary", "as_json"), [(True, True), (True, False), (False, False)])
def test_the_perplexity_of_all_lines(summary, as_json, tmp_path, capsys):
    bad = types.SimpleNamespace(total=4, count=1)
    with output.Writer(tmp_path / "out") as writer:
        options = types.SimpleNamespace(summary=summary, json=as_json)
        score._print_totals(options, writer, bad, total=-4.0, count=4)
    written = (tmp_path / "out").read_text()
    if as_json:
        assert json.loads(written) == RECORD
    else:
        assert (written, capsys.readouterr().err) == ((TOTALS, "") if summary else ("", TOTALS))
