import gzip

import keras
import pytest

from keras_seq import decoding, models, text
from tests.commands.conftest import run_folder

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

SOURCE = ["a man rides a Rappe", "", "Zwei men", "the dog", "Xaver sees Yolanda"]


@pytest.fixture
def unknowing(made_once):
    """Run folders of a model that often says the unknown word, and of one without attention."""
    root = made_once("unknowing", make_unknowing)
    return {attention: root / attention for attention in ("general", "none")}


def make_unknowing(root):
    vocabulary = text.Words(["a", "man", "rides", "dog", "the"])
    for attention in ("general", "none"):
        keras.utils.set_random_seed(15)
        options = {
            "units": 8,
            "num_layers": 1,
            "attention": None if attention == "none" else attention,
            "tie_embeddings": False,
            "cell": "gru",
        }
        model = models.Seq2Seq(vocabulary.size, bidirectional=False, **options)
        scores = next(weight for weight in model.weights if "reverse" in weight.path)  # (D, V)
        values = keras.ops.convert_to_numpy(scores).copy()
        values[:, vocabulary.unknown_id] = 6 * values[:, 4:].mean(axis=1)
        scores.assign(values)
        run_folder(root / attention, model, vocabulary)


def test_translate_writes_the_words_that_were_looked_at(keras_seq, unknowing, tmp_path):
    folder = unknowing["general"]
    model, vocabulary = (
        keras.models.load_model(folder / "best.keras"),
        text.Words.load(folder / "vocabulary/joint.words"),
    )
    search = {"num_beams": 2, "num_return": 2, "max_length": 6}
    flags = ["translate", "--model", folder, "--num-beams", 2, "--num-return", 2, "--max-length", 6, "--json"]
    plain = decoding.generate(model, vocabulary, SOURCE, **search)
    assert any("<unk>" in text for row in plain for text in row)
    copied = decoding.generate(model, vocabulary, SOURCE, replace_unknown=True, **search)
    assert copied != plain and not any("<unk>" in text for row in copied for text in row)

    def told(*more):
        records = keras_seq(*flags, *more, stdin="\n".join(SOURCE)).records
        return [(record["texts"] if "texts" in record else [record["text"]]) for record in records], records

    texts, records = told("--replace-unknown")
    assert [row for row in texts if len(row) == 2] == [row for row, s in zip(copied, SOURCE, strict=True) if s]
    assert records[0]["scores"] == pytest.approx(keras_seq(*flags, stdin=SOURCE[0]).records[0]["scores"], abs=1e-5)

    entries = {"man": "Mann", "men": "junge Leute", "rides": "reitet", "nobody": "asks"}
    content = "".join(f"{word}\t{other}\n" for word, other in entries.items()) + "\nman\tnot this one\n"
    (tmp_path / "d.gz").write_bytes(gzip.compress(content.encode()))
    expected = decoding.generate(model, vocabulary, SOURCE, replace_unknown=entries, **search)
    assert expected != copied
    texts, _ = told("--replace-unknown", "--dictionary", tmp_path / "d.gz")
    assert [row for row in texts if len(row) == 2] == [row for row, s in zip(expected, SOURCE, strict=True) if s]


def test_evaluate_does_so_too(keras_seq, unknowing, tmp_path):
    folder = unknowing["general"]
    (tmp_path / "s").write_text("\n".join(SOURCE) + "\n")
    flags = ["--model", folder, "--search", "greedy", "--max-length", 6, "--replace-unknown"]
    (tmp_path / "h").write_text(keras_seq("translate", *flags, tmp_path / "s").out)
    one = keras_seq("evaluate", tmp_path / "s", tmp_path / "h", "--json").records
    assert keras_seq("evaluate", tmp_path / "s", *flags, "--source", tmp_path / "s", "--json").records == one


def test_what_cannot_be_done_is_refused(keras_seq, unknowing, folders, tmp_path):
    def refused(*argv):
        result = keras_seq(*argv, stdin="a")
        assert result.code == 2 and result.err.count("\n") == 1
        return result.err

    translate = ["translate", "--model", unknowing["general"]]
    assert "needs a model with attention" in refused("translate", "--model", unknowing["none"], "--replace-unknown")
    assert "is a SavedModel, which" in refused("translate", "--model", folders["served"], "--replace-unknown")
    assert "--dictionary requires --replace-unknown" in refused(*translate, "--dictionary", tmp_path / "d")
    flags = [*translate, "--replace-unknown", "--dictionary", tmp_path / "d"]
    assert "does not exist" in refused(*flags)
    for content, told in (
        (b"a\tb\nc d\n", "d:2: a line of a dictionary"),
        (b"a\t\n", "d:1: "),
        (b"\xff\tb\n", "d:1: byte 1"),
    ):
        (tmp_path / "d").write_bytes(content)
        assert told in refused(*flags)
    assert "--replace-unknown: without --model" in refused(
        "evaluate", tmp_path / "d", tmp_path / "d", "--replace-unknown"
    )
