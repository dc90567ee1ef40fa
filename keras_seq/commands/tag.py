"""`keras-seq tag`: a tag for each word of each line."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator

from keras_seq.cli import option
from keras_seq.commands.lines import STDIN, Line, check_files, each_line, lines
from keras_seq.commands.options import HELP, LineOptions
from keras_seq.commands.output import Writer
from keras_seq.commands.text_columns import check_tables
from keras_seq.tasks.results import Failure

_COLUMNS = (".conll", ".bio", ".iob")
_REMEDY = "Give sentences, one a line, or CoNLL-U (with --conllu for a file with another ending)."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tag(LineOptions):
    """Tags the words of each line, split at white space, and writes a line of word/tag for each. In CoNLL-U, the words
    of a sentence count as a line. A run folder has the tags in vocabulary/tags.txt."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "words between spaces, or .conllu, plain or .gz (none or -: stdin)", positional=True
    )
    conllu: bool = option(False, "CoNLL-U input under any name")


def tag(options: Tag) -> None:
    from keras_seq.tasks.loading import load_as

    options.check()
    check_files(options.files or [STDIN], options.output)
    if not options.conllu:
        check_tables(options.files, remedy=_REMEDY)
        columns = [path for path in options.files if path.name.removesuffix(".gz").endswith(_COLUMNS)]
        if columns:
            raise ValueError(f"{columns[0]} has words in columns by its name, not sentences in lines. {_REMEDY}")
    compute = load_as(options.model, "tagging").predictor(**options.limits)
    with Writer(options.output) as writer:

        def write(number, result):
            failed = isinstance(result, Failure)
            if options.json:
                writer.record(line=number, **({"error": result.reason} if failed else result._asdict()))
            else:
                writer("" if failed else " ".join(f"{word}/{tag}" for word, tag in zip(*result, strict=True)))

        each_line(sentences(options.files, options.conllu), options.chunk, compute, write, writer.flush)


def sentences(files: tuple[pathlib.Path, ...], conllu: bool) -> Iterator[Line | None]:
    """Lines whose text is a list of words, from a line or a sentence of CoNLL-U. None stands for a pause of stdin."""
    for path in files or [STDIN]:
        marked = conllu or path.name.removesuffix(".gz").endswith(".conllu")
        yield from _conllu(lines([path])) if marked else map(_split, lines([path]))


def _split(line: Line | None) -> Line | None:
    # As bytes: only ASCII white space splits words, as in `text.Words`; a no-break space is part of a word.
    if line is None or line.text is None:
        return line
    return line._replace(text=[word.decode() for word in line.text.encode().split()])


def _conllu(items: Iterable[Line | None]) -> Iterator[Line | None]:
    gathered: list[Line] = []
    for line in items:
        if line is None:
            if not gathered:  # a pause inside a sentence is ignored
                yield None
        elif line.text is None or line.text.strip():
            gathered.append(line)
        elif gathered:
            yield _joined(gathered)
            gathered = []
    if gathered:
        yield _joined(gathered)


def _joined(gathered: list[Line]) -> Line:
    """The words of the lines of a sentence, or its first bad line."""
    from keras_seq.data import conllu_words

    bad = [line for line in gathered if line.text is None]
    if bad:
        return bad[0]
    try:
        words = conllu_words([(int(line.place.rpartition(":")[2]), line.text) for line in gathered])
    except ValueError as error:
        return Line(gathered[0].place, None, str(error))
    return Line(gathered[0].place, words)
