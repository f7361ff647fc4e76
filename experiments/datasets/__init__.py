"""List and download of the data sets of the experiments."""

from experiments.datasets.config import Config
from experiments.datasets.study import run

__all__ = ["Config", "run"]
