"""Tests of residual autocorrelation: Ljung-Box, Box-Pierce, Durbin-Watson."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqmodels.analysis.autocorrelation.correlogram import autocorrelations
from seqmodels.analysis.autocorrelation.inputs import num_steps, whole_number
from seqmodels.analysis.autocorrelation.series import Series, compute
from seqmodels.types import Array

MOST_LAGS = 10  # where none are asked for


class Portmanteau(NamedTuple):
    """A portmanteau test: a joint test of the first h autocorrelations, for several h.

    Attributes:
      statistic: (*batch, L), Q.
      pvalue: (*batch, L), of Q under no autocorrelation; NaN (not tested) if no degree of freedom
        remains.
      lags: int (L,), the values of h.
    """

    statistic: Array
    pvalue: Array
    lags: np.ndarray


def ljung_box(
    x: ArrayLike,
    lags: int | Sequence[int] | None = None,
    model_df: int = 0,
    period: int | None = None,
    *,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> Portmanteau:
    """Tests whether the first autocorrelations are all zero (Ljung-Box test).

    Q(h) = n (n + 2) sum_{k=1}^h r_k^2 / (n - k), under no autocorrelation chi-squared with
    h - model_df degrees of freedom. Ljung, Box 1978, "On a measure of lack of fit in time series
    models".

    Differences from `statsmodels.stats.diagnostic.acorr_ljungbox`: it takes more than one series,
    and gaps. With gaps, n is the number of valid values, and r is as with missing="conservative"
    (or "drop"). It returns a `Portmanteau`, not a DataFrame. There is no `auto_lag`; for
    `boxpierce` see `box_pierce`. A lag without a pair of values does not count. So the degrees of
    freedom are the number of lags up to h with pairs, minus model_df.

    Args:
      x: residuals, real (..., n), time along `axis`; their mean is subtracted.
      lags: the largest h, for results of all h up to it; or a list of h; None: min(n // 5, 10).
      model_df: the number of fitted parameters of the model, p + q of an ARMA(p, q).
      period: the length of a season; then the largest h is min(n // 5, 2 period), and `lags` is
        ignored.
      missing: as in `acf`.
      mask: as in `acf`.
      lengths: as in `acf`.
      axis: the axis of time.

    Returns:
      The statistics and their p values, in the dtype of x, at least float32; NaN as in `acf`. In
      float32, inside a transformation, the error of p values is up to 4e-5.

    Raises:
      ValueError: as in `acf`, with `lags` for nlags, or if model_df is negative or period is less
        than 2.

    Examples:
      >>> residuals = np.random.default_rng(0).normal(size=(2, 100))
      >>> test = ljung_box(residuals, lags=[5, 10])
      >>> test.statistic.shape, test.pvalue.shape, test.lags
      ((2, 2), (2, 2), array([ 5, 10]))
    """
    return _portmanteau(
        x,
        lags,
        model_df,
        period,
        ljung=True,
        missing=missing,
        mask=mask,
        lengths=lengths,
        axis=axis,
    )


def box_pierce(
    x: ArrayLike,
    lags: int | Sequence[int] | None = None,
    model_df: int = 0,
    period: int | None = None,
    *,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> Portmanteau:
    """Tests as `ljung_box` does, but with Q(h) = n sum_{k=1}^h r_k^2 (Box-Pierce test).

    For short series it rejects too rarely. Box, Pierce 1970, "Distribution of residual
    autocorrelations in autoregressive-integrated moving average time series models".

    Args:
      x: as in `ljung_box`.
      lags: as in `ljung_box`.
      model_df: as in `ljung_box`.
      period: as in `ljung_box`.
      missing: as in `acf`.
      mask: as in `acf`.
      lengths: as in `acf`.
      axis: the axis of time.

    Returns:
      As `ljung_box`.

    Raises:
      ValueError: as `ljung_box`.

    Examples:
      >>> residuals = np.random.default_rng(0).normal(size=(2, 100))
      >>> box_pierce(residuals, lags=[5, 10]).pvalue.shape
      (2, 2)
    """
    return _portmanteau(
        x,
        lags,
        model_df,
        period,
        ljung=False,
        missing=missing,
        mask=mask,
        lengths=lengths,
        axis=axis,
    )


def durbin_watson(
    resids: ArrayLike,
    axis: int = -1,
    *,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
) -> Array:
    """Returns the Durbin-Watson statistic of residuals.

    d = sum_{t>1} (e_t - e_{t-1})^2 / sum_t e_t^2, close to 2 (1 - r_1): 2 without autocorrelation
    at lag 1, towards 0 with positive, towards 4 with negative. Durbin, Watson 1950, "Testing for
    serial correlation in least squares regression, I". The mean is not subtracted: it is 0 for a
    regression with a constant.

    Differences from `statsmodels.stats.stattools.durbin_watson`: time is by default the last axis.
    With gaps the upper sum is over the P pairs of valid neighbors and is scaled by (n - 1) / P.
    Residuals that are all 0 raise ValueError.

    Args:
      resids: real (..., n), time along `axis`.
      axis: the axis of time.
      missing: as in `acf`.
      mask: as in `acf`.
      lengths: as in `acf`.

    Returns:
      (*batch), in the dtype of the residuals, at least float32. Inside a transformation it is NaN
      for residuals that are all 0, all missing or not finite.

    Raises:
      ValueError: if resids are shorter than 2, complex, all missing, all 0 or not finite, or if
        another argument does not fit.

    Examples:
      >>> alternating = np.tile([1.0, -1.0], 50)
      >>> round(float(durbin_watson(alternating)), 2)
      3.96
    """
    num_steps({"resids": resids}, axis)
    statistic = compute(
        _durbin_watson, {"resids": resids}, axis=axis, mask=mask, lengths=lengths, missing=missing,
        may_be_constant=True,
    )  # fmt: skip
    if not isinstance(statistic, jax.core.Tracer) and np.any(np.isnan(statistic)):
        raise ValueError(
            "resids: got a series of zeros or without neighbors, expected residuals that vary"
        )
    return statistic


def _portmanteau(
    x: ArrayLike,
    lags: Any,
    model_df: int,
    period: int | None,
    *,
    ljung: bool,
    missing: str,
    mask: ArrayLike | None,
    lengths: ArrayLike | None,
    axis: int,
) -> Portmanteau:
    n = num_steps({"x": x}, axis)
    model_df = whole_number("model_df", model_df, 0, n)
    if period is not None:
        lags = min(n // 5, 2 * whole_number("period", period, 2, n))
    elif lags is None:
        lags = min(n // 5, MOST_LAGS)
    why = f", for {n} values"
    if np.ndim(lags) == 0:
        reported = tuple(range(1, whole_number("lags", lags, 1, n - 1, why) + 1))
    else:
        reported = tuple(whole_number("lags", lag, 1, n - 1, why) for lag in np.asarray(lags).flat)
        if not reported:
            raise ValueError("lags: got none, expected at least one")
    statistic, pvalue = compute(
        _q, {"x": x}, axis=axis, mask=mask, lengths=lengths, missing=missing,
        num_lags=("lags", max(reported)), lags=reported, model_df=model_df, ljung=ljung,
    )  # fmt: skip
    return Portmanteau(statistic, pvalue, np.array(reported))


def _q(series: Series, *, lags: tuple[int, ...], model_df: int, ljung: bool) -> tuple[Array, Array]:
    most, n = max(lags), series.number
    squares = autocorrelations(series, most)[1:] ** 2
    has_pairs = ~jnp.isnan(squares)
    squares = jnp.where(has_pairs, squares, 0)
    if ljung:
        left = n - jnp.arange(1, most + 1)
        squares = jnp.where(left > 0, squares * (n + 2) / jnp.maximum(left, 1), 0)
        has_pairs &= left > 0
    places = np.array(lags) - 1
    counted = jnp.cumsum(has_pairs)[places]
    statistic = jnp.where(counted > 0, n * jnp.cumsum(squares)[places], jnp.nan)
    freedom = counted - model_df
    degrees = jnp.maximum(freedom, 1).astype(statistic.dtype)
    pvalue = jax.scipy.stats.chi2.sf(statistic, degrees)
    return statistic, jnp.where(freedom > 0, pvalue, jnp.nan)


def _durbin_watson(series: Series) -> Array:
    values, valid = series.values, series.valid
    both = jnp.ones(values.shape[0] - 1, bool) if valid is None else valid[1:] & valid[:-1]
    steps = jnp.where(both, values[1:] - values[:-1], 0)
    pairs, squares = jnp.sum(both), jnp.sum(values**2)
    share = (series.number - 1) / jnp.maximum(pairs, 1)
    fit = (squares > 0) & (pairs > 0)
    return jnp.where(fit, jnp.sum(steps**2) * share / jnp.where(fit, squares, 1), jnp.nan)
