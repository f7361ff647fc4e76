"""Sentiment of texts: recurrent classifiers and their baselines."""

from experiments.sentiment.config import Config
from experiments.sentiment.study import evaluate, run

__all__ = ["Config", "evaluate", "run"]
