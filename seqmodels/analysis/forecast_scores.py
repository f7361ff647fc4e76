"""Scores of forecasts: errors, scaled errors, and the coverage of intervals."""

from typing import NamedTuple

import numpy as np

from seqmodels.arrays import as_floats


class Scores(NamedTuple):
    """Scores of forecasts; NaN if there is nothing to compare.

    Attributes:
      mae: mean |y - f|, in units of the series.
      mse: mean (y - f)^2.
      rmse: its root.
      mase: mae / scale. Hyndman, Koehler 2006, "Another look at measures of forecast accuracy".
      smape: mean 200 |y - f| / (|y| + |f|) in percent, 0 where both are 0. Makridakis 1993.
      coverage_80: share of y in the 80% interval.
      coverage_95: share of y in the 95% interval.
    """

    mae: float
    mse: float
    rmse: float
    mase: float
    smape: float
    coverage_80: float
    coverage_95: float


def mase_scale(values: np.ndarray, period: int = 1) -> float:
    """Returns the scale of MASE: mean |y_t - y_{t - period}| of the training part.

    Args:
      values: (T,), the training part; NaN for a gap.
      period: steps of a season; 1 compares with the last value.

    Raises:
      ValueError: if no two values are a period apart, all such pairs are equal, or the period is
        not positive.

    Examples:
      >>> mase_scale(np.array([5, 3, 5], np.uint8))
      2.0
    """
    values = as_floats("values", values)
    if period < 1:
        raise ValueError(f"period: got {period}, expected at least 1")
    steps = np.abs(values[period:] - values[:-period])
    steps = steps[np.isfinite(steps)]
    scale = float(np.mean(steps)) if len(steps) else 0.0
    if not scale > 0:
        raise ValueError(
            f"values: got no two that are {period} steps apart and differ, expected a training "
            "part that varies"
        )
    return scale


def score(
    truth: np.ndarray, mean: np.ndarray, quantiles: np.ndarray | None, scale: float
) -> Scores:
    """Returns the scores of forecasts against observations.

    Args:
      truth: (N,); NaN or masked entries are left out.
      mean: (N,) forecasts; NaN or masked entries are left out.
      quantiles: (N, 5) at .025, .1, .5, .9, .975; None for no intervals.
      scale: the result of `mase_scale`; NaN for no MASE.

    Raises:
      ValueError: if the scale is zero or negative, or if truth and mean differ in shape.

    Examples:
      >>> scores = score(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]), None, scale=2.0)
      >>> round(scores.mae, 3), round(scores.mase, 3)
      (0.333, 0.167)
    """
    if scale <= 0:
        raise ValueError(f"scale: got {scale}, expected a positive number, or NaN for no MASE")
    truth, mean = as_floats("truth", truth), as_floats("mean", mean)
    if truth.shape != mean.shape:
        raise ValueError(
            f"mean: got {list(mean.shape)}, expected the shape of truth {list(truth.shape)}"
        )
    is_valid = np.isfinite(truth) & np.isfinite(mean)
    if not is_valid.any():
        return Scores(*[float("nan")] * 7)
    y, f = truth[is_valid], mean[is_valid]
    error = np.abs(y - f)
    size = np.abs(y) + np.abs(f)
    relative = np.divide(error, size, out=np.zeros_like(error), where=size > 0)
    covered = [float("nan"), float("nan")]
    if quantiles is not None:
        q = as_floats("quantiles", quantiles)[is_valid]
        covered = [float(np.mean((q[:, a] <= y) & (y <= q[:, b]))) for a, b in ((1, 3), (0, 4))]
    mae = float(np.mean(error))
    mse = float(np.mean(error**2))
    smape = float(200 * np.mean(relative))
    return Scores(mae, mse, mse**0.5, mae / scale, smape, *covered)
