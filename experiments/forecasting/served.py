"""A trained forecaster as one file: from the values of a series to the forecast after its end.

The function that is exported repeats `prepare`, `forecast` and `in_units` in float32 on the device,
for a series of any length. A test compares both.
"""

import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import actions as common
from experiments.forecasting.base import FittedBase, warm_up
from experiments.forecasting.inputs import ModelConfig
from experiments.forecasting.intervals import NORMAL
from experiments.forecasting.model import FittedModel, Recursion, RolloutInputs, rollout
from experiments.forecasting.training import Predictor
from seqmodels.models import linear_forecaster
from seqmodels.models.forecaster import HEADS, LEVELS, pooled_quantiles
from seqmodels.types import Array, Params


def export(predictor: Predictor, path: str | os.PathLike[str]) -> None:
    """Writes a forecaster as one file for `seqmodels.serving.load`.

    Its first input is `values`, float32 (T, columns), in the order targets, exogenous, known, NaN
    in gaps. With columns known ahead the next one is `known_ahead`, float32 (K, columns known
    ahead). With harmonics of a season the last one is `ordinal`, int32 (), the number of the first
    step (`TimeSeries.ordinal`). It returns the means (K, C) and the quantiles (K, C, 5) of the K
    steps after the last value, in units of the series.

    Args:
      predictor: the forecaster.
      path: the path of the file.

    Raises:
      UserError: if it cannot be written.
    """
    config = predictor.config
    columns = config.targets + config.exogenous + config.known
    inputs = {"values": (f"T, {columns}", "float32")}
    if config.known:
        inputs["known_ahead"] = (f"{config.horizon}, {config.known}", "float32")
    if config.harmonics:
        inputs["ordinal"] = ("", "int32")

    def apply(params: Params, *arrays: Array) -> tuple[Array, Array]:
        return forecast_after_end(predictor, params, **dict(zip(inputs, arrays, strict=True)))

    about = {**config._asdict(), "base": predictor.fitted.base, "levels": LEVELS}
    common.export(path, apply, predictor.forecaster.params, inputs, about=about)


def forecast_after_end(
    predictor: Predictor,
    params: Params,
    values: Array,
    *,
    known_ahead: Array | None = None,
    ordinal: Array | int = 0,
) -> tuple[Array, Array]:
    """Returns means (K, C) and quantiles (K, C, 5) after the end of values; see `export`."""
    config, fitted = predictor.config, predictor.fitted
    T = values.shape[0]
    filled = _fill(config, fitted, values[:, : config.targets])
    read = _read(config, fitted, values[:, config.targets :], known_ahead)
    seasons = functools.partial(_seasons, config, ordinal)
    parts = [filled.errors]
    if config.level:
        parts.append(filled.values)
    if config.gaps:
        parts.append(filled.is_observed)
    steps = jnp.arange(T)
    exogenous = read[:T, : config.exogenous]
    parts += [exogenous, seasons(steps + 1)]
    for k in range(config.horizon if config.direct else 1):
        parts.append(read[steps + 1 + k, config.exogenous :])
    xs = jnp.concatenate(parts, axis=1)
    weights = jnp.asarray(np.stack([linear.weights for linear in fitted.linear], 2), jnp.float32)
    bias = jnp.asarray(np.stack([linear.bias for linear in fitted.linear], 1), jnp.float32)
    base = jnp.sum(weights * filled.windows[-1][None], axis=1) + bias  # (K, C)
    forecaster = predictor.forecaster._replace(params=params)
    if config.direct:
        mean, quantiles = _direct(forecaster, xs, base)
    else:
        # Row k: of the step forecast next when k + 1 steps have been forecast.
        places = steps[:, None] + jnp.arange(2, config.horizon + 2)[None]
        places = jnp.minimum(places, T + config.horizon - 1)
        known = read[places][..., config.exogenous :]
        coming = jnp.concatenate([seasons(places), known], axis=-1)
        inputs = RolloutInputs(
            xs,
            filled.windows,
            weights[0],
            bias[0],
            jnp.asarray(fitted.errors[0], jnp.float32),
            exogenous,
            coming,
        )
        mean, quantiles = _recursive(forecaster, inputs, base, predictor.samples)
    return _in_units(predictor, mean, quantiles)


class _Filled(NamedTuple):
    """values, errors (one step), is_observed: (T, C). windows: (T, L, C), the newest first."""

    values: Array
    errors: Array
    is_observed: Array
    windows: Array


def _fill(config: ModelConfig, fitted: FittedBase, values: Array) -> _Filled:
    """Returns scaled targets with gaps filled by their one-step forecasts, and their errors."""
    units = {"none": lambda x: x, "sqrt": jnp.sqrt, "log": jnp.log}[config.transform](values)
    centre, scale, unit = (
        jnp.asarray(array, jnp.float32) for array in (fitted.centre, fitted.scale, fitted.errors[0])
    )
    scaled = (units - centre[None]) / scale[None]
    is_observed = jnp.isfinite(scaled)
    first = jnp.argmax(is_observed, axis=0)
    start = jnp.take_along_axis(scaled, first[None], axis=0)[0]
    weights = jnp.asarray(np.stack([one.weights[0] for one in fitted.linear], 1), jnp.float32)
    bias = jnp.asarray(np.stack([one.bias[0] for one in fitted.linear]), jnp.float32)

    def step(window: Array, inputs: tuple[Array, Array]) -> tuple[Array, tuple[Array, ...]]:
        t, value = inputs
        forecast = jnp.sum(window * weights, axis=0) + bias
        filler = window[0] if fitted.base == "none" else forecast
        value = jnp.where(jnp.isfinite(value), value, jnp.where(t < first, start, filler))
        error = jnp.where(t > warm_up(fitted), (value - forecast) / unit, 0.0)
        window = jnp.concatenate([value[None], window[:-1]])
        return window, (value, error, window)

    window = jnp.broadcast_to(start[None], weights.shape)
    times = jnp.arange(values.shape[0])
    _, (filled, errors, windows) = jax.lax.scan(step, window, (times, scaled))
    return _Filled(filled, errors, is_observed.astype(jnp.float32), windows)


def _read(
    config: ModelConfig, fitted: FittedBase, values: Array, known_ahead: Array | None
) -> Array:
    """Returns the columns that are only read (T + K, E), scaled; gaps hold the value before."""
    after_end = jnp.full((config.horizon, values.shape[1]), jnp.nan, jnp.float32)
    if known_ahead is not None:
        after_end = after_end.at[:, config.exogenous :].set(known_ahead)
    whole = jnp.concatenate([values, after_end])
    centre, scale = (
        jnp.asarray(array[: values.shape[1]], jnp.float32)
        for array in (fitted.read_centre, fitted.read_scale)
    )
    scaled = (whole - centre[None]) / scale[None]

    def hold(last: Array, value: Array) -> tuple[Array, Array]:
        last = jnp.where(jnp.isfinite(value), value, last)
        return last, last

    return jax.lax.scan(hold, jnp.zeros(values.shape[1], jnp.float32), scaled)[1]


def _seasons(config: ModelConfig, ordinal: Array | int, steps: Array) -> Array:
    """Returns sines and cosines (..., 2 harmonics) of the season of steps."""
    # Modulo in whole numbers: in float32 a large ordinal has no fraction left.
    phases = 2 * jnp.pi * ((ordinal + steps) % config.period).astype(jnp.float32) / config.period
    waves = [f(j * phases) for j in range(1, config.harmonics + 1) for f in (jnp.sin, jnp.cos)]
    return jnp.stack(waves, axis=-1) if waves else jnp.zeros((*steps.shape, 0), jnp.float32)


def _direct(forecaster: FittedModel, xs: Array, base: Array) -> tuple[Array, Array | None]:
    config, fitted, model, params = forecaster
    head = HEADS[config.head]
    outputs = model.apply(params, xs, method="scan")[-1]
    errors = jnp.asarray(fitted.errors, jnp.float32)
    mean = base + errors * head.mean(outputs)
    if head.quantiles is None:
        return mean, None
    return mean, base[..., None] + errors[..., None] * head.quantiles(outputs)


def _recursive(
    forecaster: FittedModel, inputs: RolloutInputs, base: Array, samples: int
) -> tuple[Array, Array | None]:
    config, fitted, model, params = forecaster
    K = config.horizon
    # Row k of the response to errors of steps j <= k, of each column.
    response = np.zeros((K, K, config.targets), np.float32)
    for number, linear in enumerate(fitted.linear):
        psi = linear_forecaster.impulse_response(linear, K)
        for k in range(K):
            response[k, : k + 1, number] = psi[k::-1]

    def values_of(keys: Array | None) -> Array:
        recursion = Recursion(config.level, config.gaps, K, "scan")
        paths = rollout(model, recursion, params, inputs, keys)[:, -1]
        added = jnp.einsum("kjc,sjc->skc", response, paths * jnp.asarray(inputs.error)[None, None])
        return base[None] + added

    mean = values_of(None)[0]
    if HEADS[config.head].draw is None:
        return mean, None
    keys: Any = jax.random.split(jax.random.key(0), samples)
    return mean, pooled_quantiles(values_of(keys))


def _in_units(predictor: Predictor, mean: Array, quantiles: Array | None) -> tuple[Array, Array]:
    """Returns `intervals.in_units` of one step's forecasts."""
    fitted, transform = predictor.fitted, predictor.config.transform
    errors, factors = (jnp.asarray(array, jnp.float32) for array in predictor.spread)
    scale, centre = (jnp.asarray(array, jnp.float32) for array in (fitted.scale, fitted.centre))
    if quantiles is None:
        quantiles = mean[..., None] + errors[..., None] * jnp.asarray(
            NORMAL[None, None], jnp.float32
        )
    middle = quantiles[..., 2:3]
    by = jnp.stack([factors[..., 1], factors[..., 0], jnp.ones_like(factors[..., 0])], axis=-1)
    q = middle + (quantiles - middle) * by[..., np.array([0, 1, 2, 1, 0])]
    low, high = jnp.minimum(q[..., 0], q[..., 1]), jnp.maximum(q[..., 4], q[..., 3])
    q = jnp.concatenate([low[..., None], q[..., 1:4], high[..., None]], axis=-1)
    variance = jnp.square(errors * scale[None])
    mean = mean * scale[None] + centre[None]
    q = q * scale[None, :, None] + centre[None, :, None]
    if transform == "sqrt":
        return jnp.square(jnp.maximum(mean, 0)) + variance, jnp.square(jnp.maximum(q, 0))
    if transform == "log":
        return jnp.exp(mean + variance / 2), jnp.exp(q)
    return mean, q
