"""Regular steps of dates: detected or given."""

import re
from collections.abc import Iterator

import numpy as np

from seqmodels.data import grids
from seqmodels.data.grids import DAY, LENGTHS, UNITS, WAY_OUT, Grid, StepError

MOST_GAPS = 1_000  # the largest number of steps for each observation
_FINER = (DAY, *list(LENGTHS.values())[2:])


def find_step(times: np.ndarray) -> Grid:
    """Finds the regular step of dates.

    First come steps that fit exactly. The coarsest calendar step is tried first: the same day of
    each year, quarter or month, or their last days. Then comes a length that is both the most
    common difference and the common divisor. Its unit may be weeks, business days (if no date is on
    a weekend), days, hours and so on. Next come steps that fit nearly: one date in each month, or
    the most common length. At most a tenth of the dates may be off it, by at most a third (in
    weeks: by two days). The last choice is the common divisor.

    Args:
      times: datetime64[us] (N,), ascending and distinct, N > 1.

    Raises:
      StepError: if most dates lie on a step but others do not, or if every step leaves a thousand
        gaps for each date.
    """
    for candidate in _candidates(times.astype("datetime64[us]")):
        if candidate is not None:
            return _checked(candidate)
    raise AssertionError("microseconds fit")


def _candidates(times: np.ndarray) -> Iterator[Grid | None]:
    for size in (12, 3, 1):
        yield grids.calendar(times, size, exact=True)
    yield grids.regular(times, 1)
    yield grids.regular(times, DAY)
    for size in (12, 3, 1):
        yield grids.calendar(times, size, exact=False)
    for size in (12, 3, 1):
        yield grids.near_calendar(times, size)
    yield grids.snapped(times, strict=False)
    for length in _FINER[1:]:
        yield grids.regular(times, length)
    yield grids.snapped(times, strict=True)
    for length in _FINER:
        yield grids.regular(times, length, strict=False)


def _checked(grid: Grid) -> Grid:
    """Returns the grid; StepError if it has far more steps than dates."""
    if grid.places[-1] > MOST_GAPS * len(grid.places):
        raise StepError(
            f"got {len(grid.places)} that lie on no regular step longer than "
            f"{grids.amount(grid.every, grid.unit)}, expected regular ones, with gaps if need be; "
            f"{WAY_OUT}"
        )
    return grid


def given_step(times: np.ndarray, text: str) -> Grid:
    """Returns dates on a given step: each is moved to the nearest step.

    Args:
      times: datetime64[us] (N,), ascending and distinct.
      text: the step, such as "week", "2 weeks", "business day", "15 minutes".

    Raises:
      StepError: if the text is not a step, two dates are on one, or a date is on a weekend.
    """
    every, unit = parse_step(text)
    times = times.astype("datetime64[us]")
    if unit == "business day":
        weekend = np.flatnonzero(~np.is_busday(times.astype("datetime64[D]")))
        if len(weekend):
            raise StepError(
                f"got {grids.shown(times[weekend[0]])}, a day of a weekend, expected business days"
            )
        dates = times.astype("datetime64[D]")
        places = np.busday_count(dates[0], dates).astype(np.int64) // every
        _check_distinct(times, places, text)
        return _checked(Grid(unit, every, places, dates[0]))
    if UNITS[unit][0] in "YM":
        size = {"year": 12, "quarter": 3, "month": 1}[unit]
        months = times.astype("datetime64[M]").astype(np.int64)
        bins = months // size
        places = (bins - bins[0]) // every
        _check_distinct(times, places, text)
        return _checked(Grid(unit, every, places, grids.first_of(months, size)))
    moments = times.astype(np.int64)
    if unit in ("week", "day"):
        moments = moments // DAY * DAY
    length = every * LENGTHS[unit]
    offsets = grids.offsets_from(moments, length)
    _check_distinct(times, (moments - offsets) // length, text)
    note = grids.moved(times, offsets)
    return _checked(grids.fixed(moments - offsets, length, unit, note))


def parse_step(text: str) -> tuple[int, str]:
    """Parses a step, such as "2 weeks", to (2, "week").

    Raises:
      StepError: if the text is not a positive number and a unit of `UNITS`.
    """
    match = re.fullmatch(r"(?:([1-9][0-9]{0,5}) *)?([a-z]+(?: [a-z]+)?)", text.strip().lower())
    short = {"ms": "millisecond", "us": "microsecond", "s": "second", "min": "minute", "h": "hour"}
    unit = short.get(match[2], match[2].removesuffix("s")) if match else ""
    if match is None or unit not in UNITS:
        raise StepError(f"got {text!r}, expected one of {', '.join(UNITS)}, or such as 2 weeks")
    return int(match[1] or 1), unit


def _check_distinct(times: np.ndarray, places: np.ndarray, text: str) -> None:
    same = np.flatnonzero(np.diff(places) <= 0)
    if len(same):
        raise StepError(
            f"got {grids.shown(times[same[0]])} and {grids.shown(times[same[0] + 1])} in one step "
            f"of {text}, expected at most one"
        )
