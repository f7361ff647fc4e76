"""What forecasts are compared with: last value, last season, autoregression, smoothing."""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from experiments.forecasting import data as forecast_data
from experiments.forecasting import metrics as forecast_records
from experiments.forecasting.data import Fitted, Problem

BASELINES = (
    "last, seasonal, ar (order by AIC), ar_1_2_9 (those lags), ar_1-9, ets; the latter also of "
    "square roots or logarithms: sqrt_ar_1-9, log_ets"
)
PLAIN = ("last", "seasonal", "ar", "ets", "sqrt_ar", "log_ar", "sqrt_ets", "log_ets")


def check(name: str) -> None:
    """Raises ValueError unless a name is that of a baseline."""
    if name not in PLAIN:
        lags(name)


def lags(name: str) -> tuple[int, ...]:
    """Returns (1, 2, 9) for "ar_1_2_9" and 1 to 9 for "ar_1-9", with sqrt_ or log_ before or not.

    Raises:
      ValueError: for anything else.
    """
    text = name.removeprefix("sqrt_").removeprefix("log_")
    try:
        if not text.startswith("ar_"):
            raise ValueError
        found: set[int] = set()
        for piece in text.removeprefix("ar_").split("_"):
            low, _, high = piece.partition("-")
            found |= set(range(int(low), int(high or low) + 1))
        if not found or min(found) < 1 or max(found) > 10_000:
            raise ValueError
    except ValueError:
        raise ValueError(f"got {name!r}, expected one of {BASELINES}") from None
    return tuple(sorted(found))


def records(task: Problem, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the record of each baseline; it is fitted to the training part, validation included.

    Raises:
      ValueError: in one line, if one cannot be fitted.
      ModuleNotFoundError: if statsmodels is missing where it is needed.
    """
    found = []
    for name in names:
        if name == "seasonal" and task.period == 1:
            continue
        found.append(_record(_own(task, name), name))
    return found


def check_lengths(task: Problem, names: Sequence[str]) -> None:
    """Raises ValueError, in one line, if the training part is too short for a baseline's lags."""
    for name in names:
        if "ar_" in name.removeprefix("sqrt_").removeprefix("log_"):
            forecast_data.fit(_own(task, name), "ar", lags(name), "train")


def _own(task: Problem, name: str) -> Problem:
    """Returns the problem with the transform that a baseline is named after, or none."""
    found = [one for one in ("sqrt", "log") if name.startswith(f"{one}_")]
    return forecast_data.problem(
        task.series,
        targets=task.targets,
        exogenous=task.exogenous,
        known=task.known,
        horizon=task.horizon,
        period=task.period,
        transform=found[0] if found else "none",
        test=task.end - task.train_end,
        validation=task.train_end - task.fit_end,
    )


def _record(task: Problem, name: str) -> dict[str, Any]:
    plain = name.removeprefix("sqrt_").removeprefix("log_")
    label, model_df = name, 0
    if plain == "ets":
        fitted = forecast_data.fit(task, "first", (), "train")
        told, kinds = _smoothing(task, fitted)
        label = f"{name} ({', '.join(kinds)})"
    else:
        if plain in ("last", "seasonal"):
            fitted = forecast_data.fit(task, {"last": "first"}.get(plain, plain), (), "train")
        elif plain == "ar":
            chosen = aic_lags(task, "train")
            fitted = forecast_data.fit(task, "ar", chosen, "train")
            label, model_df = f"{name} ({len(chosen)} by AIC)", len(chosen)
        else:
            fitted = forecast_data.fit(task, "ar", lags(plain), "train")
            model_df = len(lags(plain))
        values = forecast_data.filled(fitted, forecast_data.scaled(task, fitted))
        told = forecast_data.base_forecasts(fitted, values)
    spread = forecast_records.spread(task, fitted, told, None, "train")
    found = forecast_records.forecasts(task, fitted, told, None, spread)
    return {"model": label, **forecast_records.test_record(task, found, model_df)}


def aic_lags(task: Problem, part: str) -> tuple[int, ...]:
    """Returns 1 to p, p by Akaike's criterion for an autoregression of a part's first target.

    The largest p looked at is 2 seasons and 1, at least 10 log10(n), at most n / 4, and no
    more than leave two steps for each parameter where there are gaps.
    """
    selection = _statsmodels("tsa.ar_model").ar_select_order
    fitted = forecast_data.fit(task, "first", (), part)
    values = forecast_data.filled(fitted, forecast_data.scaled(task, fitted))[task.part(part), 0]
    n = len(values)
    most = min(max(2 * task.period + 1, int(10 * np.log10(n))), n // 4)
    there = np.isfinite(task.values[task.part(part)]).all(axis=1)
    while most > 1 and sliding_window_view(there, most + 1).all(axis=1).sum() < 2 * (most + 1):
        most -= 1
    chosen = selection(values, maxlag=most, ic="aic", trend="c").ar_lags
    return tuple(int(lag) for lag in chosen or (1,))


def _smoothing(task: Problem, fitted: Fitted) -> tuple[np.ndarray, list[str]]:
    """Returns (T, K, C) of exponential smoothing and the forms chosen, both in scaled units.

    Additive errors; trend none, additive or damped; season none or additive (Holt, Winters 1960);
    by AIC on the training part. Hyndman, Koehler, Ord, Snyder 2008, "Forecasting with Exponential
    Smoothing". Gaps hold the value before.
    """
    model = _statsmodels("tsa.exponential_smoothing.ets").ETSModel
    values = forecast_data.filled(fitted, forecast_data.scaled(task, fitted))
    train = task.part("train")
    m = task.period
    # A state for each step of a season: many of them have no use, and take long.
    seasons = (None, "add") if 1 < m <= 60 and task.train_end >= 2 * m + 5 else (None,)
    forms = [
        (trend, damped, season)
        for trend, damped in ((None, False), ("add", False), ("add", True))
        for season in seasons
    ]
    told, kinds = np.zeros((task.end, task.horizon, task.targets)), []

    def make(column: np.ndarray, form: tuple[Any, bool, Any]) -> Any:
        trend, damped, season = form
        more = {"seasonal": season, "seasonal_periods": m} if season else {}
        return model(column, error="add", trend=trend, damped_trend=damped, **more)

    steps = np.arange(1, task.horizon + 1)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Remarks on convergence: a form that has not converged has a worse AIC.
        warnings.simplefilter("ignore")
        for number, column in enumerate(values.T):
            fits = {form: make(column[train], form).fit(disp=False) for form in forms}
            form = min(fits, key=lambda one: fits[one].aic)
            trend, damped, season = form
            kinds.append(f"A{('N', 'A', 'Ad')[bool(trend) + damped]}{'A' if season else 'N'}")
            whole = make(column, form).smooth(fits[form].params)
            found = np.repeat(np.asarray(whole.level)[:, None], task.horizon, axis=1)
            if trend:
                phi = float(whole.damping_trend) if damped else 1.0
                found += np.asarray(whole.slope)[:, None] * np.cumsum(phi**steps)
            if season:
                # Until the states of a whole season are known nothing is told.
                states = np.concatenate([np.full(m, np.nan), np.asarray(whole.season)])
                found += states[np.arange(task.end)[:, None] + 1 + (steps - 1) % m]
            told[:, :, number] = found
    return told, kinds


def _statsmodels(name: str) -> Any:
    try:
        return importlib.import_module(f"statsmodels.{name}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the baselines ar and ets need statsmodels: pip install 'seqmodels[series]'"
        ) from error
