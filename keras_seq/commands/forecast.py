"""`keras-seq forecast`: the rows that come after those of a file."""

import contextlib
import csv
import dataclasses
import io
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from keras_seq.cli import option
from keras_seq.commands.forecasters import Forecaster, open_forecaster
from keras_seq.commands.model_files import HELP, Served
from keras_seq.commands.streams import STDIN, BadLines, Writer, check_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """Forecasts the rows that come after those of CSV files: a row for each time, with a column for each target, or for
    each quantile of it (OT_0.1, OT_0.5, ...). The model reads the last rows of a file, the columns that it was trained
    on."""

    model: pathlib.Path = option(help=HELP)
    files: tuple[pathlib.Path, ...] = option(
        (), "CSV, plain or .gz, each with a header; none or -: stdin", positional=True
    )
    time_column: str = option("0", "time index: its name, or its number from 0; none: rows are equally far apart")
    id_column: str | None = option(None, "tells the series of a file apart, where there are several")
    repair: bool = option(False, "sort rows, drop bad ones, fill in bad cells and gaps; else they are errors")
    output: pathlib.Path | None = option(None, "file to write, .gz or plain (default: stdout)")
    json: bool = option(False, "write a JSON object for each row")


class Rows(NamedTuple):
    """What was read of one series: its names, the last rows `(L, C)` and the times `(H,)` that come next."""

    place: str
    names: dict[str, str]
    past: Any
    times: dict[str, list[Any]]


def forecast(options: Forecast) -> None:
    files = options.files or (STDIN,)
    check_files(files, options.output)
    columns, compute = forecasting(open_forecaster(options.model))
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
                found = compute(rows.past[None])[0].reshape(columns.horizon, -1)
                header = [*rows.names, *rows.times, *columns.names]
                if not options.json and done == 0:
                    writer(_csv(header))
                for row in range(columns.horizon):
                    cells = [*rows.names.values(), *(times[row] for times in rows.times.values())]
                    cells += [float(f"{x:.7g}") for x in found[row]]  # what a float32 has to say
                    writer.record(**dict(zip(header, cells, strict=True))) if options.json else writer(_csv(cells))
                done += 1
                writer.flush()
        if first is not None and not done:
            raise first
    bad.tell()


def forecasting(opened: Forecaster | Served) -> tuple[Any, Callable[[Any], Any]]:
    """What the model reads and says, and the function from pasts `(B, L, C)` to forecasts, in the series' own units."""
    import tensorflow as tf

    from keras_seq import data

    if isinstance(opened, Served):
        signatures = opened.signatures
        if not {"forecast", "describe"} <= set(signatures):
            raise ValueError(
                f"{opened.folder} has no signatures `forecast` and `describe`, as export.Forecasting with a look-back "
                f"writes them. It has: {', '.join(sorted(signatures)) or 'none'}. keras-seq inspect tells more."
            )
        told = {name: x.numpy().tolist() for name, x in signatures["describe"]().items()}
        names = {name: tuple(text.decode() for text in told[name]) for name in ("columns", "targets")}
        quantiles = tuple(float(f"{quantile:.6g}") for quantile in told["quantiles"])
        columns = data.ForecastColumns(**names, **{n: told[n] for n in ("look_back", "horizon")}, quantiles=quantiles)
        function = signatures["forecast"]
    else:
        from keras_seq.export.signatures import Exported

        columns, task = opened.columns, opened.task()
        function = Exported(opened.model, task.signatures(opened.model), task.resources).forecast
    return columns, lambda past: function(past=tf.constant(past, tf.float32))["forecast"].numpy()


def read(options: Forecast, path: pathlib.Path, columns, several: bool) -> Iterator[Rows | ValueError]:
    """The ends of the series in a file; in the place of one that is of no use, what is wrong with it."""
    from keras_seq import data

    try:
        with _as_file(path) as file:
            told = {"shown": "stdin" if path == STDIN else str(path), "id_column": options.id_column}
            series = read_rows(file, options.time_column, columns.columns, options.repair, **told)
    except ValueError as error:
        yield error
        return
    shown = "stdin" if path == STDIN else str(path)
    for name, (start, end) in zip(series.names, series.spans(), strict=True):
        names = {"file": shown} if several else {}
        names |= {options.id_column: name} if options.id_column is not None else {}
        place = f"{shown}, series {name!r}" if options.id_column is not None else shown
        rows = end - start
        if rows < max(columns.look_back, 2):
            yield ValueError(
                f"{place}: {rows:,} rows are too few: the model reads {columns.look_back:,}. Give it more of the past."
            )
            continue
        times = {}
        if series.times is not None:
            coming = data.following_times(series.times[start:end], columns.horizon)
            times = {series.time_column: _told(coming, series.times[start:end])}
        yield Rows(place, names, series.values[end - columns.look_back : end], times)


def read_rows(
    file: pathlib.Path,
    time_column: str,
    columns: Sequence[str] | None,
    repair: bool,
    *,
    id_column: str | None = None,
    shown: str | None = None,
) -> Any:
    """The `data.Series` in a file, as the flags of a command line tell how to read it.

    Args:
        time_column: the name of the time index, or its number, or "none".
        columns: to read; None: all.
        repair: whether what is wrong is mended, as far as it can be.
        id_column: tells several series apart.
        shown: what the file is called in errors.
    Raises:
        ValueError: for what is wrong in it; names the line, the value and the flag that helps.
    """
    from keras_seq import data

    time = None if time_column == "none" else int(time_column) if time_column.isdigit() else time_column
    mending = {"on_bad_row": "repair", "on_bad_value": "interpolate", "on_gap": "interpolate"} if repair else {}
    try:
        return data.read_series(file, time_column=time, columns=columns, id_column=id_column, **mending)
    except ValueError as error:
        told = str(error).replace(str(file), shown or str(file))
        for_python = any(f"{argument}=" in told for argument in ("on_bad_row", "on_bad_value", "on_gap"))
        raise ValueError(told + " Here --repair does that." * for_python) from error


def _told(times: Any, before: Any) -> list[Any]:
    """Times as they are usually written: days where all are days, else days and seconds; numbers as they are."""
    if times.dtype.kind != "M":
        return [float(f"{time:.12g}") for time in times]
    whole = (before == before.astype("M8[D]")).all()
    seconds = (before == before.astype("M8[s]")).all()
    unit = "D" if whole else "s" if seconds else "us"
    return [text.replace("T", " ") for text in times.astype(f"M8[{unit}]").astype(str).tolist()]


def _csv(cells: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


@contextlib.contextmanager
def _as_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The file; what comes from stdin is one for a while, since it is looked at whole."""
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
