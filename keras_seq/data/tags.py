"""Sentences with a tag for each word: CoNLL-U, or files with a word and its tag in columns."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_seq.data.lines import Paths, as_paths, read_lines
from keras_seq.data.reports import format_counts

CONLLU_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")

_IDS = re.compile(r"[0-9]+([-.][0-9]+)?")
_ABOUT = re.compile(r"# *[^ \t]+ *=( |$)")  # "# sent_id = 1"
_log = logging.getLogger(__name__)

_WORD_NAMES = {"word", "words", "token", "tokens", "form", "text"}  # what columns are called
_TAG_NAMES = re.compile("(ner|pos|upos|xpos|bio|iob|chunk|span)?[ _-]?(tags?|labels?)?(?<=.)")
_DOCUMENT_MARK = "-DOCSTART-"  # stands before each document of CoNLL-2003

_Lines = list[tuple[int, str | None]]  # of one sentence, with their numbers; None for what is no text


@dataclass(frozen=True)
class TagReport:
    """Counts. Of all sentences: `read` = `kept` + `malformed` + `bad` + `untagged`. Of all lines: `lines` = `words` +
    `multiword` + `empty_nodes` + `comments` + `blank` + `dropped`.

    Args:
        read, kept: sentences.
        words: words that have a tag.
        malformed: sentences with a line that cannot be understood, or without words.
        bad: sentences with a line that is not UTF-8 or holds a NUL.
        multiword: lines `1-2` that were passed over (the words themselves follow them).
        empty_nodes: lines `1.1` that were passed over (words that are not in the text).
        comments: comment lines, document marks and headers.
        untagged: sentences with a word that has no tag: "_" in CoNLL-U.
        lines, blank, dropped: all lines, those that are blank, and those of sentences that were not kept. Reports that
            differ in nothing else are equal.
    """

    read: int
    kept: int
    words: int
    malformed: int = 0
    bad: int = 0
    multiword: int = 0
    empty_nodes: int = 0
    comments: int = 0
    untagged: int = 0
    lines: int = field(default=0, compare=False)
    blank: int = field(default=0, compare=False)
    dropped: int = field(default=0, compare=False)

    def __str__(self) -> str:
        text = f"{self.read:,} sentences read, {self.kept:,} kept ({self.words:,} words)"
        passed = [(self.multiword, "multiword ranges"), (self.empty_nodes, "empty nodes"), (self.comments, "comments")]
        dropped = [(self.malformed, "with a malformed line"), (self.bad, "with invalid UTF-8 or NUL")]
        dropped.append((self.untagged, "with a word without a tag"))
        return format_counts(format_counts(text, passed, "passed over: "), dropped, "dropped: ")


@dataclass(frozen=True)
class TaggedText:
    """Sentences in memory, each a list of words and a list of as many tags, and the report on how they were read."""

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
        """The sentences at these places, in this order."""
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
        return rows.map(lambda words, tags: (words, tags))  # rows, now dense by type


class _MalformedError(Exception):
    """A line (its number) of a sentence that cannot be understood, why, and the count of the report that it is in."""

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
    on_bad_line: str = "error",
) -> TaggedText:
    """Reads sentences with tagged words. A blank line ends a sentence; at the end of a file it may be missing.

    CoNLL-U: comments, multiword ranges (`1-2`) and empty nodes (`1.1`) are passed over and counted; "_" is no tag.
    Columns: a line is a word and its tag, or more columns, apart by tabs or, in lines without a tab, by spaces. "#" is
    a word like any other. Passed over and counted are the document marks of CoNLL-2003 (`-DOCSTART-`) and, before the
    first word of a sentence, lines that begin with "#" and have another number of columns, or are "# name = value"; and
    a first line that names the columns, "word" and "tag" say (the log tells).

    Args:
        paths: a file or a list of files, plain or `.gz`.
        format: "conllu" or "columns"; if None, "conllu" where the name ends so, and where all lines have its ten
            columns, numbered from 1 (the log says so), unless `words` or `tags` is a number.
        words: the column of the words: its name in CoNLL-U ("FORM" if None), else its number from 0 (if None 0, or 1
            where column 0 of three and more counts the words; the log says so).
        tags: that of the tags: its name in CoNLL-U ("UPOS" if None), else its number (-1, the last one, if None).
        on_bad_line: "error", or "skip" to drop a sentence with a line that cannot be used, and count it.

    Raises:
        FileNotFoundError: for a file that is not there.
        ValueError: if a line cannot be used and `on_bad_line="error"`: it has another number of columns than 10 (or
            than most lines), an empty word or tag, "_" for a tag in CoNLL-U, a word number out of order, a sentence
            without words, invalid UTF-8 or a NUL; if there is no such column, if a `.gz` file is damaged, or if no
            sentence is left.

    Source: https://universaldependencies.org/format.html
    """
    if on_bad_line not in ("error", "skip"):
        raise ValueError(f'`on_bad_line` must be "error" or "skip". Received: {on_bad_line!r}')
    counts = Counter()
    all_words, all_tags = [], []
    for path in as_paths(paths):
        sentences = list(_sentences(path, on_bad_line, counts))
        if _is_conllu(path, format, sentences, words, tags):
            parse = _conllu_parser(words, tags)
        else:
            parse = _column_parser(path, sentences, words, tags, as_it_stands=format is not None)
        for lines in sentences:
            if any(text is None for _, text in lines):
                counts += Counter(read=1, bad=1, dropped=len(lines))
                continue
            passed = Counter()
            try:
                pairs = parse(lines, passed)
            except _MalformedError as error:
                if on_bad_line == "error":
                    raise ValueError(
                        f'{path}:{error.line}: {error} Mend the line, or drop such sentences with on_bad_line="skip".'
                    ) from None
                counts += Counter({"read": 1, error.count: 1, "dropped": len(lines)})
                continue
            counts += passed
            if pairs:  # none where the lines are a document mark alone
                counts["read"] += 1
                all_words.append([word for word, _ in pairs])
                all_tags.append([tag for _, tag in pairs])
    report = TagReport(kept=len(all_words), words=sum(map(len, all_words)), **{"read": 0, **counts})
    if not all_words:
        raise ValueError(f"{paths}: no sentence is left to use ({report}).")
    return TaggedText(all_words, all_tags, report)


def _is_conllu(path: Path, format: str | None, sentences: list[_Lines], words, tags) -> bool:
    if format not in (None, "conllu", "columns"):
        raise ValueError(f'`format` must be "conllu", "columns" or None. Received: {format!r}')
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
            '%s has the ten columns of CoNLL-U and is read so; format="columns" takes them as they stand.', path
        )
    return found


def _sentences(path: Path, on_bad_line: str, counts: Counter) -> Iterator[_Lines]:
    """Lines between blank ones; `counts` has how many there are."""
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
    """The words of one sentence of CoNLL-U, whatever its other columns hold.

    Args:
        lines: of the sentence, with their numbers.
    Raises:
        ValueError: for a line that cannot be understood; tells its number.
    """
    try:
        return [word for word, _ in _conllu_parser("FORM", "FORM")(list(lines), Counter())]
    except _MalformedError as error:
        raise ValueError(f"line {error.line}: {error}") from None


def _conllu_parser(words: str | int | None, tags: str | int | None):
    names = ("FORM" if words is None else words, "UPOS" if tags is None else tags)
    for argument, name in zip(("words", "tags"), names, strict=True):
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
                raise _MalformedError(number, f"{len(fields)} columns, apart by tabs, where CoNLL-U has 10: {text!r}.")
            if re.fullmatch(r"[0-9]+-[0-9]+", fields[0]):
                passed["multiword"] += 1
            elif re.fullmatch(r"[0-9]+\.[0-9]+", fields[0]):
                passed["empty_nodes"] += 1
            elif fields[0] != str(len(pairs) + 1):
                raise _MalformedError(
                    number,
                    f"the word has the ID {fields[0]!r} where {len(pairs) + 1} comes next; a blank line may be missing "
                    "between two sentences.",
                )
            elif fields[places[1]] == "_" and names[1] in ("UPOS", "XPOS", "DEPREL"):
                raise _MalformedError(
                    number,
                    f"the word {fields[places[0]]!r} has no tag: its {names[1]} is '_'. Another column may have one.",
                    "untagged",
                )
            else:
                pairs.append(_pair(fields, places, number))
        if not pairs:
            raise _MalformedError(lines[0][0], "a sentence without words.")
        return pairs

    return parse


def _column_parser(
    path: Path, sentences: list[_Lines], words: str | int | None, tags: str | int | None, as_it_stands: bool
):
    widths = Counter(len(_columns(text)) for lines in sentences for _, text in lines if text and not _is_mark(text))
    width = widths.most_common(1)[0][0] if widths else 2
    if width < 2:
        raise ValueError(
            f"{path}: most lines have one column. A word and its tag must stand on a line, apart by a tab or a space; "
            'read CoNLL-U with format="conllu".'
        )
    places = [0 if words is None else words, -1 if tags is None else tags]
    if words is None and width > 2 and not as_it_stands and _are_numbered(sentences):
        _log.warning("%s numbers its words in column 0: they are read from column 1. words=0 takes the numbers.", path)
        places[0] = 1
    for argument, place in zip(("words", "tags"), places, strict=True):
        if not isinstance(place, int) or not -width <= place < width:
            raise ValueError(
                f"{path}: `{argument}` must be the number of a column, 0 to {width - 1}, or from the end, -1 to "
                f"{-width}. Received: {place!r}"
            )

    header = _header(path, sentences, width, places)

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


def _are_numbered(sentences: list[_Lines]) -> bool:
    """Whether the first column counts the words of each sentence, from 1."""
    texts = [
        [text for _, text in lines if text and not (text.startswith("#") or _is_mark(text))] for lines in sentences
    ]
    found = [[_columns(text)[0] for text in some] for some in texts]
    return sum(map(len, found)) > 1 and all(some == [str(n) for n in range(1, len(some) + 1)] for some in found)


def _header(path: Path, sentences: list[_Lines], width: int, places: list[int]) -> int | None:
    """The number of the line that names the columns, if the first one does: its tag is then nobody else's."""
    rows = [(number, _columns(text)) for lines in sentences for number, text in lines if text]
    rows = [(number, fields) for number, fields in rows if len(fields) == width]
    (number, first), *others = rows or [(None, [])]
    word, tag = (first[place].lower() for place in places) if first else ("", "")
    if word not in _WORD_NAMES or not _TAG_NAMES.fullmatch(tag) or not others:
        return None
    if any(fields[places[1]].lower() == tag for _, fields in others):
        return None
    _log.warning("%s:%s names the columns (%s) and is no word.", path, number, first)
    return number


def _is_mark(text: str) -> bool:
    return text.startswith(_DOCUMENT_MARK)


def _columns(text: str) -> list[str]:
    # Not `split()`, which also splits at the no-break space, a character of some words.
    if "\t" in text:
        return [field.strip(" ") for field in text.split("\t")]
    return [field for field in text.split(" ") if field]


def _pair(fields: list[str], places: list[int], number: int) -> tuple[str, str]:
    for name, place in zip(("word", "tag"), places, strict=True):
        if not fields[place].strip():
            raise _MalformedError(number, f"the {name} is empty: {fields!r}.")
    return fields[places[0]], fields[places[1]].strip()
