import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statsmodels.tsa.stattools import acf

from seqmodels.training.residual_metrics import residual_autocorrelation

T, B = 40, 5


def test_equals_statsmodels_on_the_device():
    residuals = np.random.default_rng(0).normal(size=(T, B)).astype(np.float32)
    residuals[1:] += 0.5 * residuals[:-1]
    weights = np.ones((T, B), np.float32)
    weights[30:, 1] = 0
    weights[11, 2] = 0
    weights[:, 4] = 0
    found = jax.jit(residual_autocorrelation, static_argnums=2)(residuals, weights, (1, 3))
    gap = residuals[:, 2].copy()
    gap[11] = np.nan
    rows = [residuals[:, 0], residuals[:30, 1], gap, residuals[:, 3]]
    expected = np.mean([acf(row, nlags=3, missing="conservative") for row in rows], axis=0)
    for lag in (1, 3):
        assert found[f"residual_acf_{lag}"] == pytest.approx(expected[lag], abs=1e-5)


def test_weight_multiplies_and_nothing_to_see_is_zero():
    residuals = jnp.asarray(np.random.default_rng(1).normal(size=(T, B)))
    one = residual_autocorrelation(residuals, jnp.ones((T, B)))["residual_acf_1"]
    many = residual_autocorrelation(residuals, jnp.ones((T, B)), weight=7.0)["residual_acf_1"]
    assert many == pytest.approx(7 * float(one), rel=1e-6)
    for nothing in (jnp.zeros((T, B)), jnp.zeros((T, B)).at[:2].set(1)):
        assert residual_autocorrelation(residuals, nothing)["residual_acf_1"] == 0
    assert residual_autocorrelation(jnp.ones((T, B)), jnp.ones((T, B)))["residual_acf_1"] == 0
    spoiled = residuals.at[3].set(jnp.nan)
    weights = jnp.ones((T, B)).at[3].set(0)
    assert jnp.isfinite(residual_autocorrelation(spoiled, weights)["residual_acf_1"])


@pytest.mark.parametrize("lags", [(), (0,), (T,)])
def test_lags_out_of_range(lags):
    with pytest.raises(ValueError, match="expected lags from 1 to 39"):
        residual_autocorrelation(jnp.ones((T, B)), jnp.ones((T, B)), lags)
