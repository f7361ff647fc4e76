"""What forecasts are worth: errors, coverage, and whether their residuals are sound."""

from typing import Any, NamedTuple

import numpy as np

from experiments import forecast_data
from experiments.forecast_data import Fitted, Problem
from seqmodels.analysis.autocorrelation import acf
from seqmodels.analysis.diagnosis import diagnose
from seqmodels.analysis.forecast_scores import mase_scale, score
from seqmodels.models.forecaster import LEVELS

# Of a normal distribution, at `LEVELS`.
NORMAL = np.array([-1.959964, -1.281552, 0.0, 1.281552, 1.959964])
MOST_LAGS = 25  # of the correlogram of residuals
assert len(NORMAL) == len(LEVELS)


class Told(NamedTuple):
    """What was told at every step.

    Attributes:
      mean: (T, K, C), in units of the series.
      quantiles: (T, K, C, 5), at `LEVELS`.
      residuals: (T, C), by step: what came less what was told one step before, in scaled units.
    """

    mean: np.ndarray
    quantiles: np.ndarray
    residuals: np.ndarray


def spread(task: Problem, fitted: Fitted, mean: np.ndarray, part: str) -> np.ndarray:
    """Returns (K, C): root mean squared errors of scaled forecasts (T, K, C) of a part's steps."""
    values = forecast_data.scaled(task, fitted)
    errors = values[:, None] - forecast_data.shifted(mean)
    errors[: forecast_data.warm_up(fitted) + 1] = np.nan
    return np.sqrt(np.nanmean(errors[task.part(part)] ** 2, axis=0))


def told(
    task: Problem,
    fitted: Fitted,
    mean: np.ndarray,
    quantiles: np.ndarray | None,
    errors: np.ndarray,
) -> Told:
    """Returns forecasts in units of the series.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units.
      quantiles: (T, K, C, 5) in scaled units; None for those of normal errors.
      errors: (K, C) of `spread`.
    """
    if quantiles is None:
        quantiles = mean[..., None] + errors[..., None] * NORMAL
    values = forecast_data.scaled(task, fitted)
    residuals = values - forecast_data.shifted(mean)[:, 0]
    residuals[: forecast_data.warm_up(fitted) + 1] = np.nan
    back = fitted.scale, fitted.centre
    variance = np.square(errors * fitted.scale)
    return Told(
        forecast_data.restored(mean * back[0] + back[1], task.transform, variance),
        forecast_data.restored(quantiles * back[0][:, None] + back[1][:, None], task.transform),
        residuals,
    )


def validation_scores(task: Problem, mean: np.ndarray) -> dict[str, float]:
    """Returns MASE and root mean squared scaled error of the validation part, means of columns.

    Args:
      task: the problem.
      mean: (T, K, C) in units of the series.
    """
    part = task.part("validation")
    found = forecast_data.shifted(mean)[part]
    scales, columns = _scales(task), []
    for number, scale in enumerate(scales):
        errors = task.values[part, number, None] - found[..., number]
        squared = np.nanmean(errors**2) ** 0.5
        columns.append((np.nanmean(np.abs(errors)) / scale, squared / scale))
    mase, rmsse = np.mean(columns, axis=0)
    return {"validation_mase": float(mase), "validation_rmsse": float(rmsse)}


def test_record(task: Problem, found: Told, model_df: int) -> dict[str, Any]:
    """Returns all figures of the test part, and the diagnosis of the residuals, as JSON.

    Args:
      task: the problem.
      found: what was told.
      model_df: autoregressive parameters of the model.
    """
    part = task.part("test")
    means = forecast_data.shifted(found.mean)[part]
    quantiles = forecast_data.shifted(found.quantiles)[part]
    columns = {}
    for number, scale in enumerate(_scales(task)):
        truth = task.values[part, number]
        steps = [
            score(truth, means[:, k, number], quantiles[:, k, number], scale)._asdict()
            for k in range(task.horizon)
        ]
        every = {name: float(np.nanmean([one[name] for one in steps])) for name in steps[0]}
        columns[task.series.columns[number]] = {
            **steps[0],
            "all_steps": every,
            "by_step": steps,
            "mase_scale": scale,
            **_diagnosis(task, found.residuals[:, number], model_df),
            "one_step": _json(means[:, 0, number]),
            "one_step_quantiles": _json(quantiles[:, 0, number]),
            "future": _json(found.mean[-1, :, number]),
            "future_quantiles": _json(found.quantiles[-1, :, number]),
        }
    return {"columns": columns}


def _diagnosis(task: Problem, residuals: np.ndarray, model_df: int) -> dict[str, Any]:
    parts = {"train": residuals[task.part("train")], "test": residuals[task.part("test")]}
    found = diagnose(parts["train"], parts["test"], model_df=model_df)
    correlograms: dict[str, Any] = {}
    for name, own in parts.items():
        count = int(np.isfinite(own).sum())
        lags = min(MOST_LAGS, count // 2)
        if lags < 1 or np.nanmin(own) == np.nanmax(own):
            continue
        values = acf(own, nlags=lags, missing="conservative")
        correlograms[name] = {"count": count, "acf": _json(np.asarray(values))}
    return {
        "sound": found.sound,
        "ljung_box": {
            part: {str(lag): p for lag, p in every.items()}
            for part, every in found.p_values.items()
        },
        "missed": {part: list(lags) for part, lags in found.missed.items()},
        "verdict": found.words,
        "residual_acf": correlograms,
    }


def _scales(task: Problem) -> list[float]:
    train = task.values[task.part("train")]
    return [mase_scale(column, task.period) for column in train.T]


def _json(values: np.ndarray) -> list[Any]:
    """Returns numbers as nested lists, None for NaN, with the digits that mean something."""
    if values.ndim > 1:
        return [_json(row) for row in values]
    return [float(f"{value:.8g}") if np.isfinite(value) else None for value in values]
