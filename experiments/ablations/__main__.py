"""Ablations of the LSTM: which part carries the memory.

Trains the LSTM with one part removed, replaced or added, and compares the test scores. Every
variant has several seeds, and the best of the same learning rates. A second table shows the
activation functions with their derivatives.

    python -m experiments.ablations --flagfile=experiments/ablations/flagfiles/short.flags
"""

from experiments.ablations.config import PROGRAM, Config
from experiments.ablations.study import run
from experiments.common import app

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run)

if __name__ == "__main__":
    app.main(EXPERIMENT)
