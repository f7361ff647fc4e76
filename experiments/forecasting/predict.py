"""Use of a trained forecaster: the steps after the end, a picture, one file to serve."""

import functools
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from experiments.common import actions as common
from experiments.common import report as study_report
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.terminal import say
from experiments.forecasting import data as series_data
from experiments.forecasting import served
from experiments.forecasting.base import warm_up
from experiments.forecasting.config import PROGRAM, Actions, Config
from experiments.forecasting.data import Problem
from experiments.forecasting.training import Predictor, predict, restore
from seqmodels import plots
from seqmodels.data.time_series import TimeSeries

SHOWN = 5  # seasons (or horizons) before the end in the picture


class Future(NamedTuple):
    """The forecast of the steps after the end of a series.

    Attributes:
      task: the series.
      dates: datetime64 or int (K,), of the steps.
      mean: (K, C), in units of the series.
      quantiles: (K, C, 5), at `forecaster.LEVELS`.
    """

    task: Problem
    dates: np.ndarray
    mean: np.ndarray
    quantiles: np.ndarray


def use(actions: Actions, config: Config) -> None:
    """Forecasts the steps after the end and exports the model, as the actions request.

    Args:
      actions: the requested actions.
      config: a configuration that may name a series; otherwise the run's series is forecast.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    model_dir = actions.models.model_dir
    try:
        predictor = restore(saved_models.best(PROGRAM, model_dir))
        if actions.predict:
            warns = actions.other == "warn"
            if config.source.csv is None and config.source.series is None:
                load = functools.partial(_load, predictor, warns=warns)
                config, series = saved_models.data_of_run(PROGRAM, model_dir, config, load)
            else:
                series = _load(predictor, config, warns=warns)
            future = after_the_end(predictor, series, hold_known=config.hold_known, warns=warns)
            if config.source.csv is not None:
                say(series.understood)
            show(future)
            if actions.plot is not None:
                draw(future, actions.plot)
        if actions.export is not None:
            served.export(predictor, actions.export)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def _load(predictor: Predictor, config: Config, warns: bool) -> TimeSeries:
    """Returns the series; of a csv without the option column, the columns of the training."""
    source = config.source
    if predictor.trained_on is None or source.csv is None or source.column is not None:
        return series_data.load(config)
    own, names = predictor.config, predictor.trained_on.columns
    first = own.targets + own.exogenous
    of_training = config.replace(
        column=names[: own.targets],
        exogenous=config.exogenous or names[own.targets : first],
        known=config.known or names[first:],
    )
    try:
        return series_data.load(of_training)
    except ValueError:
        if not warns:
            raise
    return series_data.load(config)


def after_the_end(
    predictor: Predictor, series: TimeSeries, *, hold_known: bool = False, warns: bool = False
) -> Future:
    """Returns the forecast of the steps after the end of a series.

    Args:
      predictor: the forecaster.
      series: a series with the columns that it reads; it may be another one than that of the
        training, or a longer one.
      hold_known: whether columns known ahead that end before the horizon hold their last value.
      warns: whether a step or names of columns that differ from those of the training are warnings
        on standard error instead of errors.

    Raises:
      ValueError: if the series has other columns or another step, a value without the
        model's transform, too few values, or no values of columns known ahead.
    """
    config = predictor.config
    needed = config.targets + config.exogenous + config.known
    if len(series.columns) != needed:
        raise ValueError(
            f"column: got {len(series.columns)} columns, expected the {needed} of the training"
        )
    trained_on = predictor.trained_on
    for fault in [] if trained_on is None else trained_on.faults(series, config.period):
        if not warns:
            raise ValueError(f"{fault}; other=warn forecasts it nevertheless")
        say(f"warning: {fault}", error=True)
    series_data.check_transform(series, config.targets, config.transform)
    observed = np.flatnonzero(np.isfinite(series.values[:, : config.targets]).any(axis=1))
    least = warm_up(predictor.fitted) + 2
    if len(observed) < least:
        raise ValueError(f"{series.name}: got {len(observed)} values, expected at least {least}")
    end = int(observed[-1]) + 1
    task = Problem(
        series, config.targets, config.exogenous, config.known, config.horizon, config.period,
        config.transform, end, end, end,
    )  # fmt: skip
    series_data.check_known(task, hold_known)
    forecasts = predict(predictor, task)
    dates = series.dates(end + config.horizon)[end:]
    return Future(task, dates, forecasts.mean[-1], forecasts.quantiles[-1])


def show(future: Future) -> None:
    """Prints a table for each column."""
    task = future.task
    for number, column in enumerate(task.series.columns[: task.targets]):
        table = Table(title=f"{task.series.name}, {column}", box=box.SIMPLE, title_justify="left")
        for heading in ("step", "forecast", "80%", "95%"):
            table.add_column(heading, justify="right")
        for k in range(task.horizon):
            q = future.quantiles[k, number]
            table.add_row(
                task.series.label(task.end + k),
                _shown(future.mean[k, number]),
                f"{_shown(q[1])} to {_shown(q[3])}",
                f"{_shown(q[0])} to {_shown(q[4])}",
            )
        study_report.show(table)


def _shown(value: float) -> str:
    """Returns a number, "-" for one beyond the largest."""
    return f"{value:.6g}" if np.isfinite(value) else "-"


def draw(future: Future, path: str) -> None:
    """Writes the picture of the first column: its last seasons and the forecast."""
    task = future.task
    first = max(0, task.end - SHOWN * max(task.period, task.horizon, 12))
    figure = plots.forecasts(
        task.series.dates(task.end)[first:],
        task.values[first:, 0],
        {},
        title=f"{task.series.name}: forecast",
        ylabel=task.series.columns[0],
        future=(future.dates, future.mean[:, 0], future.quantiles[:, 0]),
    )
    common.save_figure(figure, path)
