"""The microscope: the inside of a trained RNN, GRU or LSTM as an HTML page.

Writes one HTML page in which trained models run. It shows gates and states over the words of your
own sentence, and the gradient by distance. It also shows how far back each model remembers, even
while you hold a gate fixed. Pictures, tables and readings in words are written next to it.

Without an option it first trains small models on the sky task (1 to 2 minutes on two cores).

    python -m experiments.microscope
    python -m experiments.microscope --model_dir=runs/sky --text="Ash is on every roof. The sky is"
    python -m experiments.microscope --flagfile=experiments/microscope/flagfiles/gradient.flags
"""

from experiments.common import app
from experiments.microscope.config import PROGRAM, Config
from experiments.microscope.study import run

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, run_options=None, hosts=False)

if __name__ == "__main__":
    app.main(EXPERIMENT)
