"""Partial autocorrelation function (PACF), with confidence intervals."""

import math
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqmodels.analysis.autocorrelation.correlogram import (
    Correlogram,
    autocorrelations,
    checked_num_lags,
    correlogram,
    normal_quantile,
)
from seqmodels.analysis.autocorrelation.inputs import checked_alpha, num_steps
from seqmodels.analysis.autocorrelation.series import Series, compute
from seqmodels.types import Array

ADJUSTED = ("yw", "ywa", "ywadjusted", "yw_adjusted", "ld", "lda", "ldadjusted", "ld_adjusted")
ROUNDINGS = 64  # a variance of errors below so many counts as 0
BIASED = ("ywm", "ywmle", "yw_mle", "ldb", "ldbiased", "ld_biased")


@overload
def pacf(
    x: ArrayLike, nlags: int | None = ..., method: str = ..., alpha: None = ..., *,
    missing: str = ..., mask: ArrayLike | None = ..., lengths: ArrayLike | None = ...,
    axis: int = ...,
) -> Array: ...  # fmt: skip


@overload
def pacf(
    x: ArrayLike, nlags: int | None = ..., method: str = ..., *, alpha: float,
    missing: str = ..., mask: ArrayLike | None = ..., lengths: ArrayLike | None = ...,
    axis: int = ...,
) -> Correlogram: ...  # fmt: skip


def pacf(
    x: ArrayLike,
    nlags: int | None = None,
    method: str = "ywadjusted",
    alpha: float | None = None,
    *,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> Array | Correlogram:
    """Returns the partial autocorrelation function.

    The value at lag k is the last coefficient phi_kk of the AR(k) model from the Yule-Walker
    equations, computed by the Levinson-Durbin recursion:

        phi_kk = (c_k - sum_{j<k} phi_{k-1,j} c_{k-j}) / v_{k-1}
        phi_kj = phi_{k-1,j} - phi_kk phi_{k-1,k-j},    v_k = v_{k-1} (1 - phi_kk^2)

    Durbin 1960, "The fitting of time-series models"; Brockwell, Davis 1991, section 5.2. Past the
    order of an AR process its variance is 1 / n. Quenouille 1949, "Approximate tests of correlation
    in time-series".

    Differences from `statsmodels.tsa.stattools.pacf`: it takes more than one series, and gaps. The
    methods "ols..." and "burg" are not supported; "yw..." and "ld..." give the same values, as in
    theory. The recursion divides by v_k, so in float32, inside a transformation, a series close to
    a random walk loses digits.

    Args:
      x: as in `acf`.
      nlags: the largest lag, at most n // 2; None: min(int(10 log10(n)), n // 2 - 1), at least 1.
      method: "ywadjusted", "ldadjusted" and their short names divide c_k by the number of pairs.
        "ywmle", "ldbiased" and their short names divide by n, which keeps all values within
        [-1, 1].
      alpha: such as 0.05 for 95% intervals; None for no intervals.
      missing: as in `acf`.
      mask: as in `acf`.
      lengths: as in `acf`.
      axis: the axis of time.

    Returns:
      (*batch, nlags + 1), lag 0 (which is 1) first, in the dtype of x, at least float32. With
      `alpha` a `Correlogram`. It is NaN as in `acf`, and from the first lag on that has no pair.
      Inside a transformation it is also NaN after a lag at which earlier values determine the
      series.

    Raises:
      ValueError: as in `acf`, if the method is unknown, or if earlier values determine the series,
        as in a perfect alternation from lag 2 on.

    Examples:
      >>> pacf(np.sin(np.arange(100.0)), nlags=5, alpha=0.05).confint.shape
      (6, 2)
    """
    if method not in ADJUSTED + BIASED:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(ADJUSTED + BIASED)}")
    n = num_steps({"x": x}, axis)
    nlags = checked_num_lags(nlags, max(min(int(10 * math.log10(n)), n // 2 - 1), 1), n // 2, n)
    alpha = checked_alpha(alpha)
    values, half, is_determined = compute(
        _pacf, {"x": x}, axis=axis, mask=mask, lengths=lengths, missing=missing,
        num_lags=("nlags", nlags), adjusted=method in ADJUSTED, nlags=nlags, alpha=alpha,
    )  # fmt: skip
    if not isinstance(is_determined, jax.core.Tracer) and np.any(is_determined):
        *index, lag = np.argwhere(is_determined)[0].tolist()
        where = f" in series {index}" if index else ""
        raise ValueError(
            f"nlags: got {nlags}{where}, expected at most {lag - 1}: the values of {lag - 1} steps "
            "determine the next one"
        )
    return values if half is None else correlogram(values, half)


def _pacf(
    series: Series, *, adjusted: bool, nlags: int, alpha: float | None
) -> tuple[Array, Array | None, Array]:
    """Returns the values, half-widths of their intervals, and where earlier values determine x."""
    correlations = autocorrelations(series, nlags, adjusted)
    places = jnp.arange(nlags)
    rounding = ROUNDINGS * jnp.finfo(correlations.dtype).eps

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Any]:
        coefficients, variance = carry  # phi_1, ..., phi_{k-1} at places 0, ..., k - 2
        before = places < k - 1
        past = jnp.where(before, correlations[jnp.abs(k - 1 - places)], 0)
        # If earlier values determine the series, both are 0 except for rounding.
        is_determined = jnp.abs(variance) < rounding
        last = (correlations[k] - jnp.sum(coefficients * past)) / variance
        last = jnp.where(is_determined, jnp.nan, last)
        backwards = jnp.where(before, coefficients[jnp.clip(k - 2 - places, 0)], 0)
        coefficients = jnp.where(places == k - 1, last, coefficients - last * backwards)
        return (coefficients, variance * (1 - last**2)), (last, is_determined)

    start = (jnp.zeros_like(correlations[1:]), correlations[0])
    _, (values, is_determined) = jax.lax.scan(step, start, jnp.arange(1, nlags + 1))
    is_determined = jnp.concatenate([jnp.zeros(1, bool), is_determined])
    values = jnp.concatenate([correlations[:1], values])
    if alpha is None:
        return values, None, is_determined
    half = jnp.full_like(values, normal_quantile(alpha) / jnp.sqrt(series.number))
    return values, half.at[0].set(0), is_determined
