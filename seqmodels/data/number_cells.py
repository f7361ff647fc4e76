"""Numbers in text cells: decimal points or commas, marks between thousands, gaps."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

MISSING = ("na", "n/a", "nan", "null", "none", "-", "?")  # gaps in columns of numbers, any case

_SIGN = r"[+\-−]?"  # noqa: RUF001, the typographic minus
_GROUPS = "' \u00a0\u2009\u202f\u2019"
_PLAIN = re.compile(rf"{_SIGN}(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+\-]?[0-9]+)?")


class _Style(NamedTuple):
    """A way to write numbers: its name, the cells that it fits, its marks."""

    name: str
    fits: re.Pattern[str]
    decimal: str
    groups: str

    def number(self, cell: str) -> float:
        """Returns the number in a cell of this style."""
        bare = re.sub(f"[{re.escape(self.groups)}]", "", cell) if self.groups else cell
        return float(bare.replace(self.decimal, ".").replace("\u2212", "-"))


def _style(name: str, decimal: str, groups: str) -> _Style:
    grouped = rf"|[1-9][0-9]{{0,2}}(?:[{re.escape(groups)}][0-9]{{3}})+" if groups else ""
    fits = rf"{_SIGN}(?:[0-9]+{grouped})(?:{re.escape(decimal)}[0-9]*)?(?:[eE][+\-]?[0-9]+)?"
    return _Style(name, re.compile(fits), decimal, groups)


_STYLES = (
    _style("decimal commas", ",", ""),
    _style("commas between thousands", ".", ","),
    _style("decimal commas and points between thousands", ",", "."),
    _style("marks between thousands", ".", _GROUPS),
    _style("decimal commas and marks between thousands", ",", _GROUPS),
)


def parse(
    cells: Sequence[str],
    place: Callable[[int], str],
    missing: Collection[str] = (),
    *,
    gaps: bool = True,
) -> tuple[np.ndarray, str]:
    """Returns the numbers of a column.

    Commas before decimals, and commas, points, spaces or apostrophes between thousands, are read
    if there is one way to understand all cells of the column.

    Args:
      cells: N texts without white space around them.
      place: `place(row)` names a cell in messages, such as "a.csv, line 3: sold".
      missing: cells that are gaps, exactly as written or as numbers, in addition to the empty cell
        and `MISSING`.
      gaps: whether a cell may be a gap.

    Returns:
      (numbers, style): float64 (N,), NaN for gaps; the name of the style, "" for plain numbers.

    Raises:
      ValueError: in one line with the place of a cell that is not a number, or is ambiguous.
    """
    named = {number for text in missing if (number := _plain(text)) is not None}
    is_gap = [
        gaps
        and (
            not cell
            or cell.lower() in MISSING
            or cell in missing
            or (bool(named) and _plain(cell) in named)
        )
        for cell in cells
    ]  # fmt: skip
    given = [row for row, gap in enumerate(is_gap) if not gap]
    numbers = np.full(len(cells), np.nan)
    strange = [row for row in given if _PLAIN.fullmatch(cells[row]) is None]
    style = _style_of(cells, given, strange, place) if strange else None
    for row in given:
        cell = cells[row]
        numbers[row] = float(cell.replace("\u2212", "-")) if style is None else style.number(cell)
        if not np.isfinite(numbers[row]):
            raise ValueError(f"{place(row)}: got {cells[row]!r}, expected a number below 1.8e308")
    return numbers, "" if style is None else style.name


def _style_of(
    cells: Sequence[str], given: list[int], strange: list[int], place: Callable[[int], str]
) -> _Style:
    """Returns the style that fits all cells; if several fit, they must give the same numbers."""
    for row in strange:
        if not any(style.fits.fullmatch(cells[row]) for style in _STYLES):
            hint = (
                "" if re.search("[0-9]", cells[row]) else f"; missing={cells[row]} makes it a gap"
            )
            raise ValueError(f"{place(row)}: got {cells[row]!r}, expected a number{hint}")
    fitting = [s for s in _STYLES if all(s.fits.fullmatch(cells[row]) for row in given)]
    if not fitting:
        row = strange[0]
        styles = [style for style in _STYLES if style.fits.fullmatch(cells[row])]
        other = next(row for row in given if not styles[0].fits.fullmatch(cells[row]))
        raise ValueError(
            f"{place(row)}: got {cells[row]!r}, and {cells[other]!r} elsewhere, expected numbers "
            "that are all written in one way"
        )
    for row in strange:
        readings = list(dict.fromkeys(style.number(cells[row]) for style in fitting))
        if len(readings) > 1:
            raise ValueError(
                f"{place(row)}: got {cells[row]!r}, which may be "
                f"{' or '.join(f'{reading:g}' for reading in readings)}, expected decimal points "
                "and nothing between thousands"
            )
    return fitting[0]


def _plain(text: str) -> float | None:
    return float(text.replace("\u2212", "-")) if _PLAIN.fullmatch(text) else None
