"""Reads the times of a series from text, and writes times in the same format."""

import re
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_WHOLE = r"[+-]?\d{1,18}"
_OFFSET = r"\d[T ]\d.*?(Z|[+-]\d\d(?::?\d\d)?)$"
_END_OF_DAY = (
    r"(?P<before>[T ])24:00(?P<after>(?::00(?:\.0+)?)?(?:Z|[+-][\d:]+)?)$"  # ISO 8601: the midnight that ends it
)
# Formats of dates of digits only, by the number of digits. If nearly all cells are such dates, they are not numbers.
_COMPACT = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DATES = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%Y/%m/%d")
_DATES += ("%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y", "%b-%y", "%m/%Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M", "T%H:%M:%S")
# Quarters and weeks, as written. For pandas, each is replaced by its first day.
_QUARTER, _WEEK = r"(\d{4})([- ]?)Q([1-4])", r"(\d{4})-W(\d\d)"
_SAMPLE = 200
_SPAN = (np.datetime64("0001-01-01"), np.datetime64("9999-12-31"))


class Times(NamedTuple):
    """The content of a column of times.

    Attributes:
        values: datetime64[us] `(N,)`, in UTC if there is a `zone`, or int64 or float64.
        good: bools `(N,)`, True for valid times.
        zone: time zone of the times. None if the column has none.
        form: format of the times, as for `strftime`. None for numbers, and for formats that `strftime` cannot write.
        note: properties detected from the content, for the report.
    """

    values: np.ndarray
    good: np.ndarray
    zone: tzinfo | None = None
    form: str | None = None
    note: str = ""


def parse_times(cells: "pd.Series", time_format: str | None = None, time_zone: str | None = None) -> Times:
    """Reads a column of text, numbers, or times of pandas.

    Raises:
        ValueError: if its dates can be read in two ways, or the time zone is unknown or does not fit.
    """
    import pandas as pd

    if isinstance(cells.dtype, pd.PeriodDtype):
        cells = cells.dt.to_timestamp()
    if cells.dtype.kind in "iufb":
        values = cells.to_numpy()
        values = values.astype(np.int64 if values.dtype.kind in "iub" else float)
        return Times(values, np.isfinite(values.astype(float)))
    if cells.dtype.kind == "M":
        return _in_zone(cells, cells.notna().to_numpy(), getattr(cells.dt, "tz", None), None, "", time_zone)
    text = cells.astype(str).str.strip()
    numeric = text.str.fullmatch(NUMBER).to_numpy(bool)
    form, note = time_format, ""
    if form is None and numeric.mean() > 0.5:
        form = _compact(text[numeric]) or "number"
        note = f"times as {form}"
    if form == "number":
        return _numbers(text, numeric)
    if form is None and (example := re.fullmatch(_QUARTER, text.iloc[0])):
        days = text.str.replace(rf"^{_QUARTER}$", lambda found: f"{found[1]}-{3 * int(found[3]) - 2:02}", regex=True)
        return _formatted(days, "%Y-%m", "", time_zone)._replace(form=f"%Y{example[2]}Q%q")
    if form is None and re.fullmatch(_WEEK, text.iloc[0]):
        return _formatted(text + "-1", "%G-W%V-%u", "", time_zone)._replace(form="%G-W%V")
    return _iso(text, numeric, time_zone) if form is None else _formatted(text, form, note, time_zone)


def _numbers(text: "pd.Series", numeric: np.ndarray) -> Times:
    whole = text[numeric].str.fullmatch(_WHOLE).all()
    values = np.zeros(len(text), np.int64 if whole else float)
    values[numeric] = text[numeric].to_numpy(object).astype(values.dtype)
    return Times(values, numeric & np.isfinite(values.astype(float)))


def _compact(digits: "pd.Series") -> str | None:
    """The format of dates of digits only, or None if the digits are numbers."""
    form = _COMPACT.get(len(digits.iloc[0]))
    if form is None or not digits.str.fullmatch(r"(?:1[6-9]|20|21)\d+").all():
        return None
    return form if _parsed(digits, form).notna().mean() > 0.9 else None


def _parsed(text: "pd.Series", form: str) -> "pd.Series":
    import pandas as pd

    return pd.to_datetime(text, format=form, errors="coerce", utc=True)


def _iso(text: "pd.Series", numeric: np.ndarray, time_zone: str | None) -> Times:
    import pandas as pd

    tidy = text.str.replace(_END_OF_DAY, r"\g<1>00:00\2", regex=True)
    ended = (tidy != text).to_numpy(bool)
    times = _parsed(tidy, "ISO8601") + pd.to_timedelta(ended.astype(int), unit="D")
    good = times.notna().to_numpy() & ~numeric
    if good.mean() <= 0.5 and (found := _other_format(text)):
        return _formatted(text, found, f"times as {found}", time_zone)
    if not good.any():
        return _in_zone(times, good, None, None, "", time_zone)
    return _in_offset(times, good, text, "", time_zone)


def _formatted(text: "pd.Series", form: str, note: str, time_zone: str | None) -> Times:
    times = _parsed(text, form)
    good = times.notna().to_numpy()
    if "%z" in form and good.any():
        return _in_offset(times, good, text, note, time_zone)
    return _in_zone(times.dt.tz_localize(None), good, None, form, note, time_zone)


def _in_offset(times: "pd.Series", good: np.ndarray, text: "pd.Series", note: str, time_zone: str | None) -> Times:
    """Keeps times in their offset if all have the same, else in UTC. Either all of them have an offset, or none."""
    import pandas as pd

    offsets = text.str.extract(_OFFSET)[0]
    aware, first = offsets.notna().to_numpy(), int(good.argmax())
    good = good & (aware == aware[first])
    form = _form_of(text.iloc[first])
    if not aware[first]:
        return _in_zone(times.dt.tz_localize(None), good, None, form, note, time_zone)
    several = offsets[good].nunique() > 1
    if several and time_zone is None:
        note = "times with several offsets, converted to UTC (pass their zone as `time_zone`)"
    return _in_zone(times, good, UTC if several else pd.Timestamp(text.iloc[first]).tz, form, note, time_zone)


def _in_zone(times: "pd.Series", good, zone, form: str | None, note: str, time_zone: str | None) -> Times:
    import pandas as pd

    index = pd.DatetimeIndex(times)
    if time_zone is not None:
        try:
            if index.tz is None:
                index = index.tz_localize(time_zone, ambiguous="infer", nonexistent="NaT")
            index = index.tz_convert(time_zone)
        except Exception as error:  # of pandas or zoneinfo, or for an hour that occurs twice
            raise ValueError(
                f"`time_zone` {time_zone!r} does not fit the times: {error}. Name a zone such as Europe/Berlin."
            ) from error
        zone, good = index.tz, good & index.notna()
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    values = index.to_numpy().astype("M8[us]")
    good = good & (values >= _SPAN[0]) & (values <= _SPAN[1])
    if form is not None and zone is not None and time_zone is not None:
        form = re.sub(r"Z$|%:?z$", "", form) + "%:z"
    return Times(np.where(good, values, np.datetime64(0, "us")), good, zone, form, note)


def _other_format(text: "pd.Series") -> str | None:
    """The only format besides ISO 8601 that nearly all of the text has.

    Raises:
        ValueError: if there are two such formats, for example for 01/02/2020.
    """
    sample, found = text.iloc[:: max(1, len(text) // _SAMPLE)], []
    for form in (date + clock for date in _DATES for clock in _CLOCKS):
        if _parsed(sample, form).notna().mean() > 0.5:
            share = _parsed(text, form).notna().mean()
            found += [(share, form)] if share > 0.5 else []
    best = max(found, default=(0.0, None))
    rivals = [form for share, form in found if share == best[0]]
    if len(rivals) > 1 and len({tuple(_parsed(text, form)) for form in rivals}) > 1:
        ways = " and as ".join(rivals)
        raise ValueError(
            f"column {text.name!r}: {text.iloc[0]!r} and all others can be read as {ways}. Choose with `time_format`."
        )
    return best[1]


def _form_of(example: str) -> str | None:
    """The format of a time in ISO 8601, for `written`."""
    import pandas as pd

    form = pd.tseries.api.guess_datetime_format(re.sub(_END_OF_DAY, r"\g<1>00:00\2", example))
    if form is None:
        return None
    offset = re.search(_OFFSET, example)
    return form.replace("%z", "Z" if offset[1] == "Z" else "%:z" if ":" in offset[1] else "%z") if offset else form


def in_file(values: np.ndarray, zone: tzinfo | None) -> "np.ndarray | pd.DatetimeIndex":
    """The times of `Times.values` for display: unchanged, or with a zone as a pandas.DatetimeIndex in that zone."""
    if zone is None:
        return values
    import pandas as pd

    return pd.DatetimeIndex(values, tz="UTC").tz_convert(zone)


def as_utc(times: "np.ndarray | pd.DatetimeIndex") -> tuple[np.ndarray, tzinfo | None]:
    """The inverse of `in_file`: numbers, or datetime64[us], and their zone."""
    zone = getattr(times, "tz", None)
    values = np.asarray(times if zone is None else times.tz_convert("UTC").tz_localize(None))
    return (values.astype("M8[us]") if values.dtype.kind == "M" else values), zone


def wall_clock(times: "np.ndarray | pd.DatetimeIndex") -> np.ndarray:
    """The local times, datetime64[us] `(N,)`: the hour of a day is local, not UTC."""
    values, zone = as_utc(times)
    if zone is None:
        return values
    return times.tz_localize(None).to_numpy().astype("M8[us]")


def written(times: "np.ndarray | pd.DatetimeIndex", form: str | None = None, like: Any = None) -> list:
    """Formats times as in their file: as text, whole numbers or other numbers.

    Args:
        times: as in `Series.times`.
        form: `Series.time_form`. None: ISO 8601, in the shortest form that fits the times of `like`.
        like: other times of the same series. By default `times`.
    """
    values, zone = as_utc(times)
    if values.dtype.kind != "M":
        return [time if isinstance(time, int) else float(f"{time:.12g}") for time in values.tolist()]
    if form is not None:
        return _by_form(in_file(values, zone), form)
    before = wall_clock(times if like is None else like)
    whole, seconds = ((before == before.astype(f"M8[{unit}]")).all() for unit in "Ds")
    unit = "us" if not seconds else "s" if zone is not None or not whole else "D"
    shown = wall_clock(times).astype(f"M8[{unit}]").astype(str)
    return [text.replace("T", " ") + end for text, end in zip(shown.tolist(), _offsets(times), strict=True)]


def _by_form(times: "np.ndarray | pd.DatetimeIndex", form: str) -> list[str]:
    import pandas as pd

    index = pd.DatetimeIndex(times)
    text = index.strftime(form.removesuffix("%:z").replace("%q", "\0")).tolist()
    text = [a.replace("\0", str(quarter)) for a, quarter in zip(text, index.quarter, strict=True)]
    return [a + b for a, b in zip(text, _offsets(times), strict=True)] if form.endswith("%:z") else text


def _offsets(times: "np.ndarray | pd.DatetimeIndex") -> list[str]:
    if getattr(times, "tz", None) is None:
        return [""] * len(times)
    return [time.isoformat()[-6:] for time in times]
