"""The correlogram of a series of numbers, and the conclusion from it."""

from typing import NamedTuple

import numpy as np

from seqmodels.analysis.autocorrelation import acf, ccf, ljung_box, pacf, seasonal_period
from seqmodels.analysis.autocorrelation.correlogram import normal_quantile
from seqmodels.analysis.verdict import Verdict, verdict
from seqmodels.data.time_series import TimeSeries
from seqmodels.data.transforms import transformed

LEAST = 10  # fewest values
MOST_PERIOD = 5_000


class Correlogram(NamedTuple):
    """The correlogram of one column, lags 1 to K.

    Attributes:
      number: number of values.
      values: (K,) autocorrelations.
      band: (K,) half widths of the interval that holds the autocorrelations of noise with
        probability 1 - alpha (Bartlett).
      partial: (K,) partial autocorrelations.
      partial_band: (K,) their half widths.
      statistics: (K,) Q of Ljung and Box up to each lag.
      pvalues: (K,) their p values.
      verdict: the conclusion, with its words.
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
    """Returns the series transformed and differenced; the first values have no difference.

    Args:
      series: the values.
      transform: a name in `seqmodels.data.transforms`.
      difference: order of differencing, x_t - x_{t-1}.
      seasonal_difference: order of seasonal differencing, x_t - x_{t-period}, which comes first.
      period: steps of a season; None: that of the calendar.

    Raises:
      ValueError: if a value has no root or logarithm, there is no season, or no value
        would remain.
    """
    least = float(np.nanmin(series.values))
    if (least < 0 and transform != "none") or (least == 0 and transform == "log"):
        raise ValueError(f"transform: got {transform} of {least:g}, expected positive values")
    values = transformed(series.values, transform)
    season = period or series.period
    if seasonal_difference and season < 2:
        raise ValueError("seasonal_difference: got it without a season, expected period too")
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


def analyze(
    series: TimeSeries,
    *,
    nlags: int | None,
    alpha: float,
    period: int | None = None,
    difference: int = 0,
    seasonal_difference: int = 0,
) -> Correlogram:
    """Returns the correlogram of the first column, and its correlation with a second.

    Args:
      series: the result of `changed`.
      nlags: the largest lag; None for two seasons, or 10 log10 of the length.
      alpha: level of bands and tests.
      period: steps of a season; None: that of the calendar.
      difference: order of differencing of the series.
      seasonal_difference: order of seasonal differencing of the series.

    Raises:
      ValueError: if there are too few values, or they do not vary.
    """
    for name, column in zip(series.columns, series.values.T, strict=True):
        observed = column[np.isfinite(column)]
        if len(observed) < LEAST:
            raise ValueError(f"{name}: got {len(observed)} values, expected at least {LEAST}")
        if np.ptp(observed) <= 1e-12 * np.max(np.abs(observed)):
            raise ValueError(
                f"{name}: got {observed[0]:g} at every step, expected values that vary: a constant "
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
    missing = "conservative"
    correlations = acf(column, nlags=nlags, alpha=alpha, missing=missing)
    # Divided by n: with gaps, or a trend, the other estimate leaves [-1, 1].
    partial = pacf(column, nlags=nlags, method="ywmle", alpha=alpha, missing=missing)
    tested = ljung_box(column, nlags, missing=missing)
    cycle = _cycle(column, season, count, alpha)
    values, pvalues = np.asarray(correlations.values)[1:], np.asarray(tested.pvalue, np.float64)
    partials = np.asarray(partial.values)[1:]
    cross = None
    if len(series.columns) > 1:
        other = series.values[:, 1]
        pairs = ((column, other), (other, column))
        cross = np.stack(
            [np.asarray(ccf(*pair, nlags=nlags + 1, missing=missing)) for pair in pairs]
        )
    conclusion = verdict(
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
    return Correlogram(
        number=count,
        values=values,
        band=np.asarray(correlations.confint)[1:, 1] - values,
        partial=partials,
        partial_band=np.asarray(partial.confint)[1:, 1] - partials,
        statistics=np.asarray(tested.statistic),
        pvalues=pvalues,
        verdict=conclusion,
        cross=cross,
    )


def _cycle(column: np.ndarray, season: int, count: int, alpha: float) -> int:
    """Returns the steps of the cycle of a column, 0 for none; the calendar's season is preferred.

    Args:
      column: (T,), NaN in gaps.
      season: steps of the calendar's season, 1 for none.
      count: number of values.
      alpha: level of the test.
    """
    seasonal = seasonal_period(column, min(count // 2, MOST_PERIOD), alpha, missing="conservative")
    cycle = int(seasonal.period)
    if 1 < season < len(seasonal.whitened) - 1 and cycle % season == 0:
        # The calendar's season need not be the highest of its neighbors, because it is one lag
        # chosen before the test, not the best of many. Two seasons are no cycle of their own.
        limit = normal_quantile(2 * alpha) / np.sqrt(count)
        is_seasonal = seasonal.acf[season] > 0 and (cycle > 0 or seasonal.whitened[season] > limit)
        cycle = season if is_seasonal else cycle
    return cycle
