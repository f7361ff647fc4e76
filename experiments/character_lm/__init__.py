"""The next character of Shakespeare's plays: recurrent language models and n-grams."""

from experiments.character_lm.config import Config
from experiments.character_lm.study import evaluate, run

__all__ = ["Config", "evaluate", "run"]
