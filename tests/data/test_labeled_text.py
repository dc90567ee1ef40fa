import csv
import dataclasses
import io
import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.data.labeled_text import LabeledReport, folds, read_labeled_text

CSV = 'id,text,label\n1,"a, ""b""\nc",pos\n2,d,neg\n'


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_tsv_without_header(write, name):
    found = read_labeled_text(write(name, '\ufeff1\t"a, b\r\n0\tc" \n1\td'), text=1, label=0)
    assert found.texts == ['"a, b', 'c" ', "d"] and found.labels == [1, 0, 1] and found.label_names == ("0", "1")
    assert found.report == LabeledReport(read=3, kept=3) and str(found.report) == "3 rows read, 3 kept"
    rows = [(text.decode(), int(label)) for text, label in found.dataset().as_numpy_iterator()]
    assert rows == list(zip(found.texts, found.labels, strict=True)) and len(found) == 3
    assert [spec.dtype.name for spec in found.dataset().element_spec] == ["string", "int32"]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", CSV),
        ("a.csv.gz", CSV.replace("\n", "\r\n").rstrip()),
        ("a.csv", "\ufeff" + CSV.replace("label", " label ")),
        ("a.jsonl", '{"text": "a, \\"b\\"\\nc", "label": "pos"}\n{"label": " neg", "text": "d", "more": [1]}'),
        ("a.ndjson.gz", '{"text": "a, \\"b\\"\\nc", "label": "pos"}\r\n{"text": "d", "label": "neg"}\r\n'),
    ],
)
def test_columns_by_name(write, name, content):
    found = read_labeled_text(write(name, content))
    assert found.texts == ['a, "b"\nc', "d"] and found.labels == [1, 0] and found.label_names == ("neg", "pos")


def test_names_numbers_and_headers(write):
    path = write("a.txt", "sentence\tclass\nx\ty\n")
    assert read_labeled_text(path, format="tsv", text="sentence", label=1).texts == ["x"]
    assert read_labeled_text(path, format="tsv", text=0, label=1, header=True).texts == ["x"]
    assert read_labeled_text(path, format="tsv", text=0, label=1, header=False).label_names == ("class", "y")
    with pytest.raises(ValueError, match=r"a\.txt: the name must end in one of .*\.csv"):
        read_labeled_text(path)
    with pytest.raises(ValueError, match=r"a\.txt:1: 0 columns have the name 'text'\. .*'sentence', 'class'"):
        read_labeled_text(path, format="tsv")
    with pytest.raises(ValueError, match=r"a\.txt:1: there is no column 2: the columns are 0 to 1"):
        read_labeled_text(path, format="tsv", text=0, label=2)
    with pytest.raises(ValueError, match=r"a\.txt:1: there is no column -1"):
        read_labeled_text(path, format="tsv", text=-1, label=0)
    with pytest.raises(ValueError, match="A column name needs a file with a header"):
        read_labeled_text(path, format="tsv", text="sentence", label=1, header=False)
    with pytest.raises(ValueError, match=r"by name, not by number.*label=1"):
        read_labeled_text(path, format="jsonl", label=1)
    with pytest.raises(ValueError, match="2 columns have the name 'text'"):
        read_labeled_text(write("b.csv", "text,text,label\na,b,c\n"))
    with pytest.raises(ValueError, match="two columns. Received: 'text' twice"):
        read_labeled_text(path, label="text")
    with pytest.raises(ValueError, match="'xml'"):
        read_labeled_text(path, format="xml")
    with pytest.raises(ValueError, match="'ignore'"):
        read_labeled_text(path, on_bad_line="ignore")


def test_many_files_each_with_its_header(write):
    paths = [write("a.csv", CSV), write("b.tsv", "label\ttext\nneg\te\n"), write("c.csv", "text,label\n")]
    found = read_labeled_text(paths)
    assert found.texts == ['a, "b"\nc', "d", "e"] and found.labels == [1, 0, 0]
    assert found.report == LabeledReport(read=3, kept=3)


def test_the_order_of_the_labels(write):
    def names(*labels, **options):
        path = write("a.tsv", "".join(f"{label}\tx\n" for label in labels))
        return read_labeled_text(path, text=1, label=0, **options).label_names

    assert names("b", "B", "ä", "a") == ("B", "a", "b", "ä")
    assert names("10", "9", "-1", "9") == ("-1", "9", "10")
    assert names("10", "9", "x") == ("10", "9", "x")
    assert names("1", "0", labels=[1, 0, 2]) == ("1", "0", "2")
    for wrong in ([], ["a", "a"], ["a", " "], "ab"):
        with pytest.raises(ValueError, match="`labels` must"):
            names("a", labels=wrong)


def test_an_unknown_label(write):
    path = write("test.tsv", "pos\ta\nneutral\tb\nneg\tc\n")
    with pytest.raises(ValueError, match=r"test\.tsv:2: the label 'neutral' is not one of .*'pos', 'neg'.*on_bad_line"):
        read_labeled_text(path, text=1, label=0, labels=["pos", "neg"])
    found = read_labeled_text(path, text=1, label=0, labels=["pos", "neg"], on_bad_line="skip")
    assert found.labels == [0, 1] and found.report == LabeledReport(read=3, kept=2, unknown=1)


JSON = '{"text": "a", "label": 1}'
PROBLEMS = {
    "3 fields where the header has 2": ("a.tsv", 2, "a\tx\ty", "malformed"),
    "1 fields where the header has 2": ("a.tsv", 2, "ay", "malformed"),
    "4 fields where the header has 2": ("a.csv", 2, "a,b,c,d", "malformed"),
    "text is empty": ("a.tsv", 2, " \ty", "empty"),
    "text is empty: ''": ("a.csv", 2, '"",y', "empty"),
    "label is empty": ("a.csv", 2, "x, ", "malformed"),
    "not CSV": ("a.csv", 2, 'a,"b"c', "malformed"),
    "not CSV.*new-line": ("a.csv", 2, "a,b\rc,d", "malformed"),
    r"byte 2 of the line \(0xff\)": ("a.tsv", 2, b"x\xff\ty", "bad"),
    r"byte 3 of the line \(0xff\)": ("a.csv", 2, b'"x\xff",y', "bad"),
    "byte 2 .*NUL": ("a.csv", 2, "x\0,y", "bad"),
    "byte 1 .*NUL": ("a.jsonl", 1, b"\0" + JSON.encode(), "bad"),
    r"not JSON \(.*delimiter": ("a.jsonl", 1, '{"text" "a"}', "malformed"),
    "not JSON .*Exceeds": ("a.jsonl", 1, '{"text": "a", "label": ' + "9" * 5000 + "}", "malformed"),
    r"not JSON .*\[\[\[": ("a.jsonl", 1, "[" * 200_000, "malformed"),
    "not a JSON object: 'null'": ("a.jsonl", 1, "null", "malformed"),
    "key 'label' is missing. The row has 'text', 'class'": ("a.jsonl", 1, '{"text": "a", "class": 1}', "malformed"),
    "'text' must be a string. Received: 3": ("a.jsonl", 1, '{"text": 3, "label": 1}', "malformed"),
    "'label' must be .*Received: 1.5": ("a.jsonl", 1, '{"text": "a", "label": 1.5}', "malformed"),
    "'label' must be .*Received: None": ("a.jsonl", 1, '{"text": "a", "label": null}', "malformed"),
    "text is empty: ' '": ("a.jsonl", 1, '{"text": " ", "label": 1}', "empty"),
    "an invalid character.*surrogates": ("a.jsonl", 1, '{"text": "\\ud83d", "label": 1}', "bad"),
    "a NUL": ("a.jsonl", 1, '{"text": "a\\u0000", "label": 1}', "bad"),
}

REASONS = {"malformed": "malformed", "empty": "without text", "bad": "with invalid UTF-8 or NUL"}


@pytest.mark.parametrize("message", PROBLEMS)
def test_a_row_that_cannot_be_used(write, message):
    name, line, row, kind = PROBLEMS[message]
    row = row if isinstance(row, bytes) else row.encode()
    header, good = {"tsv": ("text\tlabel\n", "t\t1\n"), "csv": ("text,label\n", "t,1\n"), "jsonl": ("", JSON + "\n")}[
        name.rpartition(".")[2]
    ]
    path = write(name, header.encode() + good.encode() + row + b"\n" + good.encode())
    with pytest.raises(ValueError, match=rf"{name}:{line + 1}: .*{message}.*on_bad_line"):
        read_labeled_text(path)
    found = read_labeled_text(path, on_bad_line="skip")
    assert len(found) == 2 and found.report == LabeledReport(read=3, kept=2, **{kind: 1})
    assert f"; dropped: 1 {REASONS[kind]}" in str(found.report)


def test_without_a_header_most_rows_say_how_many_fields(write):
    path = write("a.tsv", "0\ta\tmore\n1\tb\n0\tc\n")
    with pytest.raises(ValueError, match=r"a\.tsv:1: 3 fields where most rows have 2: \['0', 'a', 'more'\]"):
        read_labeled_text(path, text=1, label=0)
    found = read_labeled_text(path, text=1, label=0, on_bad_line="skip")
    assert found.texts == ["b", "c"] and found.report == LabeledReport(read=3, kept=2, malformed=1)


def test_csv_records_of_many_lines_keep_their_place(write):
    content = b'text,label\n"one\n\ntwo",a\n"b\xffd\n""quoted""",b\n"good\nrow",a\nragged\n'
    path = write("a.csv", content)
    with pytest.raises(ValueError, match=r"a\.csv:5: byte 3"):
        read_labeled_text(path)
    found = read_labeled_text(path, on_bad_line="skip")
    assert found.texts == ["one\n\ntwo", "good\nrow"]
    assert found.report == LabeledReport(read=4, kept=2, bad=1, malformed=1)
    with pytest.raises(ValueError, match=r"a\.csv:9: 1 fields where the header has 2: \['ragged'\]"):
        read_labeled_text(write("a.csv", content.replace(b"\xff", b"a")))


@pytest.mark.parametrize("on_bad_line", ["error", "skip"])
def test_a_quote_that_is_never_closed_is_never_skipped(write, on_bad_line):
    path = write("a.csv", 'text,label\na,b\n"c,d\n' + "e,f\n" * 100)
    with pytest.raises(ValueError, match=r"a\.csv:3: a quote .* never closed"):
        read_labeled_text(path, on_bad_line=on_bad_line)


def test_long_fields_and_the_csv_module_as_it_was(write):
    before = csv.field_size_limit()
    found = read_labeled_text(write("a.csv", 'text,label\n"' + "word " * 100_000 + '",a\n'))
    assert len(found.texts[0]) == 500_000 and csv.field_size_limit() == before
    with pytest.raises(ValueError, match=r"b\.csv:2") as held:  # and with it what had been opened
        read_labeled_text(write("b.csv", "text,label\na\nb,c\n"))
    assert csv.field_size_limit() == before, held


def test_blank_rows_and_nothing_left(write):
    for name, content in (("a.csv", "text,label\n\na,b\n \n\n"), ("a.tsv", "text\tlabel\n\na\tb\n \n\n")):
        assert read_labeled_text(write(name, content)).report == LabeledReport(read=4, kept=1, blank=3)
    found = read_labeled_text(write("a.jsonl", "\n" + JSON + "\n \t\n"))
    assert found.report == LabeledReport(read=3, kept=1, blank=2)
    for name, content in (("b.csv", ""), ("b.tsv", "text\tlabel\n"), ("b.jsonl", "")):
        with pytest.raises(ValueError, match=r"no row is left to use \(0 rows read"):
            read_labeled_text(write(name, content))
    with pytest.raises(ValueError, match="no row is left to use .*1 blank"):
        read_labeled_text(write("c.tsv", "\n"), text=0, label=1)
    with pytest.raises(ValueError, match=r"d\.csv:1: the header cannot be read \(blank\)"):
        read_labeled_text(write("d.csv", "\ntext,label\na,b\n"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_labeled_text("nowhere.csv")


texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"), min_size=1, max_size=20)
rows = st.lists(st.tuples(texts.filter(str.strip), st.sampled_from(["a", "b,", '"c"', "true"])), min_size=1, max_size=8)


@given(rows=rows)
@settings(max_examples=50)
def test_what_csv_and_json_write_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])
    (folder / "a.csv").write_bytes(file.getvalue().encode())
    lines = [json.dumps({"label": label, "text": text}) for text, label in rows]
    (folder / "a.jsonl").write_bytes("\n".join(lines).encode())
    for name in ("a.csv", "a.jsonl"):
        found = read_labeled_text(folder / name)
        assert found.texts == [text for text, _ in rows]
        assert [found.label_names[i] for i in found.labels] == [label for _, label in rows]
        assert list(found.label_names) == sorted(set(found.label_names))


def test_labels_in_json_that_are_no_strings(write):
    found = read_labeled_text(write("a.jsonl", "".join(f'{{"text": "a", "label": {i}}}\n' for i in (10, 9, -1))))
    assert found.label_names == ("-1", "9", "10") and found.labels == [2, 1, 0]
    found = read_labeled_text(write("a.jsonl", "".join(f'{{"text": "a", "label": {i}}}\n' for i in ("true", "false"))))
    assert found.label_names == ("false", "true") and found.labels == [1, 0]


def test_counts_weights_and_selections(write):
    path = write("a.tsv", "a\t1\na\t2\nb\t3\na\t4\n")
    found = read_labeled_text(path, text=1, label=0, labels=["a", "b", "never"])
    assert found.class_counts() == {"a": 3, "b": 1, "never": 0}
    weights = found.class_weights()
    assert weights == {0: pytest.approx(4 / (2 * 3)), 1: 2.0, 2: 0.0}
    assert sum(weights[label] for label in found.labels) == pytest.approx(4)
    some = found.select(np.array([3, 2]))
    assert some.texts == ["4", "3"] and some.labels == [0, 1] and some.label_names == found.label_names
    assert some.report == LabeledReport(read=2, kept=2)


@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=60), k=st.integers(2, 12), seed=st.integers(0, 99))
def test_folds_are_stratified(labels, k, seed):
    if k > len(labels):
        with pytest.raises(ValueError, match=f"Received: {k}"):
            folds(labels, k, seed)
        return
    found = folds(labels, k, seed)
    assert found.shape == (len(labels),) and np.array_equal(found, folds(labels, k, seed))
    for of_fold in (
        np.bincount(found, minlength=k),
        *(np.bincount(found[np.equal(labels, label)], minlength=k) for label in set(labels)),
    ):
        assert len(of_fold) == k and of_fold.max() - of_fold.min() <= 1


def test_folds_depend_on_the_seed():
    labels = np.arange(100) % 2
    assert len({tuple(folds(labels, 10, seed)) for seed in range(5)}) == 5
    for k in (0, 1):
        with pytest.raises(ValueError, match=f"`k` must be from 2 to .*Received: {k}"):
            folds(labels, k, 0)


def test_rt_polarity(real_data):
    folder = real_data("rt_polarity")
    train = read_labeled_text(folder / "train.tsv", text=1, label=0)
    test = read_labeled_text(folder / "test.tsv", text=1, label=0, labels=train.label_names)
    assert train.report == LabeledReport(read=8530, kept=8530) and test.report == LabeledReport(read=1066, kept=1066)
    assert train.class_counts() == {"0": 4250, "1": 4280} and test.class_counts() == {"0": 535, "1": 531}
    assert train.texts[0] == "goes a long way on hedonistic gusto ." and train.labels[0] == 1
    assert sum('"' in text for text in train.texts) == 224  # as it stands in the file, where a quote is a character
    of_folds = Counter(zip(folds(train.labels, 10, seed=0).tolist(), train.labels, strict=True))
    assert set(of_folds.values()) == {425, 428}


@pytest.mark.parametrize(
    ("content", "columns", "kept"),
    [
        ("label\ttext\n1\tgood\n0\tbad\n", {"text": 1, "label": 0}, 2),
        ("Text\tTarget\nfine\tpos\npoor\tneg\n", {"text": 0, "label": 1}, 2),
        ("text\tlabel\n", {"text": 0, "label": 1}, 1),  # of one row nobody can tell
        ("title\tarea\nnovel\tarea\nsea\tplace\n", {"text": 0, "label": 1}, 3),  # another row has that label
        ("the text\tlabel\nfine\tpos\n", {"text": 0, "label": 1}, 2),  # no usual name of a column
    ],
)
def test_a_header_where_columns_are_numbers_is_no_example(write, caplog, content, columns, kept):
    path = write("train.tsv", content)
    assert len(read_labeled_text(path, **columns)) == kept
    dropped = content.count("\n") - kept
    assert len(caplog.records) == dropped
    assert not dropped or f"{path}:1 names the columns" in caplog.text and "header=False" in caplog.text
    assert len(read_labeled_text(path, **columns, header=False)) == kept + dropped


IDS = [[f"r{number}", f"the film {number} was fine", "good" if number % 3 else "bad"] for number in range(60)]


@pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
def test_identifiers_in_the_place_of_labels_are_refused(write, name, caplog):
    rows = [["review_id", "review", "mood"], *IDS]
    path = write(name, "".join(("," if name.endswith("csv") else "\t").join(row) + "\n" for row in rows))
    with pytest.raises(
        ValueError, match=r"one class per row: 60 labels in 60 rows. Is column 0 the label.*2 \('mood', 2"
    ):
        read_labeled_text(path, text=1, label=0)
    assert read_labeled_text(path, text="review", label="mood").class_counts() == {"bad": 20, "good": 40}
    caplog.clear()
    assert len(read_labeled_text(path, text=1, label=2)) == 60 and "names the columns" in caplog.text
    ids = [row[0] for row in IDS]
    assert len(read_labeled_text(path, text=1, label=0, header=True, labels=ids)) == 60  # asked for


SENTENCES = [["a fine film", "good"], ["a poor film", "bad"]] * 4
HEADERS = [
    (["review", "mood"], SENTENCES, True),  # a usual name for one of the two
    (["what was said", "label"], SENTENCES, True),
    (["utterance_1", "klass"], [[text, str(len(text) % 2)] for text, _ in SENTENCES], True),  # labels are numbers
    (["utterance_1", "klass"], SENTENCES, None),  # a name above sentences, and a label that comes once: who knows
    (["a word of praise", "great"], SENTENCES, False),
    (["Adam", "Scottish"], [["Olga", "Russian"], ["Igor", "Russian"]] * 4, False),  # words, not sentences
]


@pytest.mark.parametrize(("first", "others", "expected"), HEADERS)
def test_whether_the_first_row_is_a_header(write, first, others, expected):
    path = write("train.tsv", "".join("\t".join(row) + "\n" for row in [first, *others]))
    if expected is None:
        with pytest.raises(
            ValueError, match=r"train\.tsv:1: .*'klass'.* may be a header.*header=True or header=False.*--header"
        ):
            read_labeled_text(path, text=0, label=1)
        for header in (True, False):
            assert len(read_labeled_text(path, text=0, label=1, header=header)) == len(others) + (not header)
    else:
        assert len(read_labeled_text(path, text=0, label=1)) == len(others) + (not expected)


PIECES = [
    "a\tx",
    "b\ty",
    "a\tz",
    "\ta",
    "a\t ",
    "b",
    "",
    " ",
    "c\tx\ty",
    "d\tx\0",
    "a\t\u2028",
    "b\tx\x0cy",
    "\u00a0\tx",
    "a\t\ufeff",
]


@given(st.lists(st.sampled_from(PIECES)), st.booleans(), st.booleans())
def test_every_row_is_accounted_for(tmp_path_factory, pieces, header, known):
    path = tmp_path_factory.getbasetemp() / "rows.tsv"
    path.write_bytes("".join(f"{piece}\n" for piece in ["label\ttext"] * header + pieces).encode())
    columns = {"text": 1, "label": 0, "header": header, "labels": ["a"] if known else None}
    try:
        found = read_labeled_text(path, **columns, on_bad_line="skip")
    except ValueError as error:
        assert re.search("no row is left|no column 1|one class per row", str(error))
        return
    report = found.report
    assert report.read == len(pieces) == sum(dataclasses.astuple(report)[1:])
    assert report.kept == len(found) and (not known or report.unknown == sum(p[:2] == "b\t" for p in pieces))


def test_other_separators_are_named(write):
    path = write("a.csv", "text;label\na;x\nb;y\n")
    for columns in ({"text": 0, "label": 1}, {"text": "text", "label": "label"}):
        with pytest.raises(ValueError, match="fields separated by ';'"):
            read_labeled_text(path, **columns)


def test_a_data_frame_is_what_its_file_is(write):
    rows = [("a fine film", "good"), ("dull", "bad"), ("so so", "good")]
    frame = pd.DataFrame(rows, columns=["review", "mood"])
    file = read_labeled_text(write("a.csv", frame.to_csv(index=False)), text="review", label="mood")
    for columns in ({"text": "review", "label": "mood"}, {"text": 0, "label": 1}):
        found = read_labeled_text(frame, **columns)
        assert (found.texts, found.labels, found.label_names) == (file.texts, file.labels, file.label_names)
    numbered = read_labeled_text(frame.assign(mood=[10, 2, 10]), text="review", label="mood")
    assert numbered.label_names == ("2", "10") and numbered.labels == [1, 0, 1]
    bad = pd.concat([frame, pd.DataFrame([(None, "good"), ("x", None), (" ", "bad")], columns=frame.columns)])
    with pytest.raises(ValueError, match="DataFrame:3: the text is .*not a string"):
        read_labeled_text(bad, text="review", label="mood")
    report = read_labeled_text(bad, text="review", label="mood", on_bad_line="skip").report
    assert (report.read, report.kept, report.malformed, report.empty) == (6, 3, 2, 1)
    with pytest.raises(ValueError, match="has no column 'label'. It has: review, mood"):
        read_labeled_text(frame, text="review")


def test_labels_that_are_all_different_in_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "a b", "label": "{number}"}}\n' for number in range(10)))
    with pytest.raises(ValueError) as refused:
        read_labeled_text(tmp_path / "a.jsonl")
    assert str(refused.value) == (
        f"{tmp_path / 'a.jsonl'}: one class per row: 10 labels in 10 rows. Is column 'label' the label? Name the right "
        "column with `label` (--label-column), or pass the labels as `labels`."
    )
