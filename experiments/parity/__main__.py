"""Parity: whether the number of ones so far is odd, on strings longer than those of training.

A network without memory is right half of the time. One that learned the rule is always right.

    python -m experiments.parity
"""

from experiments.common import app
from experiments.parity.config import PROGRAM, Config
from experiments.parity.study import run

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run)

if __name__ == "__main__":
    app.main(EXPERIMENT)
