"""Recurrent forecasters of a series: what they read, how they are built, and what they tell."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.forecasting import data as forecast_data
from experiments.forecasting.data import Fitted, Problem
from seqmodels.cells import catalog
from seqmodels.models import linear_forecaster
from seqmodels.models.forecaster import HEADS, Forecaster, forecaster, pooled_quantiles
from seqmodels.types import Array, Params

CELLS = {name: catalog.CELLS[name] for name in ("rnn", "gru", "lstm")}
STRATEGIES = ("direct", "recursive")


class Config(NamedTuple):
    """What decides a forecaster.

    Attributes:
      cell: one of `CELLS`.
      hidden: its units H.
      dropout: share of the outputs dropped in training.
      head: one of `forecaster.HEADS`.
      strategy: "direct", all steps told at once, or "recursive", one after the other.
      level: whether it reads the value itself beside what the base has left over.
      gaps: whether it reads which values were there.
      harmonics: sines and cosines of the season that it reads.
      targets: columns that are told, C.
      exogenous: columns read up to the present.
      known: columns known ahead.
      horizon: steps told, K.
      period: steps of a season.
      transform: of the targets.
    """

    cell: str
    hidden: int
    dropout: float
    head: str
    strategy: str
    level: bool
    gaps: bool
    harmonics: int
    targets: int
    exogenous: int
    known: int
    horizon: int
    period: int
    transform: str

    @property
    def direct(self) -> bool:
        """Whether all steps are told at once."""
        return self.strategy == "direct"

    @property
    def features(self) -> int:
        """How many numbers are read at a step, D."""
        of_targets = self.targets * (1 + self.level + self.gaps)
        ahead = self.known * (self.horizon if self.direct else 1)
        return of_targets + self.exogenous + 2 * self.harmonics + ahead


class Ready(NamedTuple):
    """A problem as arrays for one base.

    Attributes:
      xs: float32 (T, D), what is read at each step.
      base: float64 (T, K, C), what the base tells, in scaled units.
      targets: float32 (T, K, C), what is to be told: what the base leaves over, in units of its
        errors; 0 where there is nothing.
      weights: float32 (T, K, C), 1 where there is a target.
      filled: float64 (T, C), scaled values with gaps filled.
      seasons: float32 (T + K, 2 harmonics), row t for step t.
      known: float32 (T + K, columns known ahead).
    """

    xs: np.ndarray
    base: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    filled: np.ndarray
    seasons: np.ndarray
    known: np.ndarray


def build(config: Config) -> Forecaster:
    """Returns the model of a `Config`."""
    cell = CELLS[config.cell](config.features, config.hidden)
    return forecaster(
        sm.dropout(cell, config.dropout) if config.dropout else cell,
        hidden_size=config.hidden,
        steps=config.horizon if config.direct else 1,
        targets=config.targets,
        head=config.head,
    )


def prepare(task: Problem, fitted: Fitted, config: Config) -> Ready:
    """Returns what a forecaster reads and is to tell. Nothing at a step depends on later ones."""
    T, K = task.end, task.horizon
    values = forecast_data.scaled(task, fitted)
    whole = forecast_data.filled(fitted, values)
    base = forecast_data.base_forecasts(fitted, whole)
    left = forecast_data.left_over(values, base) / fitted.errors
    left[: forecast_data.warm_up(fitted)] = np.nan
    there = np.isfinite(left)
    one_step = np.zeros_like(whole)
    one_step[1:] = (whole[1:] - base[:-1, 0]) / fitted.errors[0]
    one_step[: forecast_data.warm_up(fitted) + 1] = 0.0
    seasons, known = _seasons(task, config), _known(task, fitted)
    parts = [one_step]
    if config.level:
        parts.append(whole)
    if config.gaps:
        parts.append(np.isfinite(values))
    parts += [_read(task, fitted), seasons[1 : T + 1]]
    if config.known:
        steps = K if config.direct else 1
        parts.append(forecast_data.ahead(known, K)[:T, :steps].reshape(T, -1))
    xs = np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1)
    targets = np.where(there, left, 0.0).astype(np.float32)
    return Ready(
        xs, base, targets, there.astype(np.float32), whole, seasons, known.astype(np.float32)
    )


def predict(
    config: Config,
    model: Forecaster,
    params: Params,
    fitted: Fitted,
    ready: Ready,
    *,
    samples: int = 0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns what is told at every step, in scaled units.

    Args:
      config: of the model.
      model: of `build`.
      params: its parameters.
      fitted: scales and base.
      ready: of `prepare`.
      samples: paths drawn for the quantiles of a recursive forecaster; 0 for none.
      seed: of the draws.

    Returns:
      Means (T, K, C) and quantiles (T, K, C, 5), None where the head has none.
    """
    head = HEADS[config.head]
    if config.direct:
        outputs = _apply(model, params, ready.xs)
        means = np.asarray(head.mean(outputs), np.float64)
        found = None if head.quantiles is None else np.asarray(head.quantiles(outputs), np.float64)
        quantiles = (
            None if found is None else ready.base[..., None] + fitted.errors[..., None] * found
        )
        return ready.base + fitted.errors * means, quantiles
    paths = np.asarray(_rollout(config, model, params, fitted, ready, None), np.float64)
    mean = _add_up(fitted, ready, paths)[0]
    if head.draw is None or not samples:
        return mean, None
    keys = jax.random.split(jax.random.key(seed), samples)
    paths = np.asarray(_rollout(config, model, params, fitted, ready, keys), np.float64)
    return mean, np.asarray(pooled_quantiles(jnp.asarray(_add_up(fitted, ready, paths))))


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: Forecaster, params: Params, xs: Array) -> Array:
    return model.apply(params, xs)


def _rollout(
    config: Config,
    model: Forecaster,
    params: Params,
    fitted: Fitted,
    ready: Ready,
    keys: Array | None,
) -> Array:
    """Returns paths (S, T, K, C) of one-step errors of the base, in units of `errors[0]`."""
    T, K, C = len(ready.xs), config.horizon, config.targets
    size = max(len(one.weights[0]) for one in fitted.linear)
    weights = np.zeros((size, C), np.float32)
    for number, one in enumerate(fitted.linear):
        weights[: len(one.weights[0]), number] = one.weights[0]
    bias = np.array([one.bias[0] for one in fitted.linear], np.float32)
    padded = np.concatenate([np.repeat(ready.filled[:1], size - 1, axis=0), ready.filled])
    windows = np.stack([padded[size - 1 - j : size - 1 - j + T] for j in range(size)], axis=1)
    held = C * (1 + config.level + config.gaps)
    exogenous = ready.xs[:, held : held + config.exogenous]
    # Row k: of the step told next when k + 1 steps have been told.
    coming = np.concatenate([ready.seasons, ready.known], axis=1)
    last = np.concatenate([coming, np.repeat(coming[-1:], 1, axis=0)])
    places = np.minimum(np.arange(T)[:, None] + np.arange(2, K + 2), len(last) - 1)
    return _paths(
        model,
        (config.level, config.gaps, K),
        params,
        ready.xs,
        windows.astype(np.float32),
        (weights, bias, fitted.errors[0].astype(np.float32)),
        exogenous,
        last[places].astype(np.float32),
        keys,
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _paths(
    model: Forecaster,
    reads: tuple[bool, bool, int],
    params: Params,
    xs: Array,
    windows: Array,
    base: tuple[Array, Array, Array],
    exogenous: Array,
    coming: Array,
    keys: Array | None,
) -> Array:
    weights, bias, error = (jnp.asarray(part) for part in base)
    level, gaps, steps = reads

    def feed(window: Array, value: Array, k: Array) -> tuple[Array, Array]:
        told = jnp.sum(window * weights[None], axis=1) + bias[None] + error[None] * value
        window = jnp.concatenate([told[:, None], window[:, :-1]], axis=1)
        parts = [value]
        if level:
            parts.append(told)
        if gaps:
            parts.append(jnp.ones_like(told))
        return window, jnp.concatenate([*parts, exogenous, coming[:, k]], axis=1)

    return model.rollout(params, xs, feed, windows, steps, keys=keys)


def _add_up(fitted: Fitted, ready: Ready, paths: np.ndarray) -> np.ndarray:
    """Returns scaled values (S, T, K, C) of paths of the base's one-step errors."""
    K = paths.shape[2]
    found = np.broadcast_to(ready.base, paths.shape).copy()
    for number, one in enumerate(fitted.linear):
        response = linear_forecaster.impulse_response(one, K)
        errors = fitted.errors[0, number] * paths[..., number]
        for k in range(K):
            found[:, :, k, number] += errors[:, :, : k + 1] @ response[k::-1]
    return found


def _seasons(task: Problem, config: Config) -> np.ndarray:
    steps = task.series.ordinal + np.arange(task.end + task.horizon)
    phases = 2 * np.pi * steps / config.period
    waves = [f(j * phases) for j in range(1, config.harmonics + 1) for f in (np.sin, np.cos)]
    return np.stack(waves, axis=1) if waves else np.zeros((len(steps), 0))


def _read(task: Problem, fitted: Fitted) -> np.ndarray:
    """Returns the exogenous columns (T, E), scaled; gaps hold the value before."""
    places = slice(task.targets, task.targets + task.exogenous)
    own = slice(0, task.exogenous)
    values = task.series.values[: task.end, places]
    return _held((values - fitted.read_centre[own]) / fitted.read_scale[own])


def _known(task: Problem, fitted: Fitted) -> np.ndarray:
    """Returns the columns known ahead (T + K, columns), scaled; what is not there is held."""
    own = slice(task.exogenous, task.exogenous + task.known)
    values = task.series.values[: task.end + task.horizon, task.targets + task.exogenous :]
    missing = task.end + task.horizon - len(values)
    values = np.concatenate([values, np.full((missing, values.shape[1]), np.nan)])
    return _held((values - fitted.read_centre[own]) / fitted.read_scale[own])


def _held(values: np.ndarray) -> np.ndarray:
    """Returns values (T, E) with the last one before in each gap, 0 before the first."""
    places = np.where(np.isfinite(values), np.arange(len(values))[:, None], -1)
    last = np.maximum.accumulate(places, axis=0) if len(values) else places
    found = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, found, 0.0)


def config_of(found: dict[str, Any]) -> Config:
    """Returns the `Config` of what was saved; TypeError if it is none."""
    return Config(**found)
