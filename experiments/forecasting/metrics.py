"""Metrics of forecasts: errors, coverage of intervals, and diagnosis of the residuals."""

from typing import Any

import numpy as np

from experiments.forecasting import base as bases
from experiments.forecasting.base import FittedBase, by_target_step
from experiments.forecasting.data import Problem
from experiments.forecasting.intervals import Forecasts, in_units, spread_of
from seqmodels.analysis.autocorrelation import acf
from seqmodels.analysis.diagnosis import diagnose
from seqmodels.analysis.forecast_scores import mase_scale, score

MOST_LAGS = 25  # lags of the correlogram of residuals
EXACT = 1e-9  # residuals up to this, in scaled units, are rounding errors


def scale_of(task: Problem, number: int) -> tuple[float, str]:
    """Returns the scale of a target's MASE, and the reason why there is none.

    Args:
      task: the problem.
      number: index of the target.

    Returns:
      (scale, ""), or (NaN, reason), as for a series that repeats itself exactly.
    """
    train = task.values[task.part("train"), number]
    period = task.series.duration(task.period)
    steps = np.abs(train[task.period :] - train[: -task.period])
    if not np.isfinite(steps).any():
        return float("nan"), f"no two values of training are {period} apart"
    if not np.nanmean(steps) > 1e-12 * np.nanmax(np.abs(train)):
        return float("nan"), f"the series repeats itself after {period}, so that its scale is 0"
    return mase_scale(train, task.period), ""


def chosen_by(task: Problem, name: str) -> str:
    """Returns the figure by which models are chosen: another where it has no scale.

    Args:
      task: the problem.
      name: one of `config.CHOOSE_BY`.
    """
    has_scales = all(not scale_of(task, number)[1] for number in range(task.targets))
    return name if has_scales else "validation_nrmse"


def validation_scores(task: Problem, mean: np.ndarray) -> dict[str, float]:
    """Returns MASE and root mean squared scaled error of the validation part, means of columns.

    If a column has no scale (`scale_of`), nrmse takes their place: the root mean squared error in
    units of the standard deviation of the training part.

    Args:
      task: the problem.
      mean: (T, K, C) in units of the series.
    """
    part = task.part("validation")
    forecasts = by_target_step(mean)[part]
    columns, relative = [], []
    for number in range(task.targets):
        scale, reason = scale_of(task, number)
        errors = task.values[part, number, None] - forecasts[..., number]
        squared = np.nanmean(errors**2) ** 0.5
        relative.append(squared / np.nanstd(task.values[task.part("train"), number]))
        if not reason:
            columns.append((np.nanmean(np.abs(errors)) / scale, squared / scale))
    if len(columns) < task.targets:
        return {"validation_nrmse": float(np.mean(relative))}
    mase, rmsse = np.mean(columns, axis=0)
    return {"validation_mase": float(mase), "validation_rmsse": float(rmsse)}


def evaluation_record(task: Problem, forecasts: Forecasts, model_df: int) -> dict[str, Any]:
    """Returns all figures of the test part, and the diagnosis of the residuals, as JSON.

    Args:
      task: the problem.
      forecasts: forecasts from every step.
      model_df: autoregressive parameters of the model.
    """
    part = task.part("test")
    means = by_target_step(forecasts.mean)[part]
    quantiles = by_target_step(forecasts.quantiles)[part]
    columns = {}
    for number in range(task.targets):
        scale, reason = scale_of(task, number)
        truth = task.values[part, number]
        steps = [
            score(truth, means[:, k, number], quantiles[:, k, number], scale)._asdict()
            for k in range(task.horizon)
        ]
        all_steps = {name: _mean([figures[name] for figures in steps]) for name in steps[0]}
        columns[task.series.columns[number]] = {
            **steps[0],
            "all_steps": all_steps,
            "by_step": steps,
            "mase_scale": scale,
            **({"mase_reason": reason} if reason else {}),
            **_diagnosis(task, forecasts.residuals[:, number], model_df),
            "one_step": _json(means[:, 0, number]),
            "one_step_quantiles": _json(quantiles[:, 0, number]),
            "future": _json(forecasts.mean[-1, :, number]),
            "future_quantiles": _json(forecasts.quantiles[-1, :, number]),
        }
    return {"columns": columns}


def base_record(
    task: Problem, fitted: FittedBase, forecasts: np.ndarray
) -> dict[str, dict[str, float]]:
    """Returns the test errors, one step ahead, of a hybrid's base without its network.

    Args:
      task: the problem.
      fitted: scales and base.
      forecasts: (T, K, C), of the base alone, in scaled units.

    Returns:
      For each column mse, mae and mase.
    """
    spread = spread_of(task, fitted, forecasts, None, "validation")
    restored = in_units(task, fitted, forecasts, None, spread)
    columns = evaluation_record(task, restored, bases.model_df(fitted))["columns"]
    names = ("mse", "mae", "mase")
    return {column: {name: record[name] for name in names} for column, record in columns.items()}


def _diagnosis(task: Problem, residuals: np.ndarray, model_df: int) -> dict[str, Any]:
    parts = {"train": residuals[task.part("train")], "test": residuals[task.part("test")]}
    for name, values in parts.items():
        if not np.any(np.abs(values[np.isfinite(values)]) > EXACT):
            parts[name] = np.full(len(values), np.nan)  # rounding errors are not tested
    is_exact = not any(np.isfinite(values).any() for values in parts.values())
    diagnosis = diagnose(parts["train"], parts["test"], model_df=model_df)
    correlograms: dict[str, Any] = {}
    for name, values in parts.items():
        count = int(np.isfinite(values).sum())
        lags = min(MOST_LAGS, count // 2)
        if lags < 1 or np.ptp(values[np.isfinite(values)]) == 0:
            continue
        correlations = acf(values, nlags=lags, missing="conservative")
        correlograms[name] = {"count": count, "acf": _json(np.asarray(correlations))}
    return {
        "sound": diagnosis.sound,
        "ljung_box": {
            part: {str(lag): p for lag, p in by_lag.items()}
            for part, by_lag in diagnosis.p_values.items()
        },
        "missed": {part: list(lags) for part, lags in diagnosis.missed.items()},
        "verdict": "not tested: the forecasts are exact" if is_exact else diagnosis.words,
        "residual_acf": correlograms,
    }


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _json(values: np.ndarray) -> list[Any]:
    """Returns numbers as nested lists with eight significant digits, None for NaN."""
    if values.ndim > 1:
        return [_json(row) for row in values]
    return [float(f"{value:.8g}") if np.isfinite(value) else None for value in values]
