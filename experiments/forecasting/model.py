"""Recurrent forecasters: construction and forecasts."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.forecasting.base import FittedBase
from experiments.forecasting.inputs import ModelConfig, ModelInputs
from seqmodels.cells import catalog
from seqmodels.models import linear_forecaster
from seqmodels.models.forecaster import HEADS, Forecaster, forecaster, pooled_quantiles
from seqmodels.types import Array, Params


class FittedModel(NamedTuple):
    """A forecaster with its parameters and its base."""

    config: ModelConfig
    fitted: FittedBase
    model: Forecaster
    params: Params


def build(config: ModelConfig) -> Forecaster:
    """Returns the model of a configuration."""
    cell = catalog.CELLS[config.cell](config.features, config.hidden, dtype=config.precision)
    return forecaster(
        sm.dropout(cell, config.dropout) if config.dropout else cell,
        hidden_size=config.hidden,
        steps=config.horizon if config.direct else 1,
        targets=config.targets,
        head=config.head,
        dtype=config.precision,
    )


def forecast(
    forecaster: FittedModel, inputs: ModelInputs, *, samples: int = 0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the forecasts from every step, in scaled units.

    Args:
      forecaster: the model.
      inputs: the result of `prepare`.
      samples: paths drawn for the quantiles of a recursive forecaster; 0 for none.
      seed: seed of the draws.

    Returns:
      Means (T, K, C) and quantiles (T, K, C, 5), None where the head has none.
    """
    config, fitted, model, params = forecaster
    head = HEADS[config.head]
    if config.direct:
        outputs = _apply(model, params, inputs.xs)
        means = np.asarray(head.mean(outputs), np.float64)
        if head.quantiles is None:
            return inputs.base + fitted.errors * means, None
        quantiles = np.asarray(head.quantiles(outputs), np.float64)
        quantiles = inputs.base[..., None] + fitted.errors[..., None] * quantiles
        return inputs.base + fitted.errors * means, quantiles
    paths = np.asarray(_rollout(forecaster, inputs, None), np.float64)
    mean = _values_of(fitted, inputs, paths)[0]
    if head.draw is None or not samples:
        return mean, None
    keys = jax.random.split(jax.random.key(seed), samples)
    paths = np.asarray(_rollout(forecaster, inputs, keys), np.float64)
    return mean, np.asarray(pooled_quantiles(jnp.asarray(_values_of(fitted, inputs, paths))))


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: Forecaster, params: Params, xs: Array) -> Array:
    return model.apply(params, xs)


def _rollout(forecaster: FittedModel, inputs: ModelInputs, keys: Array | None) -> Array:
    """Returns paths (S, T, K, C) of one-step errors of the base, in units of `errors[0]`."""
    config, fitted = forecaster.config, forecaster.fitted
    T, K, C = len(inputs.xs), config.horizon, config.targets
    size = max(len(linear.weights[0]) for linear in fitted.linear)
    weights = np.zeros((size, C), np.float32)
    for number, linear in enumerate(fitted.linear):
        weights[: len(linear.weights[0]), number] = linear.weights[0]
    bias = np.array([linear.bias[0] for linear in fitted.linear], np.float32)
    padded = np.concatenate([np.repeat(inputs.filled[:1], size - 1, axis=0), inputs.filled])
    windows = np.stack([padded[size - 1 - j : size - 1 - j + T] for j in range(size)], axis=1)
    held = config.target_features
    # Row k: of the step forecast next when k + 1 steps have been forecast.
    coming = np.concatenate([inputs.seasons, inputs.known], axis=1)
    coming = np.concatenate([coming, coming[-1:]], axis=0)
    places = np.minimum(np.arange(T)[:, None] + np.arange(2, K + 2), len(coming) - 1)
    return rollout(
        forecaster.model,
        Recursion(config.level, config.gaps, K),
        forecaster.params,
        RolloutInputs(
            inputs.xs,
            windows.astype(np.float32),
            weights,
            bias,
            fitted.errors[0].astype(np.float32),
            inputs.xs[:, held : held + config.exogenous],
            coming[places].astype(np.float32),
        ),
        keys,
    )


class Recursion(NamedTuple):
    """The way a recursive forecaster reads its own forecasts.

    Attributes:
      level: whether it reads values.
      gaps: whether it reads which values were observed.
      steps: number of steps that it forecasts, K.
      method: the driver.
    """

    level: bool
    gaps: bool
    steps: int
    method: str = "auto"


class RolloutInputs(NamedTuple):
    """The arrays of a rollout, float32.

    Attributes:
      xs: (T, D), what is read at each step.
      windows: (T, L, C), the last L values at each step, the newest first.
      weights: (L, C), of the one-step forecast of the base.
      bias: (C,), of the one-step forecast of the base.
      error: (C,), the unit of the forecasts.
      exogenous: (T, E), held at their last value.
      coming: (T, K, ...), seasons and columns known ahead of the steps to come.
    """

    xs: Array | np.ndarray
    windows: Array | np.ndarray
    weights: Array | np.ndarray
    bias: Array | np.ndarray
    error: Array | np.ndarray
    exogenous: Array | np.ndarray
    coming: Array | np.ndarray


@functools.partial(jax.jit, static_argnums=(0, 1))
def rollout(
    model: Forecaster,
    recursion: Recursion,
    params: Params,
    inputs: RolloutInputs,
    keys: Array | None,
) -> Array:
    """Returns paths (S, T, K, C) of one-step errors of the base, in units of `error`.

    Args:
      model: forecasts one step.
      recursion: the inputs that it reads.
      params: its parameters.
      inputs: the arrays.
      keys: (S,), of the paths; None for the path of the means.
    """
    given = RolloutInputs(*(jnp.asarray(array) for array in inputs))

    def feed(window: Array, value: Array, k: Array) -> tuple[Array, Array]:
        forecast = jnp.sum(window * given.weights[None], axis=1)
        forecast = forecast + given.bias[None] + given.error[None] * value
        window = jnp.concatenate([forecast[:, None], window[:, :-1]], axis=1)
        parts = [value]
        if recursion.level:
            parts.append(forecast)
        if recursion.gaps:
            parts.append(jnp.ones_like(forecast))
        return window, jnp.concatenate([*parts, given.exogenous, given.coming[:, k]], axis=1)

    return model.rollout(
        params,
        given.xs,
        feed,
        given.windows,
        recursion.steps,
        keys=keys,
        method=recursion.method,
    )


def _values_of(fitted: FittedBase, inputs: ModelInputs, paths: np.ndarray) -> np.ndarray:
    """Returns scaled values (S, T, K, C) of paths of the base's one-step errors."""
    K = paths.shape[2]
    values = np.broadcast_to(inputs.base, paths.shape).copy()
    for number, linear in enumerate(fitted.linear):
        response = linear_forecaster.impulse_response(linear, K)
        errors = fitted.errors[0, number] * paths[..., number]
        for k in range(K):
            values[:, :, k, number] += errors[:, :, : k + 1] @ response[k::-1]
    return values
