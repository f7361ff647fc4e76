import numpy as np
import pytest

from seqmodels.analysis.forecast_scores import mase_scale, score


def test_figures_by_hand():
    truth = np.array([1.0, 2.0, np.nan, 4.0, 0.0])
    mean = np.array([1.5, 2.0, 3.0, 2.0, 0.0])
    q = np.array([0.5, 0.9, 1.5, 1.6, 3.0]) * np.ones((5, 1))
    found = score(truth, mean, q, 0.5)
    assert found.mae == pytest.approx(2.5 / 4)
    assert found.mse == pytest.approx(4.25 / 4)
    assert found.rmse == pytest.approx((4.25 / 4) ** 0.5)
    assert found.mase == pytest.approx(2.5 / 4 / 0.5)
    assert found.smape == pytest.approx(200 * (0.5 / 2.5 + 2 / 6) / 4)
    assert (found.coverage_80, found.coverage_95) == (0.25, 0.5)


def test_nothing_to_compare_is_nan():
    assert np.isnan(score(np.array([np.nan]), np.array([1.0]), None, 1.0)).all()
    found = score(np.array([1.0]), np.array([1.0]), None, 1.0)
    assert found.mae == 0
    assert np.isnan(found.coverage_80)


def test_the_seasonal_naive_has_mase_1_on_its_own_part():
    values = np.random.default_rng(0).normal(size=50)
    values[7] = np.nan
    scale = mase_scale(values, 12)
    assert score(values[12:], values[:-12], None, scale).mase == pytest.approx(1)


def test_a_part_without_change_has_no_scale():
    with pytest.raises(ValueError, match="got no two that are 1 steps apart and differ"):
        mase_scale(np.ones(9))
    with pytest.raises(ValueError, match="4 steps apart"):
        mase_scale(np.arange(3.0), 4)
