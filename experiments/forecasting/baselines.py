"""Baselines of forecasts: last value, last season, autoregression, exponential smoothing."""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from experiments.forecasting.base import (
    FittedBase,
    base_forecasts,
    fill_gaps,
    fit_base,
    scaled,
)
from experiments.forecasting.config import baseline_lags
from experiments.forecasting.data import Problem, problem
from experiments.forecasting.intervals import in_units, spread_of
from experiments.forecasting.metrics import evaluation_record

LONGEST_SEASON = 60  # steps, of exponential smoothing


def records(task: Problem, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the record of each baseline; it is fitted to the training part, validation included.

    Returns:
      Records as of `evaluation_record`; of a baseline that cannot be fitted, its name and the
      reason as "left_out".

    Raises:
      ModuleNotFoundError: if statsmodels is missing where it is needed.
    """
    return [
        _record_or_reason(task, name) for name in names if name != "seasonal" or task.period > 1
    ]


def _record_or_reason(task: Problem, name: str) -> dict[str, Any]:
    try:
        record = _record(_with_transform(task, name), name)
    except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError) as error:
        return {"model": name, "left_out": " ".join(str(error).split())}
    silent = [column for column, one in record["columns"].items() if not np.isfinite(one["mae"])]
    if silent:
        return {"model": name, "left_out": f"no forecast of {silent[0]} in the test part"}
    return record


def check_lengths(task: Problem, names: Sequence[str]) -> None:
    """Raises ValueError, in one line, if the training part is too short for a baseline's lags."""
    for name in names:
        if "ar_" in _plain(name):
            fit_base(_with_transform(task, name), "ar", baseline_lags(name), "train")


def _plain(name: str) -> str:
    return name.removeprefix("sqrt_").removeprefix("log_")


def _with_transform(task: Problem, name: str) -> Problem:
    """Returns the problem with the transform that a baseline is named after, or none."""
    transform = next((kind for kind in ("sqrt", "log") if name.startswith(f"{kind}_")), "none")
    return problem(
        task.series,
        targets=task.targets,
        exogenous=task.exogenous,
        known=task.known,
        horizon=task.horizon,
        period=task.period,
        transform=transform,
        test=task.end - task.train_end,
        validation=task.train_end - task.fit_end,
    )


def _record(task: Problem, name: str) -> dict[str, Any]:
    plain = _plain(name)
    label, model_df = name, 0
    if plain == "ets":
        fitted = fit_base(task, "first", (), "train")
        forecasts, forms = smoothing(task, fitted)
        label = f"{name} ({', '.join(forms)})"
    else:
        if plain in ("last", "seasonal"):
            fitted = fit_base(task, {"last": "first"}.get(plain, plain), (), "train")
        elif plain == "ar":
            chosen = aic_lags(task, "train")
            fitted = fit_base(task, "ar", chosen, "train")
            label, model_df = f"{name} ({len(chosen)} by AIC)", len(chosen)
        else:
            fitted = fit_base(task, "ar", baseline_lags(plain), "train")
            model_df = len(baseline_lags(plain))
        forecasts = base_forecasts(fitted, fill_gaps(fitted, scaled(task, fitted)))
    spread = spread_of(task, fitted, forecasts, None, "train")
    restored = in_units(task, fitted, forecasts, None, spread)
    return {"model": label, **evaluation_record(task, restored, model_df)}


def aic_lags(task: Problem, part: str) -> tuple[int, ...]:
    """Returns 1 to p, p by Akaike's criterion for an autoregression of a part's first target.

    The largest p considered is 2 seasons and 1, but at least 10 log10(n) and at most n / 4. With
    gaps it also leaves at least two steps for each parameter.
    """
    select_order = _statsmodels("tsa.ar_model").ar_select_order
    fitted = fit_base(task, "first", (), part)
    values = fill_gaps(fitted, scaled(task, fitted))[task.part(part), 0]
    n = len(values)
    most = min(max(2 * task.period + 1, int(10 * np.log10(n))), n // 4)
    is_observed = np.isfinite(task.values[task.part(part)]).all(axis=1)
    while most > 1 and _complete_windows(is_observed, most + 1) < 2 * (most + 1):
        most -= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular design of a series that repeats itself
        lags = select_order(values, maxlag=most, ic="aic", trend="c").ar_lags
    return tuple(int(lag) for lag in lags or (1,))


def _complete_windows(is_observed: np.ndarray, length: int) -> int:
    return int(sliding_window_view(is_observed, length).all(axis=1).sum())


def smoothing(task: Problem, fitted: FittedBase) -> tuple[np.ndarray, list[str]]:
    """Returns (T, K, C) of exponential smoothing and the forms chosen, both in scaled units.

    Additive errors; trend none, additive or damped; season none or additive (Holt, Winters 1960);
    by AIC on the training part. Hyndman, Koehler, Ord, Snyder 2008, "Forecasting with Exponential
    Smoothing". Gaps hold the value before.
    """
    ets_model = _statsmodels("tsa.exponential_smoothing.ets").ETSModel
    values = fill_gaps(fitted, scaled(task, fitted))
    train = task.part("train")
    m = task.period
    # A state for each step of a season: with many of them the fit is slow and gains nothing.
    seasonal = 1 < m <= LONGEST_SEASON and task.train_end >= 2 * m + 5
    forms = [
        (trend, damped, season)
        for trend, damped in ((None, False), ("add", False), ("add", True))
        for season in ((None, "add") if seasonal else (None,))
    ]
    forecasts, names = np.zeros((task.end, task.horizon, task.targets)), []

    def make(column: np.ndarray, form: tuple[Any, bool, Any]) -> Any:
        trend, damped, season = form
        more = {"seasonal": season, "seasonal_periods": m} if season else {}
        return ets_model(column, error="add", trend=trend, damped_trend=damped, **more)

    steps = np.arange(1, task.horizon + 1)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Warnings of convergence: a form that has not converged has a worse AIC.
        warnings.simplefilter("ignore")
        for number, column in enumerate(values.T):
            fits = {form: make(column[train], form).fit(disp=False) for form in forms}
            form = min(fits, key=lambda tried: fits[tried].aic)
            trend, damped, season = form
            names.append(f"A{('N', 'A', 'Ad')[bool(trend) + damped]}{'A' if season else 'N'}")
            whole = make(column, form).smooth(fits[form].params)
            ahead = np.repeat(np.asarray(whole.level)[:, None], task.horizon, axis=1)
            if trend:
                phi = float(whole.damping_trend) if damped else 1.0
                ahead += np.asarray(whole.slope)[:, None] * np.cumsum(phi**steps)
            if season:
                # There is no forecast until the states of a whole season are known.
                states = np.concatenate([np.full(m, np.nan), np.asarray(whole.season)])
                ahead += states[np.arange(task.end)[:, None] + 1 + (steps - 1) % m]
            forecasts[:, :, number] = ahead
    return forecasts, names


def _statsmodels(name: str) -> Any:
    try:
        return importlib.import_module(f"statsmodels.{name}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the baselines ar and ets need statsmodels: pip install 'seqmodels[series]'"
        ) from error
