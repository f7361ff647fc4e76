"""Early stopping: rules over the evaluations, for one seed or many."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Stopping(NamedTuple):
    """A stopping rule as a pair of pure functions; its memory is JSON, saved in checkpoints.

    Attributes:
      init: `init() -> memory`.
      update: `update(memory, values) -> (memory, stop)`: values by name, floats or (S,) arrays;
        stop is a bool or (S,) bools.
    """

    init: Callable[[], dict[str, Any]]
    update: Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], np.ndarray]]


def is_better(name: str, mode: str, value: Any, best: Any) -> np.ndarray:
    """Returns whether a value is better than the best so far; NaN never is.

    Args:
      name: name of the metric, for the error.
      mode: "min" or "max".
      value: float or array.
      best: the best so far, or None before the first.

    Returns:
      bool or array of bools.

    Raises:
      ValueError: if there is no such mode.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"{name}: got mode {mode!r}, expected min or max")
    value = np.asarray(value, float)
    if best is None:
        return np.isfinite(value)
    best = np.asarray(best, float)
    return (value < best if mode == "min" else value > best) | (np.isnan(best) & ~np.isnan(value))


def is_chosen(name: str, mode: str, values: list[float], best: list[float] | None) -> bool:
    """Returns whether parameters replace the best so far; worse ones and NaN do not.

    Args:
      name: name of the first metric, for the error.
      mode: "min" or "max".
      values: the value of the metric; optionally also of a second one, which decides between
        equal values.
      best: the same values for the best parameters so far, or None.

    Raises:
      ValueError: if there is no such mode.
    """
    if best is None or not np.isfinite(values[0]):
        return bool(is_better(name, mode, values[0], None))
    for value, other in zip(values, best, strict=True):
        if is_better(name, mode, value, other):
            return True
        if value != other and not np.isnan(other):
            return False
    return True


def patience(name: str, mode: str, evaluations: int) -> Stopping:
    """Returns the rule that stops if a metric has not improved for some evaluations in a row.

    Args:
      name: name of the metric.
      mode: "min" or "max", which is better.
      evaluations: at least 1.

    Returns:
      A `Stopping`.
    """

    def init() -> dict[str, Any]:
        return {"best": None, "since": 0}

    def update(memory: dict[str, Any], values: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        value = np.asarray(metric_value(values, name), float)
        improved = is_better(name, mode, value, memory["best"])
        best = value if memory["best"] is None else np.where(improved, value, memory["best"])
        since = np.where(improved, 0, np.asarray(memory["since"]) + 1)
        return {"best": best.tolist(), "since": since.tolist()}, since >= evaluations

    return Stopping(init, update)


def reached(name: str, at_least: float, evaluations: int = 1) -> Stopping:
    """Returns the rule that stops if a metric has reached a value at some evaluations in a row.

    Args:
      name: name of the metric.
      at_least: the value.
      evaluations: at least 1.

    Returns:
      A `Stopping`.
    """

    def init() -> dict[str, Any]:
        return {"good": 0}

    def update(memory: dict[str, Any], values: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        enough = np.asarray(metric_value(values, name), float) >= at_least
        good = np.where(enough, np.asarray(memory["good"]) + 1, 0)
        return {"good": good.tolist()}, good >= evaluations

    return Stopping(init, update)


def metric_value(values: dict[str, Any], name: str) -> Any:
    """Returns the value of a metric; ValueError names the metrics that exist."""
    if name not in values:
        raise ValueError(f"metric: got {name!r}, expected one of {', '.join(values)}")
    return values[name]
