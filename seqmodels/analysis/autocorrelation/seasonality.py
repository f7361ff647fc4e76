"""Detection of the seasonal period of a series."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from scipy import special

from seqmodels.analysis.autocorrelation.correlogram import autocorrelations
from seqmodels.analysis.autocorrelation.inputs import checked_alpha, num_steps, whole_number
from seqmodels.analysis.autocorrelation.series import Series, centered, compute
from seqmodels.types import Array

LEAST_PERIOD = 2
SHARE = 0.8  # of the best peak, for a shorter one to be preferred


class SeasonalPeriod(NamedTuple):
    """The period of a series, and its evidence.

    Attributes:
      period: int32 (*batch), in steps; 0 without significant evidence.
      strength: (*batch), the autocorrelation at that period, or without a period at the lag with
        the best evidence; NaN if the autocorrelation has no peak.
      pvalue: (*batch), the probability of such evidence at any lag by chance. It is 1 without a
        peak, and NaN if there is no lag to test, as for a straight line.
      acf: (*batch, max_period + 2), of the detrended series, from lag 0.
      whitened: (*batch, max_period + 2), autocorrelation of the residuals of an AR(1) of it.
      bound: (*batch), the value that `whitened` must exceed at a period.
    """

    period: Array
    strength: Array
    pvalue: Array
    acf: Array
    whitened: Array
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
    """Finds the period of a series: a lag with a significant peak of the autocorrelation.

    A straight line is subtracted by least squares, because a trend makes every autocorrelation
    high. A lag k of 2 to `max_period` is a period if

    - the autocorrelation r is positive there and has a peak, r_{k-1} < r_k >= r_{k+1};
    - the residuals of an AR(1) have it too: the autocorrelation of x_t - max(r_1, 0) x_{t-1}
      exceeds z / sqrt(n) there. z is the one-sided quantile of level alpha / K for K tested lags
      (Bonferroni). An AR(1) or a random walk leaves white noise, hence no period.

    The result is the shortest of these with at least `SHARE` of the best evidence, because
    multiples of the period are peaks too. Seasons in the correlogram: Box, Jenkins 1970, "Time
    Series Analysis", chapter 9; the test by prewhitening and the white-noise error 1 / sqrt(n):
    Brockwell, Davis 1991, "Time Series: Theory and Methods", sections 7.2 and 11.2.

    Args:
      x: real (..., n), time along `axis`, n at least 4.
      max_period: the longest period; None: n // 2, which leaves two whole cycles.
      alpha: the largest probability of finding a period in white noise.
      missing: as in `acf`.
      mask: as in `acf`.
      lengths: as in `acf`; periods above half a length have little evidence.
      axis: the axis of time.

    Returns:
      A `SeasonalPeriod` in the dtype of x, at least float32; where `acf` is NaN, period is 0.

    Raises:
      ValueError: as in `acf`, with `max_period` for nlags, or if it is not in 2 to n - 2.

    Examples:
      >>> months = np.arange(96)
      >>> noise = 0.1 * np.random.default_rng(0).normal(size=96)
      >>> int(seasonal_period(np.sin(2 * np.pi * months / 12) + noise).period)
      12
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
    """Returns the detrended series; all zeros if the series is a line."""
    values = centered(series)
    n = values.shape[0]
    steps = jnp.arange(n, dtype=values.dtype) / n
    times = centered(series._replace(values=steps if series.valid is None
                                    else jnp.where(series.valid, steps, 0)))  # fmt: skip
    spread = jnp.sum(times**2)
    slope = jnp.sum(times * values) / jnp.where(spread > 0, spread, 1)
    left = values - slope * times
    rounding = (n * jnp.finfo(values.dtype).eps) ** 2 * jnp.sum(values**2)
    return series._replace(values=jnp.where(jnp.sum(left**2) > rounding, left, 0))


def _seasonal_period(series: Series, *, max_period: int, alpha: float) -> SeasonalPeriod:
    straight = _detrended(series)
    most, values, valid = max_period + 1, straight.values, straight.valid
    raw = autocorrelations(straight, most)
    left = values[1:] - jnp.maximum(raw[1], 0) * values[:-1]
    both = None if valid is None else valid[1:] & valid[:-1]
    pairs = series.number - 1 if both is None else jnp.sum(both).astype(values.dtype)
    pairs = jnp.maximum(pairs, 1)
    left = left if both is None else jnp.where(both, left, 0)
    whitened = autocorrelations(Series(left, both, pairs), min(most, left.shape[0] - 1))
    whitened = jnp.pad(whitened, (0, most + 1 - whitened.shape[0]), constant_values=jnp.nan)

    lags = jnp.arange(most + 1)
    peak = (raw[1:-1] > raw[:-2]) & (raw[1:-1] >= raw[2:]) & (raw[1:-1] > 0)
    peak = jnp.pad(peak, 1) & (lags >= LEAST_PERIOD) & ~jnp.isnan(whitened)
    looked = ~jnp.isnan(raw) & ~jnp.isnan(whitened) & (lags >= LEAST_PERIOD) & (lags < most)
    heights = jnp.where(peak, whitened, -jnp.inf)
    num_lags = max_period - LEAST_PERIOD + 1
    bound = -special.ndtri(alpha / num_lags) / jnp.sqrt(pairs)
    highest = jnp.max(heights)
    best = jnp.argmax((heights >= SHARE * highest) & (heights > bound) | (heights == highest))
    there = jnp.any(peak)
    chance = num_lags * jax.scipy.stats.norm.sf(highest * jnp.sqrt(pairs))
    return SeasonalPeriod(
        jnp.where(highest > bound, best, 0),
        jnp.where(there, raw[best], jnp.nan),
        jnp.where(there, jnp.minimum(1, chance), jnp.where(jnp.any(looked), 1, jnp.nan)),
        raw,
        whitened,
        bound,
    )
