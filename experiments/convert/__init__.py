"""Conversion of files of weights from one framework to another."""

from experiments.convert.config import Config
from experiments.convert.conversion import run

__all__ = ["Config", "run"]
