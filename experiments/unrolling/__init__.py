"""Unrolling: the graph of a cell's step, and four ways to run it through time."""

from experiments.unrolling.config import Config
from experiments.unrolling.study import run

__all__ = ["Config", "run"]
