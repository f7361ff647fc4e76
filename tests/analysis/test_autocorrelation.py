"""ACF, PACF and CCF: edge cases, values by hand, agreement with statsmodels, transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autocorrelation_cases import SERIES, WHOLE, autoregressive
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads
from statsmodels.tsa import stattools

from seqmodels.analysis import autocorrelation as ac

RNG = np.random.default_rng(0)
X = autoregressive(0.7, (3, 4, 60))


def close(found, want, atol):
    np.testing.assert_allclose(np.asarray(found, np.float64), want, rtol=0, atol=atol)


def oracle_acf(x, **options):
    """statsmodels' values and interval, without its warning about what it will return one day."""
    found = stattools.acf(x, result_object=True, **options)
    return found.acf, found.confint


MISTAKES = {
    "number": (lambda: ac.acf(3.0), "x: got a number"),
    "empty": (lambda: ac.acf([]), r"x: got \[0\], expected at least 2"),
    "one": (lambda: ac.acf([1.0]), "at least 2"),
    "empty_batch": (lambda: ac.acf(np.ones((0, 5))), "at least 2"),
    "text": (lambda: ac.acf(["a", "b"]), "x: got <U1, expected real"),
    "complex": (lambda: ac.acf(np.ones(4) * 1j), "expected real"),
    "constant": (lambda: ac.acf(np.full(9, 0.1)), "x: got a constant, expected"),
    "constant_in_batch": (
        lambda: ac.acf(np.stack([np.arange(9.0), np.ones(9)])), r"constant in series \[1\]",
    ),
    "constant_but_for_gaps": (
        lambda: ac.acf([1, np.nan, 1, 1], nlags=1, missing="conservative"), "x: got a constant",
    ),
    "nan": (lambda: ac.acf([1, np.nan, 2]), "missing='conservative'"),
    "infinite": (lambda: ac.acf([1, np.inf, 2], missing="drop"), "infinity"),
    "all_missing": (lambda: ac.acf(np.full(9, np.nan), missing="drop"), "only missing"),
    "all_masked": (lambda: ac.acf(X[0, 0], mask=np.zeros(60, bool)), "only missing"),
    "nlags_n": (lambda: ac.acf(np.arange(5.0), nlags=5), "nlags: got 5, expected .* 0 to 4"),
    "nlags_negative": (lambda: ac.acf(np.arange(5.0), nlags=-1), "nlags: got -1"),
    "nlags_fraction": (lambda: ac.acf(np.arange(5.0), nlags=1.5), "nlags: got 1.5"),
    "nlags_of_length": (
        lambda: ac.acf(X[0], nlags=9, lengths=[60, 9, 60, 60]), r"the 9 values there are .*\[1\]",
    ),
    "pacf_nlags": (lambda: ac.pacf(np.arange(9.0), nlags=5), "nlags: got 5, expected .* 0 to 4"),
    "pacf_method": (lambda: ac.pacf(X, method="burg"), "method: got 'burg', expected one of yw"),
    "alpha": (lambda: ac.acf(X, alpha=5), "alpha: got 5, expected"),
    "missing": (lambda: ac.acf(X, missing="skip"), "missing: got 'skip', expected one of none"),
    "axis": (lambda: ac.acf(X, axis=3), r"axis: got 3, expected one of the axes of x \[3, 4, 60\]"),
    "mask_shape": (lambda: ac.acf(X, mask=np.ones(60, bool)), r"mask: got bool\[60\]"),
    "mask_dtype": (lambda: ac.acf(X[0, 0], mask=np.ones(60)), "mask: got float64"),
    "lengths_shape": (lambda: ac.acf(X, lengths=[3]), r"lengths: got int64\[1\]"),
    "lengths_long": (lambda: ac.acf(X[0, 0], lengths=61), "lengths: got 61, expected 0 to 60"),
    "ccf_shapes": (lambda: ac.ccf(X, X[0]), r"y: got \[4, 60\], expected the shape of x"),
    "ccf_constant": (lambda: ac.ccf(X[0, 0], np.ones(60)), "y: got a constant"),
    "ccf_drop": (lambda: ac.ccf(X, X, missing="drop"), "missing: got 'drop'"),
    "ccf_nlags": (lambda: ac.ccf(X, X, nlags=61), "nlags: got 61, expected .* 1 to 60"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_by_hand():
    close(ac.acf([1.0, 2.0]), [1, -0.5], 1e-7)
    # Deviations -1.5, -.5, .5, 1.5: sums of products 5, 1.25, -1.5, -2.25.
    close(ac.acf([1, 2, 3, 4]), [1, 0.25, -0.3, -0.45], 1e-7)
    close(ac.acf([1, 2, 3, 4], adjusted=True), [1, 0.25 * 4 / 3, -0.6, -1.8], 1e-7)
    # phi_22 = (r_2 - r_1^2) / (1 - r_1^2)
    close(ac.pacf([1, 2, 3, 4], 2, "ywmle"), [1, 0.25, (-0.3 - 0.0625) / (1 - 0.0625)], 1e-7)
    # 5 is a gap: the mean is 2, deviations -1, ., 1, 0: products at lag 2 are -1, of 2 in all.
    close(ac.acf([1, np.nan, 3, 2], nlags=2, missing="conservative"), [1, 0, -0.5], 1e-7)
    # Joined 1, 3, 2 has deviations -1, 1, 0.
    close(ac.acf([1, np.nan, 3, 2], nlags=2, missing="drop"), [1, -0.5, 0], 1e-7)
    # x is y one step later.
    found = ac.ccf([0, 1, 0, 0], [1, 0, 0, 0], adjusted=False)
    assert np.argmax(found) == 1


def test_a_lag_without_pairs_is_not_known():
    x = [1, np.nan, 2, np.nan, 4, np.nan, 3]
    found = ac.acf(x, nlags=3, missing="conservative")
    assert np.isnan(found).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("name", "missing"),
    [*((name, "none") for name in WHOLE), ("co2", "conservative"), ("co2", "drop")],
)
def test_acf_against_statsmodels(name, missing):
    x = SERIES[name].astype(np.float32)
    for adjusted, bartlett in ((False, True), (True, False)):
        options = {
            "adjusted": adjusted, "nlags": 40, "alpha": 0.1, "bartlett_confint": bartlett,
            "missing": missing,
        }  # fmt: skip
        values, confint = oracle_acf(x.astype(float), **options)
        found = ac.acf(x, fft=bartlett, **options)
        close(found.values, values, 1e-6)
        close(found.confint, confint, 1e-6)
    traced = jax.jit(lambda x: ac.acf(x, **options))(x)
    close(traced.values, values, 1e-5)
    close(traced.confint, confint, 1e-5)
    with jax.enable_x64(True):
        found = ac.acf(SERIES[name], **options)
    assert found.values.dtype == np.float64
    values, confint = oracle_acf(SERIES[name], **options)
    close(found.values, values, 1e-10)
    close(found.confint, confint, 1e-10)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("method", ["ywadjusted", "ywmle"])
def test_pacf_against_statsmodels(name, method):
    x = SERIES[name].astype(np.float32)
    want = stattools.pacf(x.astype(float), nlags=30, method=method, alpha=0.05)
    found = ac.pacf(x, nlags=30, method=method, alpha=0.05)
    close(found.values, want.pacf, 1e-6)
    close(found.confint, want.confint, 1e-6)
    # In float32 the recursion loses what a series close to a random walk costs it.
    traced = jax.jit(lambda x: ac.pacf(x, nlags=30, method=method))(x)
    close(traced, want.pacf, 1e-4)
    with jax.enable_x64(True):
        found = ac.pacf(SERIES[name], nlags=30, method=method)
    close(found, stattools.pacf(SERIES[name], nlags=30, method=method), 1e-10)


@pytest.mark.parametrize("adjusted", [False, True])
def test_ccf_against_statsmodels(adjusted):
    x, y = (SERIES[name].astype(np.float32) for name in ("realgdp", "unemp"))
    want = stattools.ccf(x.astype(float), y.astype(float), adjusted, nlags=50, alpha=0.05)
    for fft in (True, False):
        found = ac.ccf(x, y, adjusted, fft, nlags=50, alpha=0.05)
        close(found.values, want.ccf, 1e-6)
        close(found.confint, want.confint, 1e-6)
    with jax.enable_x64(True):
        found = ac.ccf(SERIES["realgdp"], SERIES["unemp"], adjusted)
    close(found, stattools.ccf(SERIES["realgdp"], SERIES["unemp"], adjusted), 1e-10)


def test_ccf_with_itself_is_the_acf():
    x = np.where(RNG.random(60) < 0.2, np.nan, X[0, 0])
    for adjusted in (False, True):
        found = ac.ccf(x, x, adjusted, nlags=9, missing="conservative")
        close(found, ac.acf(x, adjusted, nlags=8, missing="conservative"), 1e-6)


@settings(max_examples=200, deadline=None, database=None)
@given(
    hnp.arrays(
        np.float32, 24,
        elements=st.floats(-1e6, 1e6, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3),
    )
)  # fmt: skip
def test_series_of_any_kind(x):
    exact = x.astype(np.float64)
    if np.ptp(exact) == 0:
        with pytest.raises(ValueError, match="constant"):
            ac.acf(x)
        return
    close(ac.acf(x, nlags=23), stattools.acf(exact, nlags=23), 1e-5)
    close(ac.pacf(x, 6, "ywmle"), stattools.pacf(exact, 6, "ldbiased"), 1e-5)
    found, want = ac.ljung_box(x, lags=8).statistic, _ljung_box(exact, 8)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
    # Inside a transformation too, unless the spread is lost in the float32 of the values.
    close(TRACED(x), stattools.acf(exact, nlags=23), 1e-5)


TRACED = jax.jit(lambda x: ac.acf(x, nlags=23))


def _ljung_box(x, lags):
    return stattools.q_stat(stattools.acf(x, nlags=lags)[1:], len(x)).statistic


@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
@pytest.mark.parametrize("mean", [0, 1e3, 1e6])
def test_large_means_and_scales(mean, scale):
    x = ((autoregressive(0.8, (500,)) + mean) * scale).astype(np.float32)
    want = stattools.acf(x.astype(float) / scale, nlags=30)
    close(ac.acf(x, nlags=30), want, 1e-6)
    close(jax.jit(lambda x: ac.acf(x, nlags=30))(x), want, 1e-5)


def test_doubles_are_centered_before_they_become_singles():
    x = autoregressive(0.8, (500,)) + 1e9  # float32 would leave steps of 64
    close(ac.acf(x, nlags=30), stattools.acf(x, nlags=30), 1e-6)
    close(ac.pacf(x, nlags=30), stattools.pacf(x, nlags=30), 1e-5)


def test_batches_axes_and_defaults():
    for function in (ac.acf, ac.pacf):
        oracle = getattr(stattools, function.__name__)
        found = function(X)
        assert found.dtype == np.float32
        want = np.stack([oracle(x) for x in X.reshape(-1, 60)]).reshape(found.shape)
        close(found, want, 1e-5)
        np.testing.assert_array_equal(function(X.transpose(0, 2, 1), axis=-2), found)
    close(ac.acf(X[0, 0] > 0), stattools.acf(X[0, 0] > 0), 1e-6)
    assert ac.acf(jnp.asarray(X, jnp.bfloat16)).dtype == np.float32
    assert ac.acf(X.astype(np.float16)).dtype == np.float32


def test_lengths_are_as_if_the_padding_were_not_there():
    lengths = np.array([60, 31])
    x = X[:2, 0].astype(np.float32)
    x[np.arange(60) >= lengths[:, None]] = np.nan  # nothing of the padding gets through
    for function in (
        lambda x, **o: ac.acf(x, True, 20, alpha=0.05, **o).confint,
        lambda x, **o: ac.pacf(x, 12, **o),
        lambda x, **o: ac.ccf(x, -x, nlags=20, **o),
        lambda x, **o: ac.ljung_box(x, 20, **o).statistic,
        ac.durbin_watson,
    ):
        # The series of full length is there so that the other is padded.
        want = function(x[1, :31])
        found = function(x, lengths=lengths)[1]
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
        traced = jax.jit(lambda x, n, f=function: f(x, lengths=n))(x, lengths)[1]
        np.testing.assert_allclose(traced, want, rtol=1e-4, atol=1e-4)


def test_a_mask_is_as_nan():
    gone = RNG.random(X.shape) < 0.2
    holes = np.where(gone, np.nan, X)
    for missing in ("conservative", "drop"):
        want = ac.acf(holes, missing=missing)
        found = ac.acf(np.where(gone, 1e9, X), missing=missing, mask=~gone)
        np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(ac.acf(X, mask=~gone), ac.acf(holes, missing="conservative"))


def test_inside_a_transformation_what_is_undefined_is_nan():
    x = jnp.stack([jnp.arange(9.0), jnp.ones(9), jnp.full(9, jnp.nan), jnp.arange(9.0) ** 2])
    for function in (ac.acf, ac.pacf, lambda x: ac.ljung_box(x, 3).pvalue, lambda x: ac.ccf(x, x)):
        found = jax.jit(function)(x)
        assert np.isnan(found).all(1).tolist() == [False, True, True, False]
    gradient = jax.grad(lambda x: jnp.nansum(ac.acf(x)))(x)
    assert np.isfinite(gradient).all(1).tolist() == [True, True, False, True]


def test_gradients():
    x = X[0, 0, :12]
    with jax.enable_x64(True):
        check_grads(lambda x: (ac.acf(x, alpha=0.05).confint, ac.pacf(x), ac.ccf(x, x**2)), (x,), 1)
    holes = jnp.asarray(x, jnp.float32).at[3].set(jnp.nan)
    gradient = jax.grad(lambda x: ac.acf(x, missing="conservative")[1])(holes)
    assert np.isfinite(gradient).all()
    assert gradient[3] == 0


def test_vmap_is_a_batch():
    for function in (ac.pacf, lambda x: ac.ljung_box(x).pvalue):
        found = jax.vmap(jax.vmap(function))(jnp.asarray(X, jnp.float32))
        np.testing.assert_allclose(found, function(X), atol=1e-4)


def test_constants_of_a_traced_function_are_at_hand():
    found = jax.jit(lambda y: y * ac.ljung_box(X).pvalue)(1.0)
    np.testing.assert_allclose(found, ac.ljung_box(X).pvalue)


def test_a_second_call_does_not_compile(caplog):
    calls = [
        lambda x: ac.acf(x, alpha=0.05), ac.pacf, lambda x: ac.ccf(x, x), ac.ljung_box,
        ac.durbin_watson, ac.seasonal_period,
        lambda x: ac.lagged_association(jax.random.key(0), (x > 0).astype(int), permutations=3),
    ]  # fmt: skip
    for call in calls:
        call(X[0, 0])
        caplog.clear()
        with jax.log_compiles():
            call(X[0, 1])
        assert not [record.getMessage() for record in caplog.records]


def test_long_series():
    x = autoregressive(0.5, (2, 100_003)).astype(np.float32)
    found = ac.acf(x, nlags=50, mask=np.ones(x.shape, bool), adjusted=True)
    close(found[1], stattools.acf(x[1].astype(float), nlags=50, adjusted=True), 1e-6)
