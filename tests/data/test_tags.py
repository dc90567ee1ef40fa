import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_seq.data import span_tags, tags

CONLLU = """\
# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tv\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tp\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\ts\t_\t5\tcase\t_\t_
4\tel\tel\tDET\td\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tn\t_\t1\tobl\t_\t_

# sent_id = 2
1\tSue\tSue\tPROPN\tn\t_\t2\tnsubj\t_\t_
2\tlikes\tlike\tVERB\tv\t_\t0\troot\t_\t_
2.1\tlikes\tlike\tVERB\t_\t_\t_\t_\t_\t_
3\t10 000\t10 000\tNUM\tm\t_\t2\tobj\t_\t_
"""
WORDS = [["Vamos", "nos", "a", "el", "mar"], ["Sue", "likes", "10 000"]]
UPOS = [["VERB", "PRON", "ADP", "DET", "NOUN"], ["PROPN", "VERB", "NUM"]]


def token(number, form="w", upos="X", columns=10):
    return "\t".join([str(number), form, "_", upos, *["_"] * (columns - 4)])


@pytest.mark.parametrize("ending", ["", "\n", "\n\n \n"])
@pytest.mark.parametrize("name", ["a.conllu", "a.conllu.gz"])
def test_conllu(write, name, ending):
    found = tags.read_tags(write(name, "\ufeff\n" + CONLLU + ending))
    assert (found.words, found.tags) == (WORDS, UPOS) and len(found) == 2
    assert found.report == tags.TagReport(read=2, kept=2, words=8, multiword=2, empty_nodes=1, comments=3)
    assert str(found.report) == (
        "2 sentences read, 2 kept (8 words); skipped: 2 multiword ranges, 1 empty nodes, 3 comments"
    )
    assert found.tag_names == ("ADP", "DET", "NOUN", "NUM", "PRON", "PROPN", "VERB")


def test_the_words_of_one_sentence():
    sentences = [list(enumerate(part.splitlines(), 1)) for part in CONLLU.split("\n\n")]
    assert [tags.conllu_words(lines) for lines in sentences] == WORDS
    with pytest.raises(ValueError, match="line 7: 2 columns"):
        tags.conllu_words([(7, "1\tVamos")])


def test_some_sentences_of_many(write):
    whole = tags.read_tags(write("a.conllu", CONLLU))
    assert whole.select([1]).words == WORDS[1:] and whole.select([1]).report.words == 3
    assert whole.select([1, 0]).tags == UPOS[::-1]


def test_conllu_columns_by_name(write):
    path = write("a.txt", CONLLU.replace("\n", "\r\n"))
    found = tags.read_tags(path, format="conllu", words="LEMMA", tags="XPOS")
    assert found.words[0] == ["ir", "nosotros", "a", "el", "mar"] and found.tags[1] == ["n", "v", "m"]
    assert tags.read_tags(path, format="conllu", tags="FEATS").tags[0] == ["Mood=Imp", "_", "_", "_", "_"]
    for wrong in ("upos", 3):
        with pytest.raises(ValueError, match=rf"`tags` must be a column.*UPOS.*Received: {wrong!r}"):
            tags.read_tags(path, format="conllu", tags=wrong)


GOOD = token(1, "ok") + "\n\n"
MALFORMED_CONLLU = {
    "3 columns.*has 10": (2, token(1) + "\n2\tw\tX\n"),
    "11 columns": (1, token(1, columns=11)),
    "1 columns": (2, token(1) + "\nNEWLINE MISSING"),
    "ID '3' where 2": (2, token(1) + "\n" + token(3)),
    "ID '1' where 2.*blank line": (2, token(1) + "\n" + token(1)),
    "ID '01' where 1": (1, token("01")),
    "ID '²' where 1": (1, token("²")),
    "sentence without words": (1, "# one\n# two"),
    "without words": (1, token("1-2")),
    "word is empty": (2, token(1) + "\n" + token(2, form=" ")),
    "tag is empty": (1, token(1, upos="")),
}


@pytest.mark.parametrize("message", MALFORMED_CONLLU)
def test_malformed_conllu(write, message):
    line, lines = MALFORMED_CONLLU[message]
    path = write("a.conllu", GOOD + lines + "\n\n" + GOOD)
    with pytest.raises(ValueError, match=rf"a\.conllu:{line + 2}: .*{message}.*on_bad_line"):
        tags.read_tags(path)
    found = tags.read_tags(path, on_bad_line="skip")
    assert found.words == [["ok"], ["ok"]]
    assert found.report == tags.TagReport(read=3, kept=2, words=2, malformed=1)


@pytest.mark.parametrize(
    "content", ["a X\nb  Y\n\nc Z", "a\tX\nb\tY \n\n\n\nc\tZ\n", "a X\r\nb\tY\r\n \r\nc Z\r\n\r\n"]
)
def test_two_columns(write, content):
    found = tags.read_tags(write("a.bio", content))
    assert (found.words, found.tags) == ([["a", "b"], ["c"]], [["X", "Y"], ["Z"]])
    assert found.report == tags.TagReport(read=2, kept=2, words=3)


def test_columns_as_in_conll_2003(write):
    content = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\n# NN I-NP O\n\n-DOCSTART- -X- O O\nPeter NNP B-NP B-PER\n"
    path = write("a.conll", content)
    found = tags.read_tags(path)
    assert found.words == [["EU", "#"], ["Peter"]] and found.tags == [["B-ORG", "O"], ["B-PER"]]
    assert found.report == tags.TagReport(read=2, kept=2, words=3, comments=2)
    assert tags.read_tags(path, words=0, tags=1).tags == [["NNP", "NN"], ["NNP"]]
    with pytest.raises(ValueError, match=r"a\.conll: `tags` must be the number of a column, 0 to 3.*Received: 4"):
        tags.read_tags(path, tags=4)
    with pytest.raises(ValueError, match="Received: 'UPOS'"):
        tags.read_tags(path, tags="UPOS")


def test_features_are_read_with_their_words(write):
    path = write("a.txt", "Anna NNP sg B-PER\nran VBD - O\n\nLee NNP sg B-PER\n")
    found = tags.read_tags(path, features=[1, 2])
    assert found.words == [["Anna￨NNP￨sg", "ran￨VBD￨-"], ["Lee￨NNP￨sg"]] and found.tags == [["B-PER", "O"], ["B-PER"]]
    assert tags.read_tags(write("b.conllu", CONLLU), tags="XPOS", features=["UPOS"]).words[0][0] == "Vamos￨VERB"
    with pytest.raises(ValueError, match=r"`features` must be the number of a column, 0 to 3.*Received: 4"):
        tags.read_tags(path, features=[1, 4])
    with pytest.raises(ValueError, match=r"`features` must be a column of CoNLL-U.*Received: 1"):
        tags.read_tags(write("c.conllu", CONLLU), features=[1])
    with pytest.raises(ValueError, match=r"d\.txt:1: 'An￨na' holds ￨, which is between a word and its features"):
        tags.read_tags(write("d.txt", "An￨na NNP B-PER\n"), features=[1])
    with pytest.raises(ValueError, match=r"e\.tsv:2: the feature is empty"):
        tags.read_tags(write("e.tsv", "Anna\tNNP\tX\nran\t\tO\n"), features=[1])
    assert tags.read_tags(write("f.txt", "An￨na X\n")).words == [["An￨na"]]


def test_a_no_break_space_is_part_of_a_word(write):
    assert tags.read_tags(write("a.txt", "10\u00a0000 NUM\n")).words == [["10\u00a0000"]]


def test_malformed_columns(write):
    path = write("a.tsv", "a\tX\n\nNew York\tX\n\nb\n\nc\tX\tY\n\nd\t\n\n\tX\n")
    with pytest.raises(ValueError, match=r"a\.tsv:5: 1 columns where most lines have 2: 'b'.*on_bad_line"):
        tags.read_tags(path)
    found = tags.read_tags(path, on_bad_line="skip")
    assert found.words == [["a"], ["New York"]]
    assert found.report == tags.TagReport(read=6, kept=2, words=2, malformed=4)
    with pytest.raises(ValueError, match=r"b\.txt: most lines have one column.*conllu"):
        tags.read_tags(write("b.txt", "a\nb\n"))


@pytest.mark.parametrize("bad", [b"b\xff X", b"b\0 X"])
def test_what_is_no_text(write, bad):
    path = write("a.txt", b"a X\n" + bad + b"\n\nc X\n")
    with pytest.raises(ValueError, match=r"a\.txt:2: byte 2 .*on_bad_line"):
        tags.read_tags(path)
    found = tags.read_tags(path, on_bad_line="skip")
    assert found.words == [["c"]] and found.report == tags.TagReport(read=2, kept=1, words=1, bad=1)
    assert "dropped: 1 with invalid UTF-8 or NUL" in str(found.report)


def test_many_files_and_none(write, tmp_path):
    first, second = write("a.conllu", CONLLU), write("b.txt.gz", "x Y\n")
    assert tags.read_tags([first, second]).words == [*WORDS, ["x"]]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tags.read_tags(tmp_path / "nowhere.conllu")
    for content in ("", "\n\n", "-DOCSTART- O\n"):
        with pytest.raises(ValueError, match=r"c\.txt: no sentence is left .*0 sentences read"):
            tags.read_tags(write("c.txt", content))
    with pytest.raises(ValueError, match=r"d\.conllu: no sentence is left .*1 with a malformed line"):
        tags.read_tags(write("d.conllu", "x y\n"), on_bad_line="skip")
    with pytest.raises(ValueError, match="'bio'"):
        tags.read_tags(first, format="bio")
    with pytest.raises(ValueError, match="'ignore'"):
        tags.read_tags(first, on_bad_line="ignore")


def test_dataset_of_string_vectors(write):
    dataset = tags.read_tags(write("a.conllu", CONLLU)).dataset()
    assert [(spec.shape.as_list(), spec.dtype.name) for spec in dataset.element_spec] == [([None], "string")] * 2
    rows = [[[s.decode() for s in side] for side in row] for row in dataset.as_numpy_iterator()]
    assert rows == [list(row) for row in zip(WORDS, UPOS, strict=True)]
    assert len(dataset) == 2


@pytest.mark.parametrize(
    "line, expected",
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        ("B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("I-PER I-PER O I-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),  # IOB1, or an I without its B
        ("B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")]),
        ("I-PER B-PER I-PER", [(0, 1, "PER"), (1, 3, "PER")]),
        ("B-PER O I-PER", [(0, 1, "PER"), (2, 3, "PER")]),
        ("B-A-B I-A-B", [(0, 2, "A-B")]),  # the type begins after the first hyphen
        ("B-PER I-PER E-PER S-PER I-PER", [(0, 3, "PER"), (3, 4, "PER"), (4, 5, "PER")]),
        ("B-PER L-PER U-LOC E-LOC", [(0, 2, "PER"), (2, 3, "LOC"), (3, 4, "LOC")]),
        ("B I O B", [(0, 2, ""), (3, 4, "")]),
        ("B-PER M-PER E-PER W-LOC O W-LOC", [(0, 3, "PER"), (3, 4, "LOC"), (5, 6, "LOC")]),  # BMEWO
        ("B M M E S S B E", [(0, 4, ""), (4, 5, ""), (5, 6, ""), (6, 8, "")]),  # BMES, of words in Chinese text
        ("B_PER I_PER O S_A-B", [(0, 2, "PER"), (3, 4, "A-B")]),
    ],
)
def test_spans(line, expected):
    assert span_tags.spans(line.split()) == expected


def conlleval_spans(sequence):
    """The two rules of conlleval.pl, `startOfChunk` and `endOfChunk`, written down as they stand there."""
    found, start = [], None
    previous_letter, previous_type = "O", ""
    for place, tag in enumerate([*sequence, "O"]):
        letter, kind = tag.split("-", 1) if "-" in tag else (tag, "")
        two = previous_letter + letter
        ends = two in {"BB", "BO", "IB", "IO", "EE", "EI", "EO", "EB", "BS", "IS", "ES", "SB", "SI", "SE", "SS", "SO"}
        ends |= previous_letter != "O" and previous_type != kind
        begins = two in {"BB", "IB", "OB", "OI", "EE", "EI", "OE", "EB", "OS", "BS", "IS", "ES", "SB", "SI", "SE", "SS"}
        begins |= letter != "O" and previous_type != kind
        if ends and start is not None:
            found.append((start, place, previous_type))
            start = None
        if begins:
            start = place
        previous_letter, previous_type = letter, kind
    return found


@given(st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in "XY")]), max_size=12))
def test_spans_are_those_of_conlleval(sequence):
    assert span_tags.spans(sequence) == conlleval_spans(sequence)


@given(st.integers(0, 10**6))
def test_spans_give_back_what_was_marked(seed):
    draw = random.Random(seed)
    sequence, expected = [], []
    while len(sequence) < 15:
        if draw.random() < 0.4:
            sequence.append("O")
        else:
            size, kind = draw.randint(1, 4), draw.choice("XYZ")
            expected.append((len(sequence), len(sequence) + size, kind))
            sequence += [f"B-{kind}"] + [f"I-{kind}"] * (size - 1)
    assert span_tags.spans(sequence) == expected


@pytest.mark.parametrize("wrong", ["NOUN", "", "o", "O-PER", "b-PER", "-PER"])
def test_a_tag_that_marks_no_span(wrong):
    with pytest.raises(ValueError, match=rf"Received: {re.escape(repr(wrong))} at 1"):
        span_tags.spans(["O", wrong])


def test_ud_lines(real_data):
    folder = real_data("ud_lines")
    train, valid = (tags.read_tags(folder / f"{part}.conllu") for part in ("train", "dev"))
    # Counted with `grep -c "^$"`, `grep -cP "^[0-9]+\t"`, `grep -cP "^[0-9]+-"` and `grep -c "^#"`.
    assert train.report == tags.TagReport(read=3457, kept=3457, words=64_684, multiword=690, comments=6923)
    assert valid.report == tags.TagReport(read=1118, kept=1118, words=21_637, multiword=250, comments=2245)
    assert len(train.tag_names) == 17 and set(valid.tag_names) <= set(train.tag_names)
    assert valid.words[0][:4] == ["When", "a", "user", "connects"]
    assert valid.tags[0][:4] == ["SCONJ", "DET", "NOUN", "VERB"]
    rows = list(valid.dataset().as_numpy_iterator())
    assert len(rows) == 1118 and all(len(words) == len(row_tags) for words, row_tags in rows)


TEN = "1\tThey\tthey\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n2\twalk\twalk\tVERB\t{}\t_\t0\troot\t_\t_\n\n"


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv"])
def test_ten_columns_are_conllu_whatever_the_file_is_called(write, name):
    path = write(name, TEN.format("VBP"))
    assert tags.read_tags(path).words == [["They", "walk"]] and tags.read_tags(path).tags == [["PRON", "VERB"]]
    assert tags.read_tags(path, format="columns").words == [["1", "2"]]
    assert tags.read_tags(path, words=2, tags=4).tags == [["PRP", "VBP"]]


def test_a_word_without_a_tag_is_refused_or_its_sentence_counted(write):
    path = write("a.conllu", TEN.format("_") + TEN.format("VBP"))
    with pytest.raises(ValueError, match=r"a.conllu:2: the word 'walk' has no tag: its XPOS is '_'.*on_bad_line"):
        tags.read_tags(path, tags="XPOS")
    found = tags.read_tags(path, tags="XPOS", on_bad_line="skip")
    assert found.tags == [["PRP", "VBP"]] and found.report.untagged == 1 and found.report.read == 2
    assert "1 with a word without a tag" in str(found.report)


@pytest.mark.parametrize(
    ("content", "words", "comments"),
    [
        ("# sent_id = 1\nBonn NNP B-LOC\nlies VBZ O\n\n# text =\nIt PRP O\n", [["Bonn", "lies"], ["It"]], 2),
        ("# id 5239\tdomain=en\nbonn _ _ B-LOC\nlies _ _ O\n", [["bonn", "lies"]], 1),
        ("call O\n# O\n7 B-NUM\n", [["call", "#", "7"]], 0),
        ("# O\n7 B-NUM\n", [["#", "7"]], 0),
    ],
)
def test_comments_in_columns(write, content, words, comments):
    found = tags.read_tags(write("a.tsv", content))
    assert found.words == words and found.report.comments == comments


SCHEMES = {
    "IOB1": ["I-PER", "I-PER", "B-PER", "O", "I-LOC"],
    "IOB2": ["B-PER", "I-PER", "B-PER", "O", "B-LOC"],
    "BIOES": ["B-PER", "E-PER", "S-PER", "O", "S-LOC"],
    "BILOU": ["B-PER", "L-PER", "U-PER", "O", "U-LOC"],
    "BMEWO": ["B-PER", "E-PER", "W-PER", "O", "W-LOC"],
    "underscores": ["B_PER", "I_PER", "B_PER", "O", "B_LOC"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_schemes_mark_the_same_spans(scheme):
    assert span_tags.mark_spans(SCHEMES[scheme])
    assert span_tags.spans(SCHEMES[scheme]) == [(0, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC")]


def test_tags_that_nearly_mark_spans_are_refused():
    for tag_names in (["NOUN", "VERB"], ["O"], [], ["S---3", "I----", "N--S"], ["BE-HL", "O", "NN-TL"]):
        assert not span_tags.mark_spans(tag_names)
    for others, odd in ((["-X-"], "-X-"), (["b-PER"], "b-PER"), (["PER-B"], "PER-B"), (["<unk>"], "<unk>")):
        with pytest.raises(ValueError, match=rf"mark spans, but '{odd}' cannot be read.*--spans no"):
            span_tags.mark_spans(["O", "B-LOC", "I-LOC", *others])
    with pytest.raises(ValueError, match="'LOC-B'.*--spans no"):
        span_tags.mark_spans(["O", "LOC-B", "LOC-I"])


def test_a_line_that_names_the_columns_is_no_word(write, caplog):
    found = tags.read_tags(write("a.tsv", "Token\tNER_Tag\nBonn\tB-LOC\n\nword\tO\n"))
    assert found.words == [["Bonn"], ["word"]] and found.report.comments == 1
    assert "a.tsv:1 names the columns" in caplog.text
    assert tags.read_tags(write("a.tsv", "word\tlabel\n\nBonn\tB-LOC\n")).words == [["Bonn"]]
    for content in ("word TAG\na TAG\n", "text NOUN\na VERB\n", "word tag\n"):
        assert tags.read_tags(write("b.txt", content)).words[0][0] == content.split()[0]


def test_white_space_around_a_tag_is_none_of_it(write):
    assert tags.read_tags(write("a.tsv", "a\tX\u00a0\nb\tX \n")).tag_names == ("X",)
    content = "\n".join([token(1, upos="X "), token("2 ", upos="X"), token(3, upos="X\u00a0")])
    assert tags.read_tags(write("a.conllu", content)).tag_names == ("X",)


PIECES = [
    "a X",
    "b\tY",
    "1\tw\tX",
    "# n = v",
    "#",
    "",
    " \t",
    "-DOCSTART- O",
    "c",
    "d Y Z",
    "e\0 X",
    "\xff",
    "\x0c",
    "\u2028 X",
]
PIECES += [token(1), token(2), token("1-2"), token("1.1"), token(1, upos="_"), "word tag"]


@given(st.lists(st.sampled_from(PIECES)), st.sampled_from(["a.conllu", "a.tsv"]))
def test_every_line_is_accounted_for(tmp_path_factory, pieces, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes("".join(f"{piece}\n" for piece in pieces).encode("latin-1", "replace"))
    try:
        report = tags.read_tags(path, on_bad_line="skip").report
    except ValueError as error:
        assert re.search("no sentence is left|most lines have one column", str(error))
        return
    passed = report.words + report.multiword + report.empty_nodes + report.comments
    assert report.lines == len(pieces) == passed + report.blank + report.dropped
    assert report.read == report.kept + report.malformed + report.bad + report.untagged


def test_numbers_of_words_are_no_words(write, caplog):
    content = "#\thttp://example.org [2009]\n1\tAufgrund\tO\tO\n2\tStuttgart\tB-LOC\tO\n\n1\tBonn\tB-LOC\tO\n"
    path = write("a.tsv", content)
    assert tags.read_tags(path, tags=2).words == [["Aufgrund", "Stuttgart"], ["Bonn"]]
    assert "words=0 reads the numbers" in caplog.text
    for options in ({"words": 0}, {"format": "columns"}):
        assert tags.read_tags(path, tags=2, **options).words == [["1", "2"], ["1"]]
    assert tags.read_tags(write("b.tsv", "1\tx\tNUM\n3\tx\tNUM\n")).words == [["1", "3"]]
    assert tags.read_tags(write("c.txt", "1 NUM\n2 NUM\n")).words == [["1", "2"]]
