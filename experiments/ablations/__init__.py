"""Ablations of the LSTM: parts removed, replaced or added, on tasks that need memory."""

from experiments.ablations.config import Config
from experiments.ablations.study import run

__all__ = ["Config", "run"]
