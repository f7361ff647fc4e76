"""Forecasts of a time series: recurrent networks and classical methods, compared."""

from experiments.forecasting.config import Config
from experiments.forecasting.study import evaluate, run

__all__ = ["Config", "evaluate", "run"]
