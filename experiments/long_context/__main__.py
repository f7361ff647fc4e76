"""How far back can a recurrent network remember?

Trains every cell at every distance with several seeds and reports accuracy by distance, the memory
horizon, and the gradient that reaches the far end of the sequence.

    python -m experiments.long_context --flagfile=experiments/long_context/flagfiles/sky.flags
"""

from experiments.common import app
from experiments.long_context.config import PROGRAM, Config
from experiments.long_context.study import run

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run)

if __name__ == "__main__":
    app.main(EXPERIMENT)
