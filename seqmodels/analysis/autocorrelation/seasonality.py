"""Does a series repeat itself, after how many steps, and what says so?"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqmodels.analysis.autocorrelation.correlogram import autocorrelations, bartlett_variances
from seqmodels.analysis.autocorrelation.inputs import checked_alpha, num_steps, whole_number
from seqmodels.analysis.autocorrelation.series import Series, centred, compute
from seqmodels.types import Array

LEAST_PERIOD = 2


class SeasonalPeriod(NamedTuple):
    """The period of a series, and its evidence.

    Attributes:
      period: int32 (*batch), in steps; 0 where the evidence does not do.
      strength: (*batch), the autocorrelation at the clearest peak, whether it does or not; NaN
        if there is no peak at all.
      pvalue: (*batch), that some lag shows a peak so high above its error by chance; 1 without one.
      acf: (*batch, max_period + 2), of the series less its straight line, from lag 0.
      bound: (*batch, max_period + 2), what a peak must exceed at each lag.
    """

    period: Array
    strength: Array
    pvalue: Array
    acf: Array
    bound: Array


def seasonal_period(
    x: ArrayLike,
    max_period: int | None = None,
    alpha: float = 0.05,
    *,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> SeasonalPeriod:
    """Finds the period of a series: where its autocorrelation has the clearest peak.

    A straight line is taken off by least squares: a trend makes every autocorrelation high. A lag k
    of 2 to `max_period` is a peak if r_{k-1} < r_k >= r_{k+1}, and counts if

    - r_k exceeds z sqrt((1 + 2 sum_{j<k} r_j^2) / n), the error that Bartlett 1946 gives a lag past
      the last one that matters, so that what merely fades, as an AR(1) does, has no period;
    - r_k rises above the lowest r_j before it by more than z sqrt(2 / n), so that a ripple on a
      smooth series is no period;

    with z of level alpha / K in one tail for the K lags looked at (Bonferroni). Of those that count
    the one the most errors above 0 is taken. Multiples of the period have the larger errors. Reading
    a season off the correlogram: Box, Jenkins 1970, "Time Series Analysis", chapter 9.

    Args:
      x: real (..., n), time along `axis`, n at least 4.
      max_period: None: n // 2, of which there are two whole cycles.
      alpha: how often white noise may be said to have a period, at most.
      missing: as in `acf`.
      mask: as in `acf`.
      lengths: as in `acf`; periods above half a length have little evidence.
      axis: of time.

    Returns:
      A `SeasonalPeriod` in the dtype of x, at least float32; NaN as in `acf`, period 0.

    Raises:
      ValueError: as `acf`, with `max_period` for nlags; max_period is not 2 to n - 2.
    """
    n = num_steps({"x": x}, axis, least=4)
    if max_period is None:
        max_period = n // 2
    max_period = whole_number("max_period", max_period, LEAST_PERIOD, n - 2, f", for {n} values")
    checked = checked_alpha(alpha)
    return compute(
        _seasonal_period, {"x": x}, axis=axis, mask=mask, lengths=lengths, missing=missing,
        num_lags=("max_period", max_period + 1), max_period=max_period, alpha=checked,
    )  # fmt: skip


def _detrended(series: Series) -> Series:
    """Returns the series less its straight line; all zeros if it is nothing but a line."""
    values = centred(series)
    n = values.shape[0]
    steps = jnp.arange(n, dtype=values.dtype) / n
    times = centred(series._replace(values=steps if series.valid is None
                                    else jnp.where(series.valid, steps, 0)))  # fmt: skip
    spread = jnp.sum(times**2)
    slope = jnp.sum(times * values) / jnp.where(spread > 0, spread, 1)
    left = values - slope * times
    rounding = (n * jnp.finfo(values.dtype).eps) ** 2 * jnp.sum(values**2)
    return series._replace(values=jnp.where(jnp.sum(left**2) > rounding, left, 0))


def _seasonal_period(series: Series, *, max_period: int, alpha: float) -> SeasonalPeriod:
    correlations = autocorrelations(_detrended(series), max_period + 1)
    errors = jnp.sqrt(bartlett_variances(correlations, series.number))
    num_lags = max_period - LEAST_PERIOD + 1
    lags = jnp.arange(max_period + 2)
    here = correlations[1:-1]
    peak = (here > correlations[:-2]) & (here >= correlations[2:])
    peak = jnp.pad(peak, 1) & (lags >= LEAST_PERIOD)
    normal = jax.scipy.stats.norm
    z = -normal.ppf(alpha / num_lags)
    rise = correlations - jax.lax.cummin(correlations)
    peak &= rise > z * jnp.sqrt(2 / series.number)
    scores = jnp.where(peak, correlations / jnp.where(lags > 0, errors, 1), -jnp.inf)
    best = jnp.argmax(scores)
    there = jnp.any(peak)
    return SeasonalPeriod(
        jnp.where(scores[best] > z, best, 0),
        jnp.where(there, correlations[best], jnp.nan),
        jnp.where(there, jnp.minimum(1, num_lags * normal.sf(scores[best])), 1),
        correlations,
        z * errors,
    )
