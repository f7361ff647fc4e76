"""The table of a study: figures, intervals and their ranges."""

import math

import pytest

from experiments.common import report


def rows(values, form):
    """Returns the texts of the column of a figure of one model."""
    records = [
        {"model": "lstm", "parameters": 8, "seconds": 1.0, "figure": value} for value in values
    ]
    table = report.table({"baselines": None, "results": records}, {"figure": ("figure", form)})
    return list(table.columns[1].cells)


# Student's t of two values a, b: the mean -+ 12.706 |a - b| / 2.
@pytest.mark.parametrize(
    ("values", "form", "want"),
    [
        ([0.99, 1.0], report.percent, "99.5 [93.1, 100.0]"),
        ([0.0, 0.01], report.percent, "0.5 [0.0, 6.9]"),
        ([0.5, 0.51], report.percent, "50.5 [44.1, 56.9]"),
        ([99.0, 100.0], report.decimals(1, 0, 100), "99.5 [93.1, 100.0]"),
        ([0.1, 0.3], report.decimals(3, 0), "0.200 [0.000, 1.471]"),
        ([0.1, 0.3], report.decimals(3), "0.200 [-1.071, 1.471]"),
        ([0.982], report.percent, "98.2"),
        ([None, 0.99, 1.0], report.percent, "99.5 [93.1, 100.0], 1 diverged"),
        ([None, math.nan], report.percent, "diverged"),
    ],
)
def test_an_interval_stays_in_the_range_of_its_figure(values, form, want):
    assert rows(values, form) == [want]
