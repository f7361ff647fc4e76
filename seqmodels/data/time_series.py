"""Time series of a regular step, with dates and gaps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seqmodels.data.grids import PERIODS, UNITS, amount
from seqmodels.data.steps import StepError, find_step, given_step


class TimeSeries(NamedTuple):
    """C columns observed at T regular steps.

    Attributes:
      name: the name of the series.
      columns: C names.
      values: float64 (T, C); NaN where nothing was observed.
      times: datetime64 (T,), the beginnings of the steps; int64 (T,) of a column that counts; None
        where steps have numbers alone.
      unit: the unit of a step: one of `grids.UNITS`, such as month or business day; or "step".
      every: the number of units in a step.
      notes: properties of its file, such as "72 rows" and "separator ;".
    """

    name: str
    columns: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray | None = None
    unit: str = "step"
    every: int = 1
    notes: tuple[str, ...] = ()

    @property
    def period(self) -> int:
        """Steps in a cycle of the calendar, 12 for months; 1 without a cycle."""
        known = PERIODS.get(self.unit, 1)
        return known // self.every if known % self.every == 0 else 1

    @property
    def ordinal(self) -> int:
        """Number of the first step, counted in steps since 1970; 0 without dates.

        Steps whose numbers differ by a multiple of `period` are at the same place in the season.
        """
        if self.times is None or self.unit not in UNITS:
            return 0
        code, size = UNITS[self.unit]
        first = self.times[0].astype(f"datetime64[{code}]")
        if self.unit == "business day":
            return int(np.busday_count(np.datetime64(0, "D"), first)) // self.every
        return int(first.astype(np.int64)) // (size * self.every)

    def column(self, name: str) -> np.ndarray:
        """Returns the values (T,) of a column."""
        return self.values[:, self.columns.index(name)]

    def between(self, first: str | None, last: str | None) -> "TimeSeries":
        """Returns the part from a date to another, both included; None: to that end.

        Args:
          first: a date such as 1987, 1987-05, or 1987-05-01; a step's number where there are no
            dates, from 0.
          last: as `first`.

        Raises:
          ValueError: if one of them is not a date or step, or if no step is left.
        """
        at = np.arange(len(self.values)) if self.times is None else self.times
        keep = np.ones(len(at), bool)
        if first is not None:
            keep &= at >= _moment("first", first, at)
        if last is not None:
            end = _moment("last", last, at)
            if at.dtype.kind == "i":
                keep &= at <= end
            else:
                # A date includes its whole period: 1987 ends with December.
                unit: Any = np.datetime_data(end.dtype)[0]
                keep &= at < end + np.timedelta64(1, unit)
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
          step: from 0; it may be after the end; -1 is the last, and so on.
        """
        at = step if step >= 0 else len(self.values) + step
        return str(at) if self.times is None else str(self.dates(at + 1)[at])

    def dates(self, steps: int) -> np.ndarray:
        """Returns the first steps' dates, datetime64 (steps,), or their numbers; also after T."""
        if self.times is None:
            return np.arange(steps)
        if self.times.dtype.kind == "i":
            stride = self.times[1] - self.times[0] if len(self.times) > 1 else 1
            return self.times[0] + stride * np.arange(steps)
        code, size = UNITS.get(self.unit, ("s", 1))
        counts = size * self.every * np.arange(steps)
        if self.unit == "business day":
            return np.busday_offset(self.times[0].astype("datetime64[D]"), counts)
        return self.times[0] + counts.astype(f"timedelta64[{code}]")

    def duration(self, steps: float) -> str:
        """Returns "11 years" for 11 steps of a year."""
        return amount(steps * self.every, self.unit)

    @property
    def understood(self) -> str:
        """Summary in one line: rows, step, first and last date, gaps."""
        rows, *more = self.notes or (f"{len(self.values)} rows",)
        step = "rows are steps"
        if self.times is not None:
            is_count = self.times.dtype.kind == "i"
            step = f"step {self.dates(2)[1] - self.times[0] if is_count else self.duration(1)}"
        gaps = [
            f"{np.isnan(column).sum():,} in {name}"
            for name, column in zip(self.columns, self.values.T, strict=True)
            if np.isnan(column).any()
        ]
        pieces = [
            f"{rows}, {step}, {self.label(0)} to {self.label(-1)}",
            f"gaps: {', '.join(gaps)}" if gaps else "no gaps",
            *more,
        ]
        return f"{self.name}: {'; '.join(pieces)}"


def regular(
    name: str,
    columns: Sequence[str],
    values: np.ndarray,
    times: np.ndarray | None,
    *,
    step: str | None = None,
    notes: tuple[str, ...] = (),
) -> TimeSeries:
    """Returns observations as a series of a regular step.

    Steps without a date, between the first and the last, are gaps (NaN).

    Args:
      name: the name of the series.
      columns: C names.
      values: float64 (N, C); NaN where nothing was observed.
      times: datetime64 (N,), ascending and distinct; int64 (N,) that count; None for steps without
        dates.
      step: for `steps.parse_step`, dates are moved to it; None: found by `steps.find_step`.
      notes: notes of the series; dates that are off the step are added.

    Raises:
      ValueError: in one line, if there is no row, or no regular step.
    """
    columns, values = tuple(columns), np.asarray(values, np.float64)
    if not len(values):
        raise ValueError(f"{name}: got no rows, expected at least one")
    if times is None or len(times) == 1:
        return TimeSeries(name, columns, values, times, notes=notes)
    if times.dtype.kind == "i":
        stride = int(np.gcd.reduce(np.diff(times)))
        places = (times - times[0]) // stride
        if places[-1] > 1_000 * len(places):
            raise ValueError(f"{name}: got numbers of steps from {times[0]} to {times[-1]} in "
                             f"{len(times)} rows, expected a count")  # fmt: skip
        counted = times[0] + stride * np.arange(places[-1] + 1)
        return TimeSeries(name, columns, _spread(values, places), counted, notes=notes)
    try:
        grid = find_step(times) if step is None else given_step(times, step)
    except StepError as error:
        subject = f"{name}: dates" if step is None else f"step: {name}"
        raise ValueError(f"{subject}: {error}") from None
    whole = _spread(values, grid.places)
    series = TimeSeries(name, columns, whole, np.array([grid.first]), grid.unit, grid.every)
    return series._replace(
        times=series.dates(len(whole)), notes=(*notes, *([grid.note] if grid.note else []))
    )


def _spread(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    whole = np.full((places[-1] + 1, values.shape[1]), np.nan)
    whole[places] = values
    return whole


def _moment(name: str, given: str, at: np.ndarray) -> Any:
    try:
        return int(given) if at.dtype.kind == "i" else np.datetime64(given)
    except ValueError:
        expected = "a step's number" if at.dtype.kind == "i" else "a date such as 1987-05"
        raise ValueError(f"{name}: got {given!r}, expected {expected}") from None
