"""Dates in text cells: ISO 8601 and its relatives, quarters, seconds since 1970, and counts."""

import datetime
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

UNITS = ("s", "ms")  # units of numbers that count from 1970
YEARS = (1500, 2200)  # whole numbers between these, in steps of 1, are years
LARGEST_COUNT = 10**8  # greater numbers are seconds, or a mistake
WAYS_OUT = (
    "date_format for other forms, date_unit for seconds since 1970, date_column=none for rows as "
    "steps"
)

_DATE = re.compile(
    r"(?P<year>[0-9]{4})(?:-?[Qq](?P<quarter>[1-4])|-?W(?P<week>[0-9]{2})(?:-?(?P<weekday>[1-7]))?"
    r"|(?P<mark>[-/.]?)(?P<month>[0-9]{1,2})(?:(?P=mark)(?P<day>[0-9]{1,2}))?)?"
    r"(?:[T ] *(?P<hour>[0-9]{1,2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})"
    r"(?:[.,](?P<fraction>[0-9]{1,9}))?)?)?)?"
    r" *(?P<zone>Z|z|UTC|GMT|[+\-\u2212][0-9]{2}(?::?[0-9]{2})?)?"
)
# The common case, which NumPy parses faster.
_PLAIN = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?(?:\n|\Z))+"
)


class Stamps(NamedTuple):
    """The dates of N rows.

    Attributes:
      times: datetime64[us] (N,), as they are written; int64 (N,) of a column that counts.
      offsets: int64 (N,), minutes by which the written zone is ahead of UTC; None without a zone.
    """

    times: np.ndarray
    offsets: np.ndarray | None = None

    @property
    def instants(self) -> np.ndarray:
        """The order of the rows in time: times in UTC where an offset is written."""
        if self.offsets is None:
            return self.times
        return self.times - self.offsets.astype("timedelta64[m]")


def parse(
    cells: Sequence[str],
    place: Callable[[int], str],
    date_format: str | None = None,
    date_unit: str | None = None,
) -> Stamps:
    """Returns the dates of a column.

    Dates are 1987, 1987-05, 1987-05-01, 1987-05-01T12:00:00.5+01:00 and such, quarters (1987Q2),
    weeks (1987-W18). Whole numbers are years if they lie in 1500 to 2200 in steps of 1. They are
    months if all are such as 198705, days if all are such as 19870501, and otherwise a count.

    Args:
      cells: N texts without white space around them.
      place: `place(row)` names a cell in messages, such as "a.csv, line 3: week".
      date_format: a format of `datetime.strptime`, such as %d.%m.%Y; None for the forms above.
      date_unit: "s" or "ms" for seconds or milliseconds since 1970; None for the forms above.

    Raises:
      ValueError: in one line with the place of the first cell that is not such a date.
    """
    if date_unit is not None:
        return Stamps(_since_1970(cells, place, date_unit))
    if date_format is not None:
        return _formatted(cells, place, date_format)
    if all(re.fullmatch(r"[+-]?[0-9]+", cell) for cell in cells):
        count = _counts(cells, place)
        if count is not None:
            return Stamps(count)
    if _PLAIN.fullmatch("\n".join(cells)):
        try:
            return Stamps(np.array(cells, "datetime64[us]"))
        except ValueError:
            pass  # a day that is not in the calendar: found below
    found = [_date(cell) for cell in cells]
    for row, stamp in enumerate(found):
        if stamp is None:
            raise ValueError(
                f"{place(row)}: got {cells[row]!r}, expected a date such as 1987-05-01; {WAYS_OUT}"
            )
    return _stamps([stamp for stamp in found if stamp is not None], cells, place)


def _counts(cells: Sequence[str], place: Callable[[int], str]) -> np.ndarray | None:
    """Returns the cells as counts; None if they are dates."""
    numbers = [int(cell) for cell in cells]
    lengths = {len(cell) for cell in cells}
    if lengths <= {4} and all(YEARS[0] <= number <= YEARS[1] for number in numbers):
        steps, times = np.unique(np.abs(np.diff(numbers)), return_counts=True)
        if not len(steps) or steps[np.argmax(times)] <= 1:
            return None
    if lengths in ({6}, {8}):
        years = [int(cell[:4]) for cell in cells]
        if all(YEARS[0] <= year <= YEARS[1] for year in years) and None not in map(_date, cells):
            return None
    for row, number in enumerate(numbers):
        if abs(number) >= LARGEST_COUNT:
            raise ValueError(
                f"{place(row)}: got {cells[row]}, expected a date such as 1987-05-01 or a count; "
                "date_unit=s or ms for such since 1970, date_column=none for rows as steps"
            )
    return np.array(numbers, np.int64)


def _since_1970(cells: Sequence[str], place: Callable[[int], str], unit: str) -> np.ndarray:
    size = {"s": 1_000_000, "ms": 1_000}[unit]
    found = np.zeros(len(cells), np.int64)
    for row, cell in enumerate(cells):
        if re.fullmatch(r"[+-]?[0-9]{1,14}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?", cell) is None:
            raise ValueError(
                f"{place(row)}: got {cell!r}, expected a number of {unit} since 1970, from "
                f"date_unit={unit}"
            )
        number = float(cell) * size
        if not abs(number) < 2**62:
            raise ValueError(f"{place(row)}: got {cell}, expected {unit} since 1970 of our time")
        found[row] = round(number)
    return found.astype("datetime64[us]")


def _formatted(cells: Sequence[str], place: Callable[[int], str], form: str) -> Stamps:
    found = []
    for row, cell in enumerate(cells):
        try:
            stamp = datetime.datetime.strptime(cell, form)
        except ValueError as error:
            if "does not match" in str(error) or "unconverted" in str(error) or "out of" in str(
                error
            ):  # fmt: skip
                raise ValueError(f"{place(row)}: got {cell!r}, expected a date {form}") from None
            raise ValueError(f"date_format: got {form!r}: {error}") from None
        except re.error:
            raise ValueError(f"date_format: got {form!r}, expected such as %d.%m.%Y") from None
        found.append(stamp)
    return _stamps(found, cells, place)


def _stamps(
    found: list[datetime.datetime], cells: Sequence[str], place: Callable[[int], str]
) -> Stamps:
    with_zone = [stamp.utcoffset() is not None for stamp in found]
    times = np.array([stamp.replace(tzinfo=None) for stamp in found], "datetime64[us]")
    if not any(with_zone):
        return Stamps(times)
    if not all(with_zone):
        row = with_zone.index(not with_zone[0])
        kind = ("with", "without") if with_zone[row] else ("without", "with")
        raise ValueError(
            f"{place(row)}: got {cells[row]!r} {kind[0]} an offset from UTC after dates {kind[1]} "
            "one, expected all dates with one or none"
        )
    minutes = [int((stamp.utcoffset() or datetime.timedelta()).total_seconds() // 60)
               for stamp in found]  # fmt: skip
    return Stamps(times, np.array(minutes, np.int64))


def are_iso_dates(cells: Sequence[str]) -> bool:
    """Returns whether all cells are ISO dates with at least a month, such as 2020-05-01T12:00."""
    return bool(cells) and all(
        re.match(r"\d{4}-\d\d", cell) and _date(cell) is not None for cell in cells
    )


def _date(cell: str) -> datetime.datetime | None:
    """Returns the date in a cell, exact to a microsecond; None if it is not a date."""
    match = _DATE.fullmatch(cell)
    if match is None:
        return None
    part = match.groupdict()
    if part["month"] and not part["day"] and (
        part["mark"] == "." or (not part["mark"] and len(part["month"]) < 2)
    ):  # fmt: skip
        return None  # 2001.5 is the middle of a year
    year, month, day = int(part["year"]), int(part["month"] or 1), int(part["day"] or 1)
    if part["quarter"]:
        month = 3 * int(part["quarter"]) - 2
    try:
        if part["week"]:
            date = datetime.date.fromisocalendar(year, int(part["week"]), int(part["weekday"] or 1))
            year, month, day = date.year, date.month, date.day
        return datetime.datetime(
            year, month, day,
            int(part["hour"] or 0), int(part["minute"] or 0), int(part["second"] or 0),
            int((part["fraction"] or "0").ljust(6, "0")[:6]), _zone(part["zone"]),
        )  # fmt: skip
    except ValueError:
        return None


def _zone(text: str | None) -> datetime.timezone | None:
    if text is None:
        return None
    if text[0] not in "+-\u2212":
        return datetime.UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    minutes = 60 * int(digits[:2]) + int(digits[2:])
    return datetime.timezone(datetime.timedelta(minutes=minutes if text[0] == "+" else -minutes))
