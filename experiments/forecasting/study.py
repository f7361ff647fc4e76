"""The forecasting study: trainings, measurements and evaluation."""

import os
from typing import Any

import numpy as np

from experiments.common import jobs, runner, saved_models
from experiments.common.errors import UserError
from experiments.common.jobs import Training
from experiments.common.terminal import say
from experiments.common.trainer import Study
from experiments.forecasting import baselines
from experiments.forecasting import data as series_data
from experiments.forecasting.base import fit_base, model_df
from experiments.forecasting.config import CELLS, PROGRAM, Config, base_lags
from experiments.forecasting.data import Problem
from experiments.forecasting.inputs import ModelConfig
from experiments.forecasting.metrics import chosen_by, evaluation_record
from experiments.forecasting.report import files_of, show
from experiments.forecasting.training import predict, restore, training
from seqmodels.training.parallel import processes
from seqmodels.training.stopping import patience


def run(
    config: Config, run_dir: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Trains the forecasters of a configuration, prints the table, and returns results.json.

    Args:
      config: the study.
      run_dir: folder of the run; None for one below runs/ named by the configuration.
      overwrite: whether a run that the folder holds may be replaced.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    return runner.run(
        PROGRAM,
        config,
        build,
        run_dir=run_dir,
        overwrite=overwrite,
        files=files_of(config.source.column or ()),
    )


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    task = series_data.problem_of(config)
    models = trainings(config, task)
    baselines.check_lengths(task, config.baselines)
    if config.source.csv is not None and processes.is_main():
        say(task.series.understood)
        imputed = series_data.imputed(task)
        if imputed:
            say(imputed.removesuffix("\n"), lines=True)
    return jobs.study(
        models,
        config.training.all_seeds,
        report=lambda results, directory: show(results, directory, task),
        baselines=lambda: baselines.records(task, config.baselines),
    )


def trainings(config: Config, task: Problem) -> list[Training]:
    """Returns how each forecaster of a configuration is trained: every cell with every base.

    Args:
      config: the study.
      task: its problem.

    Raises:
      ValueError: if a base cannot be fitted, or no base is left.
    """
    rates = config.training.learning_rates(config.models, CELLS)
    gaps = bool(np.isnan(task.values[task.part("train")]).any())
    bases = [base for base in config.bases if base != "seasonal" or task.period > 1]
    if not bases:
        raise ValueError(
            f"bases: got seasonal for {task.series.name}, which has no season, expected another "
            "base, or a period"
        )
    models = []
    choose_by = chosen_by(task, config.choose_by)
    for cell in config.models:
        for base in bases:
            lags = base_lags(config.base_lags)
            if base == "ar" and not lags:
                lags = baselines.aic_lags(task, "fit")
            models.append(
                training(
                    cell if base == "none" else f"{cell}+{base}",
                    task,
                    fit_base(task, base, lags),
                    _model(config, cell, base, task)._replace(gaps=gaps),
                    window=config.window,
                    batch=config.training.batch,
                    samples=config.samples,
                    watch=sorted(config.watch_lags),
                    optimizer=config.training.optimizer(rates[cell]),
                    fit=config.training.fit(config.saving)._replace(best=choose_by),
                    stopping=patience(choose_by, "min", config.patience),
                )
            )
    return models


def _model(config: Config, cell: str, base: str, task: Problem) -> ModelConfig:
    level = {"yes": True, "no": False, "auto": base in ("none", "ar")}[config.levels]
    return ModelConfig(
        cell=cell,
        hidden=config.hidden,
        dropout=config.dropout,
        head=config.head,
        strategy=config.strategy,
        # Residuals of the base "none" are the values themselves.
        level=level and base != "none",
        gaps=False,
        harmonics=config.harmonics if task.period > 1 else 0,
        targets=task.targets,
        exogenous=task.exogenous,
        known=task.known,
        horizon=task.horizon,
        period=task.period,
        transform=task.transform,
        precision=config.training.precision,
    )


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the models of a run on the test part of the series that they were trained on.

    Args:
      model_dir: folder of the run; None for the newest below runs/.
      config: values of options that the run does not know.

    Returns:
      Records with model, seed and the figures of the test part by column; they are printed too.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    records = []
    try:
        _, task = saved_models.data_of_run(
            PROGRAM, model_dir, config or Config(), series_data.problem_of
        )
        for name, seed, saved in models:
            predictor = restore(saved)
            forecasts = predict(predictor, task, seed)
            figures = evaluation_record(task, forecasts, model_df(predictor.fitted))
            records.append({"model": name, "seed": seed, **figures})
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    for record in records:
        for column, figures in record["columns"].items():
            shown = ", ".join(f"{key} {figures[key]:.4g}" for key in ("mae", "mse", "mase"))
            say(f"{record['model']}, seed {record['seed']}, {column}: {shown}; "
                  f"{figures['verdict']}")  # fmt: skip
    return records
