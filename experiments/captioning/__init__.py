"""Captions of pictures: a convolutional encoder, a recurrent decoder of words, and baselines."""

from experiments.captioning.config import Config
from experiments.captioning.study import evaluate, run

__all__ = ["Config", "evaluate", "run"]
