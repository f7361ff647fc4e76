"""Autocorrelation of arrays of every kind: magnitudes, dtypes, masks, gaps, exact repetition."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from scipy import stats

from seqmodels.analysis.autocorrelation import (
    acf,
    box_pierce,
    ccf,
    durbin_watson,
    ljung_box,
    pacf,
    seasonal_period,
)


def exact_acf(values, nlags):
    """In rational numbers."""
    numbers = [Fraction(float(value)) for value in values]
    mean = sum(numbers) / len(numbers)
    left = [value - mean for value in numbers]
    products = [sum(a * b for a, b in zip(left[k:], left, strict=False)) for k in range(nlags + 1)]
    return [float(product / products[0]) for product in products]


@pytest.mark.parametrize("size", [1.7e308, 3e250, 1e-150, 1e-290, 4e-310, 1e-318])
def test_extreme_magnitudes(size):
    rng = np.random.default_rng(3)
    values = rng.uniform(-1, 1, 30) * size
    offset = (1 + 0.1 * rng.uniform(-1, 1, 30)) * (size / 2)
    for series in (values, offset):
        with jax.enable_x64(True):
            got = acf(series, nlags=6)
        np.testing.assert_allclose(got, exact_acf(series, 6), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        durbin_watson(values), durbin_watson(values / size), rtol=1e-5 if size > 1e-310 else 1e-2
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, bool])
def test_the_dtype_changes_no_value(dtype):
    values = np.random.default_rng(0).integers(0, 2, 60) * (1 if dtype is bool else 100)
    np.testing.assert_array_equal(acf(values.astype(dtype)), acf(values.astype(np.float64)))


def test_masked_arrays():
    values = np.random.default_rng(0).normal(size=(2, 50))
    hidden = np.arange(50) % 8 == 3
    masked = np.ma.masked_array(np.where(hidden, 1e9, values), np.stack([hidden, hidden[::-1]]))
    gaps = np.where(masked.mask, np.nan, masked.data)
    conservative = {"missing": "conservative"}
    for got, want in [
        (acf(masked, nlags=5), acf(gaps, nlags=5, **conservative)),
        (pacf(masked, nlags=5), pacf(gaps, nlags=5, **conservative)),
        (ljung_box(masked, 5).statistic, ljung_box(gaps, 5, **conservative).statistic),
        (durbin_watson(masked), durbin_watson(gaps, **conservative)),
        # Each series has gaps of its own.
        (ccf(masked[0], masked[1], nlags=5), ccf(*gaps, nlags=5, **conservative)),
        (seasonal_period(masked).acf, seasonal_period(gaps, **conservative).acf),
        (
            acf(masked, nlags=5, mask=np.tile(np.arange(50) > 4, (2, 1))),
            acf(np.where(np.arange(50) > 4, gaps, np.nan), nlags=5, **conservative),
        ),
    ]:
        np.testing.assert_array_equal(got, want)


def test_a_lag_without_pairs_is_missing_alone():
    """Every third value is there: lags 3, 6, ... have pairs, Q counts them and no others."""
    values = np.random.default_rng(0).normal(size=30)
    sparse = np.full(90, np.nan)
    sparse[::3] = values
    r = np.asarray(acf(sparse, nlags=7, missing="conservative"))
    assert np.isnan(r[[1, 2, 4, 5, 7]]).all()
    dense = np.asarray(acf(values, nlags=2))
    np.testing.assert_allclose(r[[3, 6]], dense[1:], rtol=1e-5)
    for test, weights in ((ljung_box, [32 / 27, 32 / 24]), (box_pierce, [1, 1])):
        found = test(sparse, 7, missing="conservative")
        terms = 30 * np.array(weights) * dense[1:] ** 2
        sums = np.array([terms[0], sum(terms)])
        want = [np.nan, np.nan, *sums[[0, 0, 0, 1, 1]]]
        np.testing.assert_allclose(found.statistic, want, rtol=1e-5)
        pvalues = stats.chi2.sf(want, [1, 1, 1, 1, 1, 2, 2])
        np.testing.assert_allclose(found.pvalue, pvalues, rtol=1e-4)


@pytest.mark.parametrize(
    ("series", "lag"),
    [
        ((-1.0) ** np.arange(40), 1),
        (5 + 3 * (-1.0) ** np.arange(13), 1),
        (np.tile([1.0, 0.0, -1.0, 0.0], 10), 2),
    ],
)
def test_pacf_of_a_series_that_its_past_determines(series, lag):
    with pytest.raises(ValueError, match=rf"nlags: got 5, expected at most {lag}: "):
        pacf(series, nlags=5)
    assert np.isfinite(pacf(series, nlags=lag)).all()
    assert np.isnan(jax.jit(lambda x: pacf(x, nlags=5))(series)[lag + 1 :]).all()
    assert np.isfinite(pacf(series, nlags=5, method="ywmle")).all()


def test_seasonal_period_that_could_not_look():
    gaps = np.full(40, np.nan)
    gaps[:3] = [1, 5, 2]
    for series in (np.arange(30.0), 7 - 0.5 * np.arange(12)):
        found = seasonal_period(series)
        assert (int(found.period), np.isnan(found.pvalue)) == (0, True)
    assert float(seasonal_period(np.array([0.0, 1, 3, 2, 2, 1, 0, 0])).pvalue) == 1
