"""Regular grids of dates: calendar steps, and steps of a fixed length."""

from typing import NamedTuple

import numpy as np

# Steps of the calendar, the coarsest first: NumPy's unit and their number.
UNITS = {
    "year": ("Y", 1),
    "quarter": ("M", 3),
    "month": ("M", 1),
    "week": ("D", 7),
    "business day": ("D", 1),
    "day": ("D", 1),
    "hour": ("h", 1),
    "minute": ("m", 1),
    "second": ("s", 1),
    "millisecond": ("ms", 1),
    "microsecond": ("us", 1),
}
# Steps after which a unit's cycle repeats; years have no cycle.
PERIODS = {
    "quarter": 4, "month": 12, "week": 52, "business day": 5, "day": 7, "hour": 24, "minute": 60,
    "second": 60,
}  # fmt: skip
DAY = 86_400_000_000  # microseconds
LENGTHS = {
    "week": 7 * DAY, "day": DAY, "hour": DAY // 24, "minute": 60_000_000, "second": 1_000_000,
    "millisecond": 1_000, "microsecond": 1,
}  # fmt: skip
OFF_SHARE = 0.1  # the largest share of dates off the step; they are moved
FULL = 8  # with so many dates, one in each calendar step, any day of the step is allowed
DOMINANT = 0.5  # a difference with this share of all dates is the step
MOST = 2 / 3  # the share of dates that must lie on the step
WAY_OUT = "step=week or such moves them, step=day leaves gaps, date_column=none ignores dates"


class Grid(NamedTuple):
    """Dates on a regular step.

    Attributes:
      unit: one of `UNITS`.
      every: the number of units in a step.
      places: int64 (N,), the number of each date's step, from 0, ascending.
      first: datetime64 of the first step, as exact as the unit.
      note: the dates that were off the step, or "".
    """

    unit: str
    every: int
    places: np.ndarray
    first: np.datetime64
    note: str = ""


class StepError(ValueError):
    """The dates do not lie on a regular step."""


def amount(count: float, unit: str) -> str:
    """Returns a number with its unit, such as "11 years"."""
    return f"{count} {unit}" + ("" if count == 1 else "s")


def shown(moment: np.datetime64) -> str:
    """Returns a date in the shortest exact form."""
    for unit in ("D", "m", "s", "ms"):
        if moment.astype(f"datetime64[{unit}]") == moment:
            return str(moment.astype(f"datetime64[{unit}]"))
    return str(moment)


def first_of(months: np.ndarray, size: int) -> np.datetime64:
    """Returns the first of a grid of years, quarters or months (of so many months).

    Args:
      months: int64 (N,), the months of the dates, counted from 1970.
      size: the size of a step. Quarters begin with the month of the dates if it is the same in all.
    """
    if size == 12:
        return np.datetime64(int(months[0]) // 12, "Y")
    phases = set((months % size).tolist())
    phase = phases.pop() if len(phases) == 1 else 0
    return np.datetime64(int(months[0]) // size * size + phase, "M")


def _months(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[M]").astype(np.int64)


def _days(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the day of the month of each date, from 1, and the days of that month."""
    months = times.astype("datetime64[M]")
    days = (times.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64) + 1
    lengths = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(
        np.int64
    )
    return days, lengths


def calendar(times: np.ndarray, size: int, *, exact: bool) -> Grid | None:
    """Returns the grid of years, quarters or months (of so many months), one date in each.

    Args:
      times: the dates.
      size: months of a step.
      exact: whether they are on the same day of each; otherwise within a third of it, or without a
        gap.
    """
    months = _months(times)
    bins = months // size
    if len(np.unique(bins)) < len(bins):
        return None
    if exact:
        days, lengths = _days(times)
        is_same_day = np.all(days == np.minimum(days.max(), lengths))
        if not is_same_day or len(np.unique(months % size)) > 1:
            return None
    if not exact:
        starts = (bins * size).astype("datetime64[M]").astype("datetime64[D]")
        spread = int(np.ptp((times.astype("datetime64[D]") - starts).astype(np.int64)))
        is_full = len(bins) >= FULL and bins[-1] - bins[0] == len(bins) - 1
        is_near = 3 * spread <= 30 * size and (size != 3 or len(set((months % 3).tolist())) == 1)
        if not is_near and not is_full:
            return None
    every = int(np.gcd.reduce(np.diff(bins)))
    unit = {12: "year", 3: "quarter", 1: "month"}[size]
    first = first_of(months, size)
    return Grid(unit, every, (bins - bins[0]) // every, first, "" if exact else _spread(times))


def _spread(times: np.ndarray) -> str:
    """Returns a note if dates are on different days of their months."""
    days, lengths = _days(times)
    if np.all(days == np.minimum(days.max(), lengths)):
        return ""
    return f"dates on days {days.min()} to {days.max()} of their months"


def near_calendar(times: np.ndarray, size: int) -> Grid | None:
    """Returns the grid of years, quarters or months, if only a few dates are off."""
    days, lengths = _days(times)
    months = _months(times)
    ends = np.mean(days == lengths) > 0.5
    usual = 31 if ends else int(np.bincount(days).argmax())
    phase = int(np.bincount(months % size).argmax())
    dates = times.astype("datetime64[D]").astype(np.int64)
    near = (months - phase) // size
    tried = np.stack([near - 1, near, near + 1])
    starts = (tried * size + phase).astype("datetime64[M]")
    last = (starts + 1).astype("datetime64[D]").astype(np.int64) - 1
    expected = np.minimum(starts.astype("datetime64[D]").astype(np.int64) + usual - 1, last)
    best = np.argmin(np.abs(expected - dates), axis=0)
    rows = np.arange(len(dates))
    bins, offsets = tried[best, rows], dates - expected[best, rows]
    if not _tolerable(bins, offsets, 7 * size):
        return None
    unit = {12: "year", 3: "quarter", 1: "month"}[size]
    every = int(np.gcd.reduce(np.diff(bins)))
    first = first_of(bins * size + phase, size)
    return Grid(unit, every, (bins - bins[0]) // every, first, moved(times, offsets * DAY))


def _tolerable(bins: np.ndarray, offsets: np.ndarray, largest: float) -> bool:
    off = offsets != 0
    return bool(
        np.all(np.diff(bins) > 0)
        and off.sum() <= max(1, int(OFF_SHARE * len(bins)))
        and np.all(np.abs(offsets) <= largest)
    )


def _most_common(steps: np.ndarray) -> tuple[int, float]:
    """Returns the most common of positive numbers, and the share that it has."""
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)]), float(counts.max() / len(steps))


def regular(times: np.ndarray, precision: int, *, strict: bool = True) -> Grid | None:
    """Returns the grid of the common divisor of all differences, in units of a precision.

    Args:
      times: the dates.
      precision: microseconds to which dates are exact: 1 for exact dates, a day for dates with
        times.
      strict: whether the divisor must be the most common difference.
    """
    moments = times.astype(np.int64)
    for shift in (0, precision // 2):
        rounded = (moments + shift) // precision * precision
        late = int(np.abs(moments - rounded).max())
        # Dates are moved to a later step only by a small amount.
        if np.all(np.diff(rounded) > 0) and (not shift or 10 * late <= precision):
            break
    else:
        return None
    steps = np.diff(rounded)
    divisor = int(np.gcd.reduce(steps))
    if strict and (_most_common(steps)[0] != divisor or _most_common(steps)[1] < 0.5):
        return None
    note = ""
    if late and (shift or precision < DAY):
        note = f"dates are up to {_length(late)} off it and moved"
    if divisor % DAY == 0 and divisor % (7 * DAY):
        grid = _business(times, 1, strict=True) if divisor == DAY else None
        if grid is not None:
            return grid
    unit = next(unit for unit, length in LENGTHS.items() if divisor % length == 0)
    return fixed(rounded, divisor, unit, note)


def fixed(moments: np.ndarray, length: int, unit: str, note: str) -> Grid:
    """Returns the grid of moments, int64 microseconds, that are a multiple of a length apart."""
    first = moments[0].astype("datetime64[us]")
    if unit in ("week", "day"):
        first = first.astype("datetime64[D]")
    else:
        codes = [UNITS[name][0] for name in list(LENGTHS)[list(LENGTHS).index(unit) :]]
        first = next(
            first.astype(f"datetime64[{code}]")
            for code in codes
            if first.astype(f"datetime64[{code}]") == first
        )
    places = (moments - moments[0]) // length
    return Grid(unit, length // LENGTHS[unit], places, first, note)


def _business(times: np.ndarray, every: int, *, strict: bool) -> Grid | None:
    """Returns the grid of business days; None if a date is on a weekend, or two are on one day.

    Args:
      times: the dates.
      every: business days of a step.
      strict: whether a weekend must lie between the dates, and most dates must be one step apart.
    """
    dates = times.astype("datetime64[D]")
    if not np.all(np.is_busday(dates)):
        return None
    places = np.busday_count(dates[0], dates).astype(np.int64)
    steps = np.diff(places)
    if np.any(steps <= 0) or np.any(places % every):
        return None
    has_weekend = (dates[-1] - dates[0]).astype(np.int64) > places[-1]
    if strict and not (has_weekend and len(dates) >= 5 and _most_common(steps)[0] == 1):
        return None
    return Grid("business day", every, places // every, dates[0])


def offsets_from(moments: np.ndarray, length: int) -> np.ndarray:
    """Returns the distance of each moment from the nearest step, if most lie exactly on one."""
    rests = moments % length
    usual = _most_common(rests)[0]
    return (rests - usual + length // 2) % length - length // 2


def snapped(times: np.ndarray, *, strict: bool) -> Grid | None:
    """Returns the grid of the most common step length, if only a few dates are off.

    Args:
      times: the dates.
      strict: whether an error is raised if more dates are off, or further.

    Raises:
      StepError: see `strict`.
    """
    moments = times.astype(np.int64)
    days = moments // DAY * DAY
    if np.all(np.diff(days) > 0):
        moments = days
    steps = np.diff(moments)
    length, share = _most_common(steps)
    if share < DOMINANT or len(steps) < 4:
        return None
    offsets = offsets_from(moments, length)
    largest = 2 * DAY if length == 7 * DAY else length // 3
    bins = (moments - offsets) // length
    unit = next(unit for unit, size in LENGTHS.items() if length % size == 0)
    if _tolerable(bins, offsets, largest):
        return fixed(moments - offsets, length, unit, moved(times, offsets))
    if not strict or np.mean(offsets == 0) < MOST:
        return None
    off = np.flatnonzero(offsets)
    raise StepError(
        f"got {len(off)} of {len(times)} that are not on the step of "
        f"{amount(length // LENGTHS[unit], unit)} that most have ({_listed(times, offsets)}), "
        f"expected at most {max(1, int(OFF_SHARE * len(times)))} off by at most "
        f"{_length(largest)}; {WAY_OUT}"
    )


def moved(times: np.ndarray, offsets: np.ndarray) -> str:
    """Returns a note of the dates whose offsets, in microseconds, are not 0."""
    off = np.flatnonzero(offsets)
    if not len(off):
        return ""
    dates = "date is" if len(off) == 1 else "dates are"
    return f"{len(off)} {dates} off it and moved ({_listed(times, offsets)})"


def _listed(times: np.ndarray, offsets: np.ndarray) -> str:
    off = np.flatnonzero(offsets)
    listed = ", ".join(
        f"{shown(times[row])} {_length(abs(int(offsets[row])))} "
        f"{'late' if offsets[row] > 0 else 'early'}"
        for row in off[:3]
    )
    return listed + (", ..." if len(off) > 3 else "")


def _length(microseconds: int) -> str:
    unit = next(name for name, size in list(LENGTHS.items())[1:] if microseconds % size == 0)
    return amount(microseconds // LENGTHS[unit], unit)
