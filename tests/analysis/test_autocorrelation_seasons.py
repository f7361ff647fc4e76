"""The seasonal period: known ones are found, and none where there is none."""

import jax
import numpy as np
import pytest
from autocorrelation_cases import SERIES, autoregressive

from seqmodels.analysis import autocorrelation as ac


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ac.seasonal_period([1, 2, 1]), "at least 4"),
        (lambda: ac.seasonal_period(np.ones(20)), "x: got a constant"),
        (lambda: ac.seasonal_period(np.arange(9.0), 8), "max_period: got 8, expected .* 2 to 7"),
        (lambda: ac.seasonal_period(np.arange(9.0), 1), "max_period: got 1"),
        (lambda: ac.seasonal_period(np.arange(9.0), alpha=2), "alpha: got 2"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "periods"),
    [("sunspots", (10, 11)), ("elnino", (12,)), ("co2", (52,)), ("realgdp", (0,)), ("unemp", (0,))],
)
def test_known_series(name, periods):
    x = SERIES[name]
    for given in (x, x + 0.01 * np.arange(len(x)) * np.nanstd(x)):
        found = ac.seasonal_period(given, missing="conservative")
        assert found.period in periods
        if found.period:
            assert found.pvalue < 0.001
            np.testing.assert_allclose(found.strength, found.acf[found.period])
            assert found.whitened[found.period] > found.bound
    assert jax.jit(lambda x: ac.seasonal_period(x, missing="conservative").period)(x) in periods


@pytest.mark.parametrize("coefficient", [0, 0.5, 0.9, 1])
def test_nothing_in_noise_and_what_fades(coefficient):
    found = ac.seasonal_period(autoregressive(coefficient, (500, 150)))
    assert np.mean(np.asarray(found.period) > 0) <= 0.05
    assert found.pvalue.shape == (500,)
    assert found.acf.shape == (500, 77)


@pytest.mark.parametrize("period", [2, 4, 7, 12, 24])
def test_made_seasons(period):
    t = np.arange(200)
    shape = np.random.default_rng(period).normal(size=period)
    shape = (shape - shape.mean()) / shape.std()
    x = shape[t % period] + 0.05 * t + autoregressive(0.3, (50, 200), period) * 0.5
    found = ac.seasonal_period(x)
    assert np.mean(np.asarray(found.period) == period) > 0.9


def test_ripples_on_a_smooth_series_and_straight_lines():
    t = np.arange(240)
    x = np.sin(2 * np.pi * t / 60) + 0.05 * np.random.default_rng(0).normal(size=(100, 240))
    periods = np.asarray(ac.seasonal_period(x).period)
    assert np.mean(np.abs(periods - 60) <= 2) > 0.95
    found = ac.seasonal_period(1.1 * t + 0.3)
    assert found.period == 0
    assert np.isnan(found.pvalue)  # not tested: nothing is left of a straight line
    assert np.isnan(found.strength)


def test_five_years_of_monthly_sales():
    t = np.arange(60)
    sales = 100 + t + 30 * (t % 12 == 11) + 10 * np.sin(2 * np.pi * t / 12)
    found = ac.seasonal_period(sales + autoregressive(0.5, (50, 60)) * 4)
    assert np.mean(np.asarray(found.period) == 12) > 0.9


def test_lengths_and_bad_series_inside_a_transformation():
    x = np.tile([0.0, 1, 3, 1], 20) + 0.1 * autoregressive(0, (2, 80))
    found = ac.seasonal_period(x, max_period=12, lengths=[80, 40])
    np.testing.assert_array_equal(found.period, [4, 4])
    want = ac.seasonal_period(x[1, :40], max_period=12)
    np.testing.assert_allclose(found.acf[1], want.acf, atol=1e-6)
    found = jax.jit(ac.seasonal_period)(np.ones(20))
    assert found.period == 0
    assert np.isnan(found.pvalue)
