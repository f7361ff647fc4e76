"""Inputs and targets of a recurrent forecaster."""

from typing import NamedTuple

import numpy as np

from experiments.forecasting import base as bases
from experiments.forecasting.base import FittedBase
from experiments.forecasting.data import Problem


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a forecaster.

    Attributes:
      cell: one of `config.CELLS`.
      hidden: its units H.
      dropout: share of the outputs dropped in training.
      head: one of `forecaster.HEADS`.
      strategy: "direct", all steps at once, or "recursive", one after the other.
      level: whether it reads the value itself in addition to the residuals of the base.
      gaps: whether it reads which values were observed.
      harmonics: sines and cosines of the season that it reads.
      targets: columns that are forecast, C.
      exogenous: columns read up to the present.
      known: columns known ahead.
      horizon: steps that are forecast, K.
      period: steps of a season.
      transform: the transform of the targets.
      precision: dtype of the operands of its matrix products.
    """

    cell: str
    hidden: int
    dropout: float
    head: str
    strategy: str
    level: bool
    gaps: bool
    harmonics: int
    targets: int
    exogenous: int
    known: int
    horizon: int
    period: int
    transform: str
    precision: str = "float32"

    @property
    def direct(self) -> bool:
        """True if all steps are forecast at once."""
        return self.strategy == "direct"

    @property
    def target_features(self) -> int:
        """The number of features at a step that come from the targets."""
        return self.targets * (1 + self.level + self.gaps)

    @property
    def features(self) -> int:
        """D, the number of features at a step."""
        known = self.known * (self.horizon if self.direct else 1)
        return self.target_features + self.exogenous + 2 * self.harmonics + known


class ModelInputs(NamedTuple):
    """A problem as arrays, for one base.

    Attributes:
      xs: float32 (T, D), what is read at each step.
      base: float64 (T, K, C), forecasts of the base, in scaled units.
      targets: float32 (T, K, C), residuals of the base in units of its errors; 0 where there is
        none.
      weights: float32 (T, K, C), 1 where there is a target.
      filled: float64 (T, C), scaled values with gaps filled.
      seasons: float32 (T + K, 2 harmonics), row t for step t.
      known: float32 (T + K, columns known ahead).
    """

    xs: np.ndarray
    base: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    filled: np.ndarray
    seasons: np.ndarray
    known: np.ndarray


def prepare(task: Problem, fitted: FittedBase, config: ModelConfig) -> ModelInputs:
    """Returns the inputs and targets of a forecaster. No input at a step depends on later ones."""
    T, K = task.end, task.horizon
    values = bases.scaled(task, fitted)
    filled = bases.fill_gaps(fitted, values)
    base = bases.base_forecasts(fitted, filled)
    residuals = bases.residuals_of(values, base) / fitted.errors
    residuals[: bases.warm_up(fitted)] = np.nan
    is_observed = np.isfinite(residuals)
    one_step = np.zeros_like(filled)
    one_step[1:] = (filled[1:] - base[:-1, 0]) / fitted.errors[0]
    one_step[: bases.warm_up(fitted) + 1] = 0.0
    seasons, known = _seasons(task, config), _known(task, fitted)
    parts = [one_step]
    if config.level:
        parts.append(filled)
    if config.gaps:
        parts.append(np.isfinite(values))
    parts += [_exogenous(task, fitted), seasons[1 : T + 1]]
    if config.known:
        steps = K if config.direct else 1
        parts.append(bases.ahead(known, K)[:T, :steps].reshape(T, -1))
    return ModelInputs(
        xs=np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1),
        base=base,
        targets=np.where(is_observed, residuals, 0.0).astype(np.float32),
        weights=is_observed.astype(np.float32),
        filled=filled,
        seasons=seasons,
        known=known.astype(np.float32),
    )


def _seasons(task: Problem, config: ModelConfig) -> np.ndarray:
    steps = task.series.ordinal + np.arange(task.end + task.horizon)
    phases = 2 * np.pi * steps / config.period
    waves = [f(j * phases) for j in range(1, config.harmonics + 1) for f in (np.sin, np.cos)]
    return np.stack(waves, axis=1) if waves else np.zeros((len(steps), 0))


def _exogenous(task: Problem, fitted: FittedBase) -> np.ndarray:
    """Returns the exogenous columns (T, E), scaled; gaps hold the value before."""
    places = slice(task.targets, task.targets + task.exogenous)
    columns = slice(0, task.exogenous)
    values = task.series.values[: task.end, places]
    return _hold((values - fitted.read_centre[columns]) / fitted.read_scale[columns])


def _known(task: Problem, fitted: FittedBase) -> np.ndarray:
    """Returns the columns known ahead (T + K, columns), scaled; gaps hold the value before."""
    columns = slice(task.exogenous, task.exogenous + task.known)
    values = task.series.values[: task.end + task.horizon, task.targets + task.exogenous :]
    missing = task.end + task.horizon - len(values)
    values = np.concatenate([values, np.full((missing, values.shape[1]), np.nan)])
    return _hold((values - fitted.read_centre[columns]) / fitted.read_scale[columns])


def _hold(values: np.ndarray) -> np.ndarray:
    """Returns values (T, E) with the last one before in each gap, 0 before the first."""
    places = np.where(np.isfinite(values), np.arange(len(values))[:, None], -1)
    last = np.maximum.accumulate(places, axis=0) if len(values) else places
    held = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, held, 0.0)
