"""Linear forecasters: constant, last value, last season's value, autoregression."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.arrays import as_floats


class LinearForecaster(NamedTuple):
    """Linear forecaster of one column: z[t + 1 + k] = sum_j weights[k, j] z[t - j] + bias[k].

    Attributes:
      weights: float64 (K, L), of the last L values, the newest first, for K steps ahead.
      bias: float64 (K,).
      lags: the fitted lags; () without a fit.
    """

    weights: np.ndarray
    bias: np.ndarray
    lags: tuple[int, ...] = ()


def constant(steps: int, value: float = 0.0) -> LinearForecaster:
    """Returns the forecaster of a constant value for K = `steps`, at least 1.

    Examples:
      >>> constant(steps=2, value=5.0).bias
      array([5., 5.])
    """
    _check_positive(steps=steps)
    return LinearForecaster(np.zeros((steps, 1)), np.full(steps, float(value)))


def seasonal(steps: int, period: int = 1) -> LinearForecaster:
    """Returns the forecaster of the value one season before: z[t + k - c period].

    With a period of 1 it is the last value. Hyndman, Athanasopoulos 2021, "Forecasting: Principles
    and Practice", section 5.2.

    Args:
      steps: K.
      period: steps of a season, at least 1.

    Raises:
      ValueError: if a number is not positive.

    Examples:
      >>> forecasts(np.array([1.0, 2.0, 3.0, 1.0]), seasonal(steps=2, period=3))[-1]
      array([2., 3.])
    """
    _check_positive(steps=steps, period=period)
    weights = np.zeros((steps, period))
    weights[np.arange(steps), period - 1 - np.arange(steps) % period] = 1.0
    return LinearForecaster(weights, np.zeros(steps))


def autoregression(
    steps: int, lags: Sequence[int], coefficients: Sequence[float], intercept: float
) -> LinearForecaster:
    """Returns the forecaster z[t + 1] = intercept + sum_l phi_l z[t + 1 - l], iterated for K steps.

    Further steps read the forecasts of the nearer ones, which gives the conditional mean. Box,
    Jenkins 1970, "Time Series Analysis", chapter 5.

    Args:
      steps: K.
      lags: the lags l, ascending, at least 1; none for the intercept alone.
      coefficients: phi, one for each lag.
      intercept: the constant.

    Raises:
      ValueError: if `steps` or a lag is not positive, or there is not one coefficient for each lag.

    Examples:
      >>> model = autoregression(steps=3, lags=[1], coefficients=[0.5], intercept=0.0)
      >>> forecasts(np.array([8.0]), model)
      array([[4., 2., 1.]])
    """
    _check_positive(steps=steps, lags=min(lags, default=1))
    if len(lags) != len(coefficients):
        raise ValueError(
            f"coefficients: got {len(coefficients)} for {len(lags)} lags, expected one for each"
        )
    size = max(lags, default=1)
    phi = np.zeros(size)
    for lag, value in zip(lags, coefficients, strict=True):
        phi[lag - 1] = value
    # Row k of `ahead` is z[t + 1 + k] as weights of the last L values, and the constant behind.
    known = np.concatenate([np.eye(size), np.zeros((size, 1))], axis=1)
    ahead: list[np.ndarray] = []
    for _ in range(steps):
        rows = [*ahead[::-1], *known][:size]
        row = phi @ np.stack(rows)
        row[-1] += intercept
        ahead.append(row)
    rows_ahead = np.stack(ahead)
    return LinearForecaster(rows_ahead[:, :-1], rows_ahead[:, -1], tuple(lags))


def impulse_response(forecaster: LinearForecaster, steps: int) -> np.ndarray:
    """Returns (steps,): the effect of an error of 1 on the forecasts of this and later steps.

    psi_0 = 1, psi_j = sum_i w_i psi_{j - 1 - i}, w the weights for one step. Box, Jenkins 1970,
    "Time Series Analysis", section 5.2.

    Examples:
      >>> impulse_response(autoregression(1, [1], [0.5], 0.0), steps=3)
      array([1.  , 0.5 , 0.25])
    """
    weights = forecaster.weights[0]
    response = np.zeros(steps)
    response[:1] = 1.0
    for j in range(1, steps):
        last = response[max(0, j - len(weights)) : j][::-1]
        response[j] = weights[: len(last)] @ last
    return response


def least_squares(values: np.ndarray, lags: Sequence[int]) -> tuple[np.ndarray, float]:
    """Returns coefficients (one a lag) and intercept of an autoregression by least squares.

    It uses all steps whose value and lagged values are observed (conditional least squares).

    Args:
      values: (T,), NaN where there is a gap.
      lags: ascending, at least 1.

    Raises:
      ValueError: if the number of usable steps does not exceed the number of parameters, or if a
        lag is not positive.

    Examples:
      >>> coefficients, intercept = least_squares(0.5 ** np.arange(10.0), lags=[1])
      >>> coefficients.round(3), abs(round(intercept, 3))
      (array([0.5]), 0.0)
    """
    values = as_floats("values", values)
    largest = max(lags, default=0)
    _check_positive(lags=min(lags, default=1))
    if len(values) <= largest:
        raise ValueError(f"values: got {len(values)}, expected more than the largest lag {largest}")
    columns = [values[largest - lag : len(values) - lag] for lag in lags]
    design = np.stack([np.ones(len(values) - largest), *columns], axis=1)
    target = values[largest:]
    is_observed = np.isfinite(target) & np.isfinite(design).all(axis=1)
    if is_observed.sum() <= design.shape[1]:
        raise ValueError(
            f"lags: got {', '.join(map(str, lags))} with {is_observed.sum()} steps that have them, "
            f"expected more than {design.shape[1]}"
        )
    solution = np.linalg.lstsq(design[is_observed], target[is_observed])[0]
    return solution[1:], float(solution[0])


def fill_gaps(values: np.ndarray, forecaster: LinearForecaster) -> np.ndarray:
    """Returns the values with each gap filled by its one-step forecast from earlier values.

    Gaps before the first value get the first value. Later values are not used otherwise.

    Args:
      values: (T,), NaN where there is a gap, not all of them.
      forecaster: the forecaster of the column.

    Raises:
      ValueError: if no value is there.

    Examples:
      >>> fill_gaps(np.array([4.0, np.nan, 6.0]), seasonal(steps=1))
      array([4., 4., 6.])
    """
    filled = as_floats("values", values).astype(np.float64)
    if not np.isfinite(filled).any():
        raise ValueError(f"values: got {filled.size} values all missing, expected some there")
    first = int(np.argmax(np.isfinite(filled)))
    filled[:first] = filled[first]
    weights, bias = forecaster.weights[0], forecaster.bias[0]
    for t in np.flatnonzero(np.isnan(filled)):
        filled[t] = _window(filled[:t], len(weights)) @ weights + bias
    return filled


def forecasts(values: np.ndarray, forecaster: LinearForecaster) -> np.ndarray:
    """Returns (T, K): from every step, the forecasts of the K steps after it.

    Args:
      values: (T,), without gaps. All values before the first are taken to equal the first.
      forecaster: the forecaster of the column.

    Raises:
      ValueError: if there is no value.

    Examples:
      >>> forecasts(np.array([4.0, 6.0]), seasonal(steps=2)).tolist()
      [[4.0, 4.0], [6.0, 6.0]]
    """
    values = as_floats("values", values)
    if not len(values):
        raise ValueError("values: got none, expected at least one")
    size = forecaster.weights.shape[1]
    padded = np.concatenate([np.full(size - 1, values[0]), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[:, ::-1]
    return windows @ forecaster.weights.T + forecaster.bias


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: got {number}, expected at least 1")


def _window(values: np.ndarray, size: int) -> np.ndarray:
    last = values[-size:][::-1]
    return np.concatenate([last, np.full(size - len(last), values[0])])
