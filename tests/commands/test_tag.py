"""`keras-seq tag`: its own model's tags, for lines and for CoNLL-U, from a run folder and from a SavedModel."""

import functools
import shutil

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import models, text
from tests.commands.conftest import SOURCE, TAGS

CONLLU = """\
# sent_id = 1
1\ttwo\t_\tNUM\t_\t_\t2\tnummod\t_\t_
2-3\tmenride\t_\t_\t_\t_\t_\t_\t_\t_
2\tmen\t_\tNOUN\t_\t_\t3\tnsubj\t_\t_
3\tride\t_\tVERB\t_\t_\t0\troot\t_\t_

1\ta\t_\tDET\t_\t_\t2\tdet\t_\t_
3\thorse\t_\tNOUN\t_\t_\t0\troot\t_\t_

1\t10 000\t_\tNUM\t_\t_\t0\troot\t_\t_
"""


@pytest.fixture
def run(taggers):
    """The run folder of a tagger by spelling, with a CRF."""
    return taggers["spelled"]


@functools.cache
def parts(run):
    """The model and what it reads."""
    model = models.best_tags(keras.models.load_model(run / "best.keras"))
    files = sorted((run / "vocabulary").glob("*.*s"))
    return model, {file.stem: text.load(file) for file in files}


def tags_of(run, line):
    """What the model says of one line by itself, padded by nothing."""
    model, vocabularies = parts(run)
    words = vocabularies["words"].lookup(line.split())[None]
    inputs = words
    if "characters" in vocabularies:
        inputs = {"words": words, "characters": vocabularies["characters"].tokenize(line.split()).to_tensor()[None]}
    return [TAGS[tag] for tag in np.asarray(model(inputs))[0]]


def test_lines_get_the_tags_of_the_model(keras_seq, run):
    lines = [SOURCE[i % 5] + " Horse" * (i % 4) for i in range(11)] + [""]
    flags = ["tag", "--model", run, "--chunk", 4, "--batch-tokens", 17]
    records = keras_seq(*flags, "--json", stdin="\n".join(lines) + "\n").records
    for number, (line, record) in enumerate(zip(lines, records, strict=True), 1):
        expected = tags_of(run, line) if line else []
        assert record == {"line": number, "words": line.split(), "tags": expected}
    assert len({tag for record in records for tag in record["tags"]}) > 1, "the model must say more than one thing"
    plain = keras_seq(*flags, stdin="\n".join(lines) + "\n").lines
    pairs = [zip(record["words"], record["tags"], strict=True) for record in records]
    assert plain == [" ".join(f"{word}/{tag}" for word, tag in row) for row in pairs]


def test_bad_lines_stop_nothing(keras_seq, run):
    stdin = b"two men ride\n\xff\n" + b"horse " * 7 + b"\na horse\n"
    found = keras_seq("tag", "--model", run, "--max-source-length", 6, "--json", stdin=stdin)
    assert found.code == 0 and [record["line"] for record in found.records] == [1, 2, 3, 4]
    assert "not valid UTF-8" in found.records[1]["error"] and "7 tokens are more than" in found.records[2]["error"]
    assert found.records[3]["tags"] == tags_of(run, "a horse") and "2 of 4 lines have no result" in found.err
    assert keras_seq("tag", "--model", run, "--max-source-length", 6, stdin=stdin).lines[1:3] == ["", ""]


@pytest.mark.parametrize("by", ["name", "flag"])
def test_sentences_of_conllu(keras_seq, run, tmp_path, by):
    path = tmp_path / ("text.conllu" if by == "name" else "text")
    path.write_text(CONLLU)
    flags = ["tag", "--model", run, "--json", *(["--conllu"] if by == "flag" else [])]
    first, second, third = keras_seq(*flags, path).records
    assert first == {"line": 1, "words": ["two", "men", "ride"], "tags": tags_of(run, "two men ride")}
    assert second["line"] == 2 and "line 8: the word has the ID '3' where 2 is expected" in second["error"]
    assert third["words"] == ["10 000"] and len(third["tags"]) == 1
    assert keras_seq(*[flag for flag in flags if flag != "--json"], path).lines[2] == f"10 000/{third['tags'][0]}"
    if by == "flag":
        assert keras_seq(*flags, stdin=CONLLU).records == [first, second, third]


@pytest.mark.long
def test_a_tagger_is_inspected_and_exported(keras_seq, run, tmp_path):
    out = tmp_path / "served"
    flags = ["export", "--model", run, "--output", out, "--no-verify"]
    refused = keras_seq(*flags, "--num-beams", 3)
    assert refused.code == 2 and "--num-beams" in refused.err and "is a task of tagging" in refused.err
    assert keras_seq(*flags).code == 0
    stdin = "\n".join([*SOURCE, ""])
    ours = keras_seq("tag", "--model", run, "--json", stdin=stdin).records
    assert keras_seq("tag", "--model", out, "--json", stdin=stdin).records == ours
    (found,) = keras_seq("inspect", "--model", run, "--json").records
    assert found["tags"] == TAGS and {name: v["kind"] for name, v in found["vocabularies"].items()} == {
        "words": "Words",
        "characters": "Characters",
    }
    assert "ADJ, NOUN, VERB" in keras_seq("inspect", "--model", run).out
    refused = keras_seq("classify", "--model", out, stdin="a")
    assert refused.code == 2 and "is a task of tagging, not of classification" in refused.err


def test_a_tagger_of_words_alone(keras_seq, taggers):
    run = taggers["words"]
    assert keras_seq("tag", "--model", run, "--json", stdin=SOURCE[0]).records[0]["tags"] == tags_of(run, SOURCE[0])


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("no tags", ["tags.txt does not exist", "one tag per line"]),
        ("damaged tags", ["tags.txt is damaged", "Copy it again"]),
        ("two tags", ["names 2 tags", "from another run"]),
        ("short vocabulary", ["has 9 tokens", "cut short"]),
        ("no characters", ["no characters.characters", "Copy it"]),
    ],
)
def test_damaged_runs_of_taggers(kind, told, keras_seq, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    tags, words = copy / "vocabulary" / "tags.txt", copy / "vocabulary" / "words.words"
    if kind == "no tags":
        tags.unlink()
    elif kind == "damaged tags":
        tags.write_bytes(b"ADJ\n\xff\n")
    elif kind == "two tags":
        tags.write_text("ADJ\nNOUN\n")
    elif kind == "short vocabulary":
        words.write_text("\n".join(words.read_text().split("\n")[:10]) + "\n")
    else:
        (copy / "vocabulary" / "characters.characters").unlink()
    result = keras_seq("tag", "--model", copy, stdin="a")
    assert result.code == 2 and not result.out and result.err.count("\n") == 1, result.err
    assert all(part in result.err for part in [*told, str(copy)]), result.err


def test_other_verbs_say_which_one_tags(keras_seq, run):
    refused = keras_seq("translate", "--model", run, stdin="a")
    assert refused.code == 2 and "keras-seq tag" in refused.err and refused.err.count("\n") == 1
