"""Well-known time series by name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqmodels.data.time_series import TimeSeries, regular

_Found = tuple[Sequence[str], np.ndarray, np.ndarray | None]


def known() -> dict[str, str]:
    """Returns the names of the series, each with a one-line description."""
    return {name: what for name, (what, _) in _KNOWN.items()}


def load(name: str) -> TimeSeries:
    """Returns a series by name.

    Args:
      name: one of `known`.

    Raises:
      ValueError: for another name.
      ModuleNotFoundError: if the library that ships it is not installed.
    """
    if name not in _KNOWN:
        raise ValueError(f"series: got {name!r}, expected one of {', '.join(_KNOWN)}")
    try:
        columns, values, times = _KNOWN[name][1]()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the series {name} needs {error.name}: pip install 'seqmodels[series]'"
        ) from error
    return regular(name, columns, np.asarray(values, np.float64), times)


def _statsmodels(name: str) -> Any:
    from statsmodels import datasets

    return getattr(datasets, name).load_pandas().data


def _years(name: str, time: str, column: str) -> _Found:
    frame = _statsmodels(name)
    times = (frame[time].to_numpy(np.int64) - 1970).astype("datetime64[Y]")
    return (column.lower(),), frame[[column]].to_numpy(), times


def _co2_weekly() -> _Found:
    frame = _statsmodels("co2")
    return ("co2",), frame[["co2"]].to_numpy(), frame.index.to_numpy().astype("datetime64[D]")


def _co2() -> _Found:
    frame = _statsmodels("co2").resample("MS").mean()
    return ("co2",), frame[["co2"]].to_numpy(), frame.index.to_numpy().astype("datetime64[M]")


def _elnino() -> _Found:
    frame = _statsmodels("elnino")
    first = np.datetime64(f"{int(frame['YEAR'].iloc[0])}-01")
    values = frame.drop(columns="YEAR").to_numpy().reshape(-1, 1)
    return ("temperature",), values, first + np.arange(len(values))


def _macrodata() -> _Found:
    frame = _statsmodels("macrodata")
    months = (frame["year"] - 1970) * 12 + (frame["quarter"] - 1) * 3
    columns = [name for name in frame.columns if name not in ("year", "quarter")]
    return columns, frame[columns].to_numpy(), months.to_numpy(np.int64).astype("datetime64[M]")


def _seattle() -> _Found:
    from vega_datasets import local_data

    frame = local_data.seattle_temps()
    return ("temp",), frame[["temp"]].to_numpy(), frame["date"].to_numpy().astype("datetime64[h]")


_KNOWN: dict[str, tuple[str, Callable[[], _Found]]] = {
    "sunspots": (
        "yearly number of sunspots, 1700 to 2008 (statsmodels; public domain)",
        lambda: _years("sunspots", "YEAR", "SUNACTIVITY"),
    ),
    "co2": (
        "CO2 in the air at Mauna Loa, means of months, 1958 to 2001 (statsmodels; public domain)",
        _co2,
    ),
    "co2_weekly": ("the same by the week, with gaps", _co2_weekly),
    "elnino": (
        "monthly temperature of the sea off Peru, 1950 to 2010 (statsmodels; public domain)",
        _elnino,
    ),
    "nile": (
        "yearly volume of the Nile at Aswan, 1871 to 1970 (statsmodels; public domain)",
        lambda: _years("nile", "year", "volume"),
    ),
    "macrodata": (
        "quarterly figures of the US economy, 1959 to 2009, 12 columns (statsmodels; public "
        "domain)",
        _macrodata,
    ),
    "seattle_temps": (
        "hourly temperature of Seattle in 2010, Fahrenheit (vega_datasets; public domain)",
        _seattle,
    ),
}
