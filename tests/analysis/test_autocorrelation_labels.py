"""Association of labels by lag: against scipy and scikit-learn, and its permutation test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import contingency
from sklearn.metrics import mutual_info_score

from seqmodels.analysis import autocorrelation as ac

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (2, 90))


def diary(shape, seed=0):
    """Returns meals of three kinds of which the next is mostly the one after the last."""
    rng = np.random.default_rng(seed)
    meals = rng.integers(0, 3, shape)
    for t in range(1, shape[-1]):
        again = rng.random(shape[:-1]) < 0.7
        meals[..., t] = np.where(again, (meals[..., t - 1] + 1) % 3, meals[..., t])
    return meals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ac.lagged_association(KEY, []), "x: got float64, expected integer labels"),
        (lambda: ac.lagged_association(KEY, ["rice", "soup"]), "np.unique"),
        (lambda: ac.lagged_association(KEY, 3), "x: got a number"),
        (lambda: ac.lagged_association(KEY, [1]), r"x: got \[1\], expected at least 2"),
        (lambda: ac.lagged_association(KEY, [1, 2, 1]), "nlags: got 10, expected .* 1 to 2"),
        (lambda: ac.lagged_association(KEY, LABELS, nlags=0), "nlags: got 0"),
        (lambda: ac.lagged_association(KEY, LABELS, measure="v"), "measure: got 'v'"),
        (
            lambda: ac.lagged_association(KEY, LABELS, LABELS[0]),
            r"y: got \[90\], expected",
        ),
        (lambda: ac.lagged_association(KEY, LABELS, num_categories=2), "x: got label 3, expected"),
        (lambda: ac.lagged_association(KEY, LABELS, permutations=-1), "permutations: got -1"),
        (lambda: ac.lagged_association(KEY, np.ones(20, int)), "x: got at lag 1 fewer than two"),
        (lambda: ac.lagged_association(KEY, LABELS * 0 + [[0], [1]]), r"series \[0\]"),
        (lambda: ac.lagged_association(KEY, LABELS, axis=2), "axis: got 2"),
        (
            lambda: jax.jit(lambda x: ac.lagged_association(KEY, x).statistic)(LABELS),
            "num_categories: got None",
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("other", [False, True])
def test_measures_against_scipy_and_scikit_learn(other):
    x, y = diary((2, 90)), LABELS
    past = y if other else x
    for measure in ("cramers_v", "mutual_information"):
        found = ac.lagged_association(
            KEY, x, y if other else None, nlags=5, measure=measure, permutations=0
        )
        assert found.lags.tolist() == list(range(0 if other else 1, 6))
        assert np.all(np.asarray(found.pvalue) == 1)
        for row in range(2):
            for lag, value in zip(found.lags, found.statistic[row], strict=True):
                now, then = x[row, lag:], past[row, : 90 - lag]
                if measure == "cramers_v":
                    want = contingency.association(contingency.crosstab(now, then).count)
                else:
                    want = mutual_info_score(now, then)
                np.testing.assert_allclose(value, want, atol=1e-6)


def test_by_hand():
    found = ac.lagged_association(KEY, [0, 1, 0, 1, 0], nlags=2, permutations=0)
    np.testing.assert_allclose(found.statistic, [1, 1], rtol=1e-6)
    # Pairs (1, 0), (1, 1), (0, 1), (0, 0), one each: nothing to tell.
    found = ac.lagged_association(KEY, [0, 1, 1, 0, 0], nlags=1, permutations=0)
    np.testing.assert_allclose(found.statistic, [0], atol=1e-6)
    found = ac.lagged_association(
        KEY, [0, 1, 0, 1, 0], nlags=1, measure="mutual_information", permutations=0
    )
    np.testing.assert_allclose(found.statistic, [np.log(2)], rtol=1e-6)


def test_p_is_uniform_without_dependence_and_small_with_it():
    labels = RNG.integers(0, 3, (300, 60))
    found = ac.lagged_association(KEY, labels, nlags=2, permutations=99)
    for lag in range(2):
        assert stats.kstest(found.pvalue[:, lag], "uniform").pvalue > 0.001
    found = ac.lagged_association(KEY, diary((20, 120)), nlags=1, permutations=99)
    np.testing.assert_allclose(found.pvalue, 0.01, rtol=1e-6)


def test_a_diary_depends_on_itself_and_not_on_the_weekday():
    meals = diary((365,))
    weekday = np.arange(365) % 7
    own = ac.lagged_association(KEY, meals, nlags=3)
    day = ac.lagged_association(KEY, meals, weekday, nlags=0)
    assert np.all(np.asarray(own.pvalue) < 0.01)
    assert day.pvalue > 0.05
    assert day.statistic < own.statistic[0] / 3


def test_gaps_lengths_and_axes():
    x = diary((2, 60))
    lengths = np.array([60, 40])
    want = [
        ac.lagged_association(KEY, row[:n], nlags=3, permutations=0).statistic
        for row, n in zip(x, lengths, strict=True)
    ]
    there = np.arange(60) < lengths[:, None]
    for options in (
        {"x": x, "lengths": lengths}, {"x": x, "mask": there}, {"x": np.where(there, x, -1)},
        {"x": x.T, "lengths": lengths, "axis": 0},
    ):  # fmt: skip
        found = ac.lagged_association(KEY, nlags=3, permutations=20, **options)
        np.testing.assert_allclose(found.statistic, want, atol=1e-6)
        np.testing.assert_allclose(found.pvalue[:, 0], 1 / 21, rtol=1e-5)
    holes = np.where(RNG.random(60) < 0.3, -1, x[0])
    pairs = [(a, b) for a, b in zip(holes[2:], holes[:-2], strict=True) if min(a, b) >= 0]
    found = ac.lagged_association(KEY, holes, nlags=2, permutations=0)
    table = contingency.crosstab(*zip(*pairs, strict=True)).count
    np.testing.assert_allclose(found.statistic[1], contingency.association(table), atol=1e-6)


def test_under_jit_and_vmap():
    x = jnp.asarray(diary((2, 60)))

    def call(x):
        found = ac.lagged_association(KEY, x, nlags=2, permutations=20, num_categories=3)
        return found.statistic, found.pvalue

    found = jax.jit(call)(x)
    np.testing.assert_allclose(found[0], call(x)[0], atol=1e-5)
    np.testing.assert_allclose(jax.vmap(call)(x)[0], found[0], atol=1e-6)
    assert np.isnan(jax.jit(call)(jnp.zeros(60, int))[0]).all()
    again = ac.lagged_association(KEY, x, nlags=2, permutations=20)
    np.testing.assert_array_equal(again.pvalue, call(x)[1])


def test_dtype_and_mask_of_labels():
    labels = np.random.default_rng(0).integers(0, 20, 200)
    want = ac.lagged_association(KEY, labels, nlags=2, permutations=9)
    for dtype in (np.uint8, np.int8, np.uint64):
        got = ac.lagged_association(KEY, labels.astype(dtype), nlags=2, permutations=9)
        np.testing.assert_array_equal(got.statistic, want.statistic)
        np.testing.assert_array_equal(got.pvalue, want.pvalue)
    gaps = np.where(np.arange(200) % 7 == 0, -1, labels)
    masked = np.ma.masked_array(labels.astype(np.uint8), np.arange(200) % 7 == 0)
    for got, want in zip(
        ac.lagged_association(KEY, masked, nlags=2, permutations=9, num_categories=20)[1:],
        ac.lagged_association(KEY, gaps, nlags=2, permutations=9, num_categories=20)[1:],
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)
    bools = labels > 9
    np.testing.assert_array_equal(
        ac.lagged_association(KEY, bools, nlags=2, permutations=9).statistic,
        ac.lagged_association(KEY, bools.astype(int), nlags=2, permutations=9).statistic,
    )
