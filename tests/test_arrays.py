"""The dtype and the mask of an array never change a value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqmodels.analysis.classification import confusion_matrix, macro_f1, paired_bootstrap
from seqmodels.analysis.diagnosis import diagnose
from seqmodels.analysis.forecast_scores import mase_scale, score
from seqmodels.analysis.statistics import mean_interval
from seqmodels.arrays import as_floats, as_labels
from seqmodels.data.transforms import restored, transformed
from seqmodels.models import linear_forecaster
from seqmodels.models.ngrams import bits_by_order

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.int64, np.uint64]
LABELS = np.arange(120) % 17
VALUES = np.array([120, 3, 100, 1, 90, 7, 80, 2, 110, 5, 60, 9])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels(dtype):
    truth, predicted = LABELS.astype(dtype), np.roll(LABELS, 1).astype(dtype)
    assert np.trace(confusion_matrix(truth, truth, 17)) == 120
    wide = confusion_matrix(LABELS, np.roll(LABELS, 1), 17)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 17), wide)
    assert macro_f1((100 * np.eye(2)).astype(dtype)) == 1
    assert bits_by_order(truth, truth, 17, 3) == bits_by_order(LABELS, LABELS, 17, 3)
    want = paired_bootstrap(LABELS, [LABELS], np.roll(LABELS, 1), 17, draws=5)
    assert paired_bootstrap(truth, [truth], predicted, 17, draws=5) == want


def functions(values):
    return {
        "mase": mase_scale(values),
        "score": score(values, values[::-1], None, 1.0)[:3],
        "mean": mean_interval(values),
        "log": transformed(values, "log"),
        "sqrt": transformed(values, "sqrt"),
        "square": restored(values, "sqrt"),
        "least squares": linear_forecaster.least_squares(values, [1, 2]),
        "forecasts": linear_forecaster.forecasts(values, linear_forecaster.seasonal(2)),
        "fill": linear_forecaster.fill_gaps(values, linear_forecaster.seasonal(1)),
    }


@pytest.mark.parametrize("dtype", [*INTEGERS, np.float16, object, jnp.bfloat16])
def test_values(dtype):
    want, got = functions(VALUES.astype(np.float64)), functions(VALUES.astype(dtype))
    for name in want:
        for one, other in zip(jax.tree.leaves(got[name]), jax.tree.leaves(want[name]), strict=True):
            np.testing.assert_allclose(np.asarray(one, np.float64), other, rtol=1e-12)


def test_bools_are_values():
    assert mase_scale(np.array([True, False, False, True])) == pytest.approx(2 / 3)


def test_masked_values_are_gaps():
    masked = np.ma.masked_array(VALUES.astype(float), VALUES == 100)
    gaps = np.where(VALUES == 100, np.nan, VALUES)
    masked[2] = 1e9
    masked[2] = np.ma.masked
    assert mase_scale(masked) == mase_scale(gaps)
    assert score(masked, VALUES + 1, None, 1.0)[:2] == (1.0, 1.0)
    assert mean_interval(masked) == mean_interval(gaps[np.isfinite(gaps)])
    np.testing.assert_array_equal(transformed(masked, "sqrt"), transformed(gaps, "sqrt"))
    forecaster = linear_forecaster.seasonal(1)
    assert linear_forecaster.fill_gaps(masked, forecaster)[2] == 3
    np.testing.assert_array_equal(
        linear_forecaster.least_squares(masked, [1])[0],
        linear_forecaster.least_squares(gaps, [1])[0],
    )
    noise = np.random.default_rng(0).normal(size=60)
    holes = np.ma.masked_array(noise, np.arange(60) % 9 == 0)
    filled = np.where(holes.mask, np.nan, noise)
    assert diagnose(holes, []) == diagnose(filled, [])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: as_labels("truth", [0.5]), "truth: got float64, expected integer labels"),
        (lambda: as_labels("truth", np.ma.masked_array([1], [True])), "truth: got masked labels"),
        (lambda: confusion_matrix([3], [0], 3), "truth: got label 3, expected 0 to 2"),
        (lambda: confusion_matrix([0], [-1], 3), "predicted: got label -1, expected 0 to 2"),
        (lambda: confusion_matrix([0, 1], [1], 3), r"predicted: got \[1\] for \[2\] of truth"),
        (lambda: as_floats("x", ["a"]), "x: got <U1, expected real numbers"),
        (lambda: as_floats("x", [1j]), "x: got complex128, expected real numbers"),
        (lambda: mean_interval([]), "values: got none, expected at least one"),
        (lambda: transformed(VALUES, "cube"), "transform: got 'cube', expected one of none"),
        (lambda: mase_scale(VALUES, 0), "period: got 0, expected at least 1"),
        (lambda: score([1], [1], None, 0.0), "scale: got 0.0, expected a positive number"),
        (lambda: macro_f1(np.zeros((0, 0))), r"confusion: got \[0, 0\], expected"),
        (lambda: paired_bootstrap([], [[]], [], 2), "truth: got 0 items and 1 seeds"),
        (
            lambda: linear_forecaster.least_squares(np.ones(4), [2, 9]),
            "values: got 4, expected more than the largest lag 9",
        ),
        (lambda: linear_forecaster.seasonal(1, 0), "period: got 0, expected at least 1"),
        (lambda: linear_forecaster.fill_gaps([np.nan], linear_forecaster.seasonal(1)), "values:"),
    ],
)
def test_degenerate_arguments_give_one_line(call, line):
    with pytest.raises(ValueError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)
