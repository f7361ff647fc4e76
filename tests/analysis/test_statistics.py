"""The memory horizon and intervals, against values worked out by hand."""

import math

import pytest

from seqmodels.analysis.statistics import mean_interval, memory_horizon


@pytest.mark.parametrize(
    ("accuracies", "horizon"),
    [
        ([1.0, 1.0, 1.0], 40),
        ([1.0, 0.95, 0.2], 8),
        ([1.0, 0.2, 1.0], 0),  # it has to stay high
        ([0.2, 1.0, 1.0], None),
        ([0.95, 0.95, 0.949], 8),  # threshold .5 + .9 * .5, reached exactly
        ([1.0, float("nan"), 1.0], 0),
        ([], None),
    ],
)
def test_memory_horizon(accuracies, horizon):
    distances = [0, 8, 40][: len(accuracies)]
    assert memory_horizon(distances, accuracies, chance=0.5) == horizon


def test_mean_interval():
    # Student's t with 2 degrees of freedom: 4.302653 * 1 / sqrt(3)
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
    mean, low, high = mean_interval([0.5])
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)
    assert mean_interval([1.0, 1.0]) == (1.0, 1.0, 1.0)
