"""Forecasts in units of the series, with intervals calibrated on a part of it."""

from typing import NamedTuple

import numpy as np

from experiments.forecasting.base import FittedBase, by_target_step, scaled, warm_up
from experiments.forecasting.data import Problem
from seqmodels.data.transforms import restored

# Of a normal distribution, at `forecaster.LEVELS`.
NORMAL = np.array([-1.959964, -1.281552, 0.0, 1.281552, 1.959964])
SHARES = (
    (0.8, 1, 3),
    (0.95, 0, 4),
)  # share of an interval, and the indices of its ends in the levels


class Forecasts(NamedTuple):
    """The forecasts from every step.

    Attributes:
      mean: (T, K, C), in units of the series.
      quantiles: (T, K, C, 5), at `forecaster.LEVELS`.
      residuals: (T, C), one-step residuals (observed minus forecast) by step, in scaled units.
    """

    mean: np.ndarray
    quantiles: np.ndarray
    residuals: np.ndarray


class Spread(NamedTuple):
    """The errors of forecasts in a part of the series, which decide their intervals.

    Attributes:
      errors: (K, C), root mean squared, in scaled units.
      factors: (K, C, 2), of `calibration`.
    """

    errors: np.ndarray
    factors: np.ndarray


def root_mean_squared_errors(
    task: Problem, fitted: FittedBase, mean: np.ndarray, part: str
) -> np.ndarray:
    """Returns (K, C): root mean squared errors of scaled forecasts (T, K, C) of a part's steps."""
    values = scaled(task, fitted)
    errors = values[:, None] - by_target_step(mean)
    errors[: warm_up(fitted) + 1] = np.nan
    return np.sqrt(np.nanmean(errors[task.part(part)] ** 2, axis=0))


def calibration(task: Problem, fitted: FittedBase, quantiles: np.ndarray, part: str) -> np.ndarray:
    """Returns (K, C, 2): the factors that widen intervals of 80 and 95%.

    With this factor, applied from its median, an interval would have held that share of a part's
    steps. It is the ceil((n + 1) share)-th smallest of max((m - y) / (m - low), (y - m) / (high -
    m)), or the largest if there are too few. Conformal prediction with scaled scores: Lei, G'Sell,
    Rinaldo, Tibshirani, Wasserman 2018 (arXiv 1604.04173), section 5.2. Steps of a series are not
    exchangeable, so that its guarantee holds only approximately.

    Args:
      task: the problem.
      fitted: scales and base.
      quantiles: (T, K, C, 5) in scaled units.
      part: part of the steps; not the fitted part if there are many parameters.
    """
    values = scaled(task, fitted)[:, None]
    ordered = by_target_step(quantiles)
    ordered[: warm_up(fitted) + 1] = np.nan
    steps = task.part(part)
    factors = np.ones((*quantiles.shape[1:-1], len(SHARES)))
    for number, (share, low, high) in enumerate(SHARES):
        middle = ordered[..., 2]
        below = (middle - values) / np.maximum(middle - ordered[..., low], 1e-9)
        above = (values - middle) / np.maximum(ordered[..., high] - middle, 1e-9)
        scores = np.maximum(below, above)[steps]
        for k, column in np.ndindex(*factors.shape[:2]):
            ascending = np.sort(scores[:, k, column][np.isfinite(scores[:, k, column])])
            if len(ascending):
                place = min(int(np.ceil((len(ascending) + 1) * share)), len(ascending)) - 1
                factors[k, column, number] = max(ascending[place], 1e-3)
    return factors


def widened(quantiles: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns quantiles (T, K, C, 5) with their distance from the median times the factors."""
    middle = quantiles[..., 2:3]
    by = np.stack([factors[..., 1], factors[..., 0], np.ones(factors.shape[:-1])], axis=-1)
    wide = middle + (quantiles - middle) * by[..., [0, 1, 2, 1, 0]]
    # The interval of 95% contains that of 80%.
    wide[..., 0] = np.minimum(wide[..., 0], wide[..., 1])
    wide[..., 4] = np.maximum(wide[..., 4], wide[..., 3])
    return wide


def spread_of(
    task: Problem, fitted: FittedBase, mean: np.ndarray, quantiles: np.ndarray | None, part: str
) -> Spread:
    """Returns the errors of forecasts in a part.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units.
      quantiles: (T, K, C, 5) in scaled units; None for those of normal errors.
      part: part of the steps; not the fitted part if there are many parameters.
    """
    errors = root_mean_squared_errors(task, fitted, mean, part)
    quantiles = _quantiles(mean, quantiles, errors)
    return Spread(errors, calibration(task, fitted, quantiles, part))


def in_units(
    task: Problem,
    fitted: FittedBase,
    mean: np.ndarray,
    quantiles: np.ndarray | None,
    spread: Spread,
) -> Forecasts:
    """Returns forecasts in units of the series.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units.
      quantiles: (T, K, C, 5) in scaled units; None for those of normal errors.
      spread: the result of `spread_of`.
    """
    wide = widened(_quantiles(mean, quantiles, spread.errors), spread.factors)
    residuals = scaled(task, fitted) - by_target_step(mean)[:, 0]
    residuals[: warm_up(fitted) + 1] = np.nan
    scale, centre = fitted.scale, fitted.centre
    with np.errstate(over="ignore"):  # ends of intervals of logarithms, which become infinite
        quantiles = restored(wide * scale[:, None] + centre[:, None], task.transform)
    return Forecasts(restored_mean(task, fitted, mean, spread.errors), quantiles, residuals)


def restored_mean(
    task: Problem, fitted: FittedBase, mean: np.ndarray, errors: np.ndarray
) -> np.ndarray:
    """Returns means in units of the series.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units.
      errors: (K, C) of the means, in scaled units.
    """
    variance = np.square(errors * fitted.scale)
    with np.errstate(over="ignore"):
        return restored(mean * fitted.scale + fitted.centre, task.transform, variance)


def _quantiles(mean: np.ndarray, quantiles: np.ndarray | None, errors: np.ndarray) -> np.ndarray:
    return mean[..., None] + errors[..., None] * NORMAL if quantiles is None else quantiles
