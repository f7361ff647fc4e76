"""English sentences to German ones: encoder-decoder LSTMs with and without attention."""

from experiments.translation.config import Config
from experiments.translation.study import evaluate, run

__all__ = ["Config", "evaluate", "run"]
