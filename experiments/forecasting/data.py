"""What a forecaster reads and is to tell: parts, scales, what a linear base leaves over."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seqmodels.data.time_series import TimeSeries
from seqmodels.models import linear_forecaster
from seqmodels.models.linear_forecaster import LinearForecaster

BASES = ("none", "first", "seasonal", "ar")
TRANSFORMS = ("none", "sqrt", "log")
LEAST = {"fit": 20, "validation": 5, "test": 5}  # steps of a part


class Problem(NamedTuple):
    """A series in three parts, one after the other.

    Attributes:
      series: its C columns to be told first, then those that are read alone.
      targets: C.
      exogenous: how many columns after those are known up to the present.
      known: how many after those are known ahead.
      horizon: K, how many steps ahead.
      period: steps of a season, 1 for none.
      transform: one of `TRANSFORMS`; all but metrics is in transformed units.
      fit_end: where the part ends that parameters are fitted to.
      train_end: where the validation part ends and the test part begins.
      end: where the test part ends: behind the last value. Columns known ahead may go on.
    """

    series: TimeSeries
    targets: int
    exogenous: int
    known: int
    horizon: int
    period: int
    transform: str
    fit_end: int
    train_end: int
    end: int

    @property
    def values(self) -> np.ndarray:
        """The targets (T, C) in units of the series; NaN where there is a gap."""
        return self.series.values[: self.end, : self.targets]

    def part(self, name: str) -> slice:
        """Returns the steps of "fit", "validation", "train" (both of them), or "test"."""
        return {
            "fit": slice(0, self.fit_end),
            "validation": slice(self.fit_end, self.train_end),
            "train": slice(0, self.train_end),
            "test": slice(self.train_end, self.end),
        }[name]


def problem(
    series: TimeSeries,
    *,
    targets: int = 1,
    exogenous: int = 0,
    known: int = 0,
    horizon: int = 1,
    period: int | None = None,
    transform: str = "none",
    test: int | None = None,
    validation: int | None = None,
) -> Problem:
    """Returns the problem of telling the next K steps of a series.

    Args:
      series: its columns in the order of `Problem`.
      targets: C.
      exogenous: as in `Problem`.
      known: as in `Problem`.
      horizon: K.
      period: steps of a season; None: that of the calendar.
      transform: one of `TRANSFORMS`.
      test: steps of the test part; None: a fifth.
      validation: steps of the validation part; None: a sixth of what is left.

    Raises:
      ValueError: in one line, if a part is too short, the horizon too long, a column constant, or
        the transform impossible.
    """
    told = series.values[:, :targets]
    there = np.flatnonzero(np.isfinite(told).any(axis=1))
    if not len(there):
        raise ValueError(f"{series.name}: {series.columns[0]} has no number, expected at least one")
    end = int(there[-1]) + 1
    test = end // 5 if test is None else test
    validation = (end - test) // 6 if validation is None else validation
    fit = end - test - validation
    for name, steps in (("fit", fit), ("validation", validation), ("test", test)):
        if steps < LEAST[name]:
            raise ValueError(
                f"{name}: got {max(steps, 0)} of the {end} steps of {series.name}, expected at "
                f"least {LEAST[name]}"
            )
    shortest = min(validation, test)
    if not 1 <= horizon <= shortest:
        raise ValueError(
            f"horizon: got {horizon}, expected from 1 to the {shortest} steps of the shortest of "
            "validation and test"
        )
    period = series.period if period is None else period
    if not 1 <= period <= fit // 2:
        if period != series.period:
            raise ValueError(
                f"period: got {period}, expected from 1 to half of the {fit} steps that are fitted"
            )
        period = 1
    found = Problem(
        series, targets, exogenous, known, horizon, period, transform, fit, fit + validation, end
    )
    for number, name in enumerate(series.columns):
        own = series.values[: fit if number < targets else end, number]
        own = own[np.isfinite(own)]
        if len(own) < LEAST["fit"] // 2:
            raise ValueError(
                f"{series.name}: {name} has {len(own)} values in the part that is fitted, expected "
                f"at least {LEAST['fit'] // 2}"
            )
        if own.min() == own.max() and number < targets:
            raise ValueError(
                f"{series.name}: {name} is {own[0]:g} in all of the part that is fitted, expected "
                "a series that varies"
            )
    low = np.nanmin(told)
    if (transform == "log" and low <= 0) or (transform == "sqrt" and low < 0):
        wanted = "positive values" if transform == "log" else "values that are not negative"
        raise ValueError(f"transform: got {transform} with {low:g}, expected {wanted}")
    return found


def transformed(values: np.ndarray, transform: str) -> np.ndarray:
    """Returns values in transformed units."""
    if transform == "none":
        return np.asarray(values, np.float64)
    return np.sqrt(values) if transform == "sqrt" else np.log(values)


def restored(values: np.ndarray, transform: str, variance: np.ndarray | float = 0.0) -> np.ndarray:
    """Returns transformed values in units of the series.

    Args:
      values: transformed.
      transform: one of `TRANSFORMS`.
      variance: of their errors, 0 for quantiles: f^2 + v is the mean behind a square root, and
        exp(f + v / 2) that behind a logarithm of normal errors. Hyndman, Athanasopoulos 2021,
        "Forecasting: Principles and Practice", section 5.6.
    """
    if transform == "none":
        return values
    if transform == "sqrt":
        return np.square(np.maximum(values, 0.0)) + variance
    return np.exp(values + np.asarray(variance) / 2)


class Fitted(NamedTuple):
    """What is fitted before a network: scales, and the base whose errors it is to tell.

    Attributes:
      base: one of `BASES`.
      centre: (C,) mean of the part that is fitted, in transformed units.
      scale: (C,) its standard deviation; what follows is in units of it.
      linear: of each target, the base.
      errors: (K, C) root mean squared errors of the base in the part that is fitted.
      read_centre: (E,) of the columns that are read alone.
      read_scale: (E,).
    """

    base: str
    centre: np.ndarray
    scale: np.ndarray
    linear: tuple[LinearForecaster, ...]
    errors: np.ndarray
    read_centre: np.ndarray
    read_scale: np.ndarray


def fit(task: Problem, base: str, lags: Sequence[int], part: str = "fit") -> Fitted:
    """Returns scales and base, fitted to one part and nothing else.

    Args:
      task: the problem.
      base: none (0), first (the last value: first differences are left), seasonal (that of the last
        season), ar (autoregression by least squares).
      lags: of the autoregression.
      part: "fit", or "train" for what needs no validation.

    Raises:
      ValueError: if the part is too short for the lags, or the base knows the series exactly.
    """
    steps = task.part(part)
    own = transformed(task.values[steps], task.transform)
    centre, scale = np.nanmean(own, axis=0), np.nanstd(own, axis=0)
    own = (own - centre) / scale
    K = task.horizon
    linear = []
    for column in own.T:
        if base == "ar":
            coefficients, intercept = linear_forecaster.least_squares(column, lags)
            found = linear_forecaster.autoregression(K, lags, coefficients.tolist(), intercept)
        elif base == "none":
            found = linear_forecaster.constant(K)
        else:
            found = linear_forecaster.seasonal(K, task.period if base == "seasonal" else 1)
        linear.append(found)
    read = task.series.values[steps, task.targets :]
    read_scale = np.nanstd(read, axis=0) if len(read.T) else np.ones(0)
    fitted = Fitted(
        base,
        centre,
        scale,
        tuple(linear),
        np.ones((K, task.targets)),
        np.nanmean(read, axis=0) if len(read.T) else np.zeros(0),
        np.where(read_scale > 0, read_scale, 1.0),
    )
    left = left_over(own, base_forecasts(fitted, filled(fitted, own)))
    left[: warm_up(fitted)] = np.nan
    errors = np.sqrt(np.nanmean(left**2, axis=0))
    if not np.all(errors > 1e-9):
        raise ValueError(
            f"base: {base} tells {task.series.name} exactly, expected a series that is not known"
        )
    return fitted._replace(errors=errors)


def warm_up(fitted: Fitted) -> int:
    """Returns how many first steps the base lacks some of the values that it reads."""
    if fitted.base == "none":
        return 0
    return max(len(one.weights[0]) for one in fitted.linear) - 1


def model_df(fitted: Fitted) -> int:
    """Returns how many autoregressive parameters the base has."""
    return max((len(one.lags) for one in fitted.linear), default=0)


def scaled(task: Problem, fitted: Fitted) -> np.ndarray:
    """Returns all targets (T, C) in units of the scale; NaN where there is a gap."""
    return (transformed(task.values, task.transform) - fitted.centre) / fitted.scale


def filled(fitted: Fitted, values: np.ndarray) -> np.ndarray:
    """Returns scaled values (T, C) with gaps filled by what was told before them."""
    last = linear_forecaster.seasonal(1)
    return np.stack(
        [
            linear_forecaster.fill_gaps(column, last if fitted.base == "none" else one)
            for column, one in zip(values.T, fitted.linear, strict=True)
        ],
        axis=1,
    )


def base_forecasts(fitted: Fitted, values: np.ndarray) -> np.ndarray:
    """Returns (T, K, C): what the base tells at each step, of values (T, C) without gaps."""
    return np.stack(
        [
            linear_forecaster.forecasts(column, one)
            for column, one in zip(values.T, fitted.linear, strict=True)
        ],
        axis=2,
    )


def left_over(values: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Returns (T, K, C): what came k + 1 steps after t less what was told of it at t.

    Args:
      values: (T, C); NaN where there is a gap.
      told: (T, K, C).

    Returns:
      NaN where nothing came, behind the end and in gaps.
    """
    return ahead(values, told.shape[1]) - told


def ahead(values: np.ndarray, steps: int) -> np.ndarray:
    """Returns (T, K, ...): row t holds the values after step t; NaN behind the end."""
    behind = np.full((steps, *values.shape[1:]), np.nan)
    padded = np.concatenate([values, behind])
    places = np.arange(len(values))[:, None] + np.arange(1, steps + 1)
    return padded[places]


def shifted(told: np.ndarray) -> np.ndarray:
    """Returns (T, K, ...) forecasts by the step they are of, in place of the step they are from.

    Row t holds in column k what was told k + 1 steps before of t; NaN where that was before the
    beginning.
    """
    found = np.full(told.shape, np.nan)
    for k in range(min(told.shape[1], len(told) - 1)):
        found[k + 1 :, k] = told[: len(told) - k - 1, k]
    return found


def to_json(fitted: Fitted) -> dict[str, Any]:
    """Returns a `Fitted` as JSON."""
    return {
        "base": fitted.base,
        "linear": [
            {
                "weights": one.weights.tolist(),
                "bias": one.bias.tolist(),
                "lags": [int(lag) for lag in one.lags],
            }
            for one in fitted.linear
        ],
        **{
            name: getattr(fitted, name).tolist()
            for name in ("centre", "scale", "errors", "read_centre", "read_scale")
        },
    }


def from_json(found: dict[str, Any]) -> Fitted:
    """Returns the `Fitted` of `to_json`; KeyError or TypeError for anything else."""
    linear = tuple(
        LinearForecaster(np.array(one["weights"]), np.array(one["bias"]), tuple(one["lags"]))
        for one in found["linear"]
    )
    numbers = {
        name: np.array(found[name], np.float64)
        for name in ("centre", "scale", "errors", "read_centre", "read_scale")
    }
    return Fitted(base=found["base"], linear=linear, **numbers)
