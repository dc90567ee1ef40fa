"""Flags for the format of CSV files of series, shared by `keras-seq forecast` and the recipe."""

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
        "0", "column of the time index: its name, or its number from 0 (none: rows at equal distances)"
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
        None, "delimiter of the fields, also tab or space (default: the one that splits all lines equally)"
    )
    decimal: str | None = option(None, "decimal mark (default: the point, or a comma if only that fits)")
    thousands: str | None = option(None, "mark between thousands, also space (default: the one that fits, if any)")
    encoding: str | None = option(None, "encoding of the file (default: UTF-8, or UTF-16 by its first bytes)")
    comment: str | None = option(None, "beginning of comment lines")
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
            id_column: column that identifies each of several series.
            shown: name of the file in errors.
        Raises:
            ValueError: if the file cannot be read. The message names the line, the value and the flag that helps.
        """
        from keras_seq import data

        names = [field.name for field in dataclasses.fields(SeriesFlags) if field.name not in _NOT_READ]
        arguments = {name: _NAMED.get(value, value) for name in names if (value := getattr(self, name))}
        if "frequency" in arguments and re.fullmatch(r"[\d.]+", arguments["frequency"]):
            arguments["frequency"] = float(arguments["frequency"])
        time = self.time_column
        time = None if time == "none" else int(time) if time.isdecimal() else time
        if self.repair:
            arguments |= {"on_bad_row": "repair", "on_bad_value": "interpolate", "on_gap": "interpolate"}
        try:
            return data.read_series(file, time_column=time, columns=columns, id_column=id_column, **arguments)
        except ValueError as error:
            raise ValueError(_in_flags(str(error).replace(str(file), shown or str(file)))) from error

    def reading_note(self, shown: str, report: Any) -> str:
        """A note on how a file was read: the detected format and the repaired rows. "" if there is nothing to note."""
        if self.repair and not report.repaired:
            return f"{shown}: {report}; nothing to repair"
        return f"{shown}: {report}" if report.read_as or self.repair else ""


def _in_flags(message: str) -> str:
    """An error of the reader in terms of flags, with --repair as a remedy if it applies."""
    repairable = any(f"{argument}=" in message for argument in ("on_bad_row", "on_bad_value", "on_gap"))
    return as_flags(message, _Named) + " Here --repair does that." * repairable


@dataclasses.dataclass(frozen=True)
class _Named(SeriesFlags):
    id_column: str = ""
    columns: str = ""
