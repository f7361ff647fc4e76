import numpy as np
import pytest
from statsmodels.stats.diagnostic import acorr_ljungbox

from seqmodels.analysis.diagnosis import diagnose
from seqmodels.datasets import series
from seqmodels.models import linear_forecaster as lf


def residuals(lags):
    """Of an autoregression of the sunspots: 221 years to fit, 67 to test."""
    values = series.load("sunspots").between("1700", "1987").values[:, 0]
    forecaster = lf.autoregression(1, lags, *lf.least_squares(values[:221], lags))
    errors = values[1:] - lf.forecasts(values, forecaster)[:-1, 0]
    return errors[max(lags) - 1 : 220], errors[220:]


@pytest.mark.parametrize(("lags", "mse", "sound"), [((1, 2, 9), 302, True), ((1,), 850, False)])
def test_sunspots(lags, mse, sound):
    train, test = residuals(lags)
    assert np.mean(test**2) == pytest.approx(mse, rel=0.03)
    found = diagnose(train, test, model_df=len(lags))
    assert found.sound is sound
    for part, own, df in (("train", train, len(lags)), ("test", test, 0)):
        expected = acorr_ljungbox(own, [10, 20], model_df=df)["lb_pvalue"].to_numpy()
        np.testing.assert_allclose(list(found.p_values[part].values()), expected, atol=1e-5)


def test_the_missed_lag_is_named():
    train, test = residuals((1,))
    found = diagnose(train, test, model_df=1)
    assert found.missed["train"][0] == 1
    assert 11 in found.missed["train"]
    assert found.words.startswith("unsound: missed lag 1, ")
    noise = np.random.default_rng(0).normal(size=(2, 300))
    echo = noise[0].copy()
    echo[7:] += 0.6 * noise[0][:-7]
    found = diagnose(echo, noise[1])
    assert (found.sound, found.missed["train"][0], found.missed["test"]) == (False, 7, ())
    assert diagnose(*noise).words == "sound"


def test_gaps_and_parts_that_are_too_short():
    rng = np.random.default_rng(1)
    train = rng.normal(size=100)
    train[::9] = np.nan
    found = diagnose(train, rng.normal(size=15))
    assert set(found.p_values["train"]) == {10, 20}
    assert found.p_values["test"] == {}
    assert found.words == "sound (too few residuals: test)"
    assert diagnose(train[:5], train[:3]).sound is None
    assert diagnose(np.zeros(50), np.full(50, np.nan)).words == "not tested: too few residuals"
    # As many parameters as lags leave no degree of freedom.
    assert set(diagnose(train, train, model_df=12).p_values["train"]) == {20}
    found = diagnose(train, train, model_df=23)
    assert (set(found.p_values["train"]), set(found.p_values["test"])) == ({33, 43}, {10, 20})
