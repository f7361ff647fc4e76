"""Parity of bits: trained on short strings, tested on longer ones."""

from experiments.parity.config import Config
from experiments.parity.study import run

__all__ = ["Config", "run"]
