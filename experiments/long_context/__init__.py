"""The long-context study: how far back a recurrent network remembers."""

from experiments.long_context.config import Config
from experiments.long_context.predict import evaluate
from experiments.long_context.study import run

__all__ = ["Config", "evaluate", "run"]
