import json
import shutil

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import text
from tests.commands.conftest import LABELS, SOURCE


@pytest.fixture
def prose(folders):
    """A SavedModel of the language model "rnn"."""
    return folders["prose"]


def test_classes_of_lines(keras_seq, folders):
    model = keras.models.load_model(folders["classifier"] / "best.keras")
    vocabulary = text.load(folders["classifier"] / "vocabulary" / "joint.words")
    lines = [SOURCE[i % 5] + " horse" * (i % 4) for i in range(11)] + [""]
    flags = ["classify", "--model", folders["classifier"]]
    records = keras_seq(*flags, "--json", "--chunk", 4, "--batch-tokens", 17, stdin="\n".join(lines) + "\n\xff").records
    for line, record in zip(lines, records, strict=False):
        ids = [*vocabulary.tokenize([line]).to_list()[0], vocabulary.end_id]
        logits = model(np.array([ids]))[0].numpy()
        expected = np.exp(logits) / np.exp(logits).sum()
        assert list(record["probabilities"]) == LABELS
        np.testing.assert_allclose(list(record["probabilities"].values()), expected, atol=1e-5)
        assert record["label"] == LABELS[expected.argmax()]
        assert record["probability"] == pytest.approx(expected.max(), abs=1e-5)
    assert [record["line"] for record in records] == list(range(1, 14))
    assert len({record["label"] for record in records}) > 1

    plain = keras_seq(*flags, "--max-source-length", 6, stdin=b"two men ride\n\xff\n" + b"horse " * 6 + b"\n")
    assert plain.lines[0] == f"{(told := keras_seq(*flags, '--json', stdin='two men ride').records[0])['label']}\t" + (
        f"{told['probability']:.4f}"
    )
    assert plain.lines[1:] == ["", ""] and "2 of 3 lines have no result" in plain.err
    assert "7 tokens are more than" in plain.err


def test_a_classifier_is_inspected_and_exported(keras_seq, folders, tmp_path):
    out = tmp_path / "classes"
    flags = ["export", "--model", folders["classifier"], "--output", out, "--no-verify"]
    refused = keras_seq(*flags, "--num-beams", 3)
    assert refused.code == 2 and "--num-beams" in refused.err and "is a task of classification" in refused.err
    assert keras_seq(*flags).code == 0
    stdin = "\n".join([*SOURCE, ""])
    ours = keras_seq("classify", "--model", folders["classifier"], "--json", stdin=stdin).records
    theirs = keras_seq("classify", "--model", out, "--json", stdin=stdin).records
    for one, other in zip(ours, theirs, strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    (found,) = keras_seq("inspect", "--model", folders["classifier"], "--json").records
    assert found["labels"] == LABELS and found["vocabularies"]["joint"]["kind"] == "Words"
    assert "bad, good, so so" in keras_seq("inspect", "--model", folders["classifier"]).out
    (found,) = keras_seq("inspect", "--model", out, "--json").records
    assert found["signatures"]["classify"]["outputs"]["label"] == "string (?,)"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("no labels", ["labels.txt does not exist", "one class name per line"]),
        ("damaged labels", ["labels.txt is damaged", "Copy it again"]),
        ("two labels", ["names 2 classes", "from another run"]),
        ("short vocabulary", ["has 9 tokens", "cut short"]),
        ("a translator", ["labels.txt names 3 classes", "from another run"]),
    ],
)
def test_damaged_runs_of_classifiers(kind, told, keras_seq, folders, tmp_path):
    run = shutil.copytree(folders["classifier"], tmp_path / "run")
    labels, words = run / "vocabulary" / "labels.txt", run / "vocabulary" / "joint.words"
    if kind == "no labels":
        labels.unlink()
    elif kind == "damaged labels":
        labels.write_bytes(b"bad\n\xff\n")
    elif kind == "two labels":
        labels.write_text("bad\ngood\n")
    elif kind == "short vocabulary":
        words.write_text("\n".join(words.read_text().split("\n")[:9]) + "\n")
    else:
        shutil.copy(folders["lstm"] / "best.keras", run / "best.keras")
    result = keras_seq("classify", "--model", run, stdin="a")
    assert result.code == 2 and not result.out and result.err.count("\n") == 1, result.err
    assert all(part in result.err for part in [*told, str(run)]), result.err
    refused = keras_seq("translate", "--model", folders["classifier"], stdin="a")
    assert refused.code == 2 and "keras-seq classify" in refused.err and refused.err.count("\n") == 1


def test_a_saved_model_goes_on(keras_seq, folders, prose):
    stdin = "a horse\ntwo men\nthe dog"  # of one length: a SavedModel draws by a text's place in its batch
    flags = ["--search", "sampling", "--seed", 5, "--max-length", 6, "--json"]
    ours = keras_seq("generate", "--model", folders["rnn"], *flags, stdin=stdin).records
    theirs = keras_seq("generate", "--model", prose, "--json", stdin=stdin).records
    assert [one["text"] for one in ours] == [one["text"] for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["log_prob"] == pytest.approx(other["log_prob"], abs=1e-4)
    alone = keras_seq("generate", "--model", prose, "--no-echo", stdin=stdin).lines
    assert [f"{line} {said}".strip() for line, said in zip(stdin.split("\n"), alone, strict=True)] == [
        one["text"] for one in theirs
    ]


def test_flags_that_a_saved_model_takes_are_given_to_it(keras_seq, folders, prose):
    stdin = "a horse\ntwo men\nthe dog"
    flags = ["--max-length", 3, "--seed", 8, "--temperature", 2]
    ours = keras_seq("generate", "--model", folders["rnn"], "--search", "sampling", *flags, stdin=stdin).lines
    assert keras_seq("generate", "--model", prose, *flags, stdin=stdin).lines == ours
    assert keras_seq("generate", "--model", prose, stdin=stdin).lines != ours

    ours = ["translate", "--model", folders["lstm"], "--num-beams", 3, "--max-length", 5, "--alpha", 0.3, "--json"]
    theirs = ["translate", "--model", folders["served"], "--max-length", 5, "--alpha", 0.3, "--json"]
    for one, other in zip(keras_seq(*ours, stdin=stdin).records, keras_seq(*theirs, stdin=stdin).records, strict=True):
        assert one["text"] == other["text"] and one["score"] == pytest.approx(other["score"], abs=1e-4)
    needed = keras_seq("translate", "--model", folders["served"], "--alpha", 0.3, stdin=stdin)
    assert needed.code == 2 and "also needs --max-length" in needed.err
    for argv, told in (
        (["--top-k", 3], "It takes --max-length, --seed, --temperature. Leave the others out"),
        (["--first", "end"], "--first: "),
    ):
        refused = keras_seq("generate", "--model", prose, *argv, stdin=stdin)
        assert refused.code == 2 and told in refused.err and refused.err.count("\n") == 1, refused.err
    every_line = keras_seq("generate", "--model", prose, "--max-length", 0, stdin=stdin)
    assert every_line.lines == [""] * 3 and "--max-length must be at least 1" in every_line.err
    refused = keras_seq("generate", "--model", folders["served"], stdin=stdin)
    assert refused.code == 2 and "is a task of translation, not of generation. Use keras-seq translate" in refused.err


@pytest.mark.long
def test_a_language_model_is_exported_with_its_flags(keras_seq, folders, tmp_path):
    out = tmp_path / "prose"
    flags = ["export", "--model", folders["rnn"], "--output", out, "--no-verify", "--max-length", 4, "--first", "end"]
    assert keras_seq(*flags, "--search", "greedy").code == 0
    stdin = "a horse\ntwo"
    ours = ["generate", "--model", folders["rnn"], "--search", "greedy", "--max-length", 4, "--first", "end"]
    assert keras_seq("generate", "--model", out, stdin=stdin).lines == keras_seq(*ours, stdin=stdin).lines
    (found,) = keras_seq("inspect", "--model", out, "--json").records
    assert found["signatures"]["generate_with_options"]["inputs"]["max_length"] == "int32 (), 4 unless given"
    assert {"generate", "score", "encode", "step", "initial_state", "detokenize"} <= set(found["signatures"])
    refused = keras_seq("export", "--model", folders["lstm"], "--output", out, "--first", "end")
    assert refused.code == 2 and "--first" in refused.err
    other = tmp_path / "other"
    refused = keras_seq("export", "--model", folders["rnn"], "--output", other, "--format", "ctranslate2")
    assert refused.code == 2 and "models.Transformer" in refused.err
    assert json.loads((folders["rnn"] / "config.json").read_text()) == {"units": 8}
