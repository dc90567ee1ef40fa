"""`keras-seq forecast`: forecasts of the next rows of a file."""

import contextlib
import csv
import dataclasses
import io
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_seq.cli import option
from keras_seq.commands.lines import STDIN, BadLines, check_files
from keras_seq.commands.options import HELP
from keras_seq.commands.output import Writer
from keras_seq.series_options import SeriesFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast(SeriesFlags):
    """Forecasts the next rows of CSV files. The output has a row for each time, with a column for each target, or for
    each quantile of it (OT_0.1, OT_0.5, ...). The model reads the last rows of a file, in its training columns."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "CSV, plain or .gz, each with a header (none or -: stdin)", positional=True
    )
    id_column: str | None = option(None, "column that identifies the series of a file with several")
    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "JSON output, an object for each row")


class Rows(NamedTuple):
    """The end of one series: its names, its last rows `(L, C)`, and the times `(H,)` of the next rows."""

    place: str
    names: dict[str, str]
    past: Any
    times: dict[str, list[Any]]


def forecast(options: Forecast) -> None:
    files = options.files or (STDIN,)
    check_files(files, options.output)
    from keras_seq.tasks.loading import load_as

    task = load_as(options.model, "forecasting")
    columns, compute = task.columns, task.predictor()
    bad, done, first = BadLines("series"), 0, None
    with Writer(options.output) as writer:
        for path in files:
            for rows in read(options, path, columns, several=len(files) > 1):
                bad.total += 1
                if isinstance(rows, ValueError):
                    first = first or rows
                    bad.add(*_place_and_why(rows, path))
                    if options.json and len(files) > 1:
                        writer.record(file=str(path), error=str(rows))
                    continue
                (result,) = compute([rows.past])
                forecasts = result.values.reshape(columns.horizon, -1)
                header = [*rows.names, *rows.times, *columns.names]
                if not options.json and done == 0:
                    writer(_csv(header))
                for row in range(columns.horizon):
                    cells = [*rows.names.values(), *(times[row] for times in rows.times.values())]
                    cells += [float(f"{x:.7g}") for x in forecasts[row]]  # the precision of float32
                    writer.record(**dict(zip(header, cells, strict=True))) if options.json else writer(_csv(cells))
                done += 1
                writer.flush()
        if first is not None and not done:
            raise first
    bad.print_summary()


def read(options: Forecast, path: pathlib.Path, columns, several: bool) -> Iterator[Rows | ValueError]:
    """The ends of the series in a file. A series that cannot be used is replaced by its error."""
    from keras_seq.tasks.forecasting import last_rows

    shown = "stdin" if path == STDIN else str(path)
    try:
        with _as_file(path) as file:
            series = options.read(file, columns.columns, id_column=options.id_column, shown=shown)
    except ValueError as error:
        yield error
        return
    if note := options.reading_note(shown, series.report):
        print(note, file=sys.stderr)
    for name, (start, end) in zip(series.names, series.spans(), strict=True):
        names = {"file": shown} if several else {}
        names |= {options.id_column: name} if options.id_column is not None else {}
        place = f"{shown}, series {name!r}" if options.id_column is not None else shown
        try:
            past, coming = last_rows(series, columns, (start, end))
        except ValueError as error:
            yield ValueError(f"{place}: {error}")
            continue
        yield Rows(place, names, past, {} if coming is None else {series.time_column: coming})


def _csv(cells: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


@contextlib.contextmanager
def _as_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The file, or a temporary file with the content of stdin, since a series is read as a whole."""
    if path != STDIN:
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        stream = getattr(sys.stdin, "buffer", None)
        file.write(stream.read() if stream is not None else sys.stdin.read().encode())
        file.flush()
        yield pathlib.Path(file.name)


def _place_and_why(error: ValueError, path: pathlib.Path) -> tuple[str, str]:
    place, _, why = str(error).partition(": ")
    return place, why
