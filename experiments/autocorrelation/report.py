"""The report of a correlogram: table, words, CSV files, picture."""

import csv
import pathlib

import numpy as np
from rich import box
from rich.table import Table

from experiments.autocorrelation.correlogram import Correlogram
from experiments.common import report as study_report
from experiments.common.terminal import say
from seqmodels import plots
from seqmodels.analysis.autocorrelation.correlogram import normal_quantile
from seqmodels.data.time_series import TimeSeries
from seqmodels.plots import Panel

MOST_SHOWN = 24  # lags in the table on the screen


def show(series: TimeSeries, correlogram: Correlogram, folder: pathlib.Path, alpha: float) -> str:
    """Prints table and words; writes acf.csv, ccf.csv, verdict.txt, correlogram.png.

    Args:
      series: the result of `changed`.
      correlogram: the result of `analyze`.
      folder: the folder of the report.
      alpha: level of bands and tests.

    Returns:
      The words.
    """
    gaps = len(series.values) - correlogram.number
    name = series.columns[0]
    title = (
        f"{series.name}, {name}: {correlogram.number:,} values, {series.label(0)} to "
        f"{series.label(-1)}{f', {gaps:,} gaps' if gaps else ''}. *: outside of the band that "
        f"holds {1 - alpha:.0%} of noise (Bartlett). Q, p: Ljung and Box, all lags up to this one."
    )
    columns = {
        "lag": np.arange(1, len(correlogram.values) + 1),
        "acf": correlogram.values,
        "acf_band": correlogram.band,
        "pacf": correlogram.partial,
        "pacf_band": correlogram.partial_band,
        "q": correlogram.statistics,
        "p": correlogram.pvalues,
    }
    study_report.show(_table(title, columns))
    words = [correlogram.verdict.words]
    _write(folder / "acf.csv", columns)
    band, partial_band = correlogram.band, correlogram.partial_band
    lags = columns["lag"]
    panels = [
        Panel("autocorrelation", lags, correlogram.values, -band, band),
        Panel("partial autocorrelation", lags, correlogram.partial, -partial_band, partial_band),
    ]
    if correlogram.cross is not None:
        words.append(_cross(series, correlogram, folder, panels, alpha))
    text = "\n".join(words)
    say(text, lines=True)
    (folder / "verdict.txt").write_text(text + "\n")
    figure = plots.correlograms(
        panels,
        title=f"{series.name}, {name}",
        xlabel=f"lag ({series.duration(2).removeprefix('2 ') if series.every == 1 else 'steps'})",
        series=(series.dates(len(series.values)), series.values[:, 0]),
    )
    figure.savefig(folder / "correlogram.png")
    return text


def _table(title: str, columns: dict[str, np.ndarray]) -> Table:
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for heading in ("lag", "acf", "±", "pacf", "±", "Q", "p"):
        table.add_column(heading, justify="right")
    for row in list(zip(*columns.values(), strict=True))[:MOST_SHOWN]:
        lag, r, band, partial, partial_band, q, p = row
        table.add_row(
            str(lag),
            _shown(r, f"{r:.3f}{_star(r, band)}"),
            _shown(band, f"{band:.3f}"),
            _shown(partial, f"{partial:.3f}{_star(partial, partial_band)}"),
            _shown(partial_band, f"{partial_band:.3f}"),
            _shown(q, f"{q:.4g}"),
            _shown(p, f"{p:.2g}" if p >= 1e-16 else "< 1e-16"),
        )
    return table


def _cross(
    series: TimeSeries,
    correlogram: Correlogram,
    folder: pathlib.Path,
    panels: list[Panel],
    alpha: float,
) -> str:
    """Adds the panel of another column, writes ccf.csv, and returns the conclusion."""
    cross = correlogram.cross
    assert cross is not None
    name, other = series.columns
    lags = np.arange(1 - cross.shape[1], cross.shape[1])
    # Negative lags: this column leads.
    values = np.concatenate([cross[1, :0:-1], cross[0]])
    pairs = np.isfinite(series.values).all(axis=1).sum()
    band = np.full(len(lags), normal_quantile(alpha) / np.sqrt(max(pairs, 1)))
    panels.append(Panel(f"correlation with {other}, by lag", lags, values, -band, band))
    _write(folder / "ccf.csv", {"lag": lags, "ccf": values, "band": band})
    if not pairs or not np.isfinite(values).any():
        return f"{other} and {name} are not compared: no step has values of both."
    limit = normal_quantile(alpha / len(lags)) / np.sqrt(pairs)
    best = int(np.nanargmax(np.abs(values)))
    lag, r = int(lags[best]), values[best]
    if abs(r) <= limit:
        return f"{other} does not predict {name}: no significant correlation at any lag."
    when = (
        "at the same time"
        if not lag
        else f"when {other if lag > 0 else name} leads by {series.duration(abs(lag))}"
    )
    warning = (
        " Two autocorrelated series correlate by chance more often than the band suggests: compare "
        "differences too."
        if correlogram.verdict.kind != "none"
        else ""
    )
    return f"With {other} the correlation is largest {when}: {r:.2f}.{warning}"


def _shown(value: float, text: str) -> str:
    """Returns the text of a number, "-" for one that could not be computed."""
    return text if np.isfinite(value) else "-"


def _star(value: float, band: float) -> str:
    return "*" if abs(value) > band else " "


def _write(path: pathlib.Path, columns: dict[str, np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            numbers = (f"{value:.6g}" if np.isfinite(value) else "" for value in row[1:])
            writer.writerow([row[0], *numbers])
