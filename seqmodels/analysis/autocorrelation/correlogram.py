"""Autocorrelation (ACF) and cross-correlation (CCF) functions, with confidence intervals."""

import math
from typing import NamedTuple, overload

import jax.numpy as jnp
from jax.typing import ArrayLike
from scipy import special

from seqmodels.analysis.autocorrelation.inputs import checked_alpha, num_steps, whole_number
from seqmodels.analysis.autocorrelation.series import (
    Series,
    centered,
    compute,
    lagged_products,
    pair_counts,
)
from seqmodels.types import Array


class Correlogram(NamedTuple):
    """Correlations by lag with their confidence intervals.

    Attributes:
      values: correlations, (*batch, lags).
      confint: (*batch, lags, 2), low and high, centered on `values`: subtract these for the band
        around 0 that a plot shows.
    """

    values: Array
    confint: Array


@overload
def acf(
    x: ArrayLike, adjusted: bool = ..., nlags: int | None = ..., *, fft: bool = ...,
    alpha: None = ..., bartlett_confint: bool = ..., missing: str = ...,
    mask: ArrayLike | None = ..., lengths: ArrayLike | None = ..., axis: int = ...,
) -> Array: ...  # fmt: skip


@overload
def acf(
    x: ArrayLike, adjusted: bool = ..., nlags: int | None = ..., *, fft: bool = ...,
    alpha: float, bartlett_confint: bool = ..., missing: str = ...,
    mask: ArrayLike | None = ..., lengths: ArrayLike | None = ..., axis: int = ...,
) -> Correlogram: ...  # fmt: skip


def acf(
    x: ArrayLike,
    adjusted: bool = False,
    nlags: int | None = None,
    *,
    fft: bool = True,
    alpha: float | None = None,
    bartlett_confint: bool = True,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> Array | Correlogram:
    """Returns the autocorrelation function.

    r_k = c_k / c_0, c_k = (1/n) sum_t (x_{t+k} - m)(x_t - m), m the mean. Box, Jenkins 1970, "Time
    Series Analysis", section 2.1. If the autocorrelation ends before lag k, its variance is (1 + 2
    sum_{j<k} r_j^2) / n. Bartlett 1946, "On the theoretical specification and sampling properties
    of autocorrelated time-series". For white noise it is 1 / n. Brockwell, Davis 1991, "Time
    Series: Theory and Methods", section 7.2. For c_k with gaps see Parzen 1963, "On spectral
    analysis with missing observations and amplitude modulation".

    Differences from `statsmodels.tsa.stattools.acf`: it takes more than one series, `mask` and
    `lengths`. An `nlags` of n or more raises ValueError, and so does NaN with missing="none". A lag
    without a pair is NaN, not 0. With `alpha` it returns a `Correlogram`. For the Q statistics see
    `ljung_box`.

    Args:
      x: real (..., n), time along `axis`; integers are converted to floats. Masked values of a
        NumPy masked array are treated as in `mask`.
      adjusted: whether c_k is divided by the number of its pairs (n - k without gaps), not by n.
      nlags: the largest lag; None: min(int(10 log10(n)), n - 1).
      fft: whether to use the FFT, O(n log n), or direct sums, O(n nlags).
      alpha: such as 0.05 for 95% intervals; None for no intervals.
      bartlett_confint: whether to use Bartlett's variance, or the variance of white noise.
      missing: the treatment of NaN. "none" and "raise" raise ValueError. "conservative" treats it
        as a gap: it is in no product, and n counts the other values. "drop" removes it and joins
        the ends.
      mask: bool of the shape of x, false for a gap; treated like NaN, with "none" as with
        "conservative".
      lengths: integers of the shape of the batch: the number of valid steps of each series.
      axis: the axis of time.

    Returns:
      (*batch, nlags + 1), lag 0 (which is 1) first, in the dtype of x, at least float32. With
      `alpha` a `Correlogram`. Inside a transformation it is NaN for a series that is constant,
      empty or not finite.

    Raises:
      ValueError: if x is shorter than 2, complex, constant, all missing or not finite, if nlags is
        not from 0 to the number of valid values minus 1, or if another argument does not fit.

    Examples:
      >>> alternating = np.tile([1.0, -1.0], 50)
      >>> found = acf(alternating, nlags=2, alpha=0.05)
      >>> [round(float(r), 2) for r in found.values], found.confint.shape
      ([1.0, -0.99, 0.98], (3, 2))
    """
    n = num_steps({"x": x}, axis)
    nlags = checked_num_lags(nlags, min(int(10 * math.log10(n)), n - 1), n - 1, n)
    alpha = checked_alpha(alpha)
    values, half = compute(
        _acf, {"x": x}, axis=axis, mask=mask, lengths=lengths, missing=missing,
        num_lags=("nlags", nlags), adjusted=bool(adjusted), nlags=nlags, fft=bool(fft), alpha=alpha,
        bartlett=bool(bartlett_confint),
    )  # fmt: skip
    return values if half is None else correlogram(values, half)


@overload
def ccf(
    x: ArrayLike, y: ArrayLike, adjusted: bool = ..., fft: bool = ..., *, nlags: int | None = ...,
    alpha: None = ..., missing: str = ..., mask: ArrayLike | None = ...,
    lengths: ArrayLike | None = ..., axis: int = ...,
) -> Array: ...  # fmt: skip


@overload
def ccf(
    x: ArrayLike, y: ArrayLike, adjusted: bool = ..., fft: bool = ..., *, nlags: int | None = ...,
    alpha: float, missing: str = ..., mask: ArrayLike | None = ...,
    lengths: ArrayLike | None = ..., axis: int = ...,
) -> Correlogram: ...  # fmt: skip


def ccf(
    x: ArrayLike,
    y: ArrayLike,
    adjusted: bool = True,
    fft: bool = True,
    *,
    nlags: int | None = None,
    alpha: float | None = None,
    missing: str = "none",
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> Array | Correlogram:
    """Returns the cross-correlation of x with earlier values of y.

    r_k = c_k / (s_x s_y), c_k = (1/(n-k)) sum_t (x_{t+k} - m_x)(y_t - m_y): y leads by k steps.
    Box, Jenkins 1970, "Time Series Analysis", section 11.1. Its variance is 1 / n where the series
    are independent and one of them is white (prewhiten it): Brockwell, Davis 1991, section 11.2.

    Differences from `statsmodels.tsa.stattools.ccf`: both series have the same shape. It takes more
    than one pair of series, and gaps; means and deviations are those of the valid values of each.
    "drop" is not supported, because it would misalign the two.

    Args:
      x: real (..., n), time along `axis`.
      y: real, of the shape of x.
      adjusted: whether c_k is divided by the number of its pairs, or by n. With gaps, n is the
        geometric mean of the numbers of valid values of x and y.
      fft: as in `acf`.
      nlags: the number of lags to return, 0 to nlags - 1; None: n.
      alpha: such as 0.05 for 95% intervals; None for no intervals.
      missing: "none", "raise" or "conservative", as in `acf`, for each series separately.
      mask: as in `acf`, for both.
      lengths: as in `acf`, for both.
      axis: the axis of time.

    Returns:
      (*batch, nlags), lag 0 first, in the dtype of x and y, at least float32. With `alpha` a
      `Correlogram`. NaN as in `acf`.

    Raises:
      ValueError: as in `acf`, for x and for y.

    Examples:
      >>> y = np.random.default_rng(0).normal(size=100)
      >>> x = np.roll(y, 3)  # x follows y three steps later
      >>> int(np.argmax(ccf(x, y, nlags=10)))
      3
    """
    if missing == "drop":
        raise ValueError("missing: got 'drop', expected none, raise or conservative for a ccf")
    n = num_steps({"x": x, "y": y}, axis)
    nlags = whole_number("nlags", n if nlags is None else nlags, 1, n, f" of {n} values")
    alpha = checked_alpha(alpha)
    values, half = compute(
        _ccf, {"x": x, "y": y}, axis=axis, mask=mask, lengths=lengths, missing=missing,
        adjusted=bool(adjusted), nlags=nlags, fft=bool(fft), alpha=alpha,
    )  # fmt: skip
    return values if half is None else correlogram(values, half)


def autocorrelations(series: Series, nlags: int, adjusted: bool = False, fft: bool = True) -> Array:
    """Returns r_0, ..., r_nlags of one series; NaN at lags without a pair.

    Examples:
      >>> series = Series(jnp.array([1.0, -1.0, 1.0, -1.0]), None, jnp.float32(4))
      >>> autocorrelations(series, nlags=2).tolist()
      [1.0, -0.75, 0.5]
    """
    values = centered(series)
    products = lagged_products(values, values, nlags, fft)
    counts = pair_counts(series, series, nlags)
    if adjusted:
        products = products / jnp.maximum(counts, 1) * series.number
    variance = products[0]
    safe = jnp.where(variance > 0, variance, 1)
    return jnp.where((counts > 0) & (variance > 0), products / safe, jnp.nan)


def bartlett_variances(correlations: Array, count: Array) -> Array:
    """Returns the variances (nlags + 1,) of autocorrelations after Bartlett, 0 at lag 0.

    Examples:
      >>> bartlett_variances(jnp.array([1.0, 0.5, 0.25]), jnp.float32(100)).shape
      (3,)
    """
    known = jnp.where(jnp.isnan(correlations), 0, correlations)
    before = jnp.cumsum(known[1:] ** 2) - known[1:] ** 2
    return jnp.concatenate([jnp.zeros(1, before.dtype), (1 + 2 * before) / count])


def checked_num_lags(nlags: int | None, default: int, most: int, n: int) -> int:
    """Returns the largest lag; ValueError unless it is a whole number from 0 to `most`.

    Examples:
      >>> checked_num_lags(None, default=10, most=99, n=100)
      10
    """
    return whole_number("nlags", default if nlags is None else nlags, 0, most, f" of {n} values")


def correlogram(values: Array, half: Array) -> Correlogram:
    """Returns correlations with intervals of half-width `half`.

    Examples:
      >>> correlogram(jnp.array([1.0, 0.5]), jnp.array([0.0, 0.25])).confint.tolist()
      [[1.0, 1.0], [0.25, 0.75]]
    """
    return Correlogram(values, jnp.stack([values - half, values + half], axis=-1))


def normal_quantile(alpha: float) -> float:
    """Returns z such that a standard normal variable has |x| > z with probability `alpha`.

    Examples:
      >>> round(normal_quantile(0.05), 2)
      1.96
    """
    # From the small tail, because 1 - alpha / 2 is rounded.
    return -float(special.ndtri(alpha / 2))


def _acf(
    series: Series, *, adjusted: bool, nlags: int, fft: bool, alpha: float | None, bartlett: bool
) -> tuple[Array, Array | None]:
    values = autocorrelations(series, nlags, adjusted, fft)
    if alpha is None:
        return values, None
    white = jnp.full_like(values, 1 / series.number)
    variances = bartlett_variances(values, series.number) if bartlett else white
    # The derivative of a root is infinite at 0.
    roots = jnp.where(variances > 0, jnp.sqrt(jnp.where(variances > 0, variances, 1)), 0)
    return values, normal_quantile(alpha) * roots


def _ccf(
    x: Series, y: Series, *, adjusted: bool, nlags: int, fft: bool, alpha: float | None
) -> tuple[Array, Array | None]:
    of_x, of_y = centered(x), centered(y)
    products = lagged_products(of_x, of_y, nlags - 1, fft)
    counts = pair_counts(x, y, nlags - 1)
    size = jnp.sqrt(x.number * y.number)
    scale = jnp.sqrt(jnp.sum(of_x**2)) * jnp.sqrt(jnp.sum(of_y**2)) / size
    safe = jnp.where(scale > 0, scale, 1)
    divisors = jnp.maximum(counts, 1) if adjusted else size
    values = jnp.where((counts > 0) & (scale > 0), products / divisors / safe, jnp.nan)
    if alpha is None:
        return values, None
    return values, jnp.full_like(values, normal_quantile(alpha) / jnp.sqrt(x.number))
