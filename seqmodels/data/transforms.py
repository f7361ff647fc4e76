"""Transforms of the values of a series: square roots and logarithms, and their inverses."""

import numpy as np

from seqmodels.arrays import as_floats

TRANSFORMS = ("none", "sqrt", "log")


def transformed(values: np.ndarray, transform: str) -> np.ndarray:
    """Returns values in transformed units.

    Args:
      values: in units of the series; NaN stays NaN, and masked values become NaN.
      transform: one of `TRANSFORMS`.

    Raises:
      ValueError: if there is no such transform, or values are not real numbers.

    Examples:
      >>> transformed(np.array([1.0, 4.0]), "sqrt").tolist()
      [1.0, 2.0]
    """
    _check(transform)
    values = as_floats("values", values)
    if transform == "none":
        return values.astype(np.float64)
    return np.sqrt(values) if transform == "sqrt" else np.log(values)


def restored(values: np.ndarray, transform: str, variance: np.ndarray | float = 0.0) -> np.ndarray:
    """Returns transformed values in units of the series.

    Args:
      values: transformed.
      transform: one of `TRANSFORMS`.
      variance: variance of their errors, 0 for quantiles. The mean of the series is f^2 + v for a
        square root, and exp(f + v / 2) for a logarithm with normal errors. Hyndman, Athanasopoulos
        2021, "Forecasting: Principles and Practice", section 5.6.

    Raises:
      ValueError: as `transformed`.

    Examples:
      >>> restored(np.array([1.0, 2.0]), "sqrt").tolist()
      [1.0, 4.0]
    """
    _check(transform)
    values = as_floats("values", values)
    if transform == "none":
        return values
    variance = as_floats("variance", variance) if np.ndim(variance) else variance
    if transform == "sqrt":
        return np.square(np.maximum(values, 0.0)) + variance
    return np.exp(values + np.asarray(variance) / 2)


def _check(transform: str) -> None:
    if transform not in TRANSFORMS:
        raise ValueError(f"transform: got {transform!r}, expected one of {', '.join(TRANSFORMS)}")
