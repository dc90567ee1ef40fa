"""The recipe as its users run it: it learns from spelling and neighbors, exports, and names bad input."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_seq
from keras_seq import data, experiment, export
from recipes import tagging
from recipes.synthetic import tagged_nonsense
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import FAR, Begun, end_at_the_fit, error_of, evaluated, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = tagging.Options(sentences=40, epochs=1, units=8, character_units=8, tokens_per_batch=256, average=1)
run_in = runner(tagging, TINY)


def metrics_of(run):
    entries = json.loads((run / "metrics.json").read_text())
    return {(entry["architecture"], entry["metric"]): entry for entry in entries}


def test_scores_by_length_and_chance():
    part = data.TaggedText([["a", "b", "c"], ["a"]], [["N", "V", "N"], ["N"]], None)
    lengths, right = tagging.scores_by_length(TINY, lambda words, **_: [["N", "V", "V"], ["V"]], {"valid": part})
    assert lengths.tolist() == [3, 1] and right == pytest.approx([2 / 3, 0])
    parts = {"train": part, "valid": part}
    assert tagging.chance(TINY, parts) == pytest.approx(3 / 4)
    spans = data.TaggedText([["a", "b"]], [["B-X", "O"]], None)
    assert tagging.chance(TINY, {"train": spans, "valid": spans}) == 0


LEARNED = tagging.Options(sentences=1_000, epochs=6, architecture="rnn", characters="cnn")


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("tagging-begun", lambda folder: run_in(folder, LEARNED, sentences=100, epochs=1))


@pytest.fixture(scope="module")
def learned(made_once):
    """A run on half of the demo's sentences, with layers that are quick to trace, exported."""
    return made_once("tagging", lambda folder: run_in(folder, LEARNED))


@pytest.mark.long
def test_it_learns_from_spelling_and_neighbors(learned):
    found = metrics_of(learned / "run")
    assert found["rnn", "accuracy"]["value"] > 0.98  # the tag that each word has most often: 0.6
    assert found["rnn", "accuracy, new words"]["value"] > 0.97
    assert found["most frequent tag", "accuracy"]["value"] < 0.75
    assert (found["rnn", "accuracy"]["recipe"], found["rnn", "accuracy"]["split"]) == ("recipes.tagging", "test")


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    names = ("words.words", "characters.characters", "tags.txt")
    for name in (*(f"vocabulary/{name}" for name in names), "history.csv", "parameters.txt", "best.keras", "test.txt"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "confusion.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    first = data.read_tags(run / "test.txt", format="columns")  # word, tag, and the tag that was found
    assert first.words == tagged_nonsense.tagged_text(100, 100, 1)["test"].words
    header, *rows = (line.split("\t") for line in (run / "by_tag.tsv").read_text().splitlines())
    assert header == ["tag", "true", "found", "precision", "recall", "F1"] and len(rows) == 11


def test_evaluate_gives_the_scores_of_the_recipe(begun, capsys, tmp_path):
    part = tagged_nonsense.tagged_text(100, 100, 1)["test"]
    rows = [zip(*row, strict=True) for row in zip(part.words, part.tags, strict=True)]
    text = "\n".join("".join("\t".join(pair) + "\n" for pair in row) for row in rows)
    (tmp_path / "test.tsv").write_text(text)
    expected = metrics_of(begun / "run")["rnn", "accuracy"]["value"]
    for folder in ("run", "export"):
        record = evaluated(capsys, begun / folder, tmp_path / "test.tsv")
        assert record["accuracy"] == pytest.approx(expected, abs=1e-4) and "span_f1" not in record


def test_the_saved_model_says_what_the_recipe_said_for_sentences_of_any_length(begun):
    tag = tf.saved_model.load(str(begun / "export")).signatures["tag"]
    found = data.read_tags(begun / "run" / "test.txt", format="columns")
    served = tag(text=tf.constant([" ".join(words) for words in found.words]))
    for words, expected, got in zip(found.words, found.tags, served["tags"].numpy(), strict=True):
        assert [name.decode() for name in got[: len(words)]] == expected
    longest = max(map(len, tagged_nonsense.tagged_text(100, 100, 1)["train"].words))
    two = [found.words[0], found.words[1]]
    while len(two[0]) < 2 * longest:
        two[0] = two[0] + two[1]
    (row,) = tag(text=tf.constant([" ".join(two[0])]))["tags"].numpy()
    end = len(found.words[0])
    assert [name.decode() for name in row[: end - 1]] == found.tags[0][:-1] and len(row) == len(two[0])


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    test, found = tagged_nonsense.tagged_text(100, 100, 1)["test"], metrics_of(begun / "run")
    predicted = keras_seq.load(begun / place)(test.words)
    assert predicted == data.read_tags(begun / "run" / "test.txt", format="columns", tags=2).tags
    pairs = [pair for rows in zip(test.tags, predicted, strict=True) for pair in zip(*rows, strict=True)]
    accuracy = sum(true == other for true, other in pairs) / len(pairs)
    assert accuracy == pytest.approx(found["rnn", "accuracy"]["value"], abs=1e-4)


def test_the_config_gives_the_same_options(begun):
    check_config(tagging, begun / "run", dataclasses.replace(LEARNED, sentences=100, epochs=1))


@FAR
def test_it_begins_with_what_another_run_has_learnt(request, tmp_path, monkeypatch, capsys, to_the_end):
    other = request.getfixturevalue("learned" if to_the_end else "begun")
    few = {"sentences": 100, "epochs": 1, "learning_rate": 1e-5, "init_from": other / "run"}
    if to_the_end:
        assert metrics_of(run_in(tmp_path, LEARNED, **few))["rnn", "accuracy"]["value"] > 0.95
    else:
        end_at_the_fit(monkeypatch)
        with pytest.raises(Begun):
            run_in(tmp_path, LEARNED, **few)
    assert ("tokens found, 0 new" if to_the_end else "weights taken; 0 left as they were") in capsys.readouterr().out


@pytest.mark.long
def test_each_word_by_itself_is_not_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    found = metrics_of(run_in(tmp_path, LEARNED, epochs=4, architecture="feedforward"))
    usual = found["most frequent tag", "accuracy"]["value"]
    assert usual + 0.1 < found["feedforward", "accuracy"]["value"] < 0.92  # spelling it did learn


SPANS = [("Anna", "B-PER"), ("Lee", "I-PER"), ("saw", "O"), ("York", "B-LOC"), (".", "O")]


def write(path, sentences, count):
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in sentence) for sentence in sentences * count), "utf-8")


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "cnn", "crf": True, "characters": "none", "word_dropout": 0.0},
        {"architecture": "lstm", "num_layers": 2, "characters": "gru"},
        {"architecture": "rnn", "bidirectional": False},
        {"architecture": "feedforward", "crf": True},
        {"architecture": "gru", "crf": True, "characters": "cnn"},
        {"architecture": "mingru"},
        {"architecture": "minlstm"},
        {"architecture": "rglru"},
        {"architecture": "transformer", "num_heads": 2},
    ],
    ids=lambda changes: changes["architecture"],
)
def test_every_architecture_runs_to_the_end_on_spans(tmp_path, changes):
    write(tmp_path / "train.tsv", [SPANS, SPANS[3:], [("Lee", "B-PER"), *SPANS[2:]]], 8)
    run = run_in(tmp_path, data_dir=tmp_path, **changes)
    name = changes["architecture"] + "-crf" * changes.get("crf", False)
    found = metrics_of(run)
    assert found[name, "span F1"]["split"] == "valid" and 0 <= found[name, "span F1"]["value"] <= 1
    assert {line.split("\t")[0] for line in (run / "by_span.tsv").read_text().splitlines()} >= {"span", "LOC", "PER"}
    assert "val_span_f1" in (run / "history.csv").read_text() and (tmp_path / "export" / "saved_model.pb").exists()


@pytest.mark.long
@pytest.mark.parametrize("direct", [{}, {"word_ngrams": 1, "feature_ngrams": 2}], ids=["network", "and n-grams"])
def test_a_feature_can_decide_the_tag(tmp_path, direct):
    rows = [("saw", "NN", "B-TOOL"), ("saw", "VBD", "O"), ("the", "DT", "O")]
    drawn = np.random.default_rng(1).integers(0, 3, (3, 40, 5))
    for part, sentences in zip(("train", "valid", "test"), drawn, strict=True):
        text_of = "\n".join("".join(" ".join(rows[row]) + "\n" for row in sentence) for sentence in sentences)
        (tmp_path / f"{part}.txt").write_text(text_of)
    options = {"epochs": 3, "learning_rate": 0.1, "word_dropout": 0.0, "dropout": 0.0, "tokens_per_batch": 64}
    run = run_in(tmp_path, data_dir=tmp_path, feature_columns=("1",), architecture="cnn", **options, **direct)
    found = metrics_of(run)
    assert found["cnn", "span F1"]["value"] == 1.0
    task = keras_seq.load(run)
    expected = ["O", "B-TOOL"]
    assert task("saw￨VBD saw￨NN") == expected and task([["saw￨VBD", "saw￨NN"]]) == [expected]
    assert keras_seq.load(tmp_path / "export")("saw￨VBD saw￨NN") == expected
    (failed,) = task.details(["the￨DT saw"])
    assert failed.reason == "'saw' has 0 features, where the model reads 1. Give word￨FEATURE"


def test_ngrams_of_features_and_affixes_need_them():
    with pytest.raises(ValueError, match="--feature-ngrams needs --feature-columns. Received: 3"):
        tagging.with_defaults(tagging.Options(feature_ngrams=3))
    with pytest.raises(ValueError, match="--affixes needs the characters, without --characters none. Received: 4"):
        tagging.with_defaults(tagging.Options(affixes=4, characters="none"))


@pytest.mark.parametrize("beside", [(), ("valid",), ("test",), ("valid", "test")])
def test_what_validates_is_never_the_test_where_there_is_another_way(beside):
    drawn = tagged_nonsense.tagged_text(100, 20)
    train, valid, test, split = experiment.divide_tagged({part: drawn[part] for part in ("train", *beside)})
    if len(beside) == 2:
        assert (train, valid, test, split) == (drawn["train"], drawn["valid"], drawn["test"], "test")
        return
    assert valid.words == drawn["train"].words[9::10] and len(train) == 90
    assert not {*map(tuple, train.words)} & {*map(tuple, valid.words)}
    names = {(): "valid", ("valid",): "dev", ("test",): "test"}
    assert split == names[beside] and test.words == (drawn[beside[0]] if beside else valid).words


def test_the_published_split(real_data):
    folder = real_data("ud_lines")
    parts = tagging.read(tagging.Options(data_dir=folder))
    assert {name: len(part) for name, part in parts.items()} == {"train": 3_112, "valid": 345, "dev": 1_118}
    assert len(parts["train"].tag_names) == 17


@pytest.mark.long
def test_a_treebank(real_data, tmp_path):
    run = run_in(tmp_path, tagging.Options(), data_dir=real_data("ud_lines"))
    found = metrics_of(run)
    assert found["lstm", "accuracy"]["value"] > 0.945 and found["lstm", "accuracy"]["split"] == "dev"


def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys):
    argv = ["--data-dir", str(tmp_path), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "train*.conllu" in error_of(tagging, capsys, *argv)
    assert "--download" in error_of(tagging, capsys, *argv, "--download")
    (tmp_path / "train.conllu").write_text("1\ta\t_\tDET\n")
    assert f"{tmp_path}/train.conllu:1: 4 columns" in error_of(tagging, capsys, *argv)
    write(tmp_path / "train.conllu", [SPANS], 1)
    (tmp_path / "train.conllu").rename(tmp_path / "train.tsv")
    assert "cannot be split" in error_of(tagging, capsys, *argv)
    write(tmp_path / "train.tsv", [SPANS], 20)
    assert "Received: 7" in error_of(tagging, capsys, *argv, "--tag-column", "7")
    assert "--max-length 2" in error_of(tagging, capsys, *argv, "--max-length", "2", "--overwrite")


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    write(tmp_path / "train.tsv", [SPANS], 12)
    (tmp_path / "glove.txt").write_text("saw 1 2\nyork 2 1\n")

    def smaller(options):
        spelled = "none" if options.characters == "lstm" else options.characters  # slow to trace
        model = "feedforward" if options.architecture == "lstm" else options.architecture  # as that one
        small = {"sentences": 20, "units": 4, "character_units": 4}
        return small | {"characters": spelled, "architecture": model}

    places = {"glove.txt": str(tmp_path / "glove.txt"), "XPOS": "1"}
    assert len(run_page(tagging, tmp_path, monkeypatch, to_the_end, smaller, places)) >= 5
