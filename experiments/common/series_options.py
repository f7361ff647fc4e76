"""Options of experiments that read a time series: a known one, or columns of the user's own CSV."""

import dataclasses
import difflib
import pathlib

from experiments.common.config import Options, option
from seqmodels.data import date_cells, series_files, steps, tables
from seqmodels.data.series_files import Reading
from seqmodels.data.time_series import TimeSeries
from seqmodels.datasets import series


def _check_step(text: str) -> None:
    try:
        steps.parse_step(text)
    except steps.StepError as error:
        raise ValueError(str(error)) from None


@dataclasses.dataclass(frozen=True)
class SeriesConfig(Options):
    """The series to read."""

    series: str | None = option(None, "A known series.", choices=tuple(series.known()))
    csv: str | None = option(
        None,
        "Your own file: a header, one row per step; separators , ; tab or |; UTF-8 or UTF-16.",
        digest=True,
    )
    column: tuple[str, ...] | None = option(
        None, "Columns to read; by default the only one that is not a date."
    )
    date_column: str | None = option(
        None, "Column of the csv with dates; default: the one called date or time; none: no dates."
    )
    date_format: str | None = option(
        None, "Format of dates that are not ISO 8601, such as %d.%m.%Y."
    )
    date_unit: str | None = option(
        None, "Unit of dates that are numbers since 1970.", choices=date_cells.UNITS
    )
    step: str | None = option(
        None,
        "Step to which dates are moved, such as week or 15 minutes; default: found from them.",
        check=_check_step,
    )
    missing: tuple[str, ...] | None = option(
        None,
        "Further texts of gaps; by default empty cells, in numbers NA, N/A, NaN, null, none, -, ?.",
        empty=True,
    )
    first: str | None = option(None, "The first date to use, such as 1987 or 1987-05.")
    last: str | None = option(None, "The last date to use, with all of the period that it names.")

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.series is not None and self.csv is not None:
            raise ValueError("series, csv: got both, expected one of them")
        if self.csv is None:
            for name in ("date_column", "date_format", "date_unit", "step", "missing"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: got it without csv, expected both")
        if self.date_format is not None and self.date_unit is not None:
            raise ValueError("date_format, date_unit: got both, expected one of them")

    @property
    def reading(self) -> Reading:
        """The options for reading the cells of the csv."""
        return Reading(
            self.date_column, self.date_format, self.date_unit, self.step, self.missing or ()
        )


def load(
    config: SeriesConfig,
    default: str | None = None,
    also: tuple[str, ...] = (),
    *,
    also_option: str = "exogenous, known",
) -> TimeSeries:
    """Returns the series that the options describe, its columns those of `column` first.

    Args:
      config: the options.
      default: the known series where the options name none.
      also: further columns, which follow.
      also_option: the option that names them, for messages.

    Raises:
      ValueError: if no series is named, and as `series_files.read_csv`.
      OSError: if the file cannot be read.
      ModuleNotFoundError: if a library is missing.
    """
    if config.csv is None:
        name = config.series or default
        if name is None:
            raise ValueError("series, csv: got neither, expected one of them")
        found = _with_columns(series.load(name), config.column, also, also_option)
    else:
        if not pathlib.Path(config.csv).is_file():
            raise ValueError(f"csv: got {config.csv!r}, expected a file that exists")
        columns = config.column or (_only_column(config.csv, config.date_column, also),)
        found = series_files.read_csv(config.csv, [*columns, *also], reading=config.reading)
    return found.between(config.first, config.last)


def _only_column(path: str, date_column: str | None, also: tuple[str, ...]) -> str:
    """Returns the only column of a file that is not a date; ValueError if there are several."""
    table = tables.read_table(path)
    dates = series_files.date_column_of(table, date_column)
    rest = [name for name in table.columns if name != dates and name not in also]
    if len(rest) > 1 and dates is not None:
        rest = [name for name in rest if name.lower() not in series_files.DATE_NAMES] or rest
    if len(rest) != 1:
        raise ValueError(
            f"column: got nothing, and {path} has {', '.join(rest) or 'none'}, expected one of them"
        )
    return rest[0]


def _with_columns(
    found: TimeSeries, columns: tuple[str, ...] | None, also: tuple[str, ...], also_option: str
) -> TimeSeries:
    if columns is None:
        columns = tuple(name for name in found.columns if name not in also)
        if len(columns) != 1:
            raise ValueError(
                f"column: got nothing, and {found.name} has {', '.join(found.columns)}, expected "
                "one of them"
            )
    for option_name, names in (("column", columns), (also_option, also)):
        for name in names:
            if name not in found.columns:
                near = difflib.get_close_matches(name, found.columns, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"{option_name}: got {name!r}, expected one of the columns of {found.name}: "
                    f"{', '.join(found.columns)}{hint}"
                )
    names = (*columns, *also)
    places = [found.columns.index(name) for name in names]
    return found._replace(columns=names, values=found.values[:, places])
