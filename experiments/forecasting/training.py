"""Training, saving and restoring of a forecaster."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.jobs import Training
from experiments.forecasting import base as bases
from experiments.forecasting import model as models
from experiments.forecasting.base import FittedBase
from experiments.forecasting.config import PROGRAM
from experiments.forecasting.data import Problem
from experiments.forecasting.inputs import ModelConfig, ModelInputs, prepare
from experiments.forecasting.intervals import (
    Forecasts,
    Spread,
    in_units,
    restored_mean,
    root_mean_squared_errors,
    spread_of,
)
from experiments.forecasting.metrics import base_record, evaluation_record, validation_scores
from experiments.forecasting.model import FittedModel
from seqmodels import model_files
from seqmodels.data.batches import Batches, shuffled
from seqmodels.data.grids import amount
from seqmodels.data.time_series import TimeSeries
from seqmodels.model_files import SavedModel
from seqmodels.models.forecaster import HEADS
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.residual_metrics import residual_autocorrelation
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss, LossFunction
from seqmodels.training.stopping import Stopping
from seqmodels.types import Array, Params

MOST_WINDOWS = 20_000


class Windows(NamedTuple):
    """xs: (N, L, D). targets and weights: (N, L, K, C)."""

    xs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class TrainedOn(NamedTuple):
    """The series that a forecaster was trained on.

    Attributes:
      columns: its names, in the order of `Problem`.
      unit: unit of a step.
      every: length of a step in those units.
    """

    columns: tuple[str, ...]
    unit: str
    every: int

    def faults(self, series: TimeSeries, period: int) -> list[str]:
        """Returns how a series differs, in the form "name: got X, expected Y".

        Args:
          series: the other one.
          period: steps of a season of the training.
        """
        found = []
        if series.columns != self.columns:
            found.append(
                f"column: got {', '.join(series.columns)}, expected those of the training, "
                f"{', '.join(self.columns)}"
            )
        if (series.unit, series.every) != (self.unit, self.every):
            step = amount(self.every, self.unit)
            found.append(
                f"csv, series: got a step of {series.duration(1)}, expected that of the training, "
                f"{step} (its period is {period})"
            )
        return found


class Predictor(NamedTuple):
    """A trained forecaster, and how its intervals are made.

    Attributes:
      forecaster: configuration, base, model and parameters.
      spread: errors of its forecasts of the validation part.
      samples: paths for the quantiles of a recursive forecaster.
      trained_on: the series of the training; None for a model that was saved without it.
    """

    forecaster: FittedModel
    spread: Spread
    samples: int
    trained_on: TrainedOn | None = None

    @property
    def config(self) -> ModelConfig:
        """The configuration of the model."""
        return self.forecaster.config

    @property
    def fitted(self) -> FittedBase:
        """Scales and base."""
        return self.forecaster.fitted


def training(
    name: str,
    task: Problem,
    fitted: FittedBase,
    config: ModelConfig,
    *,
    window: int,
    batch: int,
    samples: int,
    watch: Sequence[int],
    optimizer: OptimizerSettings,
    fit: FitSettings,
    stopping: Stopping | None,
) -> Training:
    """Returns how one forecaster is trained.

    Args:
      name: name in tables and folders.
      task: the problem.
      fitted: scales and base.
      config: the model.
      window: steps of a training sequence at most.
      batch: sequences a training step.
      samples: paths for the quantiles of a recursive forecaster.
      watch: lags of the residuals whose autocorrelation is recorded.
      optimizer: settings of the optimizer.
      fit: settings of the training loop; its `best` is kept.
      stopping: a rule that ends the training early.

    Raises:
      ValueError: if a lag to watch is not in a window.
    """
    model = models.build(config)
    inputs = prepare(task, fitted, config)
    windows = cut_windows(task, inputs, window, 1 if not config.direct else None, batch)
    length = windows.xs.shape[1]
    if watch and max(watch) >= length:
        raise ValueError(
            f"watch_lags: got {max(watch)}, expected lags from 1 to {length - 1}, as a window has "
            f"{length} steps"
        )

    def evaluate(params: Params) -> dict[str, float]:
        mean, _ = models.forecast(FittedModel(config, fitted, model, params), inputs)
        errors = root_mean_squared_errors(task, fitted, mean, "validation")
        return validation_scores(task, restored_mean(task, fitted, mean, errors))

    # Saving and testing need the same forecasts.
    latest: list[tuple[int, Params, np.ndarray, np.ndarray | None, Spread]] = []

    def forecasts(seed: int, params: Params) -> tuple[np.ndarray, np.ndarray | None, Spread]:
        if not latest or latest[0][0] != seed or latest[0][1] is not params:
            mean, quantiles = models.forecast(
                FittedModel(config, fitted, model, params), inputs, samples=samples, seed=seed
            )
            spread = spread_of(task, fitted, mean, quantiles, "validation")
            latest[:] = [(seed, params, mean, quantiles, spread)]
        return latest[0][2:]

    def test(seed: int, params: Params) -> dict[str, Any]:
        mean, quantiles, spread = forecasts(seed, params)
        restored = in_units(task, fitted, mean, quantiles, spread)
        record = evaluation_record(task, restored, bases.model_df(fitted))
        if fitted.base == "ar":
            record["base"] = base_record(task, fitted, inputs.base)
        return record

    def save(folder: pathlib.Path, seed: int, params: Params) -> None:
        stored = {
            "config": config._asdict(),
            "fitted": bases.to_json(fitted),
            "spread": [part.tolist() for part in forecasts(seed, params)[2]],
            "samples": samples,
            "trained_on": TrainedOn(
                task.series.columns, task.series.unit, task.series.every
            )._asdict(),
        }
        model_files.save(folder, PROGRAM, stored, params)

    return Training(
        name=name,
        init=model.init,
        loss=_loss(model.apply, config, watch),
        batches=functools.partial(_batches, windows, batch),
        evaluate=evaluate,
        test=test,
        save=save,
        optimizer=optimizer,
        fit=fit,
        stopping=stopping,
    )


def _loss(apply: Any, config: ModelConfig, watch: Sequence[int]) -> LossFunction:
    head = HEADS[config.head]

    def loss(params: Params, rows: Windows, key: Array, carry: Any) -> Loss:
        xs, targets, weights = (jnp.moveaxis(jnp.asarray(array), 0, 1) for array in rows)
        outputs = apply(params, xs, key=key)
        costs = head.loss(outputs, targets)
        weight = jnp.sum(weights)
        metrics = {}
        if watch:
            residuals = jax.lax.stop_gradient(targets - head.mean(outputs))[:, :, 0, 0]
            metrics = residual_autocorrelation(residuals, weights[:, :, 0, 0], watch, weight=weight)
        return Loss(jnp.sum(weights * costs), weight, metrics, carry)

    return loss


def _batches(windows: Windows, batch: int, seed: int, process: int, num_processes: int) -> Batches:
    return shuffled(windows, batch, seed=seed, process=process, num_processes=num_processes)


def cut_windows(
    task: Problem, inputs: ModelInputs, window: int, steps: int | None, least: int = 1
) -> Windows:
    """Returns the part that is fitted as overlapping training sequences.

    Args:
      task: the problem.
      inputs: the result of `prepare`.
      window: steps of a sequence at most.
      steps: number of steps ahead; None for all.
      least: smallest number of sequences; fewer ones are repeated.
    """
    end = task.fit_end
    targets, weights = inputs.targets[:end, :steps].copy(), inputs.weights[:end, :steps].copy()
    for k in range(weights.shape[1]):
        # Values after the part are not trained on.
        weights[max(0, end - 1 - k) :, k] = 0
    length = min(window, end - 1)
    starts = np.arange(end - length)
    starts = starts[:: -(-len(starts) // MOST_WINDOWS)]
    starts = np.resize(starts, max(len(starts), least))
    places = starts[:, None] + np.arange(length)
    return Windows(inputs.xs[places], targets[places], weights[places])


def predict(predictor: Predictor, task: Problem, seed: int = 0) -> Forecasts:
    """Returns the forecasts of a trained forecaster from every step of a series.

    Args:
      predictor: the forecaster.
      task: the series.
      seed: the seed of the paths that are drawn.
    """
    inputs = prepare(task, predictor.fitted, predictor.config)
    mean, quantiles = models.forecast(
        predictor.forecaster, inputs, samples=predictor.samples, seed=seed
    )
    return in_units(task, predictor.fitted, mean, quantiles, predictor.spread)


def restore(saved: SavedModel) -> Predictor:
    """Returns a saved model; ValueError in one line if it cannot be built from what is saved."""
    try:
        config = ModelConfig(**saved.config["config"])
        fitted = bases.from_json(saved.config["fitted"])
        spread = Spread(*(np.array(part, np.float64) for part in saved.config["spread"]))
        samples = int(saved.config["samples"])
        stored = saved.config.get("trained_on")
        trained_on = None
        if stored is not None:
            stored = stored | {"columns": tuple(stored["columns"])}
            trained_on = TrainedOn(**stored)
        model = models.build(config)
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"model: {saved.folder} was saved by another version") from None
    params = model_files.restore(saved, model.init)
    forecaster = FittedModel(config, fitted, model, params)
    return Predictor(forecaster, spread, samples, trained_on)
