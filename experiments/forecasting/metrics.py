"""What forecasts are worth: errors, coverage, and whether their residuals are sound."""

from typing import Any, NamedTuple

import numpy as np

from experiments.forecasting import data as forecast_data
from experiments.forecasting.data import Fitted, Problem
from seqmodels.analysis.autocorrelation import acf
from seqmodels.analysis.diagnosis import diagnose
from seqmodels.analysis.forecast_scores import mase_scale, score

# Of a normal distribution, at `forecaster.LEVELS`.
NORMAL = np.array([-1.959964, -1.281552, 0.0, 1.281552, 1.959964])
MOST_LAGS = 25  # of the correlogram of residuals
SHARES = ((0.8, 1, 3), (0.95, 0, 4))  # of an interval, and where its ends are among the levels


class Forecasts(NamedTuple):
    """What was told at every step.

    Attributes:
      mean: (T, K, C), in units of the series.
      quantiles: (T, K, C, 5), at `forecaster.LEVELS`.
      residuals: (T, C), by step: what came less what was told one step before, in scaled units.
    """

    mean: np.ndarray
    quantiles: np.ndarray
    residuals: np.ndarray


def root_mean_squared_errors(
    task: Problem, fitted: Fitted, mean: np.ndarray, part: str
) -> np.ndarray:
    """Returns (K, C): root mean squared errors of scaled forecasts (T, K, C) of a part's steps."""
    values = forecast_data.scaled(task, fitted)
    errors = values[:, None] - forecast_data.shifted(mean)
    errors[: forecast_data.warm_up(fitted) + 1] = np.nan
    return np.sqrt(np.nanmean(errors[task.part(part)] ** 2, axis=0))


def calibration(
    task: Problem, fitted: Fitted, mean: np.ndarray, quantiles: np.ndarray, part: str
) -> np.ndarray:
    """Returns (K, C, 2): by how much intervals of 80 and 95 % are to be widened.

    The factor with which an interval would have held that share of a part's steps, from its median:
    the ceil((n + 1) share)-th smallest of max((m - y) / (m - low), (y - m) / (high - m)), the
    largest where there are too few. Conformal prediction with scaled scores: Lei, G'Sell, Rinaldo,
    Tibshirani, Wasserman 2018 (arXiv 1604.04173), section 5.2. Steps of a series are not
    exchangeable, so that what it promises there holds only about.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units, for the steps that the base lacks values for.
      quantiles: (T, K, C, 5) in scaled units.
      part: of the steps, one that parameters were not fitted to where these are many.
    """
    values = forecast_data.scaled(task, fitted)[:, None]
    told = forecast_data.shifted(quantiles)
    told[: forecast_data.warm_up(fitted) + 1] = np.nan
    steps = task.part(part)
    factors = np.ones((*mean.shape[1:], len(SHARES)))
    for number, (share, low, high) in enumerate(SHARES):
        middle = told[..., 2]
        below = (middle - values) / np.maximum(middle - told[..., low], 1e-9)
        above = (values - middle) / np.maximum(told[..., high] - middle, 1e-9)
        scores = np.maximum(below, above)[steps]
        for k, column in np.ndindex(*factors.shape[:2]):
            own = np.sort(scores[:, k, column][np.isfinite(scores[:, k, column])])
            if len(own):
                place = min(int(np.ceil((len(own) + 1) * share)), len(own)) - 1
                factors[k, column, number] = max(own[place], 1e-3)
    return factors


def widened(quantiles: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns quantiles (T, K, C, 5) with their distance from the median times the factors."""
    middle = quantiles[..., 2:3]
    by = np.stack([factors[..., 1], factors[..., 0], np.ones(factors.shape[:-1])], axis=-1)
    found = middle + (quantiles - middle) * by[..., [0, 1, 2, 1, 0]]
    # That of 95 % holds that of 80 %.
    found[..., 0] = np.minimum(found[..., 0], found[..., 1])
    found[..., 4] = np.maximum(found[..., 4], found[..., 3])
    return found


class Spread(NamedTuple):
    """How far off forecasts were.

    Attributes:
      errors: (K, C), root mean squared, in scaled units.
      factors: (K, C, 2), of `calibration`.
    """

    errors: np.ndarray
    factors: np.ndarray


def spread(
    task: Problem, fitted: Fitted, mean: np.ndarray, quantiles: np.ndarray | None, part: str
) -> Spread:
    """Returns how far off forecasts were in a part.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units.
      quantiles: (T, K, C, 5) in scaled units; None for those of normal errors.
      part: of the steps, one that parameters were not fitted to where these are many.
    """
    errors = root_mean_squared_errors(task, fitted, mean, part)
    known = _quantiles(mean, quantiles, errors)
    return Spread(errors, calibration(task, fitted, mean, known, part))


def forecasts(
    task: Problem,
    fitted: Fitted,
    mean: np.ndarray,
    quantiles: np.ndarray | None,
    found: Spread,
) -> Forecasts:
    """Returns forecasts in units of the series.

    Args:
      task: the problem.
      fitted: scales and base.
      mean: (T, K, C) in scaled units.
      quantiles: (T, K, C, 5) in scaled units; None for those of normal errors.
      found: of `spread`.
    """
    known = widened(_quantiles(mean, quantiles, found.errors), found.factors)
    values = forecast_data.scaled(task, fitted)
    residuals = values - forecast_data.shifted(mean)[:, 0]
    residuals[: forecast_data.warm_up(fitted) + 1] = np.nan
    scale, centre = fitted.scale, fitted.centre
    return Forecasts(
        restored_mean(task, fitted, mean, found.errors),
        forecast_data.restored(known * scale[:, None] + centre[:, None], task.transform),
        residuals,
    )


def restored_mean(
    task: Problem, fitted: Fitted, mean: np.ndarray, errors: np.ndarray
) -> np.ndarray:
    """Returns means (T, K, C) in units of the series, of errors (K, C), both in scaled units."""
    variance = np.square(errors * fitted.scale)
    return forecast_data.restored(mean * fitted.scale + fitted.centre, task.transform, variance)


def _quantiles(mean: np.ndarray, quantiles: np.ndarray | None, errors: np.ndarray) -> np.ndarray:
    return mean[..., None] + errors[..., None] * NORMAL if quantiles is None else quantiles


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


def test_record(task: Problem, found: Forecasts, model_df: int) -> dict[str, Any]:
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


def base_record(task: Problem, fitted: Fitted, told: np.ndarray) -> dict[str, dict[str, float]]:
    """Returns the test errors, one step ahead, of a hybrid's base without its network.

    Args:
      task: the problem.
      fitted: scales and base.
      told: (T, K, C), by the base alone, in scaled units.

    Returns:
      For each column mse, mae and mase.
    """
    found = forecasts(task, fitted, told, None, spread(task, fitted, told, None, "validation"))
    columns = test_record(task, found, forecast_data.model_df(fitted))["columns"]
    names = ("mse", "mae", "mase")
    return {column: {name: own[name] for name in names} for column, own in columns.items()}


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
