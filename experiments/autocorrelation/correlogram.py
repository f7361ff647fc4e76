"""The correlogram of a series of numbers: figures, words, table, picture."""

import csv
import pathlib
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from experiments.common import report as study_report
from experiments.forecasting import data as forecast_data
from seqmodels import plots
from seqmodels.analysis.autocorrelation import acf, ccf, ljung_box, pacf, seasonal_period
from seqmodels.analysis.autocorrelation.correlogram import normal_quantile
from seqmodels.analysis.verdict import Verdict, verdict
from seqmodels.data.time_series import TimeSeries
from seqmodels.plots import Panel

LEAST = 10  # values for anything to be said
MOST_PERIOD = 5_000
MOST_SHOWN = 24  # lags in the table on the screen


class Found(NamedTuple):
    """The correlogram of one column, lags 1 to K.

    Attributes:
      number: how many values there are.
      values: (K,) autocorrelations.
      band: (K,), that of noise lies within as often as alpha says (Bartlett).
      partial: (K,).
      partial_band: (K,).
      statistics: (K,), Q of Ljung and Box up to each lag.
      pvalues: (K,).
      verdict: in words.
      cross: (2, K + 1) correlations with another column's past, and of its present with this one's
        past, lags from 0; None without another.
    """

    number: int
    values: np.ndarray
    band: np.ndarray
    partial: np.ndarray
    partial_band: np.ndarray
    statistics: np.ndarray
    pvalues: np.ndarray
    verdict: Verdict
    cross: np.ndarray | None


def changed(
    series: TimeSeries,
    *,
    transform: str,
    difference: int,
    seasonal_difference: int,
    period: int | None,
) -> TimeSeries:
    """Returns the series transformed and differenced, the first values without differences gone.

    Raises:
      ValueError: in one line, if a value has no root or logarithm, there is no season, or nothing
        is left.
    """
    least = float(np.nanmin(series.values))
    if (least < 0 and transform != "none") or (least == 0 and transform == "log"):
        raise ValueError(f"transform: got {transform} of {least:g}, expected positive values")
    values = forecast_data.transformed(series.values, transform)
    season = period or series.period
    if seasonal_difference and season < 2:
        raise ValueError("seasonal_difference: got without a season, expected period too")
    steps = seasonal_difference * season + difference
    if steps >= len(values):
        raise ValueError(
            f"difference, seasonal_difference: got {steps} steps' worth of a series of "
            f"{len(values)}, expected less"
        )
    for lag in [season] * seasonal_difference + [1] * difference:
        values = values[lag:] - values[:-lag]
    times = None if series.times is None else series.times[steps:]
    return series._replace(values=values, times=times)


def analyse(
    series: TimeSeries,
    *,
    nlags: int | None,
    alpha: float,
    period: int | None = None,
    difference: int = 0,
    seasonal_difference: int = 0,
) -> Found:
    """Returns the correlogram of the first column, and its correlation with a second.

    Raises:
      ValueError: in one line, if there are too few values, or they do not vary.
    """
    for name, column in zip(series.columns, series.values.T, strict=True):
        there = column[np.isfinite(column)]
        if len(there) < LEAST:
            raise ValueError(f"{name}: got {len(there)} values, expected at least {LEAST}")
        if np.ptp(there) <= 1e-12 * np.max(np.abs(there)):
            raise ValueError(
                f"{name}: got {there[0]:g} at every step, expected values that vary: a constant "
                "has no autocorrelation"
            )
    column = series.values[:, 0]
    count = int(np.isfinite(column).sum())
    most = count // 2 - 1
    season = period or series.period
    if nlags is None:
        nlags = min(max(int(10 * np.log10(count)), 2 * season), most)
    elif nlags > most:
        raise ValueError(
            f"nlags: got {nlags}, expected at most {most}, less than half of the {count} values"
        )
    gaps = "conservative"
    own = acf(column, nlags=nlags, alpha=alpha, missing=gaps)
    # Divided by n: with gaps, or a trend, the other estimate leaves [-1, 1].
    partial = pacf(column, nlags=nlags, method="ywmle", alpha=alpha, missing=gaps)
    tested = ljung_box(column, nlags, missing=gaps)
    found = seasonal_period(column, min(count // 2, MOST_PERIOD), alpha, missing=gaps)
    cycle = int(found.period)
    if 1 < season < len(found.whitened) - 1 and cycle % season == 0:
        # The calendar's season need not be the highest of its neighbours; it is one lag, named
        # before any was looked at, not the best of many; and two seasons are no cycle of their own.
        limit = normal_quantile(2 * alpha) / np.sqrt(count)
        shows = found.acf[season] > 0 and (cycle > 0 or found.whitened[season] > limit)
        cycle = season if shows else cycle
    values, pvalues = np.asarray(own.values)[1:], np.asarray(tested.pvalue, np.float64)
    partials = np.asarray(partial.values)[1:]
    cross = None
    if len(series.columns) > 1:
        other = series.values[:, 1]
        cross = np.stack(
            [np.asarray(ccf(*pair, nlags=nlags + 1, missing=gaps))
             for pair in ((column, other), (other, column))]
        )  # fmt: skip
    said = verdict(
        values,
        partials,
        count,
        float(pvalues[-1]),
        period=cycle,
        calendar=season,
        differenced=difference + seasonal_difference > 0,
        seasonally=seasonal_difference > 0,
        alpha=alpha,
        duration=series.duration,
    )
    return Found(
        count,
        values,
        np.asarray(own.confint)[1:, 1] - values,
        partials,
        np.asarray(partial.confint)[1:, 1] - partials,
        np.asarray(tested.statistic),
        pvalues,
        said,
        cross,
    )


def show(series: TimeSeries, found: Found, folder: pathlib.Path, alpha: float) -> None:
    """Prints table and words; writes acf.csv, ccf.csv, verdict.txt, correlogram.png."""
    gaps = len(series.values) - found.number
    name = series.columns[0]
    title = (
        f"{series.name}, {name}: {found.number:,} values, {series.label(0)} to {series.label(-1)}"
        f"{f', {gaps:,} gaps' if gaps else ''}. *: outside of the band in which {1 - alpha:.0%} of "
        "chance is (Bartlett). Q, p: Ljung and Box, all lags up to this one."
    )
    columns = {
        "lag": np.arange(1, len(found.values) + 1),
        "acf": found.values,
        "acf_band": found.band,
        "pacf": found.partial,
        "pacf_band": found.partial_band,
        "q": found.statistics,
        "p": found.pvalues,
    }
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for heading in ("lag", "acf", "±", "pacf", "±", "Q", "p"):
        table.add_column(heading, justify="right")
    for row in list(zip(*columns.values(), strict=True))[:MOST_SHOWN]:
        lag, r, band, partial, partial_band, q, p = row
        shown = f"{p:.2g}" if p >= 1e-16 else "< 1e-16"
        table.add_row(
            str(lag),
            f"{r:.3f}{_star(r, band)}",
            f"{band:.3f}",
            f"{partial:.3f}{_star(partial, partial_band)}",
            f"{partial_band:.3f}",
            f"{q:.4g}",
            shown,
        )
    study_report.show(table)
    words = [found.verdict.words]
    _write(folder / "acf.csv", columns)
    lags = columns["lag"]
    panels = [
        Panel("autocorrelation", lags, found.values, -found.band, found.band),
        Panel(
            "partial autocorrelation", lags, found.partial, -found.partial_band, found.partial_band
        ),
    ]
    if found.cross is not None:
        words.append(_cross(series, found, folder, panels, alpha))
    print("\n".join(words))
    (folder / "verdict.txt").write_text("\n".join(words) + "\n")
    times = series.dates(len(series.values))
    figure = plots.correlograms(
        panels,
        title=f"{series.name}, {name}",
        xlabel=f"lag ({series.duration(2).removeprefix('2 ') if series.every == 1 else 'steps'})",
        series=(times, series.values[:, 0]),
    )
    figure.savefig(folder / "correlogram.png")
    print(f"report: {folder}")


def _cross(
    series: TimeSeries, found: Found, folder: pathlib.Path, panels: list[Panel], alpha: float
) -> str:
    """Adds the panel of another column, writes ccf.csv, and says what it shows."""
    assert found.cross is not None
    name, other = series.columns
    lags = np.arange(1 - found.cross.shape[1], found.cross.shape[1])
    # Negative lags: this column leads.
    values = np.concatenate([found.cross[1, :0:-1], found.cross[0]])
    there = np.isfinite(series.values).all(axis=1).sum()
    band = np.full(len(lags), normal_quantile(alpha) / np.sqrt(there))
    panels.append(Panel(f"correlation with {other} so long before", lags, values, -band, band))
    _write(folder / "ccf.csv", {"lag": lags, "ccf": values, "band": band})
    limit = normal_quantile(alpha / len(lags)) / np.sqrt(there)
    best = int(np.nanargmax(np.abs(values)))
    lag, r = int(lags[best]), values[best]
    if abs(r) <= limit:
        return f"{other} tells nothing of {name}: no correlation stands out at any lag."
    when = (
        "at the same time"
        if not lag
        else f"when {other if lag > 0 else name} leads by {series.duration(abs(lag))}"
    )
    known = (
        " Two series that both remember correlate by chance more often than the band says: compare "
        "differences too."
        if found.verdict.kind != "none"
        else ""
    )
    return f"With {other} the correlation is largest {when}: {r:.2f}.{known}"


def _star(value: float, band: float) -> str:
    return "*" if abs(value) > band else " "


def _write(path: pathlib.Path, columns: dict[str, np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([row[0], *(f"{value:.6g}" for value in row[1:])])
