"""What trained forecasters tell: the steps after the end, and their figures once more."""

import numpy as np
from rich import box
from rich.table import Table

from experiments.common import app, saved_models
from experiments.common import report as study_report
from experiments.forecasting import data as forecast_data
from experiments.forecasting import metrics as forecast_records
from experiments.forecasting import model as forecast_model
from experiments.forecasting import training as forecast_study
from experiments.forecasting.data import Problem
from experiments.forecasting.training import KIND, Predictor
from seqmodels import plots
from seqmodels.data.time_series import TimeSeries

SHOWN = 5  # seasons, or so many horizons, before the end in the picture


def show(predictor: Predictor, series: TimeSeries, picture: str | None) -> None:
    """Prints what a trained forecaster tells of the steps after the end of a series.

    Args:
      predictor: the forecaster.
      series: with the columns that it reads; it may go on after what it was trained on.
      picture: a file for the picture; None for none.

    Raises:
      ValueError: if the series has not its columns, or is too short.
    """
    config = predictor.config
    wanted = config.targets + config.exogenous + config.known
    if len(series.columns) != wanted:
        raise ValueError(
            f"column: got {len(series.columns)} columns, expected the {wanted} of the training"
        )
    there = np.flatnonzero(np.isfinite(series.values[:, : config.targets]).any(axis=1))
    least = forecast_data.warm_up(predictor.fitted) + 2
    if len(there) < least:
        raise ValueError(f"{series.name}: got {len(there)} values, expected at least {least}")
    end = int(there[-1]) + 1
    task = Problem(
        series, config.targets, config.exogenous, config.known, config.horizon, config.period,
        config.transform, end, end, end,
    )  # fmt: skip
    ready = forecast_model.prepare(task, predictor.fitted, config)
    found = forecast_study.predict(predictor, task, ready)
    for number, column in enumerate(series.columns[: config.targets]):
        table = Table(title=f"{series.name}, {column}", box=box.SIMPLE, title_justify="left")
        for heading in ("step", "forecast", "80 %", "95 %"):
            table.add_column(heading, justify="right")
        for k in range(config.horizon):
            q = found.quantiles[-1, k, number]
            table.add_row(
                series.label(end + k),
                f"{found.mean[-1, k, number]:.6g}",
                f"{q[1]:.6g} to {q[3]:.6g}",
                f"{q[0]:.6g} to {q[4]:.6g}",
            )
        study_report.show(table)
    if picture is None:
        return
    first = max(0, end - SHOWN * max(config.period, config.horizon, 12))
    dates = series.dates(end + config.horizon)
    figure = plots.forecasts(
        dates[first:end],
        task.values[first:, 0],
        {},
        title=f"{series.name}: forecast",
        ylabel=series.columns[0],
        future=(dates[end:], found.mean[-1, :, 0], found.quantiles[-1, :, 0]),
    )
    try:
        figure.savefig(picture)
    except (OSError, ValueError) as error:
        raise app.UserError(f"plot: {picture} cannot be written: {error}") from None


def evaluate(task: Problem) -> None:
    """Measures the models of `--model_dir` on the test part of what they were trained on."""
    for name, seed, found in saved_models.every(KIND):
        predictor = forecast_study.restore(found)
        ready = forecast_model.prepare(task, predictor.fitted, predictor.config)
        told = forecast_study.predict(predictor, task, ready, seed)
        model_df = forecast_data.model_df(predictor.fitted)
        record = forecast_records.test_record(task, told, model_df)
        for column, own in record["columns"].items():
            figures = ", ".join(f"{key} {own[key]:.4g}" for key in ("mae", "mse", "mase"))
            print(f"{name}, seed {seed}, {column}: {figures}; {own['verdict']}")
