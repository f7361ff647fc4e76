"""How a forecaster is trained and what is kept of it."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.runner import Training
from experiments.forecasting import data as forecast_data
from experiments.forecasting import metrics as forecast_records
from experiments.forecasting import model as forecast_model
from experiments.forecasting.data import Fitted, Problem
from experiments.forecasting.metrics import Forecasts, Spread
from experiments.forecasting.model import Config, Ready
from seqmodels import model_files
from seqmodels.data.batches import Batches, shuffled
from seqmodels.model_files import SavedModel
from seqmodels.models.forecaster import HEADS, Forecaster
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.residual_metrics import residual_autocorrelation
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.training.stopping import Stopping
from seqmodels.types import Array, Params

KIND = "forecasting"
MOST_WINDOWS = 20_000


class Windows(NamedTuple):
    """xs: (N, L, D). targets and weights: (N, L, K, C)."""

    xs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class Predictor(NamedTuple):
    """A trained forecaster: configuration, scales, model, parameters, and how far off it was."""

    config: Config
    fitted: Fitted
    model: Forecaster
    params: Params
    spread: Spread
    samples: int


def training(
    name: str,
    task: Problem,
    fitted: Fitted,
    config: Config,
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
      name: in tables and of folders.
      task: the problem.
      fitted: scales and base.
      config: the model.
      window: steps of a training sequence at most.
      batch: sequences a step at most.
      samples: paths for the quantiles of a recursive forecaster.
      watch: lags of the residuals whose autocorrelation is recorded.
      optimizer: how parameters are updated.
      fit: how long; its `best` is kept.
      stopping: when to stop early.
    """
    model = forecast_model.build(config)
    head = HEADS[config.head]
    ready = forecast_model.prepare(task, fitted, config)
    windows = cut(task, ready, window, 1 if not config.direct else None, batch)
    length = windows.xs.shape[1]
    if watch and max(watch) >= length:
        raise ValueError(
            f"watch_lags: got {max(watch)}, expected lags from 1 to {length - 1}, as a window has "
            f"{length} steps"
        )

    def loss(params: Params, rows: Windows, key: Array, carry: Any) -> Loss:
        xs, targets, weights = (jnp.moveaxis(jnp.asarray(rows_of), 0, 1) for rows_of in rows)
        outputs = model.apply(params, xs, key=key)
        costs = head.loss(outputs, targets)
        weight = jnp.sum(weights)
        metrics = {}
        if watch:
            residuals = jax.lax.stop_gradient(targets - head.mean(outputs))[:, :, 0, 0]
            metrics = residual_autocorrelation(residuals, weights[:, :, 0, 0], watch, weight=weight)
        return Loss(jnp.sum(weights * costs), weight, metrics, carry)

    def evaluate(params: Params) -> dict[str, float]:
        mean, _ = forecast_model.predict(config, model, params, fitted, ready)
        errors = forecast_records.root_mean_squared_errors(task, fitted, mean, "validation")
        return forecast_records.validation_scores(
            task, forecast_records.restored_mean(task, fitted, mean, errors)
        )

    def finish(seed: int, params: Params, folder: pathlib.Path) -> dict[str, Any]:
        mean, quantiles = forecast_model.predict(
            config, model, params, fitted, ready, samples=samples, seed=seed
        )
        spread = forecast_records.spread(task, fitted, mean, quantiles, "validation")
        kept = {
            "config": config._asdict(),
            "fitted": forecast_data.to_json(fitted),
            "spread": [part.tolist() for part in spread],
            "samples": samples,
        }
        model_files.save(folder, KIND, kept, params)
        found = forecast_records.forecasts(task, fitted, mean, quantiles, spread)
        record = forecast_records.test_record(task, found, forecast_data.model_df(fitted))
        if fitted.base == "ar":
            record["base"] = forecast_records.base_record(task, fitted, ready.base)
        return record

    def batches(seed: int) -> Batches:
        return shuffled(
            windows,
            batch,
            seed=seed,
            process=jax.process_index(),
            num_processes=jax.process_count(),
        )

    return Training(
        name=name,
        init=model.init,
        loss=loss,
        batches=batches,
        evaluate=evaluate,
        finish=finish,
        optimizer=optimizer,
        fit=fit,
        stopping=stopping,
    )


def cut(task: Problem, ready: Ready, window: int, steps: int | None, least: int = 1) -> Windows:
    """Returns the part that is fitted as overlapping training sequences.

    Args:
      task: the problem.
      ready: of `prepare`.
      window: steps of a sequence at most.
      steps: how many steps ahead are told; None for all.
      least: how many sequences are wanted; they are repeated where there are fewer.
    """
    end = task.fit_end
    targets, weights = ready.targets[:end, :steps].copy(), ready.weights[:end, :steps].copy()
    for k in range(weights.shape[1]):
        # What lies behind the part is not trained on.
        weights[max(0, end - 1 - k) :, k] = 0
    length = min(window, end - 1)
    starts = np.arange(end - length)
    starts = starts[:: -(-len(starts) // MOST_WINDOWS)]
    starts = np.resize(starts, max(len(starts), least))
    places = starts[:, None] + np.arange(length)
    return Windows(ready.xs[places], targets[places], weights[places])


def predict(predictor: Predictor, task: Problem, ready: Ready, seed: int = 0) -> Forecasts:
    """Returns what a trained forecaster tells at every step of a series."""
    mean, quantiles = forecast_model.predict(
        predictor.config,
        predictor.model,
        predictor.params,
        predictor.fitted,
        ready,
        samples=predictor.samples,
        seed=seed,
    )
    return forecast_records.forecasts(task, predictor.fitted, mean, quantiles, predictor.spread)


def restore(found: SavedModel) -> Predictor:
    """Returns a saved model; ValueError in one line if it cannot be built from what is there."""
    try:
        config = forecast_model.config_of(found.config["config"])
        fitted = forecast_data.from_json(found.config["fitted"])
        spread = Spread(*(np.array(part, np.float64) for part in found.config["spread"]))
        samples = int(found.config["samples"])
        model = forecast_model.build(config)
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"model: {found.folder} was saved by another version") from None
    params = model_files.restore(found, model.init)
    return Predictor(config, fitted, model, params, spread, samples)
