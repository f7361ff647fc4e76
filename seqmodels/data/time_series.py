"""Time series of a regular step, with dates and gaps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Steps of the calendar, the coarsest first: NumPy's unit, steps of it, one and many.
_UNITS = {
    "year": ("Y", 1),
    "quarter": ("M", 3),
    "month": ("M", 1),
    "week": ("D", 7),
    "day": ("D", 1),
    "hour": ("h", 1),
    "minute": ("m", 1),
    "second": ("s", 1),
}
# Steps after which a unit's cycle begins again; none for years.
_PERIODS = {"quarter": 4, "month": 12, "week": 52, "day": 7, "hour": 24, "minute": 60, "second": 60}


class TimeSeries(NamedTuple):
    """C columns observed at T regular steps.

    Attributes:
      name: of the series.
      columns: C names.
      values: float64 (T, C); NaN where nothing was observed.
      times: datetime64 (T,), the beginnings of the steps; None where steps have numbers alone.
      unit: what a step is: year, quarter, month, week, day, hour, minute, second; or "step".
      every: how many of those units.
    """

    name: str
    columns: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray | None = None
    unit: str = "step"
    every: int = 1

    @property
    def period(self) -> int:
        """Steps after which the calendar begins again, 12 for months; 1 where there is none."""
        known = _PERIODS.get(self.unit, 1)
        return known // self.every if known % self.every == 0 else 1

    @property
    def ordinal(self) -> int:
        """Number of the first step, counted in steps since 1970; 0 where there are no dates.

        Steps whose numbers differ by a multiple of `period` are at the same place in the season.
        """
        if self.times is None or self.unit not in _UNITS:
            return 0
        return int(self.times[0].astype(np.int64)) // (_UNITS[self.unit][1] * self.every)

    def column(self, name: str) -> np.ndarray:
        """Returns the values (T,) of a column."""
        return self.values[:, self.columns.index(name)]

    def between(self, first: str | None, last: str | None) -> "TimeSeries":
        """Returns the part from a date to another, both included; None: to that end.

        Args:
          first: a date such as 1987, 1987-05, or 1987-05-01; a step's number where there are no
            dates, from 0.
          last: the same.

        Raises:
          ValueError: if one is none, or nothing is left.
        """
        at = np.arange(len(self.values)) if self.times is None else self.times
        keep = np.ones(len(at), bool)
        if first is not None:
            keep &= at >= _moment("first", first, at)
        if last is not None:
            end = _moment("last", last, at)
            unit: Any = np.datetime_data(end.dtype)[0] if self.times is not None else None
            # A date means all of what it names: 1987 ends with December.
            keep &= at <= end if self.times is None else at < end + np.timedelta64(1, unit)
        if not keep.any():
            raise ValueError(
                f"first, last: got {first} and {last}, expected a part of {self.label(0)} to "
                f"{self.label(-1)}"
            )
        times = None if self.times is None else self.times[keep]
        return self._replace(values=self.values[keep], times=times)

    def label(self, step: int) -> str:
        """Returns the date of a step, as exact as its unit, or its number.

        Args:
          step: from 0; it may lie behind the end; -1 is the last, and so on.
        """
        at = step if step >= 0 else len(self.values) + step
        return str(at) if self.times is None else str(self.dates(at + 1)[at])

    def dates(self, steps: int) -> np.ndarray:
        """Returns the first steps' dates, datetime64 (steps,), or their numbers; also behind T."""
        if self.times is None:
            return np.arange(steps)
        code, size = _UNITS.get(self.unit, ("s", 1))
        offsets = (size * self.every * np.arange(steps)).astype(f"timedelta64[{code}]")
        return self.times[0].astype(f"datetime64[{code}]") + offsets

    def duration(self, steps: float) -> str:
        """Returns "11 years" for 11 steps of a year."""
        count = steps * self.every
        return f"{count} {self.unit}" + ("" if count == 1 else "s")


def regular(
    name: str, columns: Sequence[str], values: np.ndarray, times: np.ndarray | None
) -> TimeSeries:
    """Returns observations as a series of the coarsest regular step on which all of them lie.

    Steps between the first and the last date at which there is none are gaps (NaN).

    Args:
      name: of the series.
      columns: C names.
      values: float64 (N, C); NaN where nothing was observed.
      times: datetime64 (N,), ascending and distinct; None for steps without dates.

    Raises:
      ValueError: if there is no row, or a regular step would have more than a thousand gaps for
        each observation.
    """
    columns = tuple(columns)
    if not len(values):
        raise ValueError(f"{name}: got no rows, expected at least one")
    if times is None or len(times) == 1:
        return TimeSeries(name, columns, np.asarray(values, np.float64), times)
    for unit, (code, size) in _UNITS.items():
        # Weeks begin with the weekday of the first observation.
        ordinals = times.astype(f"datetime64[{code}]").astype(np.int64)
        origin = ordinals[0] if unit == "week" else 0
        steps = (ordinals - origin) // size
        if unit == "week" and np.any((ordinals - origin) % size):
            continue
        if len(np.unique(steps)) == len(steps):
            break
    else:
        raise ValueError(f"{name}: dates: got two in one second, expected at most one")
    step_size = int(np.gcd.reduce(np.diff(steps)))
    places = (steps - steps[0]) // step_size
    if places[-1] > 1_000 * len(places):
        raise ValueError(
            f"{name}: dates: got {len(places)} that lie on no regular step longer than "
            f"{step_size} {unit}s, expected regular ones, with gaps if need be"
        )
    whole = np.full((places[-1] + 1, len(columns)), np.nan)
    whole[places] = values
    starts = (steps[0] + step_size * np.arange(len(whole))) * size + origin
    return TimeSeries(name, columns, whole, starts.astype(f"datetime64[{code}]"), unit, step_size)


def _moment(name: str, given: str, at: np.ndarray) -> Any:
    try:
        return int(given) if at.dtype.kind == "i" else np.datetime64(given)
    except ValueError:
        wanted = "a step's number" if at.dtype.kind == "i" else "a date such as 1987-05"
        raise ValueError(f"{name}: got {given!r}, expected {wanted}") from None
