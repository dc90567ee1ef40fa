"""Tagged sentences from CoNLL-U, or from files with words and tags in columns."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_choice
from keras_seq.data.lines import Paths, as_paths, read_lines
from keras_seq.data.reports import Report, count
from keras_seq.data.table_rows import BAD, Problem, good_rows
from keras_seq.word_features import with_features

CONLLU_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")

_IDS = re.compile(r"[0-9]+([-.][0-9]+)?")
_ABOUT = re.compile(r"# *[^ \t]+ *=( |$)")  # "# sent_id = 1"
_log = logging.getLogger(__name__)

_WORD_NAMES = {"word", "words", "token", "tokens", "form", "text"}  # names of columns
_TAG_NAMES = re.compile("(ner|pos|upos|xpos|bio|iob|chunk|span)?[ _-]?(tags?|labels?)?(?<=.)")
_DOCUMENT_MARK = "-DOCSTART-"  # precedes each document of CoNLL-2003

_Lines = list[tuple[int, str | None]]  # numbered lines of one sentence; None for invalid text
_Rows = list[tuple[int, list[str]]]  # the same, split into columns


@dataclass(frozen=True)
class TagReport(Report):
    """Counts of sentences: `read` = `kept` + `malformed` + `bad` + `untagged`. Of lines: `lines` = `words` +
    `multiword` + `empty_nodes` + `comments` + `blank` + `dropped`.

    Args:
        read, kept: sentences.
        words: words that have a tag.
        malformed: sentences with a line that cannot be parsed, or without words.
        bad: sentences with a line that is not UTF-8 or holds a NUL.
        multiword: lines `1-2` that were skipped (the words themselves follow them).
        empty_nodes: lines `1.1` that were skipped (words that are not in the text).
        comments: comment lines, document marks and headers.
        untagged: sentences with a word that has no tag: "_" in CoNLL-U.
        lines, blank, dropped: all lines, blank lines, and lines of sentences that were not kept. These counts are
            ignored when reports are compared.
    """

    words: int = 0
    malformed: int = count("with a malformed line")
    bad: int = count("with invalid UTF-8 or NUL")
    multiword: int = count("multiword ranges", "skipped: ")
    empty_nodes: int = count("empty nodes", "skipped: ")
    comments: int = count("comments", "skipped: ")
    untagged: int = count("with a word without a tag")
    lines: int = field(default=0, compare=False)
    blank: int = field(default=0, compare=False)
    dropped: int = field(default=0, compare=False)
    unit = "sentence"

    def _details(self) -> str:
        return f" ({self.words:,} words)"


@dataclass(frozen=True)
class TaggedText:
    """Sentences in memory, each a list of words and a list of tags of the same length, and the report of reading."""

    words: list[list[str]]
    tags: list[list[str]]
    report: TagReport

    def __len__(self) -> int:
        return len(self.words)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The tags that occur, in alphabetical order."""
        return tuple(sorted({tag for sentence in self.tags for tag in sentence}))

    def select(self, indices: Sequence[int] | np.ndarray) -> "TaggedText":
        """The sentences at these indices, in this order."""
        words, tags = [self.words[i] for i in indices], [self.tags[i] for i in indices]
        return TaggedText(words, tags, TagReport(len(words), len(words), sum(map(len, words))))

    def dataset(self) -> tf.data.Dataset:
        """A dataset of the sentences: (words `(T,)`, tags `(T,)`), strings."""
        sides = tuple(
            tf.RaggedTensor.from_row_lengths(
                tf.constant([string.encode() for sentence in side for string in sentence], tf.string),
                tf.constant([len(sentence) for sentence in side], tf.int64),
            )
            for side in (self.words, self.tags)
        )
        rows = tf.data.Dataset.from_tensor_slices(sides)
        return rows.map(lambda words, tags: (words, tags))  # rows with a dense element spec


class _MalformedError(Exception):
    """A line (by number) that cannot be parsed, the reason, and the report count of its sentence."""

    def __init__(self, line: int, problem: str, count: str = "malformed"):
        super().__init__(problem)
        self.line = line
        self.count = count


def read_tags(
    paths: Paths,
    *,
    format: str | None = None,
    words: str | int | None = None,
    tags: str | int | None = None,
    features: Sequence[str | int] = (),
    on_bad_line: str = "error",
) -> TaggedText:
    """Reads sentences with tagged words. A blank line ends a sentence. It is optional at the end of a file.

    CoNLL-U: comments, multiword ranges (`1-2`) and empty nodes (`1.1`) are skipped and counted. "_" is not a tag.
    Columns: a line is a word and its tag, or more columns, separated by tabs or, in lines without a tab, by spaces. "#"
    is an ordinary word. Document marks of CoNLL-2003 (`-DOCSTART-`) are skipped and counted. So are lines before the
    first word of a sentence that begin with "#" and have another number of columns, or are "# name = value", and, with
    a warning, a first line that names the columns, such as "word" and "tag".

    Args:
        paths: a file or a list of files, plain or `.gz`.
        format: "conllu" or "columns". None: "conllu" if the file name ends so, or (with a warning) if all lines have
            its ten columns, numbered from 1, unless `words` or `tags` is a number. Else "columns".
        words: the column of the words: its name in CoNLL-U ("FORM" if None), else its number from 0 (if None 0, or,
            with a warning, 1 if column 0 of three or more counts the words).
        tags: the column of the tags: its name in CoNLL-U ("UPOS" if None), else its number (-1, the last one, if None).
        features: columns of features of the words, such as their parts of speech, as `tags`. A word is then read
            together with them: "pound￨NN" (see `text.with_features`).
        on_bad_line: "error", or "skip" to drop and count the sentences with an invalid line.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a line is invalid and `on_bad_line="error"`: it has another number of columns than 10 (or
            than most lines), an empty word or tag, "_" for a tag in CoNLL-U, a word number out of order, a sentence
            without words, invalid UTF-8 or a NUL. Also if there is no such column, if a `.gz` file is damaged, or if no
            sentence is left.

    Source: https://universaldependencies.org/format.html
    """
    counts, found = Counter(), []
    for path in as_paths(paths):
        sentences = list(_sentences(path, on_bad_line, counts))
        if _is_conllu(path, format, sentences, words, tags):
            parse = _conllu_parser(words, tags, features)
        else:
            parse = _column_parser(path, sentences, words, tags, features, as_it_stands=format is not None)
        found += good_rows(path, _parsed(sentences, parse, counts), counts, on_bad_line, "sentence")
    all_words, all_tags = ([[pair[side] for pair in pairs] for pairs in found] for side in (0, 1))
    report = TagReport(kept=len(found), words=sum(map(len, found)), **counts)
    report.check(paths)
    return TaggedText(all_words, all_tags, report)


def _parsed(sentences: list[_Lines], parse: Callable, counts: Counter) -> Iterator[tuple[int, list | Problem]]:
    """Yields the (word, tag) pairs of sentences, and adds the lines that hold no word to `counts`."""
    for lines in sentences:
        line, passed = lines[0][0], Counter()
        try:
            found = BAD if any(text is None for _, text in lines) else parse(lines, passed)
        except _MalformedError as error:
            line, found = error.line, Problem(error.count, str(error))
        if isinstance(found, Problem):
            passed = Counter(dropped=len(lines))
        counts.update(passed)
        if found:  # not if the lines are only a document mark
            yield line, found


def _is_conllu(path: Path, format: str | None, sentences: list[_Lines], words, tags) -> bool:
    check_choice("conllu", "columns", None, format=format)
    if format is not None:
        return format == "conllu"
    if path.name.removesuffix(".gz").endswith(".conllu"):
        return True
    if isinstance(words, int) or isinstance(tags, int):
        return False
    rows = [text.split("\t") for lines in sentences for _, text in lines if text and not text.startswith("#")]
    found = bool(rows) and all(len(row) == len(CONLLU_COLUMNS) and _IDS.fullmatch(row[0]) for row in rows)
    if found:
        _log.warning(
            '%s has the ten columns of CoNLL-U and is read as CoNLL-U. format="columns" reads them as columns.', path
        )
    return found


def _sentences(path: Path, on_bad_line: str, counts: Counter) -> Iterator[_Lines]:
    """Yields the lines between blank ones, and adds the number of lines to `counts`."""
    lines = []
    for number, text in read_lines(path, on_bad_line):
        counts["lines"] += 1
        counts["blank"] += text is not None and not text.strip()
        if text is None or text.strip():
            lines.append((number, text))
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def conllu_words(lines: Sequence[tuple[int, str]]) -> list[str]:
    """The words of one sentence of CoNLL-U, regardless of its other columns.

    Args:
        lines: numbered lines of the sentence.
    Raises:
        ValueError: if a line cannot be parsed. The message holds its number.
    """
    try:
        return [word for word, _ in _conllu_parser("FORM", "FORM")(list(lines), Counter())]
    except _MalformedError as error:
        raise ValueError(f"line {error.line}: {error}") from None


def _conllu_parser(words: str | int | None, tags: str | int | None, features: Sequence[str | int] = ()):
    names = ("FORM" if words is None else words, "UPOS" if tags is None else tags, *features)
    for argument, name in zip(_arguments(features), names, strict=True):
        if name not in CONLLU_COLUMNS:
            raise ValueError(f"`{argument}` must be a column of CoNLL-U, {CONLLU_COLUMNS}. Received: {name!r}")
    places = [CONLLU_COLUMNS.index(name) for name in names]

    def parse(lines: _Lines, passed: Counter) -> list[tuple[str, str]]:
        pairs = []
        for number, text in lines:
            if text.startswith("#"):
                passed["comments"] += 1
                continue
            fields = [field.strip(" ") for field in text.split("\t")]
            if len(fields) != len(CONLLU_COLUMNS):
                raise _MalformedError(
                    number, f"{len(fields)} columns, separated by tabs, where CoNLL-U has 10: {text!r}."
                )
            if re.fullmatch(r"[0-9]+-[0-9]+", fields[0]):
                passed["multiword"] += 1
            elif re.fullmatch(r"[0-9]+\.[0-9]+", fields[0]):
                passed["empty_nodes"] += 1
            elif fields[0] != str(len(pairs) + 1):
                raise _MalformedError(
                    number,
                    f"the word has the ID {fields[0]!r} where {len(pairs) + 1} is expected. A blank line may be "
                    "missing between two sentences.",
                )
            elif fields[places[1]] == "_" and names[1] in ("UPOS", "XPOS", "DEPREL"):
                raise _MalformedError(
                    number,
                    f"the word {fields[places[0]]!r} has no tag: its {names[1]} is '_'. Choose another column.",
                    "untagged",
                )
            else:
                pairs.append(_pair(fields, places, number))
        if not pairs:
            raise _MalformedError(lines[0][0], "a sentence without words.")
        return pairs

    return parse


def _column_parser(
    path: Path,
    sentences: list[_Lines],
    words: str | int | None,
    tags: str | int | None,
    features: Sequence[str | int],
    as_it_stands: bool,
):
    table = [[(number, _columns(text)) for number, text in lines if text and not _is_mark(text)] for lines in sentences]
    widths = Counter(len(fields) for rows in table for _, fields in rows)
    width = widths.most_common(1)[0][0] if widths else 2
    if width < 2:
        raise ValueError(
            f"{path}: most lines have one column. Write a word and its tag on each line, separated by a tab or a "
            'space, or read CoNLL-U with format="conllu".'
        )
    places = [0 if words is None else words, -1 if tags is None else tags, *features]
    if words is None and width > 2 and not as_it_stands and _are_numbered(table):
        _log.warning("%s numbers its words in column 0. Words are read from column 1. words=0 reads the numbers.", path)
        places[0] = 1
    for argument, place in zip(_arguments(features), places, strict=True):
        if not isinstance(place, int) or not -width <= place < width:
            raise ValueError(
                f"{path}: `{argument}` must be the number of a column, 0 to {width - 1}, or from the end, -1 to "
                f"{-width}. Received: {place!r}"
            )
    header = _header(path, [row for rows in table for row in rows if len(row[1]) == width], places)

    def parse(lines: _Lines, passed: Counter) -> list[tuple[str, str]]:
        pairs = []
        for number, text in lines:
            fields = _columns(text)
            about = not pairs and text.startswith("#") and (len(fields) != width or _ABOUT.match(text))
            if about or number == header or _is_mark(text):
                passed["comments"] += 1
                continue
            if len(fields) != width:
                raise _MalformedError(number, f"{len(fields)} columns where most lines have {width}: {text!r}.")
            pairs.append(_pair(fields, places, number))
        return pairs

    return parse


def _are_numbered(table: list[_Rows]) -> bool:
    """Whether the first column numbers the words of each sentence from 1."""
    firsts = [[fields[0] for _, fields in rows if not fields[0].startswith("#")] for rows in table]
    return sum(map(len, firsts)) > 1 and all(some == [str(n + 1) for n in range(len(some))] for some in firsts)


def _header(path: Path, rows: _Rows, places: list[int]) -> int | None:
    """The number of the line that names the columns: the first line, if no other line has its tag."""
    (number, first), *others = rows or [(None, [])]
    word, tag = (first[place].lower() for place in places[:2]) if first else ("", "")
    if word not in _WORD_NAMES or not _TAG_NAMES.fullmatch(tag) or not others:
        return None
    if any(fields[places[1]].lower() == tag for _, fields in others):
        return None
    _log.warning("%s:%s names the columns (%s) and is not read as a word.", path, number, first)
    return number


def _is_mark(text: str) -> bool:
    return text.startswith(_DOCUMENT_MARK)


def _columns(text: str) -> list[str]:
    # Not `split()`, which also splits at the no-break space, a character of some words.
    if "\t" in text:
        return [field.strip(" ") for field in text.split("\t")]
    return [field for field in text.split(" ") if field]


def _arguments(features: Sequence[str | int]) -> tuple[str, ...]:
    """The argument of `read_tags` that each column comes from."""
    return ("words", "tags", *("features" for _ in features))


def _pair(fields: list[str], places: list[int], number: int) -> tuple[str, str]:
    """The word, with its features, and its tag."""
    for name, place in zip(("word", "tag", *("feature" for _ in places[2:])), places, strict=True):
        if not fields[place].strip():
            raise _MalformedError(number, f"the {name} is empty: {fields!r}.")
    word, tag, *features = (fields[place] for place in places)
    try:
        return with_features(word, features) if features else word, tag.strip()
    except ValueError as error:
        raise _MalformedError(number, f"{error}.") from None
