"""Times at equal distances: finds the gaps of a series, and computes the times after it."""

from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_seq.data.series_times import as_utc, in_file, wall_clock

if TYPE_CHECKING:
    import pandas as pd

_DAY, _MONTH = np.timedelta64(1, "D"), np.timedelta64(28, "D")
_CYCLES = {"day": _DAY, "week": 7 * _DAY, "year": 52 * 7 * _DAY}  # of weeks: 52
_MONTHS, _DAYS = {"M": 1, "Q": 3, "Y": 12}, {"D": 1, "W": 7}  # by the code of an alias


@dataclass(frozen=True)
class Grid:
    """Times at equal distances: a number of hours, months, weekdays, or units of a number.

    Attributes:
        origin: the time at place 0.
        step: the distance, timedelta64 or a number.
        kind: "months" on the same day, or on the last one of a shorter month, "weekdays" without Saturday and Sunday,
            or "" for a fixed distance.
        day: day of the month, 1 to 31.
        zone: time zone in which days and months are counted. None: the times as they are.
    """

    origin: Any
    step: Any
    kind: str = ""
    day: int = 0
    zone: tzinfo | None = None

    @classmethod
    def of(cls, times: np.ndarray, zone: tzinfo | None, same: Any = slice(None), frequency: Any = None) -> "Grid":
        """The grid of times `(N,)`, from the most common distance of consecutive times in a series.

        Args:
            times: as in `Times.values`.
            zone: time zone of the times.
            same: bools `(N - 1,)`, whether a time and the next one belong to the same series. By default all do.
            frequency: the distance, if it is given: a timedelta, a number, or an alias of pandas such as "15min", "B"
                or "MS".
        Raises:
            ValueError: if `frequency` does not fit the times.
        """
        dates = times.dtype.kind == "M"
        step, kind = _step_of(frequency, dates) if frequency is not None else (_commonest(times, same), None)
        if not dates:
            return cls(times[0], step)
        if zone is not None:  # days and months are local; hours are the same everywhere
            clock = wall_clock(in_file(times, zone))
            local = _commonest(clock, same) if frequency is None else step
            if kind or local >= _DAY:
                return cls._of_clock(clock, local, kind, same, zone)
        return cls._of_clock(times, step, kind, same, None)

    @classmethod
    def _of_clock(cls, times, step, kind, same, zone) -> "Grid":
        days = times.astype("M8[D]")
        hours = times - days
        together = (hours == hours[0]).all()
        if kind == "weekdays" or (kind is None and together and step == _DAY and _skips_weekends(days, same)):
            return cls(times[0], 1, "weekdays", zone=zone)
        months = times.astype("M8[M]")
        place = (days - months).astype(int) + 1
        last = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(int)
        anchor = 31 if (place == last).all() else int(place.max())
        if kind == "months" or (
            kind is None and together and step >= _MONTH and (place == np.minimum(anchor, last)).all()
        ):
            count = step if kind == "months" else _commonest(months, same).astype(int)
            return cls(times[0], count, "months", anchor, zone)
        return cls(times[0], step, zone=zone)

    def places(self, times: np.ndarray) -> np.ndarray:
        """The places of times, float64 `(N,)`. Times on the grid have whole numbers."""
        times = times if self.zone is None else wall_clock(in_file(times, self.zone))
        if self.kind == "months":
            return (times.astype("M8[M]") - self.origin.astype("M8[M]")).astype(int) / self.step
        if self.kind == "weekdays":
            return np.busday_count(self.origin.astype("M8[D]"), times.astype("M8[D]")).astype(float)
        return (times - self.origin) / self.step

    def times(self, places: np.ndarray) -> np.ndarray:
        """The times at places, whole numbers for months and weekdays: the inverse of `places`."""
        if self.kind == "":
            found = self.origin + _multiplied(places, self.step)
        else:
            whole, day = np.rint(places).astype(int), self.origin.astype("M8[D]")
            if self.kind == "weekdays":
                days = np.busday_offset(day, whole, roll="forward")
            else:
                months = self.origin.astype("M8[M]") + whole * int(self.step)
                days = np.minimum(months.astype("M8[D]") + (self.day - 1), (months + 1).astype("M8[D]") - 1)
            found = days + (self.origin - day)
        if self.zone is None:
            return found
        import pandas as pd

        index = pd.DatetimeIndex(found).tz_localize(
            self.zone, ambiguous=np.ones(len(found), bool), nonexistent="shift_forward"
        )
        return index.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[us]")

    def __str__(self) -> str:
        if self.kind:
            return f"{self.step} {self.kind if self.step > 1 else self.kind.removesuffix('s')}"
        return str(self.step.astype("m8[us]").item() if isinstance(self.step, np.timedelta64) else self.step)


def _multiplied(places: np.ndarray, step: Any) -> np.ndarray:
    if isinstance(step, np.timedelta64):
        return np.rint(places * (step / np.timedelta64(1, "us"))).astype("m8[us]")
    product = places * step
    return np.rint(product).astype(np.int64) if isinstance(step, int | np.integer) else product


def _commonest(times: np.ndarray, same: np.ndarray) -> Any:
    steps, counts = np.unique(np.diff(times)[same], return_counts=True)
    return steps[counts.argmax()]


def _skips_weekends(days: np.ndarray, same: np.ndarray) -> bool:
    over = np.diff(days)[same] > _DAY
    return bool(np.is_busday(days).all() and over.any() and (np.diff(days)[same] < 7 * _DAY).all())


def _step_of(frequency: Any, dates: bool) -> tuple[Any, str]:
    """The given distance, and the kind of its grid."""
    step = frequency
    if isinstance(frequency, str):
        import pandas as pd

        try:
            offset = pd.tseries.frequencies.to_offset(frequency)
            code = offset.rule_code.partition("-")[0]
            if code == "B" and offset.n == 1:
                return 1, "weekdays"
            if months := _MONTHS.get(code.removeprefix("B").rstrip("SE")):
                return months * offset.n, "months"
            days = _DAYS.get(code)
            step = timedelta(days=days * offset.n) if days else pd.Timedelta(offset).to_pytimedelta()
        except ValueError as error:  # unknown, or without one distance, such as every second weekday
            raise ValueError(
                '`frequency` must be an alias of pandas for one distance, such as "h", "D", "B", "MS". '
                f"Received: {frequency!r}"
            ) from error
    if isinstance(step, timedelta) != dates or step <= 0 * step:
        raise ValueError(
            "`frequency` must be positive: a timedelta or an alias of pandas if the time index has dates, else a "
            f"number. Received: {frequency!r}"
        )
    return (np.timedelta64(step) if dates else step), ""


def future_timestamps(times: "np.ndarray | pd.DatetimeIndex", count: int) -> "np.ndarray | pd.DatetimeIndex":
    """The next times after a series, at its distance.

    Args:
        times: `(N,)`, as in `Series.times`, at least two: numbers, datetime64, or a pandas.DatetimeIndex in a time
            zone.
        count: number of times to return.
    Returns:
        `count` times of the type of `times`: month ends follow month ends, weekdays follow weekdays, whole numbers
        follow whole numbers, and hours keep their offset.
    Raises:
        ValueError: if there are fewer than two times.
    """
    if len(times) < 2:
        raise ValueError(f"Future times need at least two rows. Received: {len(times)}")
    values, zone = as_utc(times)
    grid = Grid.of(values, zone)
    return in_file(grid.times(grid.places(values[-1:]) + np.arange(1, count + 1)), zone)


def season(times: "np.ndarray | pd.DatetimeIndex | None") -> tuple[int, str] | None:
    """The number of rows in the shortest cycle of the calendar, and its name: `(24, "day")` for hours,
    `(7, "week")` for days, `(12, "year")` for months.

    Args:
        times: `(N,)`, as in `Series.times`.
    Returns:
        None for numbers, for fewer than two rows, and if no cycle has at least two rows.
    """
    if times is None or len(times) < 2 or times.dtype.kind != "M":
        return None
    grid = Grid.of(*as_utc(times))
    if grid.kind == "weekdays":
        return 5, "week"
    if grid.kind == "months":
        return (12 // grid.step, "year") if grid.step in (1, 2, 3, 4, 6) else None
    rows = {name: length / grid.step for name, length in _CYCLES.items()}
    return next(((int(count), name) for name, count in rows.items() if count >= 2 and count.is_integer()), None)
