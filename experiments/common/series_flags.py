"""Which series an entry point reads: a known one, or columns of the user's own CSV."""

import difflib
import hashlib
import pathlib

from absl import flags

from experiments.common import app
from seqmodels.data import series_files, tables
from seqmodels.data.time_series import TimeSeries
from seqmodels.datasets import series

NAMES = ("series", "csv", "column", "date_column", "date_format", "first", "last")


def define() -> None:
    """Defines the flags of `NAMES`."""
    flags.DEFINE_string("series", None, f"A known series: {', '.join(series.known())}.")
    flags.DEFINE_string(
        "csv", None, "Your own file: UTF-8, a header, a row a step (TSV where the name ends so)."
    )
    flags.DEFINE_list(
        "column", None, "Columns to look at; by default the only one that is no date."
    )
    flags.DEFINE_string(
        "date_column", None, "Column of the csv with dates; default: the one so named; none: none."
    )
    flags.DEFINE_string("date_format", None, "Form of the dates where not ISO: %d.%m.%Y, say.")
    flags.DEFINE_string("first", None, "The first date to take, such as 1987 or 1987-05.")
    flags.DEFINE_string("last", None, "The last date to take; all that it names.")
    app.checked(app.not_empty, "csv", "date_column", "date_format", "first", "last")
    app.checked(lambda value: value is None or app.known_name(series.known())(value), "series")


def load(default: str | None = None, also: tuple[str, ...] = ()) -> TimeSeries:
    """Returns the series that the flags describe, its columns those of `--column` first.

    Args:
      default: the known series where the flags name none.
      also: further columns, which follow.

    Raises:
      ValueError: in one line, for flags that do not go together, and as `series_files.read_csv`.
      OSError: if the file cannot be read.
      ModuleNotFoundError: if a library is missing.
    """
    values = flags.FLAGS
    if values.series is not None and values.csv is not None:
        raise ValueError("series, csv: got both, expected one of them")
    if values.csv is None:
        for flag in ("date_column", "date_format"):
            if getattr(values, flag) is not None:
                raise ValueError(f"{flag}: got without csv, expected both")
        name: str | None = values.series or default
        if name is None:
            raise ValueError("series, csv: got neither, expected one of them")
        found = _chosen(series.load(name), also)
    else:
        if not pathlib.Path(values.csv).is_file():
            raise ValueError(f"csv: got {values.csv!r}, expected a file that is there")
        columns = values.column or [_only(values.csv, values.date_column, also)]
        found = series_files.read_csv(
            values.csv, [*columns, *also], values.date_column, values.date_format
        )
    return found.between(values.first, values.last)


def digests() -> dict[str, str]:
    """Returns what tells the user's file from others of its name."""
    name = flags.FLAGS.csv
    if name is None or not pathlib.Path(name).is_file():
        return {}
    return {"csv_sha256": hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()}


def _only(path: str, date_column: str | None, also: tuple[str, ...]) -> str:
    """Returns the only column of a file that is no date; ValueError if there are several."""
    frame = tables.read_table(path)
    dates = series_files.date_column_of(path, frame, date_column)
    rest = [str(name) for name in frame.columns if name != dates and name not in also]
    if len(rest) != 1:
        raise ValueError(
            f"column: got nothing, and {path} has {', '.join(rest) or 'none'}, expected one of them"
        )
    return rest[0]


def _chosen(found: TimeSeries, also: tuple[str, ...]) -> TimeSeries:
    wanted = flags.FLAGS.column
    if wanted is None:
        if len(found.columns) - len(also) != 1:
            raise ValueError(
                f"column: got nothing, and {found.name} has {', '.join(found.columns)}, expected "
                "one of them"
            )
        wanted = [name for name in found.columns if name not in also]
    for flag, names in (("column", wanted), ("exogenous, known", also)):
        for name in names:
            if name not in found.columns:
                near = difflib.get_close_matches(name, found.columns, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"{flag}: got {name!r}, expected one of the columns of {found.name}: "
                    f"{', '.join(found.columns)}{hint}"
                )
    every = [*wanted, *also]
    places = [found.columns.index(name) for name in every]
    return found._replace(columns=tuple(every), values=found.values[:, places])
