"""Unrolling of a cell through time: a picture, and the cost of four ways.

Draws one step of a cell, read from its jaxpr, and the cell over a few steps. Then measures value
and gradient of the same recurrence as a Python loop, as a loop unrolled in one program, scanned,
and by the fused driver (a linear recurrence by an associative scan).

    python -m experiments.unrolling --cell=lstm --hidden=64
"""

from experiments.common import app
from experiments.unrolling.config import PROGRAM, Config
from experiments.unrolling.study import run

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, run_options=None, hosts=False)

if __name__ == "__main__":
    app.main(EXPERIMENT)
