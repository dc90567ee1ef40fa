"""Parts of the verbs, each by itself: pauses of stdin, n-best lists, tables of JSON, progress, large sums."""

import argparse
import errno
import io
import json
import math
import os
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_seq import decoding
from keras_seq.commands import (
    evaluate,
    evaluate_labels,
    evaluate_series,
    evaluate_sound,
    evaluate_text,
    export,
    export_examples,
    line_inputs,
    lines,
    nbest,
    output,
    progress,
    score,
    tag,
    text_columns,
    transcribe,
    translate,
)
from keras_seq.commands.lines import BadLines, Line
from keras_seq.commands.options import UnknownOptions, replacement
from keras_seq.tasks.results import Failure, Generated, Scored, Transcript


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


@pytest.mark.parametrize("blank", [[], [line(4, "")], [line(4, ""), line(5, " ")]])
def test_blank_lines_of_conllu_are_no_sentences(blank):
    given = [line(1, ""), line(2, "1\ttwo" + "\t_" * 8), *blank]
    assert [item.text for item in tag._conllu(given)] == [["two"]]
    assert list(tag._conllu([line(1, ""), line(2, " ")])) == []


def test_rows_of_a_table_whose_column_has_a_number(tmp_path, caplog):
    file = tmp_path / "a.csv"
    file.write_text("1,a horse\n2\n3,\n")
    found = list(text_columns.texts([file], "1"))
    assert [(item.place, item.text) for item in found] == [
        (f"{file}:1", "a horse"),
        (f"{file}:2", None),
        (f"{file}:3", ""),
    ]
    assert found[1].why == "the row has 1 columns and lacks number 1" and not caplog.text
    file.write_text("id,text\n1,a horse\n")
    assert [item.text for item in text_columns.texts([file], "1")] == ["a horse"]
    assert f"{file}:1 names the columns (['id', 'text']) and is skipped." in caplog.text


def test_texts_of_a_table_without_bad_rows(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("id\ttext\n1\ta horse\n2\n3\t \n4\ttwo\n")
    with pytest.raises(ValueError) as refused:
        text_columns.Texts(file, "text")
    assert str(refused.value) == (
        f"{file}:3: the row has 1 columns and lacks number 1. Fix the row, or drop such rows: --on-bad-line skip."
    )
    found = text_columns.Texts(file, "text", "skip")
    assert list(found.dataset().as_numpy_iterator()) == [b"a horse", b"two"]
    assert (found.report.read, found.report.kept, found.report.empty, found.report.bad_lines) == (4, 2, 1, 1)


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


def test_several_translations_as_json(tmp_path):
    with output.Writer(tmp_path / "out") as writer:
        write = translate._json(writer)
        write(1, Generated(["b", "c"], [0.5, 0.25], [-1.0, -2.0], [True, False], "a "))
        write(2, Generated(["b"], [0.5], [-1.0], [True]))
        write(3, Failure("too long"))
    assert [json.loads(text) for text in (tmp_path / "out").read_text().splitlines()] == [
        {
            "line": 1,
            "texts": ["a b", "a c"],
            "scores": [0.5, 0.25],
            "log_probs": [-1.0, -2.0],
            "finished": [True, False],
        },
        {"line": 2, "text": "b", "score": 0.5, "log_prob": -1.0, "finished": True},
        {"line": 3, "error": "too long"},
    ]


def test_a_dictionary_of_unknown_words(tmp_path):
    file = tmp_path / "words"
    file.write_text("horse\tPferd\n\n big dog \t großer Hund\nhorse\tRoss\n")
    options = {"replace_unknown": True, "dictionary": file}
    assert replacement(UnknownOptions(**options)) == {"horse": "Pferd", "big dog": "großer Hund"}
    assert [replacement(UnknownOptions(replace_unknown=flag)) for flag in (True, False)] == [True, False]
    for content, told in (
        (b"horse\n", "words:1: a line of a dictionary must have a word, a tab and its translation. Received: 'horse'"),
        (b"\n\tPferd\n", r"words:2: .* Received: '\\tPferd'"),
        (b"horse\t\xff\n", "words:1: .* Fix the dictionary."),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=told):
            replacement(UnknownOptions(**options))
    with pytest.raises(ValueError, match="--dictionary requires --replace-unknown."):
        replacement(UnknownOptions(dictionary=file))
    with pytest.raises(ValueError, match="--dictionary must be a file: stdin is for the input lines."):
        replacement(UnknownOptions(replace_unknown=True, dictionary=lines.STDIN))


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


@pytest.mark.parametrize("rate", [None, 16_000])
def test_a_sampling_rate_that_a_model_has_is_not_given_again(rate, monkeypatch, capsys, tmp_path):
    given = []
    task = types.SimpleNamespace(
        sampling_rate=16_000,
        where="saved",
        model=types.SimpleNamespace(encode=None),
        predictor=lambda **options: given.append(options),
    )
    monkeypatch.setattr("keras_seq.tasks.loading.load_as", lambda *args: task)
    transcribe._predictor(transcribe.Transcribe(model=tmp_path, sampling_rate=rate, max_length=7, max_seconds=9.0))
    assert given == [{"batch_seconds": 120.0, "max_seconds": 9.0, "max_length": 7}] and not capsys.readouterr().err
    with pytest.raises(ValueError, match="--sampling-rate 8000: saved was trained at 16000. Leave it out"):
        transcribe._predictor(transcribe.Transcribe(model=tmp_path, sampling_rate=8000))


def test_names_of_recordings_come_with_pauses(monkeypatch, tmp_path):
    names = [line(1, "a.wav"), None, line(2, None, "not UTF-8"), line(3, "b.wav")]
    monkeypatch.setattr(transcribe, "lines", lambda files: iter(names))
    monkeypatch.setattr(
        transcribe, "_predictor", lambda options: lambda files: [Transcript(f"in {file}", 0.5, -1.0) for file in files]
    )
    for as_json in (False, True):
        transcribe.transcribe(transcribe.Transcribe(model=tmp_path, output=tmp_path / "out", json=as_json))
        found = (tmp_path / "out").read_text().splitlines()
        if not as_json:
            assert found == ["in a.wav", "", "in b.wav"]
    assert [json.loads(record) for record in found] == [
        {"file": "a.wav", "text": "in a.wav", "score": 0.5, "log_prob": -1.0},
        {"file": "", "error": "not UTF-8"},
        {"file": "b.wav", "text": "in b.wav", "score": 0.5, "log_prob": -1.0},
    ]


@pytest.fixture
def stdin_of(monkeypatch):
    """A pipe that stands for stdin, and its end to write."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))
        yield writing


def test_blocks_of_a_pipe_end_at_lines_and_pauses_are_told(stdin_of, monkeypatch):
    monkeypatch.setattr(lines, "PAUSE_SECONDS", 0.01)
    blocks = lines._stdin_blocks()
    os.write(stdin_of, b"a\nb\nc")
    assert next(blocks) == b"a\nb\n" and next(blocks) is None
    os.write(stdin_of, b"d")
    os.write(stdin_of, b"e\nf")
    assert next(blocks) == b"cde\n"
    os.close(stdin_of)
    assert list(blocks) in ([b"f"], [None, b"f"])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="stdin is closed, and no file is named"):
        next(lines._stdin_blocks())


def test_pauses_come_between_lines(stdin_of):
    os.write(stdin_of, b"a\n")
    found = lines.lines([])
    assert next(found).text == "a" and next(found) is None
    os.close(stdin_of)
    assert list(found) == []


def test_a_line_that_is_longer_than_a_block_is_put_together(stdin_of, monkeypatch):
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 2)
    os.write(stdin_of, b"abc\nd\r\nefg")
    os.close(stdin_of)
    assert [item.text for item in lines.lines([]) if item is not None] == ["abc", "d", "efg"]


def test_a_list_of_lines_ends_before_an_error():
    def items():
        yield from "abc"
        raise ValueError("damaged")

    found = lines.chunks(items(), 2)
    assert next(found) == ["a", "b"] and next(found) == ["c"]
    with pytest.raises(ValueError, match="damaged"):
        next(found)
    assert list(lines.chunks(["a", None, None, "b"], 2)) == [["a"], ["b"]]


class Full(io.StringIO):
    """A stdout without a buffer whose disk is full when it is flushed."""

    errno = errno.ENOSPC

    def flush(self):
        raise OSError(self.errno, os.strerror(self.errno))


def test_stdout_that_is_closed_full_or_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "stdout", screen := io.StringIO())
    with output.Writer() as writer:
        writer("a\nb")
    assert screen.getvalue() == "a b\n"
    monkeypatch.setattr(sys, "stdout", Full())
    writer = output.Writer()
    with pytest.raises(OSError, match=r"stdout could not be written: No space left on device. Make room on that disk."):
        writer.flush()
    with pytest.raises(OSError, match="Make room on that disk"):
        output.exit_cleanly(lambda options: None)(None)
    Full.errno = errno.EIO
    with pytest.raises(OSError, match="Input/output error. Name another file with --output."):
        writer.flush()
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ValueError, match="stdout is closed. Name a file with --output."):
        output.Writer()
    output.exit_cleanly(lambda options: None)(None)


class Broken(io.StringIO):
    """A stdout whose reader has gone."""

    def flush(self):
        raise BrokenPipeError


def test_a_reader_that_has_gone_is_no_full_disk(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken())
    abandoned = []
    monkeypatch.setattr(output, "abandon_stdout", lambda: abandoned.append(True))
    with pytest.raises(BrokenPipeError):
        output.Writer().flush()
    assert not abandoned
    with pytest.raises(SystemExit) as ended:
        output.exit_cleanly(lambda options: None)(None)
    assert ended.value.code == 1 and abandoned == [True]


def test_lines_are_kept_after_an_error_unless_the_disk_is_full(tmp_path):
    for error, kept in ((ValueError("no number"), "a\n"), (OSError("no room"), "")):
        with pytest.raises(type(error)), output.Writer(tmp_path / "out") as writer:
            writer("a")
            raise error
        assert (tmp_path / "out").read_text() == kept


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenPipeError(), ""),
        (KeyboardInterrupt(), "Interrupted. All lines written so far are complete.\n"),
        (tf.errors.ResourceExhaustedError(None, None, "no\nmemory"), "error: the model could not be run: no memory\n"),
    ],
)
def test_what_ends_a_verb_in_its_middle(error, told, monkeypatch, capsys):
    monkeypatch.setattr(output, "abandon_stdout", lambda: None)

    def fails(options):
        raise error

    with pytest.raises(SystemExit) as ended:
        output.exit_cleanly(fails)(None)
    assert ended.value.code == 1 and capsys.readouterr().err == told


def test_a_failure_of_many_is_counted():
    results = [Scored(["a"], [-1.0]), Failure("too long")]
    found = evaluate.failure_lines(results, "inputs")
    assert found == ("", "1 of 2 inputs have no result and count as wrong; number 2: too long")
    assert evaluate.failure_lines(results[:1], "inputs") == ()


def arrays_of(outputs):
    results = [types.SimpleNamespace(arrays={"y": output}) for output in outputs]
    signature = types.SimpleNamespace(structured_input_signature=((), {"x": None}))
    return types.SimpleNamespace(predictor=lambda: lambda examples: results, where="saved", signature=signature)


def test_arrays_are_scored_or_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_labels, "_inputs", lambda task: {"x": None})
    logits = np.array([[0.0, 1.0], [3.0, 1.0]])
    task, path = arrays_of(logits), tmp_path / "a.npz"
    for given, told in (
        ({"x": logits}, "has no expected output. Add one of y, by that name"),
        ({"z": logits}, "has no array 'x'. It has z; the model reads x."),
        ({"x": logits, "y": logits[:, :1]}, r"'y' has the shape \(2, 1\), but the model's output \(2, 2\)"),
    ):
        np.savez(path, **given)
        with pytest.raises(ValueError, match=told):
            evaluate_labels._arrays(path, task)
    for expected, record in (([1, 1], {"accuracy": 0.5}), (logits + 1, {"mse": 1.0, "mae": 1.0})):
        np.savez(path, x=logits, y=np.array(expected))
        assert evaluate_labels._arrays(path, task).record == {"examples": 2, "y": record}
    failed = types.SimpleNamespace(predictor=lambda: lambda examples: [Failure("too large")] * 2)
    with pytest.raises(ValueError, match="number 1: too large"):
        evaluate_labels._arrays(path, failed)
    with pytest.raises(ValueError, match="is not an .npz file"):
        evaluate_labels._arrays(tmp_path / "a.txt", task)


def test_what_cannot_be_scored_is_named(tmp_path):
    several = types.SimpleNamespace(where="saved", rank=None, predictor=lambda **limits: lambda inputs: [{"a": 1}])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="saved has several outputs"):
        patch.setattr(evaluate_labels, "_labeled_inputs", lambda *args: ([], []))
        evaluate_labels.score_classes(types.SimpleNamespace(limits={}), several)
    failed = types.SimpleNamespace(where="saved", predictor=lambda: lambda inputs: [Failure("too short")])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="saved cannot predict these clips"):
        patch.setattr(evaluate_labels, "_clips", lambda *args: None)
        patch.setattr(evaluate_labels, "_frames", lambda video: [np.zeros((3, 2, 2, 1))])
        evaluate_labels._next_frames(None, failed)
    with pytest.raises(ValueError, match="saved cannot forecast: too short"):
        evaluate_series._predicted(failed, [np.zeros((3, 1))])
    several = types.SimpleNamespace(files=(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(ValueError, match="This task is evaluated on one file. Received: .*a .*b"):
        evaluate.one_file(several)


def test_a_table_of_recordings_that_is_none(tmp_path):
    options = evaluate.Evaluate(files=())
    for name, content, told in (
        ("a.jsonl", "{}", "is not a .tsv or .csv table"),
        ("a.tsv", "file\ttext\n", "has no row. Give one with a sound file and its text"),
        ("b.tsv", "file\ttext\n\nc.wav\n", "b.tsv:3: a row must have a sound file and its text"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=told):
            evaluate_sound._rows(tmp_path / name, options)
    options = evaluate.Evaluate(files=(), text_column="words")
    with pytest.raises(ValueError, match="no column is named 'words'. The header has file, text"):
        evaluate_sound._rows(tmp_path / "a.tsv", options)


def test_references_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "none").write_text("")
    with pytest.raises(ValueError, match="none has no line to compare"):
        evaluate_text.score_lines(evaluate.Evaluate(files=(tmp_path / "none", tmp_path / "none")))
    for given, told in (
        ({"source": tmp_path / "none"}, "--source requires --model"),
        ({}, "Name the file of references and the file of hypotheses, .* Received: no file"),
        ({"model": (tmp_path,), "source": tmp_path, "files": (tmp_path, tmp_path)}, "--model generates the hypotheses"),
    ):
        with pytest.raises(ValueError, match=told):
            evaluate_text._sides(evaluate.Evaluate(**given))
    with pytest.raises(ValueError, match="--tokenize must be one of .* Received: klingon"):
        evaluate_text.check_tokenizer("klingon")
    (tmp_path / "short").write_text("a")
    with pytest.raises(ValueError, match="short has no text to measure. Give more."):
        evaluate_text._documents(evaluate.Evaluate(files=(tmp_path / "short",)), "file")
    (tmp_path / "text").write_text("one\r\n\ntwo\n")
    assert evaluate_text._documents(evaluate.Evaluate(files=(tmp_path / "text",)), "line") == ["one", "two"]
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ImportError, match="BLEU and chrF need sacreBLEU"):
        evaluate_text.check_tokenizer("13a")


@pytest.mark.parametrize(("streams", "found"), [(None, ["blocks of 3"]), ("any", ["state carried", "blocks of 3"])])
def test_a_state_is_carried_where_there_is_one(streams, found, monkeypatch):
    measured = []

    def losses(model, compiled):
        def measure(batches):
            measured.append(batches.element_spec)
            return np.array([1.0, np.nan, 3.0])

        return measure

    monkeypatch.setattr(decoding, "TokenLosses", losses, raising=False)
    model, vocabulary = types.SimpleNamespace(streams=streams), types.SimpleNamespace(start_id=2)
    task = types.SimpleNamespace(model=model, vocabulary=vocabulary)
    nats = evaluate_text._nats(task, np.arange(4, 11), {"block": 3})
    assert list(nats.items()) == [(name, 2.0) for name in found]
    assert [isinstance(spec[0], dict) for spec in measured] == [name == "state carried" for name in found]


def test_example_inputs_of_models_that_decode_or_have_none():
    vocabulary = types.SimpleNamespace(size=9)
    decodes = types.SimpleNamespace(encode=None, source_front_end=None)
    task = types.SimpleNamespace(model=decodes, vocabulary=vocabulary, source_vocabulary=None, where="saved")
    found = export_examples.example(task, 2, 5)
    assert {name: x.shape for name, x in found.items()} == {"source": (2, 5), "target": (2, 5)}
    assert export_examples.example(task, 2, None, source_alone=True).shape == (2, export_examples.TOKENS)
    decodes.source_front_end, task.sampling_rate = "ears", 8_000
    assert export_examples.example(task, 1, None, source_alone=True).shape == (1, 8_000)
    task.model = types.SimpleNamespace()
    with pytest.raises(ValueError, match="which does not describe its inputs. Export it in Python."):
        export_examples.example(task, 1, None)


def test_a_mean_of_checkpoints_that_is_refused(tmp_path, monkeypatch):
    task = types.SimpleNamespace(folder=tmp_path, model=None)
    monkeypatch.setattr("keras_seq.tasks.loading.load_run", lambda *args: task)
    for options, told in (
        ({"last": 0}, "--last must be at least 1. Received: 0"),
        ({"output": tmp_path / "a.h5"}, "--output must end in .keras. Received: .*a.h5"),
        ({}, "has no complete checkpoint"),
    ):
        with pytest.raises(ValueError, match=told):
            export.average(export.Average(model=tmp_path, **options))


@pytest.mark.parametrize(
    ("name", "column"), [("2", 2), ("-1", -1), ("²", "²"), ("--1", "--1"), ("text", "text"), (None, None)]
)
def test_a_column_is_named_by_a_whole_number_or_by_its_name(name, column):
    assert evaluate.column(name) == column
