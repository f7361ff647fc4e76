"""`experiments.character_lm` on a short text of its own, for tests without a network."""

from experiments.character_lm.__main__ import EXPERIMENT
from experiments.common import app
from seqmodels.datasets import plays

TEXT = "to be, or not to be: that is the question. "

if __name__ == "__main__":
    plays.load = lambda data_dir: plays.Plays(TEXT * 12, TEXT[5:] * 2, TEXT[9:] * 2)
    app.main(EXPERIMENT)
