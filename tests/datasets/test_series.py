"""Known series are those of their sources; steps, dates and gaps are what they say."""

import numpy as np
import pytest
from statsmodels import datasets

from seqmodels.data.time_series import TimeSeries, regular
from seqmodels.datasets import series


def months(*texts):
    return np.array(texts, "datetime64[M]").astype("datetime64[s]")


@pytest.mark.parametrize(
    ("name", "steps", "columns", "unit", "period", "first", "gaps"),
    [
        ("sunspots", 309, 1, "year", 1, "1700", 0),
        ("co2", 526, 1, "month", 12, "1958-03", 5),
        ("co2_weekly", 2284, 1, "week", 52, "1958-03-29", 59),
        ("elnino", 732, 1, "month", 12, "1950-01", 0),
        ("nile", 100, 1, "year", 1, "1871", 0),
        ("macrodata", 203, 12, "quarter", 4, "1959-01", 0),
        ("seattle_temps", 8760, 1, "hour", 24, "2010-01-01T00", 1),
    ],
)
def test_known_series(name, steps, columns, unit, period, first, gaps):
    found = series.load(name)
    assert found.values.shape == (steps, columns)
    assert found.values.dtype == np.float64
    assert (found.unit, found.every, found.period) == (unit, 1, period)
    assert found.label(0) == first
    assert np.isnan(found.values).sum() == gaps
    assert name in series.known()


def test_values_are_those_of_the_source():
    frame = datasets.sunspots.load_pandas().data
    found = series.load("sunspots")
    np.testing.assert_array_equal(found.values[:, 0], frame["SUNACTIVITY"])
    frame = datasets.elnino.load_pandas().data
    found = series.load("elnino").between("1983", "1983")
    row = frame[frame["YEAR"] == 1983].to_numpy()[0, 1:]
    np.testing.assert_array_equal(found.values[:, 0], row)
    frame = datasets.macrodata.load_pandas().data
    found = series.load("macrodata")
    np.testing.assert_array_equal(found.column("realgdp"), frame["realgdp"])
    weekly = datasets.co2.load_pandas().data["co2"]
    np.testing.assert_allclose(
        series.load("co2").between("1990-05", "1990-05").values[0, 0], weekly["1990-05"].mean()
    )


def test_unknown_name():
    with pytest.raises(ValueError, match="series: got 'moon', expected one of sunspots"):
        series.load("moon")


def test_gaps_become_nan():
    found = regular("a", "x", np.array([[1.0], [2], [3]]), months("2001-01", "2001-02", "2001-05"))
    assert (found.unit, found.every) == ("month", 1)
    np.testing.assert_array_equal(found.values[:, 0], [1, 2, np.nan, np.nan, 3])
    assert [found.label(step) for step in (0, 2, -1, 5)] == [
        "2001-01", "2001-03", "2001-05", "2001-06",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "unit", "every", "period"),
    [
        (["2001-01-01", "2002-01-01", "2004-01-01"], "year", 1, 1),
        (["2001-01-15", "2001-04-15", "2001-07-15"], "quarter", 1, 4),
        (["2001-01-31", "2001-02-28", "2001-03-31"], "month", 1, 12),
        (["2001-01-01", "2001-03-01", "2001-05-01"], "month", 2, 6),
        (["2001-01-03", "2001-01-10", "2001-01-24"], "week", 1, 52),
        (["2001-01-03", "2001-01-04", "2001-01-06"], "day", 1, 7),
        (["2001-01-01T00", "2001-01-01T06", "2001-01-01T12"], "hour", 6, 4),
        (["2001-01-01T00:00", "2001-01-01T00:05", "2001-01-01T00:10"], "minute", 5, 12),
    ],
)
def test_the_coarsest_step_on_which_all_lie(texts, unit, every, period):
    times = np.array(texts, "datetime64[s]")
    found = regular("a", "x", np.arange(3.0)[:, None], times)
    assert (found.unit, found.every, found.period) == (unit, every, period)
    there = found.values[np.isfinite(found.values[:, 0]), 0]
    np.testing.assert_array_equal(there, [0, 1, 2])


def test_no_regular_step():
    times = np.array(["2001-01-01T00:00:00", "2001-01-01T00:00:01", "2003-01-01"], "datetime64[s]")
    with pytest.raises(ValueError, match="no regular step"):
        regular("a", "x", np.zeros((3, 1)), times)
    with pytest.raises(ValueError, match="got no rows"):
        regular("a", "x", np.zeros((0, 1)), None)
    times = np.array(["2001-01-01T00:00:00.1", "2001-01-01T00:00:00.2"], "datetime64[ms]")
    assert regular("a", "x", np.zeros((2, 1)), times).duration(1) == "100 milliseconds"


def test_parts():
    found = series.load("elnino")
    part = found.between("1983", "1984-02")
    assert (part.label(0), part.label(-1), len(part.values)) == ("1983-01", "1984-02", 14)
    # The place in the season is kept.
    assert (part.ordinal - found.ordinal) % 12 == 0
    assert found.between("1983-03", None).ordinal % 12 == 2
    plain = TimeSeries("a", ("x",), np.arange(9.0)[:, None])
    assert plain.between("2", "4").values[:, 0].tolist() == [2, 3, 4]
    assert (plain.ordinal, plain.period, plain.label(-1)) == (0, 1, "8")
    with pytest.raises(ValueError, match="expected a part of 1950-01 to 2010-12"):
        found.between("2020", None)
    with pytest.raises(ValueError, match="first: got 'soon', expected a date"):
        found.between("soon", None)
    with pytest.raises(ValueError, match="last: got '1990-05', expected a step's number"):
        plain.between(None, "1990-05")


def test_durations_and_dates_behind_the_end():
    found = series.load("macrodata")
    assert (found.duration(1), found.duration(3)) == ("1 quarter", "3 quarters")
    assert found._replace(every=2).duration(3) == "6 quarters"
    assert str(found.dates(205)[-1]) == "2010-01"
    plain = TimeSeries("a", ("x",), np.zeros((3, 1)))
    np.testing.assert_array_equal(plain.dates(5), np.arange(5))
