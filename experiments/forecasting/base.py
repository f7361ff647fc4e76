"""The base of a forecaster: scales, a linear forecast, and the residuals that it leaves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.forecasting.data import Problem
from seqmodels.data.transforms import transformed
from seqmodels.models import linear_forecaster
from seqmodels.models.linear_forecaster import LinearForecaster

_ARRAYS = ("centre", "scale", "errors", "read_centre", "read_scale")


class FittedBase(NamedTuple):
    """Scales, and the base whose residuals a network forecasts.

    Attributes:
      base: one of `config.BASES`.
      centre: (C,) mean of the part that is fitted, in transformed units.
      scale: (C,) its standard deviation; scaled values are in units of it.
      linear: the base of each target.
      errors: (K, C) root mean squared errors of the base in the part that is fitted.
      read_centre: (E,) means of the columns that are only read.
      read_scale: (E,) their standard deviations.
    """

    base: str
    centre: np.ndarray
    scale: np.ndarray
    linear: tuple[LinearForecaster, ...]
    errors: np.ndarray
    read_centre: np.ndarray
    read_scale: np.ndarray


def fit_base(task: Problem, base: str, lags: Sequence[int], part: str = "fit") -> FittedBase:
    """Returns scales and base, fitted to one part and nothing else.

    Args:
      task: the problem.
      base: none (0), first (the last value: its residuals are first differences), seasonal (the
        value of the last season), ar (autoregression by least squares).
      lags: the lags of the autoregression.
      part: "fit", or "train" for what needs no validation.

    Raises:
      ValueError: if the part is too short for the lags, or the base forecasts the series exactly.
    """
    steps = task.part(part)
    values = transformed(task.values[steps], task.transform)
    centre, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    values = (values - centre) / scale
    read = task.series.values[steps, task.targets :]
    read_scale = np.nanstd(read, axis=0) if len(read.T) else np.ones(0)
    fitted = FittedBase(
        base,
        centre,
        scale,
        tuple(_linear(task, base, lags, column) for column in values.T),
        np.ones((task.horizon, task.targets)),
        np.nanmean(read, axis=0) if len(read.T) else np.zeros(0),
        np.where(read_scale > 0, read_scale, 1.0),
    )
    residuals = residuals_of(values, base_forecasts(fitted, fill_gaps(fitted, values)))
    residuals[: warm_up(fitted)] = np.nan
    if not np.isfinite(residuals).any(axis=0).all():
        raise ValueError(
            f"base: {base} has no forecast of a value of {task.series.name} in the part that is "
            "fitted, expected fewer gaps, or a shorter horizon or period"
        )
    errors = np.sqrt(np.nanmean(residuals**2, axis=0))
    if not np.all(errors > 1e-9):
        raise ValueError(
            f"base: {base} forecasts {task.series.name} exactly, expected a series that is not "
            f"known, or bases without {base}"
        )
    return fitted._replace(errors=errors)


def _linear(task: Problem, base: str, lags: Sequence[int], column: np.ndarray) -> LinearForecaster:
    K = task.horizon
    if base == "ar":
        coefficients, intercept = linear_forecaster.least_squares(column, lags)
        return linear_forecaster.autoregression(K, lags, coefficients.tolist(), intercept)
    if base == "none":
        return linear_forecaster.constant(K)
    return linear_forecaster.seasonal(K, task.period if base == "seasonal" else 1)


def warm_up(fitted: FittedBase) -> int:
    """Returns how many first steps the base lacks some of the values that it reads."""
    if fitted.base == "none":
        return 0
    return max(len(linear.weights[0]) for linear in fitted.linear) - 1


def model_df(fitted: FittedBase) -> int:
    """Returns how many autoregressive parameters the base has."""
    return max((len(linear.lags) for linear in fitted.linear), default=0)


def scaled(task: Problem, fitted: FittedBase) -> np.ndarray:
    """Returns all targets (T, C) in units of the scale; NaN where there is a gap."""
    return (transformed(task.values, task.transform) - fitted.centre) / fitted.scale


def fill_gaps(fitted: FittedBase, values: np.ndarray) -> np.ndarray:
    """Returns scaled values (T, C) with gaps filled by their one-step forecasts."""
    last = linear_forecaster.seasonal(1)
    return np.stack(
        [
            linear_forecaster.fill_gaps(column, last if fitted.base == "none" else linear)
            for column, linear in zip(values.T, fitted.linear, strict=True)
        ],
        axis=1,
    )


def base_forecasts(fitted: FittedBase, values: np.ndarray) -> np.ndarray:
    """Returns the forecasts (T, K, C) of the base from each step of values (T, C) without gaps."""
    return np.stack(
        [
            linear_forecaster.forecasts(column, linear)
            for column, linear in zip(values.T, fitted.linear, strict=True)
        ],
        axis=2,
    )


def residuals_of(values: np.ndarray, forecasts: np.ndarray) -> np.ndarray:
    """Returns (T, K, C): the value k + 1 steps after t minus its forecast from t.

    Args:
      values: (T, C); NaN where there is a gap.
      forecasts: (T, K, C).

    Returns:
      NaN where there is no value: after the end and in gaps.
    """
    return ahead(values, forecasts.shape[1]) - forecasts


def ahead(values: np.ndarray, steps: int) -> np.ndarray:
    """Returns (T, K, ...): row t holds the values after step t; NaN after the end."""
    after_end = np.full((steps, *values.shape[1:]), np.nan)
    padded = np.concatenate([values, after_end])
    places = np.arange(len(values))[:, None] + np.arange(1, steps + 1)
    return padded[places]


def by_target_step(forecasts: np.ndarray) -> np.ndarray:
    """Returns forecasts (T, K, ...) ordered by the step that they forecast.

    Row t holds in column k the forecast of t that was made k + 1 steps before; NaN where that was
    before the beginning.
    """
    ordered = np.full(forecasts.shape, np.nan)
    for k in range(min(forecasts.shape[1], len(forecasts) - 1)):
        ordered[k + 1 :, k] = forecasts[: len(forecasts) - k - 1, k]
    return ordered


def to_json(fitted: FittedBase) -> dict[str, Any]:
    """Returns a `FittedBase` as JSON."""
    return {
        "base": fitted.base,
        "linear": [
            {
                "weights": linear.weights.tolist(),
                "bias": linear.bias.tolist(),
                "lags": [int(lag) for lag in linear.lags],
            }
            for linear in fitted.linear
        ],
        **{name: getattr(fitted, name).tolist() for name in _ARRAYS},
    }


def from_json(stored: dict[str, Any]) -> FittedBase:
    """Returns the `FittedBase` of `to_json`; KeyError or TypeError for anything else."""
    linear = tuple(
        LinearForecaster(np.array(one["weights"]), np.array(one["bias"]), tuple(one["lags"]))
        for one in stored["linear"]
    )
    numbers = {name: np.array(stored[name], np.float64) for name in _ARRAYS}
    return FittedBase(base=stored["base"], linear=linear, **numbers)
