"""Time series from the user's CSV: columns of numbers or labels, with or without dates."""

import functools
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.data import date_cells, number_cells
from seqmodels.data.tables import Table, read_table
from seqmodels.data.time_series import TimeSeries, regular

DATE_NAMES = ("date", "time", "datetime", "timestamp", "day", "week", "month", "quarter", "year")
_SHORTEST_DAY = 20 * 60  # minutes; days of a change of daylight saving have 23 hours


class Reading(NamedTuple):
    """Options for reading the cells of a file.

    Attributes:
      date_column: the column with the dates. None: the first one named date, time, day, month or
        the like that holds digits. "none": no column, rows are steps.
      date_format: format of `datetime.strptime`, such as %d.%m.%Y; None for ISO 8601 and quarters.
      date_unit: "s" or "ms" for dates in seconds or milliseconds since 1970; None otherwise.
      step: the step of the dates, such as "week"; None: found from them.
      missing: cells that are gaps in addition to the empty cell and, of numbers, to
        `number_cells.MISSING`.
    """

    date_column: str | None = None
    date_format: str | None = None
    date_unit: str | None = None
    step: str | None = None
    missing: tuple[str, ...] = ()


def read_csv(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    date_column: str | None = None,
    date_format: str | None = None,
    reading: Reading | None = None,
) -> TimeSeries:
    """Returns columns of a table (`tables.read_table`) as a series.

    `date_cells.parse` reads the dates, and `steps.find_step` finds their step. Missing dates become
    gaps, and so do cells that are empty or one of `number_cells.MISSING`. Dates keep their written
    form. If offsets from UTC differ and a step is shorter than a day, dates are in UTC, with a
    note.

    Args:
      path: the file.
      columns: C names of columns with numbers.
      date_column: as in `Reading`; so is date_format.
      date_format: see date_column.
      reading: all options; replaces `date_column` and `date_format`.

    Returns:
      A `TimeSeries` named as the file, with notes of what was understood.

    Raises:
      ValueError: if the file is not a table, a column is missing or has only gaps, or a cell is not
        a number or date. Also if its dates do not ascend or have no step. The message is one line
        that names the line of the file, or the nearest name of a column.
      OSError: if it cannot be read.
    """
    table = read_table(path, keep_empty=True)
    how = reading or Reading(date_column, date_format)
    notes = [_rows(table), *table.notes]
    times, more = _times(table, how)
    values = []
    for name in columns:
        table.check_column("column", name)
        place = functools.partial(_cell, table, name)
        numbers, style = number_cells.parse(table.column(name), place, how.missing)
        if np.isnan(numbers).all():
            raise ValueError(f"column: {table.path}: {name} has no number, expected at least one")
        notes += [f"{name}: {style}"] if style else []
        values.append(numbers)
    return regular(
        table.path.stem, columns, np.stack(values, axis=1), times, step=how.step,
        notes=(*notes, *more),
    )  # fmt: skip


def read_labels(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    date_column: str | None = None,
    date_format: str | None = None,
    reading: Reading | None = None,
) -> tuple[TimeSeries, tuple[tuple[str, ...], ...]]:
    """Returns columns of labels, such as meals or weekdays, as a series of their numbers.

    Arguments and errors are those of `read_csv`, with two exceptions. Cells hold any text, such as
    "none"; only cells that are empty or named missing are gaps. A column whose labels do not repeat
    raises ValueError.

    Returns:
      (series, labels): value v of a column stands for the label v of its labels, which are in
      alphabetical order; NaN for a gap.
    """
    table = read_table(path, keep_empty=True)
    how = reading or Reading(date_column, date_format)
    times, more = _times(table, how, columns)
    known, numbers = [], []
    for name in columns:
        table.check_column("column", name)
        texts = np.array(table.column(name), object)
        given = np.array([bool(text) and text not in how.missing for text in texts])
        labels = sorted(set(texts[given]))
        if len(labels) < 2 or 2 * len(labels) > given.sum():
            raise ValueError(
                f"column: {table.path}: {name} has {len(labels)} different labels in {given.sum()} "
                "rows, expected two or more that repeat"
            )
        codes = {label: code for code, label in enumerate(labels)}
        known.append(tuple(labels))
        numbers.append(np.array([codes.get(text, np.nan) for text in texts], np.float64))
        numbers[-1][~given] = np.nan
    series = regular(
        table.path.stem, columns, np.stack(numbers, axis=1), times, step=how.step,
        notes=(_rows(table), *table.notes, *more),
    )  # fmt: skip
    return series, tuple(known)


def date_column_of(table: Table, given: str | None, but: Sequence[str] = ()) -> str | None:
    """Returns the name of the column with the dates, or None.

    Args:
      table: the result of `read_table`.
      given: its name; "none" for no dates. None: the first one named date, time or the like that
        holds digits (a column "day" may hold Monday). Without such a column, the first that holds
        only ISO dates.
      but: columns that are dates only if they are given.

    Raises:
      ValueError: if there is no column of that name.
    """
    if given == "none":
        return None
    if given is not None:
        table.check_column("date_column", given)
        return given
    named = (name for name in _named_dates(table, but) if _has_digits(table, name))
    others = (name for name in table.columns if name not in but)
    full = (name for name in others if date_cells.are_iso_dates(table.column(name)))
    return next(named, None) or next(full, None)


def _named_dates(table: Table, but: Sequence[str]) -> list[str]:
    lower = {name.lower(): name for name in table.columns if name not in but}
    return [lower[name] for name in DATE_NAMES if name in lower]


def _has_digits(table: Table, name: str) -> bool:
    return any(re.search(r"\d", cell) for cell in table.column(name))


def _rows(table: Table) -> str:
    return f"{len(table.rows):,} row{'s' if len(table.rows) > 1 else ''}"


def _times(
    table: Table, how: Reading, but: Sequence[str] = ()
) -> tuple[np.ndarray | None, list[str]]:
    """Returns the times of the rows, None without dates, and notes about them."""
    name = date_column_of(table, how.date_column, but)
    if name is None:
        if how.step is not None or how.date_unit is not None:
            option = "step" if how.step is not None else "date_unit"
            raise ValueError(f"{option}: got it for {table.path} without a column of dates")
        return None, []
    cells = table.column(name)
    stamps = date_cells.parse(
        cells, lambda row: _place(table, name, row), how.date_format, how.date_unit
    )
    instants = stamps.instants.astype(np.int64)
    bad = np.flatnonzero(np.diff(instants) <= 0)
    if len(bad):
        row = int(bad[0]) + 1
        fault = "twice" if instants[row] == instants[row - 1] else f"after {cells[row - 1]}"
        raise ValueError(
            f"{_place(table, name, row)}: got {cells[row]} {fault}, expected dates that ascend"
            f"{_hint(table, name, stamps, but)}"
        )
    if stamps.times.dtype.kind == "i":
        if how.step is not None:
            raise ValueError(f"step: got {how.step!r} for {name}, which counts, expected dates")
        return stamps.times, [f"{name} counts"]
    if how.date_unit is not None:
        return stamps.times, ["dates in UTC"]
    if stamps.offsets is None:
        return stamps.times, []
    one = len(set(stamps.offsets.tolist())) == 1
    shortest = int(np.diff(instants).min(initial=2 * 1_000_000 * 60 * _SHORTEST_DAY))
    ascends = bool(np.all(np.diff(stamps.times.astype(np.int64)) > 0))
    if ascends and (one or shortest >= 1_000_000 * 60 * _SHORTEST_DAY):
        return stamps.times, [f"dates as written, {_offset(stamps.offsets)}"]
    return stamps.instants, ["dates in UTC, as their offsets differ"]


def _cell(table: Table, name: str, row: int) -> str:
    return f"column: {table.place(row, name)}"


def _place(table: Table, name: str, row: int) -> str:
    return f"{name}: {table.path}, line {table.line(row, name)}"


def _offset(offsets: np.ndarray) -> str:
    texts = [f"UTC{offset // 60:+03d}:{offset % 60:02d}" for offset in sorted(set(offsets))]
    return " and ".join(texts) if len(texts) < 3 else f"{texts[0]} to {texts[-1]}"


def _hint(table: Table, name: str, stamps: date_cells.Stamps, but: Sequence[str]) -> str:
    """Returns advice for dates that do not ascend."""
    others = [other for other in _named_dates(table, but) if other != name]
    others = [other for other in others if _has_digits(table, other)]
    steps = np.diff(stamps.times.astype(np.int64))
    if stamps.times.dtype.kind == "M" and stamps.offsets is None and len(steps) > 2:
        usual = np.median(steps)
        repeats = np.flatnonzero(steps <= 0)
        if 0 < usual < 24 * 3600 * 1_000_000 and len(repeats) <= 1 + len(steps) // 4000:
            return (
                "; the end of daylight saving? write offsets from UTC such as +01:00, or take "
                "date_column=none for rows as steps"
            )
    if others:
        return (
            f"; {' and '.join([name, *others])} are several columns: write dates into one, such "
            "as 2015-01, or take date_column=none for rows as steps"
        )
    return "; sort them, or take date_column=none for rows as steps"
