"""CSV files as people write them."""

import numpy as np
import pytest

from seqmodels.data import series_files, tables
from seqmodels.data.series_files import read_csv, read_labels


@pytest.fixture
def file(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    ("dates", "form", "unit", "first"),
    [
        (["1987", "1988", "1989"], None, "year", "1987"),
        (["2015-01", "2015-02", "2015-03"], None, "month", "2015-01"),
        (["1987Q2", "1987Q3", "1987Q4"], None, "quarter", "1987-04"),
        (["1987-q2", "1987-q3", "1987-q4"], None, "quarter", "1987-04"),
        (["2015-01-05", "2015-01-06", "2015-01-07"], None, "day", "2015-01-05"),
        (["2015-01-05T10:00", "2015-01-05T11:00", "2015-01-05 12:00"], None, "hour",
         "2015-01-05T10"),
        (["2015-01-05T10:00Z", "2015-01-05T11:00Z", "2015-01-05T13:00Z"], None, "hour",
         "2015-01-05T10"),
        (["31.01.2015", "28.02.2015", "31.03.2015"], "%d.%m.%Y", "month", "2015-01"),
        (["01/15", "02/15", "03/15"], "%m/%y", "month", "2015-01"),
    ],
)  # fmt: skip
def test_dates(file, dates, form, unit, first):
    path = file("Date,x\n" + "".join(f"{date},{n}\n" for n, date in enumerate(dates)))
    found = read_csv(path, ["x"], date_format=form)
    assert (found.unit, found.label(0), found.name) == (unit, first, "a")
    there = found.values[np.isfinite(found.values[:, 0]), 0]
    np.testing.assert_array_equal(there, [0, 1, 2])


def test_rows_and_cells_that_are_not_there(file):
    rows = "month,x,y\n2001-01,1,a\n2001-02,,b\n2001-04,NA,c\n2001-05,-,\n2001-06,2e1,\n"
    found = read_csv(file(rows), ["x"])
    np.testing.assert_array_equal(found.values[:, 0], [1, np.nan, np.nan, np.nan, np.nan, 20])


def test_kinds_of_files(file):
    expected = [[1, 3], [2, 4]]
    for text, name, encoding in (
        ("x,y\n1,3\n2,4\n", "a.csv", "utf-8"),
        ("x,y\r\n1,3\r\n2,4\r\n\r\n", "a.csv", "utf-8-sig"),
        ("x\ty\n1\t3\n2\t4", "a.tsv", "utf-8"),
        (' x , y \n 1 ,"3"\n2, 4 \n', "a.csv", "utf-8"),
    ):
        found = read_csv(file(text, name, encoding), ["x", "y"])
        np.testing.assert_array_equal(found.values, expected)
        assert (found.times, found.unit) == (None, "step")


def test_the_column_of_dates(file):
    path = file("year,time,x\n2001,2001-05,1\n2002,2001-06,2\n")
    assert read_csv(path, ["x"]).unit == "month"  # time comes before year
    assert read_csv(path, ["x"], date_column="year").unit == "year"
    assert read_csv(path, ["x", "year"], date_column="none").times is None


@pytest.mark.parametrize(
    ("text", "columns", "more", "message"),
    [
        ("", ["x"], {}, "is empty"),
        ("x,y\n", ["x"], {}, "without rows"),
        ("sales,y\n1,2\n", ["sale"], {}, "got 'sale', .* did you mean sales?"),
        ("Sales,y\n1,2\n", ["sales"], {}, "did you mean Sales?"),
        ("x,x\n1,2\n", ["x"], {}, "a.csv has two columns 'x', expected names"),
        ("x\n1\nlots\n", ["x"], {}, "line 3: x: got 'lots', expected a number"),
        ("x\n1\ninf\n", ["x"], {}, "line 3: x: got 'inf', expected a number"),
        ("x\n1\n\n1,5\n", ["x"], {}, "a.csv"),
        ("x\nNA\n \n-\n", ["x"], {}, "x has no number"),
        ("year,x\n2002,1\n2001,1\n", ["x"], {}, "line 3: got 2001 after 2002"),
        ("year,x\n2002,1\n2002,1\n", ["x"], {}, "line 3: got 2002 twice"),
        ("year,x\n2001,1\nsoon,1\n", ["x"], {}, "line 3: got 'soon', expected a date"),
        ("year,x\n,1\n2002,1\n", ["x"], {}, "line 2: got '', expected a date"),
        ("year,x\n2001,1\n", ["x"], {"date_column": "yaer"}, "did you mean year?"),
        (
            "d,x\n2001,1\n",
            ["x"],
            {"date_column": "d", "date_format": "%d.%m.%Y"},
            "expected a date %d",
        ),
    ],
)
def test_mistakes(file, text, columns, more, message):
    with pytest.raises(ValueError, match=message) as error:
        read_csv(file(text), columns, **more)
    assert "\n" not in str(error.value)


def test_not_utf8(file):
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_csv(file("x,y\nü,1\n", encoding="latin-1"), ["y"])
    with pytest.raises(FileNotFoundError):
        read_csv("nowhere.csv", ["x"])


def test_labels(file):
    path = file("date,food,day\n2001-01-01,soup,Mon\n2001-01-02,rice,Tue\n2001-01-04,soup,Mon\n"
                "2001-01-05,,Tue\n2001-01-06,rice,Mon\n")  # fmt: skip
    found, labels = read_labels(path, ["food", "day"])
    assert labels == (("rice", "soup"), ("Mon", "Tue"))
    np.testing.assert_array_equal(found.values[:, 0], [1, 0, np.nan, 1, np.nan, 0])
    np.testing.assert_array_equal(found.values[:, 1], [0, 1, np.nan, 0, 1, 0])
    for name, message in (("date", "5 different labels in 5 rows"), ("foot", "did you mean food?")):
        with pytest.raises(ValueError, match=message):
            read_labels(path, [name])
    # A weekday is no date.
    path = file("day,food\n" + "Mon,soup\nTue,rice\n" * 3)
    assert read_labels(path, ["food"])[0].times is None
    path = file("day,food\n" + "1,soup\n2,rice\n" * 3)
    assert read_labels(path, ["food", "day"])[0].times is None
    path = file("date,food\n2001,soup\n")
    assert series_files.date_column_of(tables.read_table(path), None) == "date"


def test_a_column_of_iso_dates_by_any_name(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("part,id,when it was,x\n2020,2020-A,2020-05-01T12:00,1\n2021,b,2020-05-02,2\n")
    table = tables.read_table(path)
    assert series_files.date_column_of(table, None) == "when it was"
    assert series_files.date_column_of(table, None, but=["when it was"]) is None
    path.write_text("t,x\n2020-05-01,1\nlater,2\n")
    assert series_files.date_column_of(tables.read_table(path), None) is None
