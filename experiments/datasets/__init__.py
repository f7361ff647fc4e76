"""The data sets of the experiments: listed and fetched."""

from experiments.datasets.config import Config
from experiments.datasets.study import run

__all__ = ["Config", "run"]
