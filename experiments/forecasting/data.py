"""The series of a forecasting study: columns, horizon, and its three parts."""

from typing import NamedTuple

import numpy as np

from experiments.common import series_options
from experiments.forecasting.config import Config
from seqmodels.data.time_series import TimeSeries

SMALLEST, LARGEST = 1e-140, 1e140  # so that squares and differences of values are finite
LEAST = {"fit": 20, "validation": 5, "test": 5}  # steps of a part
DEFAULT = "sunspots"


class Problem(NamedTuple):
    """A series in three parts, one after the other.

    Attributes:
      series: its C target columns first, then those that are only read.
      targets: C.
      exogenous: number of columns after the targets that are known up to the present.
      known: number of columns after those that are known ahead.
      horizon: K, how many steps ahead.
      period: steps of a season, 1 for none.
      transform: a name in `seqmodels.data.transforms`; all but metrics is in transformed units.
      fit_end: end of the part to which parameters are fitted.
      train_end: end of the validation part and beginning of the test part.
      end: end of the test part, after the last value. Columns known ahead may be longer.
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


def load(config: Config) -> TimeSeries:
    """Returns the series of a configuration, its columns in the order of `Problem`.

    Raises:
      ValueError, OSError or ModuleNotFoundError: as `series_options.load`.
    """
    return series_options.load(config.source, DEFAULT, (*config.exogenous, *config.known))


def problem_of(config: Config) -> Problem:
    """Returns the problem that a configuration describes.

    Raises:
      ValueError, OSError or ModuleNotFoundError: as `load`, `problem` and `check_known`.
    """
    series = load(config)
    task = problem(
        series,
        targets=len(series.columns) - len(config.exogenous) - len(config.known),
        exogenous=len(config.exogenous),
        known=len(config.known),
        horizon=config.horizon,
        period=config.period,
        transform=config.transform,
        test=config.test,
        validation=config.validation,
    )
    check_known(task, config.hold_known)
    return task


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
    """Returns the problem of forecasting the next K steps of a series.

    Args:
      series: its columns in the order of `Problem`.
      targets: C.
      exogenous: as in `Problem`.
      known: as in `Problem`.
      horizon: K.
      period: steps of a season; None: that of the calendar.
      transform: a name in `seqmodels.data.transforms`.
      test: steps of the test part; None: a fifth.
      validation: steps of the validation part; None: a sixth of the rest.

    Raises:
      ValueError: if a part is too short, the horizon too long, a column constant, or
        the transform impossible.
    """
    observed = np.flatnonzero(np.isfinite(series.values[:, :targets]).any(axis=1))
    if not len(observed):
        raise ValueError(f"{series.name}: {series.columns[0]} has no number, expected at least one")
    end = int(observed[-1]) + 1
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
    made = Problem(
        series, targets, exogenous, known, horizon, period, transform, fit, fit + validation, end
    )
    _check_values(made)
    return made


def _check_values(task: Problem) -> None:
    series, targets = task.series, task.targets
    for number, name in enumerate(series.columns):
        values = series.values[: task.fit_end if number < targets else task.end, number]
        values = values[np.isfinite(values)]
        if len(values) < LEAST["fit"] // 2:
            raise ValueError(
                f"{series.name}: {name} has {len(values)} values in the part that is fitted, "
                f"expected at least {LEAST['fit'] // 2}"
            )
        if values.min() == values.max() and number < targets:
            raise ValueError(
                f"{series.name}: {name} is {values[0]:g} in all of the part that is fitted, "
                "expected a series that varies"
            )
        if np.abs(values).max() > LARGEST or 0 < np.ptp(values) < SMALLEST:
            raise ValueError(
                f"{series.name}: {name} goes from {values.min():g} to {values.max():g} in the part "
                f"that is fitted, expected values up to {LARGEST:g} that differ by {SMALLEST:g} or "
                "more: another unit"
            )
        for part in ("validation", "test") if number < targets else ():
            steps = task.part(part)
            if not np.isfinite(series.values[steps, number]).any():
                raise ValueError(
                    f"{part}: {series.name}: {name} has no value from {series.label(steps.start)} "
                    f"to {series.label(steps.stop - 1)}, expected at least one; {part}, first and "
                    "last move the part"
                )
    check_transform(series, targets, task.transform)


def imputed(task: Problem) -> str:
    """Returns lines of text on the values that are put into gaps of a problem, or ""."""
    lines = []
    for names, places, how in (
        (task.series.columns[: task.targets], slice(0, task.targets), "the forecast of the base"),
        (task.series.columns[task.targets :], slice(task.targets, None), "the value before"),
    ):
        gaps = np.isnan(task.series.values[: task.end, places]).any(axis=0)
        if gaps.any():
            shown = ", ".join(name for name, gap in zip(names, gaps, strict=True) if gap)
            lines.append(f"gaps in {shown}: models read {how} in their place\n")
    return "".join(lines)


def check_transform(series: TimeSeries, targets: int, transform: str) -> None:
    """Raises ValueError, in one line, if a target has a value without root or logarithm.

    Args:
      series: its targets first.
      targets: C.
      transform: a name in `seqmodels.data.transforms`.
    """
    values = np.where(np.isnan(series.values[:, :targets]), np.inf, series.values[:, :targets])
    low = values.min()
    if (transform == "log" and low <= 0) or (transform == "sqrt" and low < 0):
        step, number = np.unravel_index(values.argmin(), values.shape)
        needed = "positive values" if transform == "log" else "values that are not negative"
        raise ValueError(
            f"transform: got {transform} with {low:g} ({series.columns[number]}, "
            f"{series.label(int(step))}), expected {needed}"
        )


def check_known(task: Problem, hold: bool = False) -> None:
    """Raises ValueError, in one line, unless columns known ahead reach to the horizon.

    Args:
      task: the problem.
      hold: whether their last values are held instead.
    """
    first = task.targets + task.exogenous
    for k in range(0 if hold else task.horizon):
        row = task.end + k
        for number, name in enumerate(task.series.columns[first:], first):
            if row >= len(task.series.values) or np.isnan(task.series.values[row, number]):
                raise ValueError(
                    f"known: {task.series.name}: {name} has no value for "
                    f"{task.series.label(row)}, expected one for each of the {task.horizon} steps "
                    f"after {task.series.label(task.end - 1)}; hold_known holds the last one"
                )
