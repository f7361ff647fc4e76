"""The forecasting study: no leaks, exact baselines, one-line errors."""

import csv
import json

import jax
import numpy as np
import pytest
from programs import starter
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.statespace.sarimax import SARIMAX

from experiments.common import app
from experiments.common.errors import UserError
from experiments.forecasting import Config, baselines, evaluate, intervals, run, served, study
from experiments.forecasting import base as bases
from experiments.forecasting import model as models
from experiments.forecasting.__main__ import EXPERIMENT
from experiments.forecasting.config import BASES, baseline_lags
from experiments.forecasting.data import problem, problem_of
from experiments.forecasting.inputs import ModelConfig, prepare
from experiments.forecasting.metrics import base_record
from experiments.forecasting.predict import after_the_end
from experiments.forecasting.training import Predictor, cut_windows
from seqmodels import serving
from seqmodels.data.time_series import TimeSeries
from seqmodels.datasets import series

SUNSPOTS = series.load("sunspots").between("1700", "1987")
# Small and quick, and everything that a study has.
QUICK = {
    "steps": 8, "eval_every": 4, "hidden": 4, "window": 20, "seeds": 1, "devices": "1",
    "tensorboard": False,
}  # fmt: skip


def toy(steps=90, columns=1, seed=0):
    rng = np.random.default_rng(seed)
    values = 50 + rng.normal(size=(steps, columns)).cumsum(axis=0)
    values[:, 0] += 5 * np.sin(2 * np.pi * np.arange(steps) / 12)
    months = np.datetime64("2001-01") + np.arange(steps)
    return TimeSeries("toy", tuple("abcdef"[:columns]), values, months, "month")


def model_config(task, **more):
    given = {
        "cell": "gru", "hidden": 5, "dropout": 0.0, "head": "point", "strategy": "direct",
        "level": True, "gaps": True, "harmonics": 2, "targets": task.targets,
        "exogenous": task.exogenous, "known": task.known, "horizon": task.horizon,
        "period": task.period, "transform": task.transform,
    }  # fmt: skip
    return ModelConfig(**{**given, **more})


def predicted(task, base, samples=0, **more):
    """Forecasts of a network of random parameters, in scaled units."""
    own = model_config(task, **more)
    fitted = bases.fit_base(task, base, (1, 2, 5))
    model = models.build(own)
    params = model.init(jax.random.key(0))
    params = params._replace(w_out=jax.random.normal(jax.random.key(1), params.w_out.shape))
    inputs = prepare(task, fitted, own)
    network = models.FittedModel(own, fitted, model, params)
    mean, quantiles = models.forecast(network, inputs, samples=samples)
    return fitted, inputs, mean, quantiles


class TestNothingLeaks:
    """Changing what comes later changes no forecast that was made before."""

    @pytest.mark.parametrize("base", BASES)
    @pytest.mark.parametrize(
        "more",
        [
            {"strategy": "direct", "head": "quantile"},
            {"strategy": "recursive", "head": "gaussian", "samples": 3},
        ],
        ids=["direct", "recursive"],
    )
    def test_of_networks(self, base, more):
        shown = toy(columns=2)
        changed = shown._replace(values=shown.values.copy())
        at = 78  # in the test part, which begins at 72
        changed.values[at:] = np.random.default_rng(5).normal(size=(12, 2)) * 1e3
        changed.values[-3, 0] = np.nan
        found = []
        for one in (shown, changed):
            task = problem(one, exogenous=1, horizon=3)
            found.append(predicted(task, base, **more))
        (fitted, _, mean, quantiles), (again, _, mean_2, quantiles_2) = found
        for here, there in zip(
            jax.tree.leaves(bases.to_json(fitted)),
            jax.tree.leaves(bases.to_json(again)),
            strict=True,
        ):
            assert here == there
        np.testing.assert_array_equal(mean[:at], mean_2[:at])
        np.testing.assert_array_equal(quantiles[:at], quantiles_2[:at])
        assert not np.allclose(mean[at:], mean_2[at:])

    @pytest.mark.parametrize("name", ["last", "seasonal", "ar", "ar_1_3", "log_ar_1-2", "ets"])
    def test_of_baselines(self, name):
        shown = toy()
        changed = shown._replace(values=shown.values.copy())
        changed.values[80:] += 500
        records = [
            baselines.records(problem(one), [name])[0]["columns"]["a"] for one in (shown, changed)
        ]
        # The part begins at 72; the forecast of step 80 is made at 79.
        assert records[0]["one_step"][:9] == records[1]["one_step"][:9]
        if name != "seasonal":
            assert records[0]["one_step"][9] != records[1]["one_step"][9]
        assert records[0]["one_step_quantiles"][:9] == records[1]["one_step_quantiles"][:9]

    def test_parameters_are_fitted_to_their_part_alone(self):
        shown = toy()
        changed = shown._replace(values=shown.values.copy())
        changed.values[60:] += 500  # validation begins there
        fits = [bases.fit_base(problem(one), "ar", (1, 2)) for one in (shown, changed)]
        assert bases.to_json(fits[0]) == bases.to_json(fits[1])


class TestForecasts:
    def test_a_network_that_adds_nothing_is_its_base(self):
        task = problem(toy(), horizon=4)
        own = model_config(task, strategy="recursive")
        for base in BASES:
            fitted = bases.fit_base(task, base, (1, 2))
            model = models.build(own)
            inputs = prepare(task, fitted, own)
            params = model.init(jax.random.key(0))
            mean, _ = models.forecast(models.FittedModel(own, fitted, model, params), inputs)
            np.testing.assert_allclose(mean, inputs.base, rtol=1e-6, atol=1e-6)

    def test_the_base_alone_is_the_baseline_of_its_name(self):
        task = problem(SUNSPOTS, test=67)
        fitted = bases.fit_base(task, "ar", (1, 2, 9), "train")
        inputs = prepare(task, fitted, model_config(task))
        found = base_record(task, fitted, inputs.base)["sunactivity"]
        assert found["mse"] == pytest.approx(302, rel=0.03)

    @pytest.mark.parametrize("base", BASES)
    def test_recursion_reads_its_own_forecasts(self, base):
        """The forecast of two steps is that of one step after the first came true."""
        task = problem(toy(), horizon=3)
        fitted, inputs, mean, _ = predicted(task, base, strategy="recursive", gaps=False)
        values = bases.scaled(task, fitted)
        for t in (20, 80):
            believed = values[: t + 1]
            for k in range(2):
                believed = np.append(believed, mean[t, k : k + 1], axis=0)
                units = believed * fitted.scale + fitted.centre
                longer = task.series.values.copy()
                longer[: len(units)] = units
                again = task._replace(series=task.series._replace(values=longer))
                own = model_config(again, strategy="recursive", gaps=False)
                model = models.build(own)
                params = model.init(jax.random.key(0))
                w_out = jax.random.normal(jax.random.key(1), params.w_out.shape)
                params = params._replace(w_out=w_out)
                inputs = prepare(again, fitted, own)
                network = models.FittedModel(own, fitted, model, params)
                found, _ = models.forecast(network, inputs)
                np.testing.assert_allclose(
                    found[t + k + 1, 0], mean[t, k + 1], rtol=2e-4, atol=2e-4
                )

    def test_targets_are_what_the_base_leaves_over(self):
        shown = toy()
        shown.values[40] = np.nan
        task = problem(shown, horizon=3)
        fitted = bases.fit_base(task, "first", ())
        inputs = prepare(task, fitted, model_config(task))
        z = bases.scaled(task, fitted)[:, 0]
        for t, k in ((5, 0), (50, 2), (80, 1)):
            expected = (z[t + 1 + k] - z[t]) / fitted.errors[k, 0]
            assert inputs.targets[t, k, 0] == pytest.approx(expected, rel=1e-5)
        # There is no target in a gap or after the end.
        assert inputs.weights[39, 0, 0] == inputs.weights[38, 1, 0] == inputs.weights[37, 2, 0] == 0
        np.testing.assert_array_equal(inputs.weights[-3:, :, 0], [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
        assert np.isfinite(inputs.xs).all()

    def test_training_sees_no_validation(self):
        task = problem(toy(), horizon=4)
        fitted = bases.fit_base(task, "none", ())
        inputs = prepare(task, fitted, model_config(task))
        shown = cut_windows(task, inputs, 30, None, 16)
        assert len(shown.xs) >= 16
        values = bases.scaled(task, fitted)[: task.fit_end, 0]
        used = shown.targets[shown.weights > 0] * np.repeat(1.0, 1)
        scaled_back = set(np.round(used * fitted.errors[0, 0], 3))
        # Errors of the base "none" differ by step; those of one step are the values themselves.
        one = shown.targets[:, :, 0, 0][shown.weights[:, :, 0, 0] > 0] * fitted.errors[0, 0]
        assert set(np.round(one, 3)) <= set(np.round(values, 3))
        assert scaled_back
        longest = shown.weights.sum(axis=(0, 1, 3))
        assert longest[0] > longest[3] > 0

    def test_known_columns_and_seasons_are_those_of_the_target_step(self):
        shown = toy(columns=2)
        shown.values[:, 1] = np.arange(90)
        more = np.concatenate([shown.values, [[np.nan, 90], [np.nan, 91]]])
        times = shown.times[0] + np.arange(92)
        task = problem(shown._replace(values=more, times=times), known=1, horizon=2)
        assert task.end == 90
        fitted = bases.fit_base(task, "none", ())
        inputs = prepare(task, fitted, model_config(task, level=False, gaps=False))
        assert inputs.xs.shape == (90, 1 + 4 + 2)
        read = inputs.xs[:, 5:] * fitted.read_scale + fitted.read_centre
        np.testing.assert_allclose(read, np.arange(90)[:, None] + [1, 2], rtol=1e-5)
        # 2001-01 is 372 months after 1970-01, a multiple of 12.
        np.testing.assert_allclose(inputs.xs[2, 1], np.sin(2 * np.pi * 3 / 12), atol=1e-5)

    def test_intervals_are_widened_to_hold_their_share(self):
        task = problem(toy(steps=400, seed=3), test=50, validation=200)
        fitted = bases.fit_base(task, "first", ())
        mean = bases.base_forecasts(fitted, bases.scaled(task, fitted))
        narrow = mean[..., None] + 0.05 * intervals.NORMAL
        spread = intervals.spread_of(task, fitted, mean, narrow, "validation")
        found = intervals.in_units(task, fitted, mean, narrow, spread)
        part = task.part("validation")
        q = bases.by_target_step(found.quantiles)[part, 0, 0]
        y = task.values[part, 0]
        assert np.mean((q[:, 1] <= y) & (y <= q[:, 3])) == pytest.approx(0.8, abs=0.01)
        assert np.mean((q[:, 0] <= y) & (y <= q[:, 4])) == pytest.approx(0.95, abs=0.01)


class TestBaselines:
    @pytest.mark.parametrize(
        ("name", "mse"), [("ar_1_2_9", 302), ("ar_1", 850), ("sqrt_ar_1-9", 231)]
    )
    def test_sunspots(self, name, mse):
        task = problem(SUNSPOTS, test=67)
        found = baselines.records(task, [name])[0]["columns"]["sunactivity"]
        assert found["mse"] == pytest.approx(mse, rel=0.03)
        assert found["sound"] is (name != "ar_1")

    def test_many_steps_of_an_autoregression_equal_statsmodels(self):
        task = problem(SUNSPOTS, test=67, horizon=5)
        fitted = bases.fit_base(task, "ar", (1, 2), "train")
        z = bases.scaled(task, fitted)
        found = bases.base_forecasts(fitted, z)[:, :, 0]
        weights, bias = fitted.linear[0].weights[0], fitted.linear[0].bias[0]
        model = SARIMAX(z[:100, 0], order=(2, 0, 0), trend="c")
        parameters = [bias, *weights, 1.0]
        np.testing.assert_allclose(found[99], model.smooth(parameters).forecast(5), rtol=1e-6)

    @pytest.mark.parametrize("period", [1, 4])
    def test_smoothing_equals_statsmodels(self, period):
        rng = np.random.default_rng(0)
        t = np.arange(80)
        values = 20 + 0.5 * t + 4 * np.sin(2 * np.pi * t / 4) + rng.normal(size=80)
        shown = TimeSeries("toy", ("a",), values[:, None])
        task = problem(shown, horizon=6, period=period)
        fitted = bases.fit_base(task, "first", (), "train")
        forecasts, kinds = baselines.smoothing(task, fitted)
        z = bases.scaled(task, fitted)[:, 0]
        trend = {"A": ("add", False), "Ad": ("add", True), "N": (None, False)}[kinds[0][1:-1]]
        more = {"seasonal": "add", "seasonal_periods": 4} if kinds[0].endswith("A") else {}
        assert kinds[0].endswith("A") is (period == 4)

        def model(steps):
            return ETSModel(z[:steps], error="add", trend=trend[0], damped_trend=trend[1], **more)

        parameters = model(task.train_end).fit(disp=False).params
        for steps in (70, 80):
            expected = model(steps).smooth(parameters).forecast(6)
            np.testing.assert_allclose(forecasts[steps - 1, :, 0], expected, rtol=1e-6)

    def test_a_transform_is_that_of_the_name(self):
        """And not that of the networks."""
        found = [
            baselines.records(problem(SUNSPOTS, test=67, transform=transform), ["ar_1_2_9"])
            for transform in ("none", "sqrt")
        ]
        assert found[0] == found[1]

    def test_an_order_that_gaps_leave_steps_for(self):
        shown = toy(steps=70)
        shown.values[[15, 30, 45]] = np.nan
        task = problem(shown)
        order = len(baselines.aic_lags(task, "train"))
        there = np.isfinite(shown.values[: task.train_end, 0])
        runs = [there[t - order : t + 1].all() for t in range(order, task.train_end)]
        assert sum(runs) >= 2 * (order + 1)
        baselines.records(task, ["ar"])

    def test_names(self):
        assert baseline_lags("ar_1_2_9") == (1, 2, 9)
        assert baseline_lags("sqrt_ar_1-9") == tuple(range(1, 10))
        for wrong in ("arima", "ar_", "ar_0", "ar_x", "ar_9-1"):
            with pytest.raises(ValueError, match="expected one of last, seasonal"):
                Config(baselines=(wrong,))


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    """Months of sales with two of them missing, a price, and a plan that is known ahead."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("sales")
    t = np.arange(66)
    plan = (rng.random(66) < 0.3).astype(int)
    sold = 200 + t + 30 * np.sin(2 * np.pi * t / 12) + 25 * plan + rng.normal(size=66)
    with (folder / "sales.csv").open("w") as file:
        file.write("month,sales,price,plan\n")
        for i in range(66):
            if i in (20, 33):
                continue
            cells = f"{sold[i]:.1f},{9 + 0.01 * i:.2f}" if i < 60 else ","
            file.write(f"{2015 + i // 12}-{i % 12 + 1:02d},{cells},{plan[i]}\n")
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sales_config(folder, **more):
    given = {
        "csv": folder / "sales.csv", "column": ("sales",), "exogenous": ("price",),
        "known": ("plan",), "horizon": 3, "bases": ("first", "seasonal"), "head": "gaussian",
        "strategy": "recursive", "samples": 20, "baselines": ("last", "ar"),
        "watch_lags": (1, 12),
    }  # fmt: skip
    return Config().replace(**QUICK, **{**given, **more})


@pytest.fixture(scope="module")
def results(sales):
    return run(sales_config(sales), sales / "run")


def test_a_study_of_the_users_own_csv(sales, results):
    folder = sales / "run"
    names = [record["model"] for record in results["baselines"] + results["results"]]
    assert names[0] == "last"
    assert names[1].startswith("ar (")
    assert names[2:] == ["lstm+first", "lstm+seasonal"]
    assert json.loads((folder / "results.json").read_text())["results"] == results["results"]
    for name in ("forecast.png", "residuals.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    rows = table(folder / "forecasts.csv")
    assert [rows[0]["step"], rows[-1]["step"], len(rows)] == ["2019-01", "2019-12", 12]
    future = table(folder / "future.csv")
    assert [row["step"] for row in future] == ["2020-01", "2020-02", "2020-03"]
    for row in [*rows, *future]:
        ends = [float(row[name]) for name in ("low_95", "low_80", "median", "high_80", "high_95")]
        assert ends == sorted(ends)
    scores = table(folder / "scores.csv")
    assert len(scores) == 4 * 3
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(-1 <= line["residual_acf_1"] <= 1 and "residual_acf_12" in line for line in lines)


def test_evaluate_gives_what_training_gave(sales, results, capsys):
    records = evaluate(sales / "run")
    shown = capsys.readouterr().out
    for record, expected in zip(records, results["results"], strict=True):
        assert record["columns"] == expected["columns"]
        mae = record["columns"]["sales"]["mae"]
        assert f"{record['model']}, seed 0, sales: mae {mae:.4g}" in shown


def test_the_command_forecasts_after_the_end_and_exports(sales, results):
    start = starter("experiments.forecasting")
    done = start(
        sales, "--predict", "--model_dir=run", "--plot=future.png", "--export=forecaster.seq"
    )
    assert done.returncode == 0, done.stderr
    best = min(results["results"], key=lambda record: record["validation_mase"])
    column = best["columns"]["sales"]
    for label, value in zip(("2020-01", "2020-02", "2020-03"), column["future"], strict=True):
        assert label in done.stdout
        assert f"{value:.6g}" in done.stdout
    assert (sales / "future.png").read_bytes().startswith(b"\x89PNG")
    model = serving.load(sales / "forecaster.seq")
    assert [name for name, _, _ in model.inputs] == ["values", "known_ahead", "ordinal"]
    task = problem_of(sales_config(sales))
    values = task.series.values[:60].astype(np.float32)
    ahead = task.series.values[60:63, 2:].astype(np.float32)
    mean, quantiles = model(values, ahead, np.int32(task.series.ordinal))
    np.testing.assert_allclose(mean[:, 0], column["future"], rtol=2e-4)
    np.testing.assert_allclose(quantiles[:, 0], column["future_quantiles"], rtol=2e-4)


def test_another_series_than_that_of_the_training(sales, results, monkeypatch, capsys):
    monkeypatch.chdir(sales)
    lines = (sales / "sales.csv").read_text().splitlines()
    (sales / "later.csv").write_text("\n".join(lines[:40]) + "\n")
    use = ["--predict", "--model_dir=run", "--csv=later.csv", "--column=sales"]
    use += ["--exogenous=price", "--known=plan"]
    assert app.execute(EXPERIMENT, use) == 1
    assert "known: later: plan has no value for 2018-06" in capsys.readouterr().err
    assert app.execute(EXPERIMENT, [*use, "--hold_known"]) == 0
    assert "2018-06" in capsys.readouterr().out
    assert app.execute(EXPERIMENT, ["--predict", "--model_dir=run", "--series=nile"]) == 1
    assert "column: got 1 columns, expected the 3 of the training" in capsys.readouterr().err


def test_a_run_is_not_replaced_by_another(sales, results):
    with pytest.raises(UserError, match="holds a run of other options: hidden"):
        run(sales_config(sales).replace(hidden=5), sales / "run")


def test_two_processes_share_the_rows_of_one(sales):
    config = sales_config(sales, batch=4)
    for training in study.trainings(config, problem_of(config)):
        whole, *shares = (
            training.batches(0, process, count) for process, count in ((0, 1), (0, 2), (1, 2))
        )
        assert [share.per_epoch for share in shares] == [whole.per_epoch] * 2
        for cursor in range(whole.per_epoch):
            parts = [share.at(cursor) for share in shares]
            for *arrays, expected in zip(*parts, whole.at(cursor), strict=True):
                np.testing.assert_array_equal(np.concatenate(arrays), expected)


@pytest.mark.parametrize(
    ("base", "transform", "more"),
    [
        ("none", "sqrt", {"strategy": "direct", "head": "quantile"}),
        ("ar", "log", {"strategy": "direct", "head": "point", "level": False}),
        ("seasonal", "none", {"strategy": "recursive", "head": "gaussian"}),
        ("ar", "none", {"strategy": "recursive", "head": "point", "harmonics": 0}),
    ],
)
def test_what_is_served_is_what_is_predicted(base, transform, more):
    shown = toy(steps=93, columns=3)
    shown.values[[0, 1, 30, 31], 0] = np.nan
    shown.values[[5, 40], 1] = np.nan
    shown.values[90:, :2] = np.nan  # the third column is known ahead
    task = problem(shown, exogenous=1, known=1, horizon=3, transform=transform)
    fitted, _, mean, quantiles = predicted(task, base, samples=20, **more)
    own = model_config(task, **more)
    model = models.build(own)
    params = model.init(jax.random.key(0))
    params = params._replace(w_out=jax.random.normal(jax.random.key(1), params.w_out.shape))
    spread = intervals.spread_of(task, fitted, mean, quantiles, "validation")
    predictor = Predictor(models.FittedModel(own, fitted, model, params), spread, 20)
    expected = after_the_end(predictor, shown)
    inputs = {"ordinal": shown.ordinal} if own.harmonics else {}
    got_mean, got_quantiles = jax.jit(
        lambda params, values, ahead: served.forecast_after_end(
            predictor, params, values, known_ahead=ahead, **inputs
        )
    )(params, shown.values[:90].astype(np.float32), shown.values[90:, 2:].astype(np.float32))
    np.testing.assert_allclose(got_mean, expected.mean, rtol=2e-3)
    np.testing.assert_allclose(got_quantiles, expected.quantiles, rtol=2e-3)


WRONG = {
    "no such column": (("--csv=sales.csv", "--column=sale"), 1, "did you mean sales?"),
    "several columns": (("--csv=sales.csv",), 1, "sales.csv has sales, "),
    "no such file": (("--csv=none.csv", "--column=a"), 1, "expected a file that exists"),
    "both": (("--csv=sales.csv", "--series=nile"), 2, "got both"),
    "a column twice": (("--column=a", "--known=a"), 2, "known: got 'a', which is in column too"),
    "horizon": (("--series=nile", "--horizon=50"), 1, "horizon: got 50, expected from 1 to the"),
    "test": (("--series=nile", "--test=90"), 1, "expected at least"),
    "quantiles of paths": (
        ("--series=nile", "--horizon=3", "--strategy=recursive", "--head=quantile"), 2, "cannot be",
    ),
    "log": (("--csv=minus.csv", "--transform=log"), 1, "expected positive values"),
    "constant": (("--csv=same.csv",), 1, "expected a series that varies"),
    "text": (("--csv=text.csv",), 1, "line 3: a: got 'lots', expected a number"),
    "unsorted": (("--csv=unsorted.csv",), 1, "line 4: got 2001 after 2002"),
    "twice": (("--csv=twice.csv",), 1, "line 3: got 2000 twice"),
    "missing": (("--csv=missing.csv",), 1, "has no number"),
    "no season": (("--series=nile", "--bases=seasonal"), 1, "bases: got seasonal for nile"),
    "baseline": (("--baselines=arima",), 2, "got 'arima', expected one of last"),
    "base": (("--bases=second",), 2, "expected one of none, first, seasonal, ar"),
    "base_lags": (("--base_lags=0",), 2, "expected aic, or lags from 1"),
    "head": (("--head=normal",), 2, "expected one of point"),
    "series": (("--series=sunspot",), 2, "did you mean sunspots?"),
    "plot": (("--plot=a.png",), 2, "plot: got it without predict"),
    "first": (("--series=nile", "--first=soon"), 1, "expected a date such as 1987-05"),
    "lags": (("--series=nile", "--bases=ar", "--base_lags=1,66"), 1, "lags: got 1, 66"),
    "watch": (("--series=nile", "--watch_lags=70"), 1, "watch_lags: got 70, expected"),
    "lags of a baseline": (("--series=nile", "--baselines=ar_1-60"), 1, "lags: got 1, 2"),
    "no model": (("--predict", "--model_dir=."), 1, "model_dir: got"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mistakes(sales):
    def write(file, *rows):
        (sales / file).write_text("year,a\n" + "".join(f"{row}\n" for row in rows))

    years = [f"{2000 + n},{n - 30}" for n in range(60)]
    write("minus.csv", *years)
    write("same.csv", *(f"{2000 + n},7" for n in range(60)))
    write("text.csv", "2000,1", "2001,lots", *years[2:])
    write("unsorted.csv", "2000,1", "2002,1", "2001,2")
    write("twice.csv", "2000,1", "2000,2")
    write("missing.csv", *(f"{2000 + n},NA" for n in range(60)))
    return sales


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(name, mistakes, monkeypatch, capsys):
    monkeypatch.chdir(mistakes)
    arguments, status, message = WRONG[name]
    quick = ("--steps=8", "--eval_every=4", "--hidden=4", "--devices=1")
    assert app.execute(EXPERIMENT, [*quick, *arguments, "--run_dir=wrong"]) == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1, shown.err
    assert not shown.out
    assert not (mistakes / "wrong").exists()
