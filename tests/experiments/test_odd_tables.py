"""Odd tables in both programs that read them: one line, or a result that says what was read."""

import json

import numpy as np
import pytest

from experiments.autocorrelation.__main__ import EXPERIMENT as AUTOCORRELATION
from experiments.common import app
from experiments.common.actions import read_text
from experiments.common.errors import UserError
from experiments.forecasting import Config, study
from experiments.forecasting.__main__ import EXPERIMENT as FORECASTING
from experiments.forecasting.config import PROGRAM

NOISE = np.round(np.random.default_rng(0).normal(size=400), 3)
DAYS = [str(day) for day in np.datetime64("2021-03-01") + np.arange(120)]


def rows(dates=DAYS, values=NOISE, header="date,x", separator=","):
    pairs = zip(dates, values, strict=False)
    return "\n".join([header, *(f"{date}{separator}{value}" for date, value in pairs)]) + "\n"


def changed(row, value, dates=DAYS):
    """A table with another value in one row."""
    return rows(dates, [*NOISE[:row], value, *NOISE[row + 1 :]])


def moved(by, count):
    """Weeks of which some are days late."""
    weeks = [np.datetime64("2019-01-01") + 7 * n for n in range(60)]
    return rows([week + by * (n % 5 == 2 and n < 5 * count) for n, week in enumerate(weeks)])


# Name: (content of the file, options, what the line says). Status 1 before anything is computed.
REFUSED = {
    "empty": ("", (), "which is empty"),
    "white space": (" \n\n", (), "which is empty"),
    "header alone": ("date,x\n", (), "without rows"),
    "no dates, no numbers": ("a,b\nx,y\n", (), "column: got nothing, and"),
    "text in numbers": (changed(7, "lots"), (), "line 9: x: got 'lots'"),
    "underscore": (changed(7, "1_000"), (), "line 9: x: got '1_000', expected a number"),
    "infinite": (changed(7, "-inf"), (), "line 9: x: got '-inf'"),
    "too large": (changed(7, "1e400"), (), "line 9: x: got '1e400'"),
    "percent": (changed(7, "12 %"), (), "line 9: x: got '12 %'"),
    "a point as a gap": (changed(7, "."), (), "missing=. makes it a gap"),
    "another gap than is named": (changed(7, "#N/A"), ("--missing=n.a.",), "got '#N/A'"),
    "all gaps": (rows(values=["NA"] * 120), (), "x has no number"),
    "thousand or one": (rows(values=["1,234"] * 120, header="date;x", separator=";"), (),
                        "line 2: x: got '1,234', which may be 1.234 or 1234"),
    "two styles": (changed(7, '"1,5"'), (), "line 9: x: got '1,5', and"),
    "after quoted line breaks": ('date,note,x\n2021-01-01,"a\r\nb\n\nc",1\n2021-01-02,"d\ne",q\n',
                                 ("--column=x",), "line 7: x: got 'q'"),
    "longer row": (changed(7, "1,2"), (), "line 9: got a row of 3 cells"),
    "stray quote": (changed(7, '"1'), (), "line 9: a cell begins with a quote that is never"),
    "two stray quotes": (changed(7, '"1').replace("2021-03-20", '"2021-03-20'), (), "line 9: "),
    "columns twice": (rows(header="x, x"), ("--column=x",), "has two columns 'x'"),
    "latin": (rows(header="date,größe").encode("latin-1"), (), "is not UTF-8 text: byte 0xf6"),
    "utf-16 without a mark": (rows().encode("utf-16-be"), (), "got a NUL character"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\xff", (), "is not UTF-8 text"),
    "no such column": (rows(), ("--column=y",), "column: got 'y', expected one of the columns"),
    "no such dates": (rows(), ("--date_column=day",), "date_column: got 'day'"),
    "backwards": (rows(DAYS[::-1]), (), "line 3: got 2021-06-27 after 2021-06-28"),
    "twice": (rows(DAYS[:5] + DAYS[4:]), (), "line 7: got 2021-03-05 twice"),
    "not a day": (rows(["2021-02-30", *DAYS[1:]]), (), "line 2: got '2021-02-30'"),
    "another form": (rows([f"{n % 12 + 1}/1/20" for n in range(60)]), (), "date_format for other"),
    "wrong format": (rows(), ("--date_format=%d.%m.%Y",), "expected a date %d.%m.%Y"),
    "bad format": (rows(), ("--date_format=%Q",), "date_format: got '%Q'"),
    "seconds": (rows(range(10**9, 10**9 + 60)), (), "date_unit=s or ms"),
    "dates in seconds": (rows(), ("--date_unit=s",), "line 2: got '2021-03-01', expected a number"),
    "weeks of two years": (rows([*range(1, 53), *range(1, 9)], header="week,x"), (),
                           "line 54: got 1 after 52, expected dates that ascend"),
    "years and months": ("year,month,x\n" + "".join(
        f"{2000 + n // 12},{n % 12 + 1},{n % 5}\n" for n in range(60)), (), "date_column=none"),
    "one offset": (rows([f"{day}T00:00" + "Z" * (n > 0) for n, day in enumerate(DAYS)]), (),
                   "line 3: got '2021-03-02T00:00Z' with an offset"),
    "the end of summer": (rows([f"2021-10-31T0{n}:00" for n in (0, 1, 2, 2, 3, 4, 5)]), (),
                          "line 5: got 2021-10-31T02:00 twice, expected"),
    "far off the step": (moved(3, 1), (), "1 week that most have (2019-01-18 3 days late)"),
    "too many off the step": (moved(1, 12), (), "got 12 of 60 that are not on the step of 1 week"),
    "two in a step": (rows(), ("--step=week",), "step: "),
    "a step of a count": (rows(range(60)), ("--step=week",), "step: "),
    "a step without dates": (rows(), ("--date_column=none", "--column=x", "--step=week"), "step: "),
    "weekends": (rows(), ("--step=business day",), "a day of a weekend"),
    "no step": (rows(["2021-01-01T00:00:00", "2021-01-01T00:00:01", *DAYS[1:]]), (), ""),
    "log of 0": (rows(values=[0, *abs(NOISE[1:]) + 1]), ("--transform=log",), "transform: got log"),
    "constant": (rows(values=["7"] * 120), (), "7"),
    "few": (rows(DAYS[:6]), (), "expected at least"),
    "first after the end": (rows(), ("--first=2030",), "first, last: got 2030"),
    "not a date": (rows(), ("--last=soon",), "last: got 'soon'"),
}  # fmt: skip

# Status 2: options that are wrong for every file.
OPTIONS = {
    "unit": ("--date_unit=min", "date_unit: got 'min'"),
    "step": ("--step=fortnight", "step: got 'fortnight'"),
    "two forms": ("--date_format=%Y --date_unit=s", "date_format, date_unit: got both"),
}

# Name: (content of the file, options, what the first line says).
UNDERSTOOD = {
    "off by a day": (moved(-1, 2), (), "step 1 week, 2019-01-01 to 2020-02-18; no gaps; 2 dates"),
    "semicolons": (rows(values=[f"{v}".replace(".", ",") for v in NOISE], header="date;x",
                        separator=";"), (), 'no gaps; separator ";"; x: decimal commas'),
    "comments": ("# by hand\n" + changed(7, "?"), ("--missing=?",), "120 rows, step 1 day, "
                 "2021-03-01 to 2021-06-28; gaps: 1 in x; 1 line before the header left out"),
    "counts": (rows(range(5, 125), header="week,x"), (), "step 1, 5 to 124; no gaps; week counts"),
    "trading days": (rows([day for day in DAYS if np.is_busday(np.datetime64(day))]), (),
                     "86 rows, step 1 business day, 2021-03-01 to 2021-06-28; no gaps"),
}  # fmt: skip

QUICK = ("--steps=2", "--eval_every=1", "--hidden=2", "--devices=1", "--run_dir=wrong")


def execute(experiment, *options):
    own = QUICK if experiment.name == PROGRAM else ("--out=wrong",)
    return app.execute(experiment, ["--csv=a.csv", *options, *own])


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, name="a.csv"):
        is_text = isinstance(content, str)
        (tmp_path / name).write_bytes(content.encode() if is_text else content)
        return tmp_path

    return write


@pytest.mark.parametrize("experiment", [AUTOCORRELATION, FORECASTING], ids=lambda one: one.name)
@pytest.mark.parametrize("name", REFUSED)
def test_one_line_and_nothing_else(experiment, name, file, capsys):
    content, options, message = REFUSED[name]
    folder = file(content)
    assert execute(experiment, *options) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1, shown.err
    assert "Traceback" not in shown.err
    assert not shown.out
    assert not (folder / "wrong").exists()


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_are_wrong(name, file, capsys):
    options, message = OPTIONS[name]
    file(rows())
    for experiment in (AUTOCORRELATION, FORECASTING):
        assert execute(experiment, *options.split()) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_the_first_line_says_what_was_understood(name, file, capsys):
    content, options, line = UNDERSTOOD[name]
    folder = file(content)
    assert execute(AUTOCORRELATION, *options) == 0
    shown = capsys.readouterr().out.splitlines()
    assert line in shown[0]
    verdict = (folder / "wrong" / "verdict.txt").read_text()
    assert "nan" not in verdict
    assert "nan" not in (folder / "wrong" / "acf.csv").read_text()
    config = Config().replace(
        csv="a.csv", baselines=(), missing=("?",), bases=("first",), devices="1"
    )
    study.build(config)
    assert capsys.readouterr().out.splitlines()[0] == shown[0]


def test_a_series_that_repeats_itself(file, capsys):
    """MASE has no scale; two baselines and the bases that they are cannot be fitted."""
    folder = file(rows(values=["3", "1", "4", "1", "5", "9", "2"] * 18))
    options = ("--bases=first", "--baselines=last,seasonal,ar_1-7", "--window=10", "--seeds=1")
    assert execute(FORECASTING, *options, "--notensorboard", "--models=rnn") == 1
    assert "base: ar forecasts a exactly" in capsys.readouterr().err
    options = ("--bases=first", "--baselines=last,seasonal,ar", "--window=10", "--seeds=1")
    assert execute(FORECASTING, *options, "--notensorboard", "--models=rnn") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("a: 120 rows, step 1 day, 2021-03-01 to 2021-06-28; no gaps\n")
    assert "left out: seasonal: base: seasonal forecasts a exactly" in shown
    assert "left out: ar: " in shown
    assert "MASE -: the series repeats itself after 7 days, so that its scale is 0" in shown
    assert "nan" not in shown
    text = (folder / "wrong" / "results.json").read_text()
    assert "NaN" not in text
    results = json.loads(text)
    assert [record["model"] for record in results["baselines"]] == ["last", "seasonal", "ar"]
    figures = results["results"][0]["columns"]["x"]
    assert (figures["mase"], figures["mase_scale"]) == (None, None)
    assert "repeats itself" in figures["mase_reason"]
    assert figures["mae"] > 0
    assert results["chosen_by"] == "validation_nrmse"
    # The model knows its step and its columns.
    use = ("--predict", "--model_dir=wrong")
    for content, message in (
        (rows([f"{2000 + n}" for n in range(60)]), "got a step of 1 year, expected that of the tr"),
        (rows(header="date,y"), "column: got 'x', expected one of the columns of"),
    ):
        file(content)
        assert app.execute(FORECASTING, ["--csv=a.csv", *use]) == 1
        shown = capsys.readouterr()
        assert message in shown.err
        assert len(shown.out.splitlines()) == 1  # the model that is used
    file(rows([f"{2000 + n}" for n in range(60)]))
    assert app.execute(FORECASTING, ["--csv=a.csv", *use, "--other=warn"]) == 0
    shown = capsys.readouterr()
    assert "warning: csv, series: got a step of 1 year" in shown.err
    assert "2060" in shown.out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (rows(values=[*NOISE[:80], *[""] * 16, *NOISE[96:]]), (),
         "validation: a: x has no value from 2021-05-20 to 2021-06-04"),
        ("date,x,plan\n" + "".join(f"{day},{v},{n % 3}\n" for n, (day, v) in
                                   enumerate(zip(DAYS, NOISE, strict=False))),
         ("--column=x", "--known=plan", "--horizon=2"),
         "known: a: plan has no value for 2021-06-29, expected one for each of the 2 steps"),
        (rows(values=NOISE * 1e200), (), "another unit"),
        (rows(values=NOISE * 1e-170), (), "another unit"),
    ],
)  # fmt: skip
def test_what_training_would_find_out_is_said_before(content, options, message, file, capsys):
    folder = file(content)
    assert execute(FORECASTING, *options) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert (len(shown.err.splitlines()), shown.out) == (1, "")
    assert not (folder / "wrong").exists()


def test_labels_that_look_like_gaps(file, capsys):
    eaten = ["none", "NA", "null", "-"]
    order = np.random.default_rng(1).permutation(120) % 4
    file("date,dessert\n" + "".join(f"{d},{eaten[n]}\n" for d, n in zip(DAYS, order, strict=True)))
    options = ("--labels", "--column=dessert")
    assert execute(AUTOCORRELATION, *options) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith("no gaps")
    assert "a, dessert: 4 labels" in shown
    assert execute(AUTOCORRELATION, *options, "--missing=-,NA", "--overwrite") == 0
    shown = capsys.readouterr().out
    assert "gaps: 60 in dessert" in shown
    assert "a, dessert: 2 labels" in shown


def test_bytes_that_are_not_text_are_named():
    with pytest.raises(UserError, match=r"^predict: got bytes .*\(0xe9 at position 4\)"):
        read_text("cafe\udce9")
    assert read_text("café") == "café"
