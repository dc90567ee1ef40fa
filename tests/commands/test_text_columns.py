"""Tables behind the verbs: the texts of a column, a result for each row, and no row taken for a line of text."""

import gzip
import json

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

TEXTS = ["a horse", "two men, a dog", "", 'the "quick"\nfox']
PLAIN = [text.replace("\n", " ") for text in TEXTS]


def write(path, name):
    """A table with ids, texts and labels."""
    path = path / name
    rows = [["id", "review", "mood"], *([str(i), text, "good"] for i, text in enumerate(TEXTS))]
    if "csv" in name:
        quoted = [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in rows]
        content = "\r\n".join(quoted) + "\r\n"
    elif "tsv" in name:
        content = "".join("\t".join(field.replace("\n", " ") for field in row) + "\n" for row in rows)
    else:
        content = "".join(json.dumps(dict(zip(rows[0], row, strict=True))) + "\n" for row in rows[1:])
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "a.jsonl"])
def test_a_column_is_classified_as_its_texts(name, keras_seq, folders, tmp_path, caplog):
    path, flags = write(tmp_path, name), ["classify", "--model", folders["classifier"]]
    refused = keras_seq(*flags, path)
    assert refused.code == 2 and f"{path} is a table" in refused.err and "--text-column" in refused.err
    found = keras_seq(*flags, "--text-column", "review", path)
    assert found.code == 0 and found.lines == keras_seq(*flags, stdin="\n".join(PLAIN) + "\n").lines
    if name != "a.jsonl":
        by_number = keras_seq(*flags, "--text-column", 1, path)
        assert by_number.lines == found.lines and "names the columns" in caplog.text
        missing = keras_seq(*flags, "--text-column", "text", path)
        assert missing.code == 2 and "The header names 'id', 'review', 'mood'" in missing.err


def test_a_row_without_the_column_has_no_result(keras_seq, folders, tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"id\ttext\n1\ta horse\n2\n\n3\tb\xff\n4\ttwo\n")
    found = keras_seq(
        "classify", "--model", folders["classifier"], "--text-column", "text", tmp_path / "a.tsv", "--json"
    )
    assert ["error" in record for record in found.records] == [False, True, False, True, False]
    assert f"{tmp_path / 'a.tsv'}:3: the row has 1 columns" in found.err
    for flag in (["--text-column", "text"], ["--text-column", "0"]):
        refused = keras_seq("classify", "--model", folders["classifier"], *flag, stdin="a\n")
        assert refused.code == 2 and "--text-column requires files named .csv" in refused.err


def test_other_verbs_take_no_table_for_lines(keras_seq, folders, taggers, tmp_path):
    path = write(tmp_path, "a.csv")
    (tmp_path / "lines").write_text("".join(f"{text}\n" for text in PLAIN))
    for argv in (
        ["tag", "--model", taggers["words"], path],
        ["translate", "--model", folders["lstm"], path],
        ["generate", "--model", folders["rnn"], path],
        ["score", "--model", folders["rnn"], path],
        ["evaluate", path, tmp_path / "lines"],
        ["doctor", path],
    ):
        refused = keras_seq(*argv)
        assert refused.code == 2 and f"{path} is a table" in refused.err and not refused.out, argv
    (tmp_path / "a.bio").write_text("a O\nhorse B-X\n")
    refused = keras_seq("tag", "--model", taggers["words"], tmp_path / "a.bio")
    assert refused.code == 2 and "has words in columns" in refused.err and "--conllu" in refused.err
    flags = ["generate", "--model", folders["rnn"], "--search", "greedy", "--max-length", 2]
    assert keras_seq(*flags, "--text-column", "review", path).lines == keras_seq(*flags, tmp_path / "lines").lines


def test_the_doctor_looks_at_a_column(keras_seq, tmp_path):
    path = write(tmp_path, "a.csv")
    (found,) = keras_seq("doctor", path, "--text-column", "review", "--json", "--no-timing").records
    (tmp_path / "lines").write_text("".join(f"{text}\n" for text in PLAIN))
    assert keras_seq("doctor", tmp_path / "lines", "--json", "--no-timing").records == [found]
    assert found["examples"] == 3 and found["dropped"] == 1
