"""The correlogram of a series, in a table, a picture and words."""

import csv

import numpy as np
import pytest
from programs import run_each
from statsmodels.tsa.stattools import acf, pacf

from experiments.autocorrelation.numbers import analyse
from seqmodels.data.time_series import TimeSeries
from seqmodels.datasets import series
from seqmodels.datasets.food_diary import WEEKDAYS

PROGRAM = "experiments.autocorrelation"


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


CASES = {
    "sunspots": ("--series=sunspots",),
    "co2": ("--series=co2", "--difference=1", "--seasonal_difference=1", "--out=co2"),
    "sales": ("--csv=sales.csv", "--column=sales", "--with=price", "--out=sales"),
    "labels": ("--csv=meals.csv", "--column=meal", "--labels", "--with=day", "--out=meals"),
}
WRONG = {
    "nothing": ((), 1, "series, csv, demo: got none"),
    "both": (("--series=nile", "--demo=food"), 1, "got demo and series"),
    "no such column": (("--csv=sales.csv", "--column=sale"), 1, "did you mean sales?"),
    "no such other": (
        ("--csv=sales.csv", "--column=sales", "--with=prize"), 1, "did you mean price?",
    ),
    "two columns": (("--csv=sales.csv", "--column=sales,price"), 1, "got sales, price"),
    "text": (("--csv=meals.csv", "--column=meal"), 1, "line 2: meal: got"),
    "constant": (("--csv=same.csv",), 1, "a: got 7 at every step"),
    "a line's differences": (("--csv=line.csv", "--difference=1"), 1, "a: got 2 at every step"),
    "nlags": (("--series=nile", "--nlags=50"), 1, "nlags: got 50, expected at most 49"),
    "few": (("--csv=few.csv",), 1, "got 5 values, expected at least 10"),
    "missing": (("--csv=missing.csv",), 1, "has no number"),
    "unsorted": (("--csv=unsorted.csv",), 1, "line 3: got 2001 after 2002"),
    "twice": (("--csv=twice.csv",), 1, "line 3: got 2000 twice"),
    "all differences": (("--series=nile", "--difference=9", "--last=1875"), 1, "9 steps' worth"),
    "no season": (("--series=nile", "--seasonal_difference=1"), 1, "expected period too"),
    "log": (("--csv=minus.csv", "--transform=log"), 1, "expected positive values"),
    "labels of a series": (("--series=nile", "--labels"), 1, "labels: got without csv"),
    "labels that do not repeat": (
        ("--csv=sales.csv", "--column=sales", "--labels"), 1, "expected two or more that repeat",
    ),
    "differences of labels": (
        ("--csv=meals.csv", "--column=meal", "--labels", "--difference=1"), 1, "expected numbers",
    ),
    "demo": (("--demo=foot",), 2, "did you mean food?"),
    "alpha": (("--series=nile", "--alpha=nan"), 2, "alpha"),
    "out": (("--series=nile", "--out=kept"), 1, "which is not empty, expected --overwrite"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
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
    # Reports last: a fork must not inherit the threads of computations.
    names = [*WRONG, *CASES]
    cases = [*(case for case, *_ in WRONG.values()), *CASES.values()]
    found = dict(zip(names, run_each(PROGRAM, folder, cases), strict=True))
    assert (folder / "kept" / "mine.txt").read_text() == "mine"
    assert len(list((folder / "kept").iterdir())) == 1
    return folder, found


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told_in_one_line(name, runs):
    status, out, told = runs[1][name]
    _, expected, message = WRONG[name]
    assert status == expected, told
    assert message in told
    assert len(told.strip().splitlines()) == 1, told
    assert not out


def test_sunspots(runs):
    folder, found = runs
    status, out, told = found["sunspots"]
    assert status == 0, told
    folder = folder / "runs" / "autocorrelation-sunspots"
    words = (folder / "verdict.txt").read_text()
    assert words in out
    assert "negative around lag 5, peak at lag 10 (r = 0.66): a cycle of about 10.5 years" in words
    assert (folder / "correlogram.png").read_bytes().startswith(b"\x89PNG")
    rows = table(folder / "acf.csv")
    x = series.load("sunspots").values[:, 0]
    assert [int(row["lag"]) for row in rows] == list(range(1, 25))
    values, interval = acf(x, nlags=24, alpha=0.05, result_object=False)
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


def test_differences_and_gaps(runs):
    folder, found = runs
    status, out, told = found["co2"]
    assert status == 0, told
    assert "gaps" in out
    assert "a cycle" not in out
    rows = table(folder / "co2" / "acf.csv")
    assert float(rows[11]["acf"]) < -0.2


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
                periods.append(analyse(shown, nlags=24, alpha=0.05).verdict.period)
            found[strength, unit] = periods.count(12)
    assert found[1.2, "month"] >= 14
    assert found[1.2, "year"] < found[1.2, "month"] - 5
    assert found[0.0, "month"] <= 2


def test_with_another_column(runs):
    """Sales follow the price of two months before."""
    folder, found = runs
    status, out, told = found["sales"]
    assert status == 0, told
    assert "2 gaps" in out
    assert "a season of 12 months" in out
    assert "when price leads by 2 months: -0." in out
    rows = table(folder / "sales" / "ccf.csv")
    best = min(rows, key=lambda row: float(row["ccf"]))
    assert best["lag"] == "2"


def test_labels(runs):
    folder, found = runs
    status, out, told = found["labels"]
    assert status == 0, told
    assert "The past of meal tells something at lag" in out
    assert "Of meal, day tells nothing" in out
    rows = table(folder / "meals" / "association.csv")
    assert float(rows[1]["V meal"]) > 0.6
    assert rows[0]["V meal"] == ""
    assert (folder / "meals" / "association.png").read_bytes().startswith(b"\x89PNG")


def test_the_diary_of_day_and_food(tmp_path):
    ((status, out, told),) = run_each(PROGRAM, tmp_path, [["--demo=food", "--out=food"]])
    assert status == 0, told
    assert "The past of food tells something at lags 1" in out
    assert "Of food, day tells nothing" in out
    rows = table(tmp_path / "food" / "predictions.csv")
    right = {}
    for row in rows:
        right.setdefault(row["model"].split(",")[0], []).append(float(row["accuracy"]))
    right = {name: np.mean(values) for name, values in right.items()}
    assert right["rnn"] > right["best rule there is"] - 0.05
    assert right["feed-forward"] < right["majority"] + 0.03
    assert right["majority"] < 0.25
    diary = table(tmp_path / "food" / "diary.csv")
    assert (len(diary), diary[0]["day"]) == (4_000, "Monday")
