"""Dates: labeled as they are written, on the step that they have, or refused with the way out."""

import datetime

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from seqmodels.data import steps
from seqmodels.data.series_files import Reading, read_csv


@pytest.fixture
def read(tmp_path):
    def of(dates, values=None, name="date", **reading):
        values = range(1, len(dates) + 1) if values is None else values
        rows = "".join(f"{date},{value}\n" for date, value in zip(dates, values, strict=True))
        (tmp_path / "a.csv").write_text(f"{name},x\n{rows}")
        return read_csv(tmp_path / "a.csv", ["x"], reading=Reading(**reading))

    return of


def days(first, count, step=1):
    return [str(day) for day in np.datetime64(first) + step * np.arange(count)]


@pytest.mark.parametrize(
    ("dates", "step", "first", "after"),
    [
        # Ends of months, with February of a leap year.
        (["2019-11-30", "2019-12-31", "2020-01-31", "2020-02-29", "2020-03-31"], "1 month",
         "2019-11", "2020-04"),
        (["2016-02-29", "2017-02-28", "2018-02-28", "2020-02-29"], "1 year", "2016", "2021"),
        (["2015-01-15", "2015-05-15", "2015-09-15", "2016-01-15"], "4 months", "2015-01",
         "2016-05"),
        # Months in a zone with daylight saving, the whole world east and west.
        ([f"2021-{m:02d}-01T00:00+{10 + (m < 4 or m > 9)}:00" for m in range(1, 13)], "1 month",
         "2021-01", "2022-01"),
        ([f"2021-{m:02d}-01T00:00-0{8 - (3 < m < 11)}:00" for m in range(1, 13)], "1 month",
         "2021-01", "2022-01"),
        # The same, written in UTC.
        (["2014-12-31T23:00Z", "2015-01-31T23:00Z", "2015-02-28T23:00Z", "2015-03-31T22:00Z"],
         "1 month", "2014-12", "2015-04"),
        # Days of a change of daylight saving have 23 and 25 hours.
        (["2015-03-28T00:00+01:00", "2015-03-29T00:00+01:00", "2015-03-30T00:00+02:00",
          "2015-03-31T00:00+02:00"], "1 day", "2015-03-28", "2015-04-01"),
        (["2020-10-24 23:00+02:00", "2020-10-25 01:00+02:00", "2020-10-25 02:00+01:00"], "2 hours",
         "2020-10-24T21", "2020-10-25T03"),
        (["2020-01-01T05:30:00+05:30", "2020-01-01T06:30:00+05:30"], "1 hour",
         "2020-01-01T05:30", "2020-01-01T07:30"),
        (days("2020-01-03", 9, 28), "4 weeks", "2020-01-03", "2020-09-11"),
        (["2020-W52", "2020-W53", "2021-W01", "2021-W02"], "1 week", "2020-12-21", "2021-01-18"),
        (days("2021-03-01", 5) + days("2021-03-08", 4), "1 business day", "2021-03-01",
         "2021-03-12"),
        (["201511", "201512", "201601", "201602"], "1 month", "2015-11", "2016-03"),
        (["20151230", "20151231", "20160101"], "1 day", "2015-12-30", "2016-01-02"),
        (["1/2/2020", "1/3/2020", "1/4/2020"], None, None, None),
        ([f"2020-01-01T00:00:00.{n:03d}" for n in range(0, 100, 4)], "4 milliseconds",
         "2020-01-01T00:00:00.000", "2020-01-01T00:00:00.100"),
        ([f"2020-01-01T00:00:{n * 0.0125:09.6f}" for n in range(9)], "12500 microseconds",
         "2020-01-01T00:00:00.000000", "2020-01-01T00:00:00.112500"),
        # Readings some seconds before or after the hour.
        (["2020-01-01T00:00:02", "2020-01-01T00:59:58", "2020-01-01T02:00:01"], "1 hour",
         "2020-01-01T00", "2020-01-01T03"),
        (["1650", "1651", "1653"], "1 year", "1650", "1654"),
    ],
)  # fmt: skip
def test_the_step_and_the_date_after_the_end(read, dates, step, first, after):
    if step is None:
        with pytest.raises(ValueError, match="line 2: got '1/2/2020', expected a date"):
            read(dates)
        found = read(dates, date_format="%d/%m/%Y")
        assert (found.unit, found.label(0)) == ("month", "2020-02")
        return
    found = read(dates)
    assert (found.duration(1), found.label(0), found.label(len(found.values))) == (
        step, first, after,
    )  # fmt: skip
    observed = found.values[np.isfinite(found.values[:, 0]), 0]
    np.testing.assert_array_equal(observed, range(1, len(dates) + 1))


def test_business_days_have_holidays_and_no_weekends(read):
    dates = [str(day) for day in np.busday_offset("2021-12-01", np.arange(60))]
    dates = [day for day in dates if day not in ("2021-12-24", "2022-01-17")]
    found = read(dates)
    assert (found.unit, found.period, len(found.values)) == ("business day", 5, 60)
    assert np.flatnonzero(np.isnan(found.values[:, 0])).tolist() == [17, 33]
    assert found.times[17] == np.datetime64("2021-12-24")
    assert np.is_busday(found.dates(90)).all()
    part = found.between("2021-12-27", None)
    assert (part.ordinal - found.ordinal) % 5 == (18 % 5)
    # One date on a Saturday, and the days are those of the calendar.
    assert read([*dates[:4], "2021-12-11", *dates[8:]]).unit == "day"
    with pytest.raises(ValueError, match="2021-12-11, a day of a weekend"):
        read([*dates[:4], "2021-12-11", *dates[8:]], step="business day")


def test_dates_off_their_step_are_moved_and_said(read):
    dates = days("2019-01-02", 40, 7)
    dates[11] = "2019-03-18"
    found = read(dates)
    assert (found.duration(1), len(found.values)) == ("1 week", 40)
    assert found.notes[-1] == "1 date is off it and moved (2019-03-18 2 days early)"
    assert "; no gaps; 1 date is off" in found.understood
    months = [f"{2015 + m // 12}-{m % 12 + 1:02d}-01" for m in range(30)]
    found = read([*months[:7], "2015-07-31", *months[8:]])
    assert found.notes[-1] == "1 date is off it and moved (2015-07-31 1 day early)"
    assert (found.duration(1), found.label(7)) == ("1 month", "2015-08")
    hours = [f"2020-01-0{1 + h // 24}T{h % 24:02d}:30" for h in range(40)]
    found = read([*hours[:9], "2020-01-01T09:17", *hours[10:]])
    assert found.notes[-1].endswith("(2020-01-01T09:17 13 minutes early)")
    # Five of forty are too many; a day before the next is too far.
    for row in (3, 9, 15, 21, 27):
        dates[row] = str(np.datetime64(dates[row]) + 1)
    with pytest.raises(ValueError, match=r"got 6 of 40 .* 1 week .*2019-01-24 1 day late.*step="):
        read(dates)
    assert read(dates, step="week").duration(1) == "1 week"
    assert np.isfinite(read(dates, step="week").values).all()
    assert read(dates, step="day").duration(1) == "1 day"
    far = days("2019-01-02", 40, 7)
    far[20] = str(np.datetime64(far[20]) + 3)
    with pytest.raises(ValueError, match="3 days late"):
        read(far)
    with pytest.raises(ValueError, match="step: a: got 2019-01-02 and 2019-01-09 in one step of m"):
        read(far, step="month")
    with pytest.raises(steps.StepError, match="got 'fortnight', expected one of year, quarter"):
        steps.parse_step("fortnight")


def test_counts_and_numbers_since_1970(read):
    found = read(range(1, 53), name="week")
    assert (found.unit, found.period, found.label(0), found.label(52)) == ("step", 1, "1", "53")
    found = read([0, 10, 30], name="time")
    assert ([found.label(n) for n in range(5)], found.values[2, 0]) == (
        ["0", "10", "20", "30", "40"], pytest.approx(np.nan, nan_ok=True),
    )  # fmt: skip
    assert [read([0, 10, 30], name="time").between("10", "20").label(n) for n in (0, -1)] == [
        "10", "20",
    ]  # fmt: skip
    assert read([1990, 2000, 2010], name="year").unit == "step"
    assert read([2195, 2196, 2197], name="year").unit == "year"
    assert read([2205, 2206, 2207], name="year").unit == "step"
    for unit, size in (("s", 1), ("ms", 1000)):
        stamps = [(946684800 + 900 * n) * size for n in range(6)]
        with pytest.raises(
            ValueError, match=r"line 2: got 9466848.*date_unit=s or ms.*date_column"
        ):
            read(stamps, name="time")
        found = read(stamps, name="time", date_unit=unit)
        assert (found.duration(1), found.label(0)) == ("15 minutes", "2000-01-01T00:00")
        assert "dates in UTC" in found.notes
    assert read(["0.5", "0.75", "1.0"], name="time", date_unit="s").duration(1) == (
        "250 milliseconds"
    )


@pytest.mark.parametrize(
    ("name", "dates", "message"),
    [
        ("month,year", ["11,2020", "12,2020", "1,2021"], "month and year are several columns"),
        ("week", [51, 52, 1], r"line 4: got 1 after 52, .*date_column=none"),
        ("date", ["2020-10-25T01:00", "2020-10-25T02:00", "2020-10-25T02:00", "2020-10-25T03:00"],
         "line 4: got 2020-10-25T02:00 twice, .*daylight saving. write offsets"),
        ("date", ["2020-01-01T00:00Z", "2020-01-02T00:00"], "line 3: .*without an offset"),
        ("date", ["2001.5", "2002.5"], "line 2: got '2001.5', .*date_format.*date_column=none"),
        ("date", ["2021-02-28", "2021-02-29"], "line 3: got '2021-02-29', expected a date"),
        ("date", ["2020-13", "2020-14"], "line 2: got '2020-13'"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_way_out(read, name, dates, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(dates, name=name)
    assert "\n" not in str(raised.value)


UNITS = ("year", "quarter", "month", "week", "business day", "day", "hour", "minute", "second")


def check_drawn_dates(folder, data):
    unit = data.draw(st.sampled_from(UNITS))
    every = data.draw(st.integers(1, 3))
    count = data.draw(st.integers(2, 30))
    first = data.draw(st.dates(datetime.date(1950, 1, 1), datetime.date(2050, 1, 1)))
    code, size = steps.UNITS[unit]
    if unit == "business day":
        start = np.busday_offset(first, 0, roll="forward")
        dates = np.busday_offset(start, every * np.arange(count))
    else:
        dates = np.datetime64(first, code) + size * every * np.arange(count)
    kept = [0, *data.draw(st.sets(st.integers(1, count - 1), min_size=1))]
    dates = dates[sorted(kept)]
    offset = ""
    if code in "hms":
        dates = dates.astype("datetime64[s]")
        offset = data.draw(st.sampled_from(["", "Z", "+05:30", "-03:00"]))
    values = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(dates), max_size=len(dates)))
    separator, comma = data.draw(st.sampled_from([(",", "."), (";", "."), ("\t", "."), (";", ",")]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    cells = [f"{value:.4f}".replace(".", comma) for value in values]
    rows = [f"{date}{offset}{separator}{cell}" for date, cell in zip(dates, cells, strict=True)]
    text = data.draw(st.sampled_from(["\n", "\r\n", "\r"])).join([f"date{separator}x", *rows])
    (folder / "drawn.csv").write_bytes(text.encode(encoding))
    try:
        found = read_csv(folder / "drawn.csv", ["x"])
    except ValueError as error:
        message = str(error)
    else:
        if "moved" not in found.understood:
            # Years that are not all there may be a count.
            is_count = found.times.dtype.kind == "i"
            written = {
                int(str(date)) if is_count else date.astype(found.times.dtype): round(value, 4)
                for date, value in zip(dates, values, strict=True)
            }
            kept = np.isfinite(found.values[:, 0])
            read = dict(zip(found.times[kept], found.values[kept, 0], strict=True))
            assert read == written
        return
    assert len(message.splitlines()) == 1
    assert "step=" in message or "expected regular ones" in message or "decimal points" in message


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, data):
    check_drawn_dates(tmp_path_factory.getbasetemp(), data)


@pytest.mark.slow
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=2_000, deadline=None)
def test_much_that_is_written_is_read(tmp_path_factory, data):
    check_drawn_dates(tmp_path_factory.getbasetemp(), data)
