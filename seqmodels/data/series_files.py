"""Time series from the user's own CSV: columns of numbers, with dates or without."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqmodels.data.tables import check_column, read_table
from seqmodels.data.time_series import TimeSeries, regular

_DATE_NAMES = ("date", "time", "datetime", "timestamp", "day", "week", "month", "quarter", "year")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "?")


def read_csv(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    date_column: str | None = None,
    date_format: str | None = None,
) -> TimeSeries:
    """Returns columns of a CSV file (TSV where the name ends so) with a header as a series.

    Dates are ISO 8601 (1987, 1987-05, 1987-05-01, 1987-05-01T12:00), quarters (1987Q2), or of
    `date_format`. Rows between them that are not there become gaps. Cells that are empty, or NA,
    NaN, null or -, are gaps.

    Args:
      path: a UTF-8 file.
      columns: C names of columns with numbers.
      date_column: the column with the dates; None: the one called date, time, month or the like;
        without one, rows are steps. "none" for that too.
      date_format: as of `datetime.strptime`, such as %d.%m.%Y; None for the forms above.

    Returns:
      A `TimeSeries` named as the file.

    Raises:
      ValueError: in one line, if the file is not such a file, lacks a column (the nearest name is
        suggested), has text where a number or date is wanted, is all gaps in a column, or its dates
        do not ascend; with the line of the file.
      OSError: if it cannot be read.
      ModuleNotFoundError: if pandas is not installed.
    """
    frame = read_table(path)
    path = pathlib.Path(path)
    times = None
    dates_name = date_column_of(path, frame, date_column)
    if dates_name is not None:
        times = _dates(path, dates_name, frame[dates_name], date_format)
    values = np.stack([_numbers(path, frame, name) for name in columns], axis=1)
    return regular(path.stem, columns, values, times)


def read_labels(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    date_column: str | None = None,
    date_format: str | None = None,
) -> tuple[TimeSeries, tuple[tuple[str, ...], ...]]:
    """Returns columns of labels, such as meals or weekdays, as a series of their numbers.

    Args and raises as `read_csv`, but that cells hold any text; and ValueError for a column whose
    labels do not repeat.

    Returns:
      (series, labels): value v of a column stands for the label v of its labels, which are in
      alphabetical order; NaN for a gap.
    """
    frame = read_table(path)
    path = pathlib.Path(path)
    dates_name = date_column_of(path, frame, date_column, columns)
    times = None if dates_name is None else _dates(path, dates_name, frame[dates_name], date_format)
    known, numbers = [], []
    for name in columns:
        check_column(path, frame, "column", name)
        texts = frame[name].to_numpy(str)
        given = ~np.isin(np.char.lower(texts), _MISSING)
        labels, codes = np.unique(texts[given], return_inverse=True)
        if len(labels) < 2 or 2 * len(labels) > given.sum():
            raise ValueError(
                f"column: {path}: {name} has {len(labels)} different labels in {given.sum()} rows, "
                "expected two or more that repeat"
            )
        column = np.full(len(texts), np.nan)
        column[given] = codes
        known.append(tuple(map(str, labels)))
        numbers.append(column)
    return regular(path.stem, columns, np.stack(numbers, axis=1), times), tuple(known)


def date_column_of(
    path: str | os.PathLike[str], frame: Any, given: str | None, but: Sequence[str] = ()
) -> str | None:
    """Returns the name of the column with the dates, or None.

    Args:
      path: of the file, for messages.
      frame: of `read_table`.
      given: its name; "none" for none; None: the first that is called date, time or the like, and
        holds digits (a column "day" may hold Monday).
      but: columns that are none unless they are given.

    Raises:
      ValueError: if there is none of that name.
    """
    if given == "none":
        return None
    if given is not None:
        check_column(path, frame, "date_column", given)
        return given
    lower = {str(column).lower(): str(column) for column in frame.columns if column not in but}
    named = [lower[name] for name in _DATE_NAMES if name in lower]
    for name in named:
        check_column(path, frame, "date_column", name)
    return next((name for name in named if frame[name].str.contains(r"\d").any()), None)


def _dates(path: pathlib.Path, name: str, texts: Any, date_format: str | None) -> np.ndarray:
    import pandas as pd

    quarters = date_format is None and texts.str.fullmatch(r"\d{4}-?[Qq][1-4]").all()
    if quarters:
        plain = texts.str.upper().str.replace("-", "")
        found = pd.PeriodIndex(plain, freq="Q").to_timestamp()
        times = found.to_numpy().astype("datetime64[s]")
    else:
        form = "ISO8601" if date_format is None else date_format
        try:
            parsed = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
        except ValueError as error:
            raise ValueError(f"date_format: got {date_format!r}: {error}") from None
        bad = np.flatnonzero(parsed.isna())
        if len(bad):
            raise ValueError(
                f"{name}: {path}, line {bad[0] + 2}: got {texts.iloc[bad[0]]!r}, expected a date "
                + ("such as 1987-05-01, or date_format" if date_format is None else date_format)
            )
        times = parsed.dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    steps = np.diff(times.astype(np.int64))
    if np.any(steps <= 0):
        row = int(np.argmax(steps <= 0)) + 1
        fault = "twice" if steps[row - 1] == 0 else f"after {texts.iloc[row - 1]}"
        raise ValueError(
            f"{name}: {path}, line {row + 2}: got {texts.iloc[row]} {fault}, expected dates that "
            "ascend"
        )
    return times


def _numbers(path: pathlib.Path, frame: Any, name: str) -> np.ndarray:
    check_column(path, frame, "column", name)
    numbers = np.full(len(frame), np.nan)
    for row, text in enumerate(frame[name]):
        if text.lower() in _MISSING:
            continue
        try:
            numbers[row] = float(text)
        except ValueError:
            numbers[row] = np.inf
        if not np.isfinite(numbers[row]):
            raise ValueError(
                f"column: {path}, line {row + 2}: {name}: got {text!r}, expected a number"
            )
    if np.isnan(numbers).all():
        raise ValueError(f"column: {path}: {name} has no number, expected at least one")
    return numbers
