"""Flags for the format of CSV files of series, for `keras-seq forecast` and the forecasting recipe."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from keras_seq.cli import as_flags, option

_NAMED = {"tab": "\t", "\\t": "\t", "space": " "}
_NOT_READ = ("time_column", "repair")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesFlags:
    """Format of CSV files of series"""

    time_column: str = option(
        "0", "column of the time index: its name, or its number from 0 (none for equidistant rows)"
    )
    time_format: str | None = option(
        None, "format of the times, such as %d.%m.%Y, or number (default: ISO 8601, or the only format that fits)"
    )
    time_zone: str | None = option(
        None, "time zone, for times without an offset or with several, such as Europe/Berlin (default: theirs)"
    )
    frequency: str | None = option(
        None, "distance between rows: a number, or 15min, D, B, MS, ... (default: the most common distance)"
    )
    delimiter: str | None = option(
        None, "field delimiter, also tab or space (default: the one that gives all lines the same number of fields)"
    )
    decimal: str | None = option(None, "decimal mark (default: the point, or a comma if only that fits)")
    thousands: str | None = option(None, "thousands separator, also space (default: the one that fits, if any)")
    encoding: str | None = option(None, "encoding of the file (default: UTF-8, or UTF-16 if its first bytes mark it)")
    comment: str | None = option(None, "prefix of comment lines")
    column_names: tuple[str, ...] = option((), "names of all columns, for a file without a header")
    missing_values: tuple[str, ...] = option((), "cell values that mark missing numbers, such as -999")
    repair: bool = option(
        False, "repair of bad rows: sorting, dropping, interpolation of bad cells and gaps (default: an error)"
    )

    def read(
        self,
        file: pathlib.Path,
        columns: Sequence[str] | None = None,
        *,
        id_column: str | None = None,
        shown: str | None = None,
    ) -> Any:
        """Reads the `data.Series` of a file.

        Args:
            columns: columns to read (None: all).
            id_column: column that distinguishes several series.
            shown: name of the file in errors.
        Raises:
            ValueError: for an error in the file, naming the line, the value and the flag that helps.
        """
        from keras_seq import data

        names = [field.name for field in dataclasses.fields(SeriesFlags) if field.name not in _NOT_READ]
        given = {name: _NAMED.get(value, value) for name in names if (value := getattr(self, name))}
        if "frequency" in given and re.fullmatch(r"[\d.]+", given["frequency"]):
            given["frequency"] = float(given["frequency"])
        time = self.time_column
        time = None if time == "none" else int(time) if time.isdigit() else time
        if self.repair:
            given |= {"on_bad_row": "repair", "on_bad_value": "interpolate", "on_gap": "interpolate"}
        try:
            return data.read_series(file, time_column=time, columns=columns, id_column=id_column, **given)
        except ValueError as error:
            raise ValueError(_told(str(error).replace(str(file), shown or str(file)))) from error

    def told(self, shown: str, report: Any) -> str:
        """A note on how a file was read, or "": settings detected from its content, and repairs."""
        if self.repair and not report.repaired:
            return f"{shown}: {report}; nothing to repair"
        return f"{shown}: {report}" if report.read_as or self.repair else ""


def _told(message: str) -> str:
    """An error of the reader, with a note if --repair helps."""
    mended = any(f"{argument}=" in message for argument in ("on_bad_row", "on_bad_value", "on_gap"))
    return as_flags(message, _Named) + " Here --repair does that." * mended


@dataclasses.dataclass(frozen=True)
class _Named(SeriesFlags):
    id_column: str = ""
    columns: str = ""
