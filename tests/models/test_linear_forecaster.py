import numpy as np
import pytest
from statsmodels.tsa.ar_model import AutoReg

from seqmodels.datasets import series
from seqmodels.models import linear_forecaster as lf


def loop(values, lags, phi, intercept, steps):
    """Forecasts from the end of values, by the definition."""
    known = list(values)
    for _ in range(steps):
        known.append(intercept + sum(p * known[-lag] for lag, p in zip(lags, phi, strict=True)))
    return known[len(values) :]


@pytest.mark.parametrize("lags", [(1,), (1, 2, 9), (3,), ()])
def test_autoregression_runs_on_as_the_definition_says(lags):
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    phi = rng.normal(size=len(lags)) / 3
    forecaster = lf.autoregression(12, lags, phi, 0.3)
    found = lf.forecasts(values, forecaster)
    for t in (max(lags, default=1), 20, 39):
        np.testing.assert_allclose(
            found[t], loop(values[: t + 1], lags, phi, 0.3, 12), rtol=1e-12, atol=1e-12
        )


def test_seasonal_is_the_value_of_the_last_season():
    values = np.arange(20.0)
    found = lf.forecasts(values, lf.seasonal(7, 3))
    np.testing.assert_array_equal(found[10], [8, 9, 10, 8, 9, 10, 8])
    np.testing.assert_array_equal(lf.forecasts(values, lf.seasonal(2))[5], [5, 5])


def test_nothing_is_read_before_the_beginning_but_the_first_value():
    values = np.array([2.0, 3.0])
    np.testing.assert_array_equal(lf.forecasts(values, lf.seasonal(1, 4))[:, 0], [2.0, 2.0])


@pytest.mark.parametrize("lags", [(1,), (1, 2, 9), tuple(range(1, 10))])
def test_least_squares_equals_statsmodels(lags):
    values = series.load("sunspots").values[:221, 0]
    phi, intercept = lf.least_squares(values, lags)
    expected = AutoReg(values, list(lags)).fit().params
    np.testing.assert_allclose([intercept, *phi], expected, rtol=1e-8)


def test_least_squares_leaves_out_what_a_gap_spoils():
    rng = np.random.default_rng(1)
    values = rng.normal(size=60)
    values[30] = np.nan
    phi, intercept = lf.least_squares(values, (1, 3))
    rows = [t for t in range(3, 60) if not np.isnan(values[[t, t - 1, t - 3]]).any()]
    design = np.array([[1, values[t - 1], values[t - 3]] for t in rows])
    expected = np.linalg.solve(design.T @ design, design.T @ values[rows])
    np.testing.assert_allclose([intercept, *phi], expected, rtol=1e-9)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="lags: got 1, 2 with 3 steps that have them"):
        lf.least_squares(np.arange(5.0), (1, 2))


def test_gaps_are_filled_from_the_past_alone():
    values = np.array([np.nan, 1.0, 2.0, np.nan, np.nan, 5.0])
    found = lf.fill_gaps(values, lf.autoregression(1, (1,), (0.5,), 1.0))
    np.testing.assert_allclose(found, [1, 1, 2, 2, 2, 5])
    later = values.copy()
    later[5] = 99.0
    np.testing.assert_array_equal(lf.fill_gaps(later, lf.seasonal(1))[:5], [1, 1, 2, 2, 2])


@pytest.mark.parametrize(
    "forecaster",
    [
        lf.seasonal(9),
        lf.seasonal(9, 4),
        lf.constant(9),
        lf.autoregression(9, (1, 2), (0.5, -0.3), 2.0),
    ],
)
def test_an_error_adds_its_impulse_response(forecaster):
    """Running on with an error at the first step adds psi to all forecasts of later steps."""
    values = np.random.default_rng(2).normal(size=30)
    psi = lf.impulse_response(forecaster, 9)
    forecast = lf.forecasts(values, forecaster)[-1]
    moved = np.append(values, forecast[0] + 1.0)
    again = lf.forecasts(moved, forecaster)[-1]
    np.testing.assert_allclose(again[:8], forecast[1:] + psi[1:9], atol=1e-12)
    assert psi[0] == 1
