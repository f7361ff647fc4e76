"""Words that are true of what they are said of."""

import numpy as np
import pytest

from seqmodels.analysis.autocorrelation import acf, ljung_box, pacf, seasonal_period
from seqmodels.analysis.verdict import label_words, verdict
from seqmodels.datasets import series


def of(x, nlags=24, **more):
    x = np.asarray(x, np.float64)
    p = float(np.asarray(ljung_box(x, nlags).pvalue)[-1])
    period = int(seasonal_period(x).period)
    values, partial = (np.asarray(f(x, nlags=nlags))[1:] for f in (acf, pacf))
    return verdict(values, partial, len(x), p, **{"period": period, **more})


def ar(weights, n=400, seed=0):
    noise = np.random.default_rng(seed).normal(size=n + 100)
    x = np.zeros(n + 100)
    for t in range(len(weights), n + 100):
        x[t] = noise[t] + sum(w * x[t - 1 - k] for k, w in enumerate(weights))
    return x[100:]


def test_sunspots():
    shown = series.load("sunspots")
    found = of(shown.values[:, 0], duration=shown.duration)
    assert (found.kind, found.positive_to, found.negative_at, found.period) == ("cycle", 2, 5, 10)
    assert found.words.startswith(
        "Positive up to lag 2, negative around lag 5, peak at lag 10 (r = 0.66): a cycle of about "
        "10.5 years. Partial autocorrelation at lags 1, 2, "
    )


def test_noise_is_called_so():
    """But for a share of about alpha."""
    rng = np.random.default_rng(0)
    kinds = [of(rng.normal(size=200)).kind for _ in range(100)]
    assert kinds.count("none") >= 86
    found = of(np.random.default_rng(1).normal(size=200))
    assert found == ("none", 0, 0, 0, (), found.words)
    assert "No linear dependence on earlier values" in found.words


def test_memory_and_its_order():
    found = of(ar([0.6], seed=1))
    assert (found.kind, found.negative_at, found.partial) == ("memory", 0, (1,))
    assert "lag 1: an autoregression of it" in found.words
    found = of(ar([0.3, 0.5], seed=1))
    assert found.partial == (1, 2)
    found = of(ar([-0.7]))
    assert (found.positive_to, found.negative_at) == (0, 1)
    assert found.words.startswith("Negative at lag 1")


def test_what_does_not_die_out():
    walk = np.random.default_rng(1).normal(size=500).cumsum()
    assert of(walk).kind == "trend"
    assert "look at the differences" in of(walk).words
    assert of(np.diff(walk), differenced=True).kind == "none"


def test_a_trend_with_a_season():
    rng = np.random.default_rng(4)
    t = np.arange(120)
    x = 2 * t + 30 * np.sin(2 * np.pi * t / 12) + 10 * rng.normal(size=120)
    found = of(x, calendar=12, duration="{} months".format)
    assert (found.kind, found.period) == ("trend", 12)
    assert "a season of 12 months" in found.words
    assert "look at the differences" in found.words


def test_a_season_and_its_differences():
    rng = np.random.default_rng(2)
    t = np.arange(240)
    x = 5 * np.sin(2 * np.pi * t / 12) + rng.normal(size=240)
    found = of(x, calendar=12, duration="{} months".format)
    assert (found.kind, found.period) == ("cycle", 12)
    assert "a season of 12 months" in found.words
    assert "seasonal differences" in found.words.lower()
    found = of(x[12:] - x[:-12], calendar=12, differenced=True, seasonally=True)
    assert found.period == 0
    assert "negative at lag 12, an effect of the differences" in found.words.lower()


def test_differenced_once_too_often():
    x = np.diff(np.random.default_rng(3).normal(size=400))
    assert "one difference too many" in of(x, differenced=True).words
    assert "one difference too many" not in of(x).words


def test_by_hand():
    values = np.array([0.9, 0.1, -0.5, -0.6, 0.0])
    # z of .05 / 5 in both tails is 2.576; n = 100: limits .258, .417, ...
    found = verdict(values, np.array([0.9, -0.2]), 100, 0.001)
    assert (found.positive_to, found.negative_at, found.partial) == (1, 4, (1,))
    weak = verdict(np.full(5, 0.2), np.zeros(5), 100, 0.01)
    assert weak.words == "Weak: no single lag is significant."
    with pytest.raises(ValueError, match="no lags"):
        verdict(np.zeros(0), np.zeros(0), 10, 1.0)


def test_labels():
    words = label_words("The past of food", [1, 2, 3], np.array([0.6, 0.5, 0.1]),
                        np.array([0.001, 0.001, 0.4]))  # fmt: skip
    assert words == (
        "The past of food: association at lags 1, 2, strongest at lag 1 (V = 0.60, p = 0.001)."
    )
    words = label_words("day", [0, 1], np.array([0.02, 0.05]), np.array([0.9, 0.04]))
    assert words == "day: no association (V up to 0.05, p from 0.04)."


def test_a_p_value_that_could_not_be_computed_is_no_verdict():
    found = verdict(np.full(3, np.nan), np.full(3, np.nan), 10, float("nan"))
    assert found.kind == "untested"
    assert found.words.startswith("Not tested: ")
    words = label_words("the past", [1, 2], np.array([0.1, np.nan]), np.full(2, np.nan))
    assert words == "the past: not tested, because no p value could be computed."
