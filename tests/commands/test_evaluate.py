"""`keras-seq evaluate` of tables and arrays, and its refusals. tests/recipes compares it with the recipes' scores."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import models, tasks
from keras_seq.tasks.loading import load_run
from tests.commands.conftest import LABELS, SOURCE, TARGET


def refused(result, *parts):
    assert result.code == 2 and not result.out and result.err.count("\n") == 1, result.err
    assert all(str(part) in result.err for part in parts), result.err


def test_a_table_of_pairs_is_scored_as_its_two_columns(keras_seq, folders, tmp_path):
    (tmp_path / "s").write_text("\n".join(SOURCE))
    (tmp_path / "r").write_text("\n".join(TARGET))
    pairs = zip(SOURCE, TARGET, strict=True)
    (tmp_path / "pairs.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    flags = ["--model", folders["lstm"], "--search", "greedy", "--json"]
    table = keras_seq("evaluate", *flags, tmp_path / "pairs.tsv").records
    assert table == keras_seq("evaluate", *flags, "--source", tmp_path / "s", tmp_path / "r").records
    refused(keras_seq("evaluate", "--model", folders["lstm"], tmp_path / "r"), tmp_path / "r", "--source")


def test_a_classifier_by_named_columns_and_by_numbers(keras_seq, folders, tmp_path):
    predicted = load_run(folders["classifier"], "a test")(SOURCE)
    right = ["bad", predicted[1], predicted[2], predicted[3], "good"]
    rows = "".join(f"{text},{label}\n" for text, label in zip(SOURCE, right, strict=True))
    (tmp_path / "named.csv").write_text("review,mood\n" + rows)
    flags = ["--model", folders["classifier"], "--json"]
    columns = ["--text-column", "review", "--label-column", "mood"]
    (record,) = keras_seq("evaluate", *flags, *columns, tmp_path / "named.csv").records
    share = np.mean([ours == theirs for ours, theirs in zip(predicted, right, strict=True)])
    assert record["accuracy"] == pytest.approx(share) and record["labels"] == LABELS
    numbers = zip((LABELS.index(label) + 1 for label in right), SOURCE, strict=True)
    (tmp_path / "numbers.tsv").write_text("".join(f"{number}\t{text}\n" for number, text in numbers))
    if set(right) == set(LABELS):
        assert keras_seq("evaluate", *flags, tmp_path / "numbers.tsv").records == [record]
    page = keras_seq("evaluate", *flags[:2], *columns, tmp_path / "named.csv").lines
    assert page[0].startswith("accuracy") and page[3].startswith("true, and predicted as")
    (tmp_path / "other.tsv").write_text("".join(f"superb\t{text}\n" for text in SOURCE))
    refused(keras_seq("evaluate", *flags, tmp_path / "other.tsv"), "'superb'", "--label-column", *LABELS)


def test_spans_of_a_tagger(keras_seq, tmp_path, taggers):
    task = load_run(taggers["words"], "a test")
    tags = ["O", "B-PER", "I-PER"]
    task = tasks.Tagging(task.model, task.vocabulary, tags)
    task.save(tmp_path / "run")
    predicted = task([text.split() for text in SOURCE])
    changed = [[tags[(tags.index(tag) + (place == 0)) % 3] for place, tag in enumerate(row)] for row in predicted]
    rows = [zip(text.split(), row, strict=True) for text, row in zip(SOURCE, changed, strict=True)]
    (tmp_path / "test.bio").write_text("\n".join("".join(f"{word} {tag}\n" for word, tag in row) for row in rows))
    (record,) = keras_seq("evaluate", "--model", tmp_path / "run", "--json", tmp_path / "test.bio").records
    words = sum(map(len, predicted))
    assert record["accuracy"] == pytest.approx(1 - len(SOURCE) / words) and record["words"] == words
    assert record["span_f1"] == pytest.approx(_span_f1(predicted, changed))
    plain = keras_seq("evaluate", "--model", tmp_path / "run", "--spans", "no", "--json", tmp_path / "test.bio").records
    assert "span_f1" not in plain[0]


def _span_f1(predicted, true):
    """By sets of (sentence, start, end), with spans read letter by letter."""

    def read(rows):
        spans = set()
        for number, row in enumerate(rows):
            start = None
            for place, tag in enumerate([*row, "O"]):
                if start is not None and tag[0] != "I":
                    spans.add((number, start, place))
                    start = None
                if start is None and tag[0] != "O":
                    start = place
        return spans

    ours, theirs = read(predicted), read(true)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def test_arrays(keras_seq, tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    tasks.Tensors(model).save(tmp_path / "run")
    x, y = np.arange(12, dtype="float32").reshape(4, 3), np.ones((4, 2), "float32")
    logits = model.predict(x, verbose=0)
    flags = ["--model", tmp_path / "run", "--json", tmp_path / "test.npz"]
    (name,) = tasks.Tensors(model).signatures()["serve"].inputs
    np.savez(tmp_path / "test.npz", **{name: x, "outputs": y})
    (record,) = keras_seq("evaluate", *flags).records
    expected = {"mse": np.mean((logits - y) ** 2), "mae": np.mean(np.abs(logits - y))}
    assert record["outputs"] == pytest.approx(expected, rel=1e-5)
    np.savez(tmp_path / "test.npz", **{name: x, "outputs": np.array([0, 1, 0, 1])})
    right = np.mean(logits.argmax(axis=1) == [0, 1, 0, 1])
    assert keras_seq("evaluate", *flags).records[0]["outputs"] == {"accuracy": pytest.approx(right)}
    np.savez(tmp_path / "test.npz", other=x)
    refused(keras_seq("evaluate", *flags), tmp_path / "test.npz", name, "other")


def test_next_frames(keras_seq, tmp_path):
    model = models.frame_predictor((4, 4, 1), filters=(4,), patch_size=2, architecture="gru", units=4)
    tasks.Tensors(model).save(tmp_path / "run")
    clips = np.random.default_rng(1).integers(0, 256, (3, 5, 4, 4, 1), dtype="uint8")
    (tmp_path / "clips" / "any").mkdir(parents=True)
    for number, clip in enumerate(clips):
        np.save(tmp_path / "clips" / "any" / f"{number}.npy", clip)
    (record,) = keras_seq("evaluate", "--model", tmp_path / "run", "--json", tmp_path / "clips").records
    frames = clips.astype("float32") / 255
    drawn = model.predict(frames[:, :-1], verbose=0)[:, 1:]  # frames 3 to 5
    assert record["next_frame_mse"] == pytest.approx(np.mean((drawn - frames[:, 2:]) ** 2), rel=1e-4)
    assert record["copy_mse"] == pytest.approx(np.mean((frames[:, 1:-1] - frames[:, 2:]) ** 2), rel=1e-4)


def test_what_does_not_apply_is_refused(keras_seq, folders, taggers, forecasters, recognizers, tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\n")
    for model, flags in (
        (folders["classifier"], ["--num-beams", 4]),
        (taggers["words"], ["--label-column", 1, "--tokenize", "none"]),
        (folders["rnn"], ["--header", "yes"]),
        (forecasters["points"], ["--spans", "no"]),
        (recognizers["ctc"], ["--split", 0.5, 0.25, 0.25]),
    ):
        refused(keras_seq("evaluate", "--model", model, tmp_path / "a.tsv", *flags), flags[0], model)
    refused(keras_seq("evaluate", "--model", folders["classifier"]), "Name one or more")
    refused(keras_seq("evaluate", "--model", folders["classifier"], tmp_path / "none.tsv"), "none.tsv does not exist")
    refused(keras_seq("evaluate", "--model", folders["prose"], tmp_path / "a.tsv"), "run folder")
    (tmp_path / "b.tsv").write_text("path\tsentence\nmissing.wav\tlow\n")
    refused(keras_seq("evaluate", "--model", recognizers["ctc"], tmp_path / "b.tsv"), "b.tsv:2", "missing.wav")
