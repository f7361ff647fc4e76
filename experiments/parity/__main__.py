"""Is the number of ones so far odd? Trained on short strings of bits, tested on longer ones.

A network without memory is right half of the time; one that learned the rule, at every length.

    python -m experiments.parity
"""

from experiments.common import app
from experiments.parity.config import PROGRAM, Config
from experiments.parity.study import run

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run)

if __name__ == "__main__":
    app.main(EXPERIMENT)
