"""Tests of residuals: mistakes, values by hand, agreement with statsmodels, size under the null."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autocorrelation_cases import SERIES, WHOLE, autoregressive
from scipy import stats
from statsmodels.stats.stattools import durbin_watson

from seqmodels.analysis import autocorrelation as ac

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from statsmodels.stats.diagnostic import acorr_ljungbox

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(400, 80))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ac.ljung_box(np.arange(4.0)), "lags: got 0, expected a whole number 1 to 3"),
        (lambda: ac.ljung_box(NOISE, lags=80), "lags: got 80, expected .* 1 to 79, for 80 values"),
        (lambda: ac.ljung_box(NOISE, lags=[1, 0]), "lags: got 0"),
        (lambda: ac.ljung_box(NOISE, lags=[]), "lags: got none"),
        (lambda: ac.ljung_box(NOISE, model_df=-1), "model_df: got -1"),
        (lambda: ac.ljung_box(NOISE, period=1), "period: got 1, expected a whole number 2"),
        (lambda: ac.box_pierce(np.ones(20)), "x: got a constant"),
        (lambda: ac.ljung_box(NOISE[0], lengths=5), "lags: got 10, expected less than the 5"),
        (lambda: ac.durbin_watson([]), "resids: got"),
        (lambda: ac.durbin_watson([1.0]), "at least 2"),
        (lambda: ac.durbin_watson(np.zeros(5)), "resids: got a series of zeros"),
        (lambda: ac.durbin_watson([1, np.nan, 2]), "resids: got NaN"),
        (lambda: ac.durbin_watson([1, np.nan, 2], missing="conservative"), "without neighbors"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_by_hand():
    # r = .25, -.3 of 1, 2, 3, 4
    q1 = 4 * 6 * 0.25**2 / 3
    q2 = q1 + 4 * 6 * 0.3**2 / 2
    found = ac.ljung_box([1, 2, 3, 4], lags=2)
    np.testing.assert_allclose(found.statistic, [q1, q2], rtol=1e-6)
    np.testing.assert_allclose(found.pvalue[1], np.exp(-q2 / 2), rtol=1e-6)
    assert found.lags.tolist() == [1, 2]
    found = ac.box_pierce([1, 2, 3, 4], lags=2)
    np.testing.assert_allclose(found.statistic, [4 * 0.0625, 4 * (0.0625 + 0.09)], rtol=1e-6)
    np.testing.assert_allclose(ac.durbin_watson([1, -1, 1]), 8 / 3, rtol=1e-6)
    assert ac.durbin_watson([2, 2, 2]) == 0
    # One of two steps is there: (1 - 3)^2 counts for both.
    gaps = ac.durbin_watson([1, 3, np.nan], missing="conservative")
    np.testing.assert_allclose(gaps, 4 / 10, rtol=1e-6)


@pytest.mark.parametrize(("name", "lags"), list(zip(WHOLE, (20, [5, 10, 40], [7]), strict=True)))
def test_against_statsmodels(name, lags):
    single, model_df = SERIES[name].astype(np.float32), 3
    want = acorr_ljungbox(single.astype(float), lags, boxpierce=True, model_df=model_df)
    for call, column in ((ac.ljung_box, "lb"), (ac.box_pierce, "bp")):
        found = call(single, lags, model_df)
        np.testing.assert_allclose(found.statistic, want[f"{column}_stat"], rtol=1e-5)
        np.testing.assert_allclose(found.pvalue, want[f"{column}_pvalue"], atol=1e-5)
        assert found.lags.tolist() == want.index.tolist()
    want = acorr_ljungbox(SERIES[name], lags, boxpierce=True, model_df=model_df)
    for call, column in ((ac.ljung_box, "lb"), (ac.box_pierce, "bp")):
        with jax.enable_x64(True):
            found = call(SERIES[name], lags, model_df)
        np.testing.assert_allclose(found.statistic, want[f"{column}_stat"], rtol=1e-10)
        np.testing.assert_allclose(found.pvalue, want[f"{column}_pvalue"], atol=1e-10)


def test_p_values_of_noise_against_statsmodels():
    found = ac.ljung_box(NOISE[:50].astype(np.float32), lags=30, model_df=2)
    traced = jax.jit(lambda x: ac.ljung_box(x, lags=30, model_df=2)[:2])(jnp.asarray(NOISE[:50]))
    for row, x in enumerate(NOISE[:50].astype(np.float32)):
        want = acorr_ljungbox(x.astype(float), 30, model_df=2)
        np.testing.assert_allclose(found.pvalue[row], want["lb_pvalue"], atol=1e-6)
        np.testing.assert_allclose(traced[1][row], want["lb_pvalue"], atol=4e-5)
        np.testing.assert_allclose(traced[0][row], want["lb_stat"], rtol=1e-5, atol=1e-5)


def test_defaults_are_those_of_statsmodels():
    for n in (20, 80):
        want = acorr_ljungbox(NOISE[0, :n])
        found = ac.ljung_box(NOISE[0, :n])
        np.testing.assert_allclose(found.pvalue, want["lb_pvalue"], atol=1e-6)
        assert found.lags.tolist() == want.index.tolist()


def test_period_sets_the_lags():
    for period in (4, 12):
        want = acorr_ljungbox(NOISE[0], period=period)
        assert ac.ljung_box(NOISE[0], period=period).lags.tolist() == want.index.tolist()


def test_size_and_power():
    pvalues = ac.ljung_box(NOISE).pvalue[:, -1]
    assert stats.kstest(pvalues, "uniform").pvalue > 0.001
    dependent = ac.ljung_box(autoregressive(0.6, (400, 80)))
    assert np.mean(np.asarray(dependent.pvalue[:, -1]) < 0.05) > 0.9


def test_durbin_watson_against_statsmodels():
    for x in (NOISE + 0.3, autoregressive(0.8, (5, 90))):
        found = ac.durbin_watson(x.astype(np.float32))
        np.testing.assert_allclose(found, durbin_watson(x, axis=1), rtol=1e-5)
        with jax.enable_x64(True):
            found = ac.durbin_watson(x.T, axis=0)
        np.testing.assert_allclose(found, durbin_watson(x.T), rtol=1e-10)
    assert np.isnan(jax.jit(ac.durbin_watson)(jnp.zeros(4)))
    assert np.isfinite(jax.grad(ac.durbin_watson)(jnp.zeros(4))).all()
