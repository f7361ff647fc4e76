"""The microscope: gates, gradients and interventions on a trained model, as one HTML page."""

from experiments.microscope.config import Config
from experiments.microscope.study import run

__all__ = ["Config", "run"]
