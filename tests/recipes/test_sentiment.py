"""The recipe as its users run it: it learns what words alone do not say, exports, and names bad input."""

import dataclasses
import json
import re
import types

import keras
import numpy as np
import pytest

import keras_seq
from keras_seq import __main__ as command_line
from keras_seq import cli, data, export, tasks, text, training
from recipes import sentiment
from recipes.public import rt_polarity
from recipes.synthetic import sentiment_sentences
from tests.recipes.finished import OPENED, check_config
from tests.recipes.pages import FAR, error_of, evaluated, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = sentiment.Options(sentences=60, epochs=1, units=8, tokens_per_batch=256, average=1)
run_in = runner(sentiment, TINY)


def metrics_of(run):
    return {entry["metric"]: entry for entry in json.loads((run / "metrics.json").read_text())}


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("sentiment-begun", lambda folder: run_in(folder, architecture="rnn", bidirectional=False))


@pytest.fixture(scope="module")
def learned(made_once):
    """A run on half of the demo's sentences, exported."""
    return made_once("sentiment", lambda folder: run_in(folder, sentiment.Options(), sentences=2_000, epochs=12))


def test_scores_by_length_and_chance():
    part = data.LabeledText(["a b c", "a", "b b"], [0, 1, 1], ("bad", "good"), None)
    words = text.Words.train(part.texts)
    results = [tasks.Classified(name, 1.0, {}) for name in ("bad", "bad", "good")]
    task = types.SimpleNamespace(vocabulary=words, details=lambda texts, max_source_length: results)
    lengths, right = sentiment.scores_by_length(TINY, task, {"valid": part})
    assert (lengths.tolist(), right.tolist()) == ([3, 1, 2], [1, 0, 1])
    assert sentiment.chance(TINY, {"valid": part}) == pytest.approx(2 / 3)


@pytest.mark.long
def test_it_learns_what_the_order_of_the_words_says(learned):
    found = metrics_of(learned / "run")
    assert found["accuracy"]["value"] > 0.95 and found["macro-F1"]["value"] > 0.95  # words alone: 0.5
    assert (found["accuracy"]["recipe"], found["accuracy"]["split"]) == ("recipes.sentiment", "test")


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "parameters.txt", "best.keras", "vocabulary/joint.words", "test.txt"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "confusion.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    assert (begun / "export" / "saved_model.pb").exists()
    card = (begun / "export" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-classification" in card and "| test | accuracy |" in card and "| seed | 1 |" in card
    rows = [line.split("\t") for line in (run / "test.txt").read_text().splitlines()]
    test = sentiment_sentences.labeled_text(60, 60, seed=1)[
        "test"
    ]  # the true labels, for those that are wrong and sure
    assert [row[2:] for row in rows] == [
        [sentiment_sentences.LABELS[x], t] for x, t in zip(test.labels, test.texts, strict=True)
    ]
    right = np.mean([predicted == label for predicted, _, label, _ in rows])
    assert right == pytest.approx(metrics_of(run)["accuracy"]["value"]) and all(row[1].endswith("%") for row in rows)


def test_the_run_folder_classifies(begun, capsys, tmp_path):
    (tmp_path / "lines").write_text("the plot was not dull , but the ending was never good .\n")
    command_line.main(["classify", "--model", str(begun / "run"), str(tmp_path / "lines")])
    label, share = capsys.readouterr().out.split()
    assert label in ("negative", "positive") and 0.5 <= float(share) <= 1


@pytest.mark.parametrize("folder", ["run", "export"])
def test_evaluate_gives_the_scores_of_the_recipe(folder, begun, capsys, tmp_path):
    part = sentiment_sentences.labeled_text(TINY.sentences, min(500, TINY.sentences), TINY.seed)["test"]
    rows = zip((part.label_names[label] for label in part.labels), part.texts, strict=True)
    (tmp_path / "test.tsv").write_text("".join(f"{label}\t{text}\n" for label, text in rows))
    record, scores = evaluated(capsys, begun / folder, tmp_path / "test.tsv"), metrics_of(begun / "run")
    assert record["accuracy"] == pytest.approx(scores["accuracy"]["value"], abs=1e-4)
    assert record["macro_f1"] == pytest.approx(scores["macro-F1"]["value"], abs=1e-4)
    assert np.sum(record["confusions"]) == len(part) and record["labels"] == list(sentiment_sentences.LABELS)
    assert np.trace(record["confusions"]) / len(part) == pytest.approx(record["accuracy"])


@OPENED
def test_the_task_gives_the_measured_figures(begun, place):
    test, found = sentiment_sentences.labeled_text(60, 60, seed=1)["test"], metrics_of(begun / "run")
    labels, predicted = (
        [sentiment_sentences.LABELS[label] for label in test.labels],
        keras_seq.load(begun / place)(test.texts),
    )
    pairs = list(zip(labels, predicted, strict=True))
    assert np.mean([label == other for label, other in pairs]) == pytest.approx(found["accuracy"]["value"], abs=1e-4)
    f1 = [2 * pairs.count((x, x)) / (labels.count(x) + predicted.count(x)) for x in sentiment_sentences.LABELS]
    assert np.mean(f1) == pytest.approx(found["macro-F1"]["value"], abs=1e-4)


@pytest.mark.long
def test_a_run_is_replayed_from_its_config(begun, tmp_path, monkeypatch):
    check_config(sentiment, begun / "run", dataclasses.replace(TINY, architecture="rnn", bidirectional=False))
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    argv = ["--config", str(begun / "run"), "--run", str(tmp_path / "run")]  # the folder stands for its config.json
    cli.run(sentiment.main, sentiment.Options, argv)
    (first,), (again,) = (training.read_history(folder / "run" / "history.csv") for folder in (begun, tmp_path))
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert again["val_loss"] == pytest.approx(first["val_loss"], rel=1e-5)
    assert {k: v["value"] for k, v in metrics_of(tmp_path / "run").items()} == pytest.approx(
        {k: v["value"] for k, v in metrics_of(begun / "run").items()}
    )


@pytest.mark.long
def test_words_without_their_order_are_not_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "saved_model", lambda *args, **kwargs: None)
    run = run_in(tmp_path, sentiment.Options(), sentences=2_000, epochs=4, architecture="feedforward")
    assert metrics_of(run)["accuracy"]["value"] < 0.6


def write_rows(path, count, sorted_by_label=False):
    rows = [("good", f"a fine film {number}") for number in range(count)]
    rows += [("bad", f"a poor film {number}") for number in range(count)]
    rows = rows if sorted_by_label else [row for pair in zip(rows[:count], rows[count:], strict=True) for row in pair]
    path.write_text("".join(f"{label}\t{text}\n" for label, text in rows), encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "feedforward", "class_weights": True},
        {"architecture": "cnn", "windows": (2, 3), "class_weights": True},
        {"architecture": "lstm", "pooling": "last", "vocabulary": "bpe", "vocabulary_size": 60},
        {"architecture": "rnn", "bidirectional": False, "pooling": "max"},
        {"architecture": "mingru", "vocabulary": "characters"},
        {"architecture": "minlstm", "num_layers": 2},
        {"architecture": "rglru", "pooling": "mean"},
        {"architecture": "transformer", "num_heads": 2},
    ],
    ids=lambda changes: changes["architecture"],
)
def test_every_architecture_runs_to_the_end_on_files(tmp_path, changes):
    write_rows(tmp_path / "train.tsv", 30)
    run = run_in(tmp_path, data_dir=tmp_path, **changes)
    found = metrics_of(run)  # there is no test file: the tenth that was held out
    assert found["accuracy"]["split"] == "valid" and 0 <= found["accuracy"]["value"] <= 1
    assert (tmp_path / "export" / "saved_model.pb").exists()


@pytest.mark.long
def test_folds_leave_the_mean_and_its_spread_and_no_model_to_serve(tmp_path, capsys):
    write_rows(tmp_path / "train.tsv", 30)
    options = dataclasses.replace(TINY, data_dir=tmp_path, folds=2, architecture="feedforward", epochs=2, average=2)
    run = run_in(tmp_path, options)
    told = re.findall(r"Fold (\d): accuracy (.+?)%", capsys.readouterr().out)
    shares = [float(share) / 100 for _, share in told]
    found = metrics_of(run)
    assert [fold for fold, _ in told] == ["1", "2"]
    assert found["accuracy, mean"]["value"] == pytest.approx(np.mean(shares), abs=1e-4)
    assert found["accuracy, standard deviation"]["value"] == pytest.approx(np.std(shares, ddof=1), abs=1e-4)
    assert found["accuracy, mean"]["split"] == "2 folds" and not (tmp_path / "export").exists()
    run_in(tmp_path, options)  # what is trained is not trained again
    assert re.findall(r"Fold (\d): accuracy (.+?)%", (again := capsys.readouterr().out)) == told
    assert "Epoch" not in again


@pytest.mark.long
def test_vectors_of_others_are_taken(tmp_path, capsys):
    write_rows(tmp_path / "train.tsv", 30)
    (tmp_path / "vectors.txt").write_text("fine 1 1 1 1\npoor -1 -1 -1 -1\nother 0 0 0 0\n")
    vectors = {"vectors": tmp_path / "vectors.txt", "train_vectors": False, "architecture": "feedforward"}
    run = run_in(tmp_path, data_dir=tmp_path, epochs=6, learning_rate=0.05, word_dropout=0.0, dropout=0.0, **vectors)
    assert re.search(r"vectors.txt: 2 of \d+ tokens .* have a vector of 4; 3 read", capsys.readouterr().out)
    embedding = keras.models.load_model(run / "best.keras").get_layer("embedding")
    words = (run / "vocabulary" / "joint.words").read_text().splitlines()
    np.testing.assert_array_equal(embedding.embeddings[words.index("poor")], [-1, -1, -1, -1])
    assert metrics_of(run)["accuracy"]["value"] == 1.0


def test_the_original_files_are_read_too(tmp_path):
    for number, name in enumerate(rt_polarity.FILES.values()):
        (tmp_path / name).write_text("".join(f"text {number} {row}\n" for row in range(50)))
    parts = sentiment.read_files(sentiment.Options(data_dir=tmp_path))
    assert [part.class_counts() for part in parts.values()] == [{"negative": n, "positive": n} for n in (45, 5)]
    assert all(
        int(text.split()[1]) == label for text, label in zip(parts["train"].texts, parts["train"].labels, strict=True)
    )
    assert len({*parts["train"].texts, *parts["test"].texts}) == 100
    assert len(set(parts["train"].labels[:10])) == 2  # no longer one after the other


def test_the_published_split(real_data):
    folder = real_data("rt_polarity")
    parts = sentiment.read(sentiment.Options(data_dir=folder))
    assert {name: len(part) for name, part in parts.items()} == {"train": 7677, "valid": 853, "test": 1066}
    whole = sentiment.read_files(sentiment.Options(data_dir=folder))["train"]
    assert parts["train"].texts + parts["valid"].texts == whole.texts


def test_one_file_is_divided(tmp_path):
    write_rows(tmp_path / "mails.tsv", 60)
    options = sentiment.with_defaults(dataclasses.replace(TINY, data_dir=tmp_path / "mails.tsv"))
    assert {part: len(rows) for part, rows in sentiment.read(options).items()} == {"train": 108, "valid": 12}


def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys):
    argv = ["--data-dir", str(tmp_path), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "nowhere" in error_of(sentiment, capsys, "--data-dir", str(tmp_path / "nowhere"))
    assert "train*.tsv" in error_of(sentiment, capsys, *argv)
    assert "--download" in error_of(sentiment, capsys, *argv, "--download")
    write_rows(tmp_path / "train.tsv", 30, sorted_by_label=True)
    assert "sorted" in error_of(sentiment, capsys, *argv)
    write_rows(tmp_path / "train.tsv", 30)
    (tmp_path / "test.tsv").write_text("fair\ta film\n")
    assert "'fair' is not one of" in error_of(sentiment, capsys, *argv)
    (tmp_path / "test.tsv").unlink()
    assert "no column 7" in error_of(sentiment, capsys, *argv, "--text-column", "7")
    assert "--max-length 1" in error_of(sentiment, capsys, *argv, "--max-length", "1", "--overwrite")
    vectors = str(tmp_path / "none.txt")
    assert vectors in error_of(sentiment, capsys, *argv, "--vectors", vectors, "--run", str(tmp_path / "other"))


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    write_rows(tmp_path / "train.tsv", 12)
    (tmp_path / "glove.txt").write_text("fine 1 2\npoor 2 1\n")

    def smaller(options):
        model = "feedforward" if options.architecture == "gru" else options.architecture  # slow to trace
        return {"sentences": 30, "units": 4, "folds": min(options.folds, 2), "architecture": model}

    places = {"glove.txt": str(tmp_path / "glove.txt")}
    assert len(run_page(sentiment, tmp_path, monkeypatch, to_the_end, smaller, places)) >= 6


def test_data_that_teach_nothing_are_refused_before_training(tmp_path, capsys):
    argv = ["--data-dir", str(tmp_path), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    train = tmp_path / "train.tsv"
    train.write_text("".join(f"good\ta film {number}\n" for number in range(30)))
    assert "All 30 training texts have the label 'good'" in error_of(sentiment, capsys, *argv)
    train.write_text("good\ta film\nbad\ta play\n")
    assert "2 training texts are too few" in error_of(sentiment, capsys, *argv)
    rows = [f"r{number},the film {number} was fine,{'good' if number % 3 else 'bad'}" for number in range(60)]
    train.unlink()
    (tmp_path / "train.csv").write_text("\n".join(["review_id,review,mood", *rows]) + "\n")
    told = error_of(sentiment, capsys, *argv)
    assert "one class per row: 60 labels in 60 rows. Is column 0 the label?" in told and "--label-column" in told
    assert "0 ('review_id', 60 different), 1 ('review', 60 different), 2 ('mood', 2 different)" in told
    assert not (tmp_path / "run").exists()


def test_numbered_labels_get_names(tmp_path, capsys):
    write_rows(tmp_path / "train.tsv", 30)
    text = (tmp_path / "train.tsv").read_text().replace("good\t", "1\t").replace("bad\t", "0\t")
    for part in ("train", "valid"):
        (tmp_path / f"{part}.tsv").write_text(text)
    options = dataclasses.replace(sentiment.Options(), data_dir=tmp_path)
    assert sentiment.read(options)["valid"].label_names == ("0", "1")
    told = capsys.readouterr().out
    rows = "The first training rows, label and text:\n  1  a fine film 0\n  0  a poor film 0\n  1  a fine film 1\n"
    assert "{'0': 30, '1': 30}" in told and told.endswith(rows)
    assert "--label-names" in told and "60 of the 60 texts of the split valid are training texts too" in told
    named = sentiment.read(dataclasses.replace(options, label_names=("poor", "fine")))["valid"]
    assert named.label_names == ("poor", "fine") and named.class_counts() == {"poor": 30, "fine": 30}
    with pytest.raises(ValueError, match="each of the 2 labels, '0', '1'. Received: .*'c'"):
        sentiment.read(dataclasses.replace(options, label_names=("a", "b", "c")))
