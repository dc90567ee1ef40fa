"""Reads pairs from one file: a source and its target in a row, separated by a tab, or in columns of CSV."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from keras_seq.data.lines import Paths, as_paths
from keras_seq.data.parallel_text import ParallelReport, ParallelText
from keras_seq.data.table_rows import Problem, Rows, csv_rows, start, tsv_rows

_NAMES = {"source", "target", "src", "tgt", "trg", "input", "output", "text", "translation", "word", "phonemes"}
_log = logging.getLogger(__name__)


def read_pairs(
    paths: Paths, *, columns: tuple[int, int] | tuple[str, str] = (0, 1), on_bad_line: str = "error"
) -> ParallelText:
    """Reads pairs into memory, as `read_parallel_text` does from two files. Pairs with an empty side are dropped and
    counted. A first row that names its columns, such as "source" and "target", is skipped with a warning.

    >>> from pathlib import Path
    >>> _ = Path("lexicon.tsv").write_text("cat\\tK AE T\\ndog\\tD AO G\\n")
    >>> pairs = read_pairs("lexicon.tsv")
    >>> pairs.sources, pairs.targets
    (['cat', 'dog'], ['K AE T', 'D AO G'])
    >>> train = pairs.dataset()  # of (source, target), for `vocabulary.encoded()` and `bucketed`

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
    """
    if on_bad_line not in ("error", "skip"):
        raise ValueError(f'`on_bad_line` must be "error" or "skip". Received: {on_bad_line!r}')
    numbers = [column for column in columns if not isinstance(column, str)]
    if len(columns) != 2 or len(numbers) == 1 or min(numbers, default=0) < 0 or columns[0] == columns[1]:
        raise ValueError(
            f"`columns` must be two numbers or two names, of the source and the target. Received: {columns}"
        )
    counts, pairs = Counter(), []
    for path in as_paths(paths):
        for line, pair in _pairs(path, columns, on_bad_line):
            counts["read"] += 1
            if not isinstance(pair, Problem):
                pairs.append(pair)
            elif on_bad_line == "error" and pair.kind == "malformed":
                raise ValueError(f'{path}:{line}: {pair.message} Correct it, or drop such rows: on_bad_line="skip".')
            else:
                counts[pair.kind] += 1
    report = ParallelReport(kept=len(pairs), **{"read": 0, **counts})
    if not pairs:
        raise ValueError(f"{paths}: no pair is left to use ({report}).")
    return ParallelText(*map(list, zip(*pairs, strict=True)), report)


def _pairs(path: Path, columns: tuple, on_bad_line: str) -> Iterator[tuple[int, tuple[str, str] | Problem]]:
    named = isinstance(columns[0], str)
    is_csv = path.name.removesuffix(".gz").endswith(".csv")
    rows: Rows = (csv_rows if is_csv else tsv_rows)(path, on_bad_line)
    for number, (line, fields) in enumerate(rows):
        if named and number == 0:
            columns = _places(path, columns, fields)
        elif isinstance(fields, Problem):
            kind = {"blank": "empty", "bad": "bad_lines"}.get(fields.kind, fields.kind)
            yield line, fields._replace(kind=kind)
        elif len(fields) <= max(columns):
            apart = f"{len(fields)} columns, separated by {'commas' if is_csv else 'tabs'}"
            yield line, Problem("malformed", f"{apart}, where a pair needs {max(columns) + 1}: {start(fields)}.")
        elif number == 0 and not named and all(fields[place].strip().lower() in _NAMES for place in columns):
            _log.warning("%s:%s names the columns (%s) and is not read as a pair.", path, line, fields)
        else:
            pair = fields[columns[0]], fields[columns[1]]
            yield line, pair if pair[0].strip() and pair[1].strip() else Problem("empty")


def _places(path: Path, names: tuple[str, str], header: list[str] | Problem) -> tuple[int, ...]:
    cells = [] if isinstance(header, Problem) else [cell.strip() for cell in header]
    for name in names:
        if cells.count(name) != 1:
            raise ValueError(
                f"{path}:1: the first row must name the column {name!r} once. Pass one of its names, or numbers from "
                f"0. Received: {start(cells)}"
            )
    return tuple(map(cells.index, names))
