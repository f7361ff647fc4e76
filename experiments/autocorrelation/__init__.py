"""Autocorrelation of a series: its correlogram, and the conclusion in words."""

from experiments.autocorrelation.config import Config
from experiments.autocorrelation.study import run

__all__ = ["Config", "run"]
