"""What comes next in a series? Recurrent forecasters beside the classical ones.

Trains recurrent networks on what a linear base leaves over of a series, chooses the base on the
validation part, and tells how good all of them are on the part that comes last, one step and many
steps ahead, and whether their residuals are sound. Then it tells the future of your own series.

    python -m experiments.forecasting --flagfile=experiments/forecasting/flagfiles/sunspots.flags
    python -m experiments.forecasting --csv=sales.csv --column=sales --horizon=12
    python -m experiments.forecasting --predict
"""

import pathlib
from typing import Any

from absl import flags

from experiments.common import app, runner, saved_models, series_flags, training_flags
from experiments.forecasting import baselines as forecast_baselines
from experiments.forecasting import data as forecast_data
from experiments.forecasting import model as forecast_model
from experiments.forecasting import predict as forecast_use
from experiments.forecasting import report as forecast_report
from experiments.forecasting import training as forecast_study
from experiments.forecasting.data import BASES, TRANSFORMS, Problem
from experiments.forecasting.model import CELLS, STRATEGIES
from experiments.forecasting.training import KIND
from seqmodels.models.forecaster import HEADS
from seqmodels.training.stopping import patience

# Flags of the problem beside those of its series.
PROBLEM = (
    "exogenous", "known", "transform", "period", "test", "validation", "horizon",
)  # fmt: skip
NAMES = [
    *series_flags.NAMES, *PROBLEM, "models", "bases", "base_lags", "hidden", "dropout", "window",
    "head", "strategy", "levels", "harmonics", "samples", "baselines", "watch_lags", "choose_by",
    "patience",
]  # fmt: skip
LEVELS = ("auto", "yes", "no")
CHOOSE_BY = ("validation_mase", "validation_rmsse")


def define_flags() -> None:
    """Defines the flags of this entry point."""
    series_flags.define()
    flags.DEFINE_list("exogenous", [], "Columns that are read up to the present, not told.")
    flags.DEFINE_list(
        "known", [], "Columns known ahead, such as a plan; rows after the last value hold them."
    )
    flags.DEFINE_string(
        "transform", "none", f"Of the values, for the networks: {', '.join(TRANSFORMS)}."
    )
    flags.DEFINE_integer(
        "period", None, "Steps of a season; default: of the calendar, 12 for months.", 1, 10**6
    )
    flags.DEFINE_integer("test", None, "Steps of the test part; default: a fifth.", 1, 10**9)
    flags.DEFINE_integer(
        "validation",
        None,
        "Steps before it for validation; default: a sixth of the rest.",
        1,
        10**9,
    )
    flags.DEFINE_integer("horizon", 1, "Steps ahead.", 1, 10**6)
    flags.DEFINE_list("models", ["lstm"], f"Cells: {', '.join(CELLS)}.")
    flags.DEFINE_list(
        "bases",
        ["none", "first", "seasonal"],
        "What the networks tell the rest of: none, first (differences), seasonal (differences), ar "
        "(a hybrid with an autoregression). For each cell the best in validation is chosen.",
    )
    flags.DEFINE_string("base_lags", "aic", "Lags of the base ar: aic, or such as 1,2,9.")
    flags.DEFINE_integer("hidden", 32, "Hidden units.", 1, 65_536)
    flags.DEFINE_float("dropout", 0.1, "Share of the outputs dropped in training.", 0.0, 0.99)
    flags.DEFINE_integer("window", 64, "Steps of a training sequence at most.", 2, 10**6)
    flags.DEFINE_string("head", "point", f"What is told of a value: {', '.join(HEADS)}.")
    flags.DEFINE_string(
        "strategy", "direct", "Many steps: direct, all at once, or recursive, one after the other."
    )
    flags.DEFINE_string(
        "levels",
        "auto",
        "Read values beside what the base leaves over: yes, no; auto: for the bases none and ar.",
    )
    flags.DEFINE_integer(
        "harmonics", 2, "Sines and cosines of the season that are read; 0: none.", 0, 64
    )
    flags.DEFINE_integer(
        "samples", 200, "Paths drawn for intervals; recursive and gaussian.", 2, 100_000
    )
    flags.DEFINE_list(
        "baselines", ["last", "seasonal", "ar", "ets"], f"Of {forecast_baselines.BASELINES}."
    )
    flags.DEFINE_list(
        "watch_lags", [], "Lags at which training records the autocorrelation of residuals."
    )
    flags.DEFINE_string(
        "choose_by", "validation_mase", f"By what the best is chosen: {', '.join(CHOOSE_BY)}."
    )
    flags.DEFINE_integer(
        "patience", 10, "Stop after so many evaluations without a better one.", 1, 10**6
    )
    flags.DEFINE_bool(
        "predict",
        False,
        "Tell the steps after the end, by the trained model of model_dir: of its own series, or of "
        "what series or csv name.",
    )
    flags.DEFINE_string("plot", None, "With --predict: a picture of what is told.")
    runner.define(seeds=3, steps=600, batch=16, learning_rate="0.003", eval_every=25, clip_norm=1.0)
    saved_models.define()
    app.checked(app.known_name(TRANSFORMS), "transform")
    app.checked(app.known_name(HEADS), "head")
    app.checked(app.known_name(STRATEGIES), "strategy")
    app.checked(app.known_name(LEVELS), "levels")
    app.checked(app.known_name(CHOOSE_BY), "choose_by")
    app.checked(app.no_nan, "dropout")
    app.checked(app.not_empty, "plot")
    app.checked(lambda value: app.names(value, CELLS), "models")
    app.checked(lambda value: app.names(value, BASES), "bases")
    app.checked(_baselines, "baselines")
    app.checked(_base_lags, "base_lags")
    app.checked(_watch_lags, "watch_lags")
    app.checked(lambda value: app.per_name(value, CELLS, app.positive), "learning_rate")


def _baselines(value: list[str]) -> None:
    for name in value:
        forecast_baselines.check(name)


def _base_lags(value: str) -> tuple[int, ...] | None:
    if value == "aic":
        return None
    found = app.numbers(value.split(","))
    if found[0] < 1:
        raise ValueError(f"got {value}, expected aic, or lags from 1 such as 1,2,9")
    return tuple(found)


def _watch_lags(value: list[str]) -> tuple[int, ...]:
    found = app.numbers(value) if value else []
    if found and found[0] < 1:
        raise ValueError(f"got {','.join(value)}, expected lags from 1")
    return tuple(found)


def main() -> int:
    """Does what the flags say. Returns the exit status."""
    values = flags.FLAGS
    if values.plot is not None and not values.predict:
        raise app.UserError("plot: got without predict, expected both")
    try:
        if values.predict:
            predictor = forecast_study.restore(saved_models.best(KIND))
            if not (values.csv or values.series):
                for name, value in saved_models.flags_of_run(KIND).items():
                    if name in (*series_flags.NAMES, "exogenous", "known"):
                        app.set_flag(name, value)
            series = series_flags.load("sunspots", (*values.exogenous, *values.known))
            forecast_use.show(predictor, series, values.plot)
            return 0
        if values.evaluate:
            known = saved_models.flags_of_run(KIND)
            for name in (*series_flags.NAMES, *PROBLEM):
                app.set_flag(name, known[name])
            forecast_use.evaluate(problem())
            return 0
        if values.strategy == "recursive" and values.horizon > 1 and values.head == "quantile":
            raise ValueError(
                "head: got quantile with --strategy=recursive, which cannot be drawn from; "
                "expected point, gaussian, or --strategy=direct"
            )
        build()
        forecast_baselines.check_lengths(problem(), values.baselines)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise app.UserError(str(error)) from None

    def report(results: dict[str, Any], folder: pathlib.Path) -> None:
        forecast_report.show(results, folder, problem())

    return runner.run(KIND, NAMES, build, report, series_flags.digests)


def problem() -> Problem:
    """Returns the problem that the flags describe. Raises as `forecast_data.problem`."""
    values = flags.FLAGS
    also = (*values.exogenous, *values.known)
    series = series_flags.load("sunspots", also)
    return forecast_data.problem(
        series,
        targets=len(series.columns) - len(also),
        exogenous=len(values.exogenous),
        known=len(values.known),
        horizon=values.horizon,
        period=values.period,
        transform=values.transform,
        test=values.test,
        validation=values.validation,
    )


def build() -> runner.Study:
    """Returns the study that the flags describe."""
    values = flags.FLAGS
    task = problem()
    rates = app.per_name(values.learning_rate, CELLS, app.positive)
    gaps = bool((task.values[task.part("train")] != task.values[task.part("train")]).any())

    def make(cell: str, base: str) -> runner.Training:
        lags = _base_lags(values.base_lags) or ()
        if base == "ar" and not lags:
            lags = forecast_baselines.aic_lags(task, "fit")
        levels = {"yes": True, "no": False, "auto": base in ("none", "ar")}[values.levels]
        config = forecast_model.Config(
            cell=cell,
            hidden=values.hidden,
            dropout=values.dropout,
            head=values.head,
            strategy=values.strategy,
            level=levels and base != "none",
            gaps=gaps,
            harmonics=values.harmonics if task.period > 1 else 0,
            targets=task.targets,
            exogenous=task.exogenous,
            known=task.known,
            horizon=task.horizon,
            period=task.period,
            transform=task.transform,
        )
        fit: Any = training_flags.fit_settings()._replace(best=values.choose_by)
        return forecast_study.training(
            cell if base == "none" else f"{cell}+{base}",
            task,
            forecast_data.fit(task, base, lags),
            config,
            window=values.window,
            batch=values.batch,
            samples=values.samples,
            watch=_watch_lags(values.watch_lags),
            optimizer=training_flags.optimizer_settings(
                app.value_for("learning_rate", rates, cell)
            ),
            fit=fit,
            stopping=patience(values.choose_by, "min", values.patience),
        )

    bases = [base for base in values.bases if base != "seasonal" or task.period > 1]
    trainings = [make(cell, base) for cell in values.models for base in bases]
    return runner.Study(trainings, lambda: forecast_baselines.records(task, values.baselines))
