"""Numbers in cells: one reading, or refused."""

import numpy as np
import pytest

from seqmodels.data.number_cells import parse


def place(row):
    return f"a.csv, line {row + 2}: x"


@pytest.mark.parametrize(
    ("cells", "expected", "style"),
    [
        (["1", "+2.5", ".5", "1e-3", "−4"], [1, 2.5, 0.5, 1e-3, -4], ""),  # noqa: RUF001
        (["1.234", "2.500"], [1.234, 2.5], ""),
        (["", "NA", "n/a", "NaN", "null", "-", "?", "7"], [np.nan] * 7 + [7], ""),
        (["0,25", "1,234"], [0.25, 1.234], "decimal commas"),
        (["1,234", "12.5"], [1234, 12.5], "commas between thousands"),
        (["1,234,567", "999"], [1234567, 999], "commas between thousands"),
        (["2.345,5", "1.000"], [2345.5, 1000], "decimal commas and points between thousands"),
        (["12 345", "6 789.5"], [12345, 6789.5], "marks between thousands"),
        (["1'234,5"], [1234.5], "decimal commas and marks between thousands"),
    ],
)
def test_numbers_that_can_be_read_in_one_way(cells, expected, style):
    numbers, found = parse(cells, place)
    np.testing.assert_array_equal(numbers, expected)
    assert found == style


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "2,345"], "line 3: x: got '2,345', which may be 2.345 or 2345"),
        (["1.5", "1,5"], "line 3: x: got '1,5', and '1.5' elsewhere"),
        (["1,5", "1,234.5"], "line 2: x: got '1,5', and"),
        (["1,23,456"], "line 2: x: got '1,23,456', expected a number"),
        (["0x10"], "got '0x10', expected a number"),
        (["1_2"], "got '1_2', expected a number"),
        (["٣"], "got '٣', expected a number"),
        (["soon"], "got 'soon', expected a number; missing=soon makes it a gap"),
    ],
)
def test_numbers_that_cannot(cells, message):
    with pytest.raises(ValueError, match=message):
        parse(cells, place)


def test_gaps_that_are_named():
    numbers, _ = parse(["-999.0", ".", "#N/A", "1"], place, ("-999", ".", "#N/A"))
    np.testing.assert_array_equal(numbers, [np.nan, np.nan, np.nan, 1])
    with pytest.raises(ValueError, match="line 3: x: got '', expected a number"):
        parse(["1", ""], place, gaps=False)
