"""Reads pairs from one file: a source and its target in a row, separated by a tab, or in columns of CSV."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from keras_seq.data.lines import Paths, as_paths
from keras_seq.data.parallel_text import ParallelReport, ParallelText
from keras_seq.data.table_rows import Problem, good_rows, place_of, start, table_rows

_NAMES = {"source", "target", "src", "tgt", "trg", "input", "output", "text", "translation", "word", "phonemes"}
_log = logging.getLogger(__name__)


def read_pairs(
    paths: Paths, *, columns: tuple[int, int] | tuple[str, str] = (0, 1), on_bad_line: str = "error"
) -> ParallelText:
    """Reads pairs into memory, as `read_parallel_text` does from two files. Pairs with an empty side are dropped and
    counted. A first row that names its columns, such as "source" and "target", is skipped with a warning.

    Args:
        paths: a file or a list of files, plain or `.gz`. A file whose name ends in `.csv` has quoted fields. In other
            files a tab ends a field.
        columns: numbers, from 0, of the source and the target, or their names in the first row of each file. There may
            be more columns.
        on_bad_line: "error", or "skip" to drop and count rows without these columns, and rows that are not UTF-8 or
            hold a NUL.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a row is invalid and `on_bad_line="error"`, if there is no column of that name, if a quote is
            never closed, if a `.gz` file is damaged, or if no pair is left.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("lexicon.tsv").write_text("cat\\tK AE T\\ndog\\tD AO G\\n")
        >>> pairs = data.read_pairs("lexicon.tsv")
        >>> pairs.sources, pairs.targets
        (['cat', 'dog'], ['K AE T', 'D AO G'])
        >>> train = pairs.dataset()  # of (source, target), for `vocabulary.encoded()` and `bucketed`
    """
    numbers = [column for column in columns if not isinstance(column, str)]
    if len(columns) != 2 or len(numbers) == 1 or min(numbers, default=0) < 0 or columns[0] == columns[1]:
        raise ValueError(
            f"`columns` must be two numbers or two names, of the source and the target. Received: {columns}"
        )
    counts, pairs = Counter(), []
    for path in as_paths(paths):
        pairs += good_rows(path, _pairs(path, columns, on_bad_line), counts, on_bad_line)
    empty = counts["empty"] + counts["blank"]
    report = ParallelReport(counts["read"], len(pairs), empty, counts["bad"], counts["malformed"])
    report.check(paths)
    return ParallelText(*map(list, zip(*pairs, strict=True)), report)


def _pairs(path: Path, columns: tuple, on_bad_line: str) -> Iterator[tuple[int, tuple[str, str] | Problem]]:
    named = isinstance(columns[0], str)
    is_csv = path.name.removesuffix(".gz").endswith(".csv")
    for number, (line, fields) in enumerate(table_rows(path, "csv" if is_csv else "tsv", on_bad_line)):
        if named and number == 0:
            columns = tuple(place_of(name, fields, f"{path}:{line}") for name in columns)
        elif isinstance(fields, Problem):
            yield line, fields
        elif len(fields) <= max(columns):
            apart = f"{len(fields)} columns, separated by {'commas' if is_csv else 'tabs'}"
            yield line, Problem("malformed", f"{apart}, where a pair needs {max(columns) + 1}: {start(fields)}.")
        elif number == 0 and not named and all(fields[place].strip().lower() in _NAMES for place in columns):
            _log.warning("%s:%s names the columns (%s) and is not read as a pair.", path, line, fields)
        else:
            pair = fields[columns[0]], fields[columns[1]]
            yield line, pair if pair[0].strip() and pair[1].strip() else Problem("empty")
