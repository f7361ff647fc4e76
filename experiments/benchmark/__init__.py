"""The benchmark: time and memory of this library and of others."""

from experiments.benchmark.config import Config
from experiments.benchmark.study import run

__all__ = ["Config", "run"]
