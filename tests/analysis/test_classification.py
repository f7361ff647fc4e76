"""Figures of classes agree with scikit-learn, and the bootstrap with a loop."""

import numpy as np
import pytest
from sklearn import metrics

from seqmodels.analysis import classification

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_against_scikit_learn(num_classes):
    truth = RNG.integers(0, num_classes, 200)
    predicted = np.where(RNG.random(200) < 0.6, truth, RNG.integers(0, num_classes, 200))
    found = classification.confusion_matrix(truth, predicted, num_classes)
    np.testing.assert_array_equal(found, metrics.confusion_matrix(truth, predicted))
    want = metrics.f1_score(truth, predicted, average="macro")
    assert classification.macro_f1(found) == pytest.approx(want)


def test_by_hand():
    found = classification.confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert classification.macro_f1(found) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_the_bootstrap_against_a_loop():
    truth = RNG.integers(0, 3, 150)
    model = [np.where(RNG.random(150) < 0.8, truth, 0) for _ in range(4)]
    baseline = np.where(RNG.random(150) < 0.7, truth, 1)

    def score(predicted, items):
        return metrics.f1_score(truth[items], predicted[items], average="macro", zero_division=0)

    everything = np.arange(150)
    whole = np.mean([score(m, everything) for m in model]) - score(baseline, everything)
    found = classification.paired_bootstrap(truth, model, baseline, 3)
    assert found[0] == pytest.approx(whole)
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(300):
        items, seeds = rng.integers(0, 150, 150), rng.integers(0, 4, 4)
        mean = np.mean([score(model[s], items) for s in seeds])
        differences.append(mean - score(baseline, items))
    np.testing.assert_allclose(found[1:], np.quantile(differences, [0.025, 0.975]), atol=0.015)


def test_a_model_that_is_the_baseline():
    truth = RNG.integers(0, 2, 50)
    assert classification.paired_bootstrap(truth, [truth, truth], truth, 2) == (0, 0, 0)
