"""The correlogram of a series, in a table, a picture and words."""

import csv
import os

import numpy as np
import pytest
from programs import starter
from statsmodels.tsa.stattools import acf, pacf

from experiments.autocorrelation import Config, run
from experiments.autocorrelation.__main__ import EXPERIMENT
from experiments.autocorrelation.correlogram import analyze
from experiments.common import app
from experiments.common import identity as identities
from experiments.common.errors import UserError
from seqmodels.data.time_series import TimeSeries
from seqmodels.datasets import series
from seqmodels.datasets.food_diary import WEEKDAYS

WRONG = {
    "nothing": ((), 1, "series, csv, demo: got nothing"),
    "both": (("--series=nile", "--demo=food"), 1, "got demo and series"),
    "no such column": (("--csv=sales.csv", "--column=sale"), 1, "did you mean sales?"),
    "no such other": (
        ("--csv=sales.csv", "--column=sales", "--with=prize"), 1, "did you mean price?",
    ),
    "no such other of a series": (("--series=nile", "--with=flow"), 1, "with: got 'flow'"),
    "twice the same": (("--csv=sales.csv", "--column=sales", "--with=sales"), 2, "with: got sales"),
    "empty": (("--series=nile", "--with="), 2, "with: got '', expected a name"),
    "two columns": (("--csv=sales.csv", "--column=sales,price"), 2, "got sales, price"),
    "text": (("--csv=meals.csv", "--column=meal"), 1, "line 2: meal: got"),
    "constant": (("--csv=same.csv",), 1, "a: got 7 at every step"),
    "a line's differences": (("--csv=line.csv", "--difference=1"), 1, "a: got 2 at every step"),
    "nlags": (("--series=nile", "--nlags=50"), 1, "nlags: got 50, expected at most 49"),
    "few": (("--csv=few.csv",), 1, "got 5 values, expected at least 10"),
    "missing": (("--csv=missing.csv",), 1, "has no number"),
    "unsorted": (("--csv=unsorted.csv",), 1, "line 3: got 2001 after 2002"),
    "dates twice": (("--csv=twice.csv",), 1, "line 3: got 2000 twice"),
    "all differences": (("--series=nile", "--difference=9", "--last=1875"), 1, "9 steps' worth"),
    "no season": (("--series=nile", "--seasonal_difference=1"), 1, "expected period too"),
    "log": (("--csv=minus.csv", "--transform=log"), 1, "expected positive values"),
    "labels of a series": (("--series=nile", "--column=a", "--labels"), 2, "labels: got it"),
    "labels of no column": (("--csv=meals.csv", "--labels"), 2, "column: got nothing"),
    "labels that do not repeat": (
        ("--csv=sales.csv", "--column=sales", "--labels"), 1, "expected two or more that repeat",
    ),
    "differences of labels": (
        ("--csv=meals.csv", "--column=meal", "--labels", "--difference=1"), 2,
        "difference: got it with labels, expected numbers",
    ),
    "demo": (("--demo=foot",), 2, "did you mean food?"),
    "demo with another": (("--demo=food", "--with=day"), 2, "with: got it with demo"),
    "alpha": (("--series=nile", "--alpha=nan"), 2, "alpha"),
    "out": (("--series=nile", "--out=kept"), 1, "which is not empty, expected overwrite"),
}  # fmt: skip


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CSV files of users, good and bad."""
    folder = tmp_path_factory.mktemp("autocorrelation")
    rng = np.random.default_rng(0)

    def write(name, header, rows):
        (folder / name).write_text(header + "\n" + "".join(f"{row}\n" for row in rows))

    t = np.arange(72)
    price = 9 + rng.normal(size=74)
    sold = 200 + 30 * np.sin(2 * np.pi * t / 12) - 8 * price[:72] + rng.normal(size=72)
    months = [f"{2015 + i // 12}-{i % 12 + 1:02d}" for i in t]
    rows = zip(months, sold, price[2:], strict=True)
    rows = [f"{m},{s:.2f},{p:.3f}" for m, s, p in rows]
    write("sales.csv", "month,sales,price", [*rows[:20], *rows[21:33], *rows[34:]])
    meals = ["soup", "rice", "fish"]
    eaten = [0]
    for u, other in zip(rng.random(399), rng.integers(0, 3, 399), strict=True):
        eaten.append((eaten[-1] + 1) % 3 if u < 0.7 else int(other))
    write("meals.csv", "meal,day", [f"{meals[m]},{WEEKDAYS[n % 7]}" for n, m in enumerate(eaten)])
    years = range(2000, 2060)
    write("same.csv", "year,a", [f"{year},7" for year in years])
    write("line.csv", "year,a", [f"{year},{2 * year}" for year in years])
    write("few.csv", "year,a", [f"{year},{year % 3}" for year in range(2000, 2005)])
    write("missing.csv", "year,a", [f"{year},NA" for year in years])
    write("unsorted.csv", "year,a", ["2002,1", "2001,2"])
    write("twice.csv", "year,a", ["2000,1", "2000,2"])
    write("minus.csv", "year,a", [f"{year},{year % 7 - 3}" for year in years])
    (folder / "kept").mkdir()
    (folder / "kept" / "mine.txt").write_text("mine")
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments, status, message = WRONG[name]
    before = sorted(os.listdir(folder))
    assert app.execute(EXPERIMENT, arguments) == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1, shown.err
    assert not shown.out
    assert sorted(os.listdir(folder)) == before
    assert os.listdir(folder / "kept") == ["mine.txt"]


def test_a_mistake_of_a_function_call_is_the_same_line():
    with pytest.raises(ValueError, match=r"^with: got '', expected a name"):
        Config(with_column="")
    with pytest.raises(UserError, match="series, csv, demo: got nothing"):
        run(Config())


def test_a_flag_of_another_name_than_its_field_is_stored_by_it(tmp_path):
    file = tmp_path / "shop.csv"
    file.write_text("sales,price\n1,2\n")
    config = Config(with_column="price").replace(csv=str(file), column=("sales",))
    stored = identities.identity(config)
    assert stored["with"] == "price"
    assert "with_column" not in stored
    stored |= identities.locations(config)
    assert identities.from_stored(Config(), stored) == config


def test_the_command_writes_below_runs(tmp_path):
    done = starter("experiments.autocorrelation")(tmp_path, "--series=nile")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "autocorrelation-nile"
    assert (folder / "verdict.txt").read_text() in done.stdout
    assert done.stdout.endswith("report: runs/autocorrelation-nile\n")


def test_sunspots(tmp_path, capsys):
    report = run(Config().replace(series="sunspots"), tmp_path)
    words = (tmp_path / "verdict.txt").read_text()
    assert words == report.words + "\n"
    assert words in capsys.readouterr().out
    assert "negative around lag 5, peak at lag 10 (r = 0.66): a cycle of about 10.5 years" in words
    assert (tmp_path / "correlogram.png").read_bytes().startswith(b"\x89PNG")
    rows = table(tmp_path / "acf.csv")
    x = series.load("sunspots").values[:, 0]
    assert [int(row["lag"]) for row in rows] == list(range(1, 25))
    values, interval = acf(x, nlags=24, alpha=0.05, result_object=False)
    np.testing.assert_allclose(report.correlogram.values, values[1:], rtol=1e-5)
    np.testing.assert_allclose([float(row["acf"]) for row in rows], values[1:], rtol=1e-4)
    np.testing.assert_allclose(
        [float(row["acf_band"]) for row in rows], (interval[:, 1] - values)[1:], rtol=1e-4
    )
    np.testing.assert_allclose(
        [float(row["pacf"]) for row in rows],
        pacf(x, nlags=24, method="ywmle")[1:],
        rtol=1e-3,
        atol=1e-5,
    )


def test_a_report_is_replaced_only_with_overwrite(tmp_path, capsys):
    config = Config().replace(series="nile")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="which is not empty, expected overwrite too"):
        run(config, tmp_path)
    assert run(config, tmp_path, overwrite=True).folder == tmp_path
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_differences_and_gaps(tmp_path, capsys):
    config = Config(difference=1, seasonal_difference=1).replace(series="co2")
    report = run(config, tmp_path)
    shown = capsys.readouterr().out
    assert "gaps" in shown
    assert "a cycle" not in shown
    assert float(table(tmp_path / "acf.csv")[11]["acf"]) < -0.2
    # In two pieces, as the command does them.
    x = series.load("co2").values[:, 0]
    x = x[12:] - x[:-12]
    x = x[1:] - x[:-1]
    assert report.correlogram.number == np.isfinite(x).sum()


def test_the_season_of_the_calendar_is_one_lag():
    """It is found more often where months are known to be such; noise is not given one."""
    t = np.arange(120)
    months = np.datetime64("2001-01") + t
    found = {}
    for strength in (0.0, 1.2):
        for unit in ("month", "year"):
            periods = []
            for seed in range(20):
                x = strength * np.sin(2 * np.pi * t / 12)
                x += np.random.default_rng(seed).normal(size=120)
                shown = TimeSeries("a", ("x",), x[:, None], months, unit)
                periods.append(analyze(shown, nlags=24, alpha=0.05).verdict.period)
            found[strength, unit] = periods.count(12)
    assert found[1.2, "month"] >= 14
    assert found[1.2, "year"] < found[1.2, "month"] - 5
    assert found[0.0, "month"] <= 2


def test_with_another_column(folder, tmp_path, capsys):
    """Sales follow the price of two months before."""
    config = Config(with_column="price").replace(csv=folder / "sales.csv", column=("sales",))
    report = run(config, tmp_path)
    shown = capsys.readouterr().out
    assert "2 gaps" in shown
    assert "a season of 12 months" in report.words
    assert "when price leads by 2 months: -0." in report.words
    rows = table(tmp_path / "ccf.csv")
    best = min(rows, key=lambda row: float(row["ccf"]))
    assert best["lag"] == "2"
    assert np.argmin(report.correlogram.cross[0]) == 2


def test_labels(folder, tmp_path):
    own = {"csv": folder / "meals.csv", "column": ("meal",)}
    report = run(Config().replace(labels=True, with_column="day", **own), tmp_path)
    assert report.correlogram is None
    meal, day = report.associations
    lags = np.asarray(meal.lags)[np.asarray(meal.pvalue) <= 0.05 / len(meal.lags)]
    assert 1 in lags
    assert not (np.asarray(day.pvalue) <= 0.05 / len(day.lags)).any()
    rows = table(tmp_path / "association.csv")
    assert float(rows[1]["V meal"]) > 0.6
    assert rows[0]["V meal"] == ""
    assert (tmp_path / "association.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "verdict.txt").read_text() == report.words + "\n"


@pytest.mark.slow
def test_the_diary_of_day_and_food(tmp_path):
    report = run(Config(demo="food"), tmp_path)
    food, day = report.associations
    assert np.asarray(food.pvalue)[list(food.lags).index(1)] <= 0.05 / len(food.lags)
    assert not (np.asarray(day.pvalue) <= 0.05 / len(day.lags)).any()
    right = {}
    for row in table(tmp_path / "predictions.csv"):
        right.setdefault(row["model"], []).append(float(row["accuracy"]))
    assert right.keys() == report.accuracies.keys()
    right = {name.split(",")[0]: np.mean(values) for name, values in right.items()}
    assert right["rnn"] > right["best possible rule"] - 0.05
    assert right["feed-forward"] < right["majority"] + 0.03
    assert right["majority"] < 0.25
    diary = table(tmp_path / "diary.csv")
    assert (len(diary), diary[0]["day"]) == (4_000, "Monday")
