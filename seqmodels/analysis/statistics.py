"""Memory horizon of a model, and confidence intervals of a mean."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from seqmodels.arrays import as_floats


def horizon_threshold(chance: float, share: float = 0.9) -> float:
    """Returns the accuracy that defines the horizon: chance + share * (1 - chance).

    Examples:
      >>> round(horizon_threshold(chance=0.5), 3)
      0.95
    """
    return chance + share * (1 - chance)


def memory_horizon(
    distances: Sequence[int], accuracies: Sequence[float], chance: float, share: float = 0.9
) -> int | None:
    """Returns the memory horizon: the largest distance up to which the accuracy stays high.

    High means at least `horizon_threshold(chance, share)`.

    Args:
      distances: the distances measured, ascending.
      accuracies: the mean accuracy at each.
      chance: accuracy without memory.
      share: see `horizon_threshold`.

    Returns:
      The largest distance such that it and all smaller ones measured are high; None if the
      smallest is not.

    Raises:
      ValueError: if distances are not ascending, or their number is not that of the accuracies.

    Examples:
      >>> memory_horizon([10, 100, 1000], [1.0, 0.99, 0.6], chance=0.5)
      100
    """
    if len(distances) != len(accuracies):
        raise ValueError(f"accuracies: got {len(accuracies)}, expected {len(distances)}")
    if any(b <= a for a, b in itertools.pairwise(distances)):
        raise ValueError(f"distances: got {list(distances)}, expected ascending ones")
    threshold = horizon_threshold(chance, share)
    horizon = None
    for distance, accuracy in zip(distances, accuracies, strict=True):
        if not accuracy >= threshold:
            break
        horizon = distance
    return horizon


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Returns (mean, low, high): Student's t interval for the mean of a few independent values.

    Args:
      values: (N,), N > 0; with a single one the interval is (nan, nan). Masked values are left out.
      confidence: the confidence level, between 0 and 1.

    Returns:
      (mean, low, high).

    Raises:
      ValueError: if there is no value, if values are not real numbers along one axis, or if the
        confidence is not between 0 and 1.

    Examples:
      >>> [round(value, 2) for value in mean_interval([0.9, 0.92, 0.91])]
      [0.91, 0.89, 0.93]
    """
    kept = np.ma.compressed(values) if np.ma.isMaskedArray(values) else values
    array = as_floats("values", kept).astype(np.float64)
    if not array.size:
        raise ValueError("values: got none, expected at least one")
    if array.ndim != 1:
        raise ValueError(f"values: got shape {array.shape}, expected one axis")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected a number between 0 and 1")
    mean = float(array.mean())
    if array.size < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf((1 + confidence) / 2, array.size - 1) * stats.sem(array)
    return mean, mean - float(half), mean + float(half)
