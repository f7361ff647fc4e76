"""Classification of handwritten digits: a convolutional network and recurrent readers."""

from experiments.image_classification.config import Config
from experiments.image_classification.study import evaluate, run

__all__ = ["Config", "evaluate", "run"]
